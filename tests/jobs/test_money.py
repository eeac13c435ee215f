"""Money, told once: spent, at risk and reserved are the same numbers wherever they are shown."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path

import pytest

from fullstory_async import ActivationLedger, FullStoryClient
from fullstory_async.activations import Activations
from fullstory_async.cli import main
from fullstory_async.cli.messages import report_text
from fullstory_async.jobs import Job, JobPlan, JobProgress, JobReader, JobReport
from fullstory_async.sandbox import Fault, Sandbox
from tests.limits import until
from tests.wire.servers import connected

EVENTS = JobPlan(events=True)


def status_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> Activations:
    """Return what the command ``job status`` and the reader show, which is the same."""
    status = JobReader(folder).status()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["job", "status", str(folder)])
    shown = json.loads(capsys.readouterr().out)
    found = Activations(status.spent, status.at_risk, status.reserved)
    assert found == Activations(shown["spent"], shown["at_risk"], shown["reserved"])
    return found


def told(text: str) -> set[str]:
    """Return every number of activations in a text."""
    return set(re.findall(r"\d+ activations? spent(?:, \d+ of them at risk)?", text))


async def check(job: Job, report: JobReport, client: FullStoryClient, seen: list[JobProgress]) -> Activations:
    """Compare all figures after a run; the client and its ledger have counted this job alone."""
    found = Activations(report.spent, report.at_risk)
    assert (job.counts.spent, job.counts.at_risk) == (found.spent, found.at_risk)
    assert (seen[-1].spent, seen[-1].at_risk) == (found.spent, found.at_risk)
    text = report_text(report, job, "")
    assert str(found) in told(text.splitlines()[1])
    assert str(Activations(report.newly_spent)) in told(text.splitlines()[0])
    return found


@pytest.mark.parametrize("ending", ["finished", "dropped", "killed"])
async def test_all_figures_agree(ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger, folder = ActivationLedger(tmp_path / "ledger"), tmp_path / "job"
    sandbox = Sandbox(users=2, sessions=24, mean_events=2)
    seen: list[JobProgress] = []
    async with connected(sandbox, ledger=ledger) as client:
        key = client.config.key_fingerprint
        # each of these may have cost an activation, although two of them did not
        sandbox.inject(Fault.reset(), operation="events", times=2)
        sandbox.inject(Fault.status(404), operation="events", times=2)
        sandbox.inject(Fault.status(500, charged=False), operation="events", times=2)
        async with Job.open(folder, client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids)
            if ending != "finished":
                stalled = sandbox.inject(Fault.stall(), operation="events", skip=12, times=4)
                run = asyncio.create_task(job.run(progress=seen.append, concurrency=4))
                await until(lambda: stalled.hits == 4 and JobReader(folder).status().reserved == 4)
                if ending == "killed":
                    shutil.copytree(folder, tmp_path / "killed")  # what a kill leaves at this moment
                    running = status_of(folder, capsys)
                    assert status_of(tmp_path / "killed", capsys) == running.settled()
                job.stop(at_once=True)
                report = await run
                assert report.dropped == 4
            else:
                report = await job.run(progress=seen.append)
            found = await check(job, report, client, seen)
            assert found == status_of(folder, capsys)
            assert found.spent == await ledger.spent(key) == client.stats.spent
            assert found.at_risk == client.stats.activations_at_risk
            assert (
                found.spent - found.at_risk == client.stats.activations <= sandbox.activations <= found.spent
            )
        assert status_of(folder, capsys) == found
        if ending != "killed":
            return
        # the next run begins with what the dead process had reserved, as shown before
        before, spent = status_of(tmp_path / "killed", capsys), client.stats.spent
        async with Job.open(tmp_path / "killed", client=client, plan=EVENTS) as job:
            assert (job.estimate().spent, job.counts.at_risk) == (before.spent, before.at_risk)
            report = await job.run(progress=seen.append)
            found = await check(job, report, client, seen)
            assert found.spent == before.spent + report.newly_spent
            assert report.newly_spent == client.stats.spent - spent
            assert await ledger.spent(key) == client.stats.spent
        assert status_of(tmp_path / "killed", capsys) == found


async def test_a_budget_and_the_report_name_the_same_number(tmp_path: Path) -> None:
    sandbox, seen = Sandbox(users=1, sessions=9, mean_events=2), list[JobProgress]()
    async with connected(sandbox) as client:
        sandbox.inject(Fault.reset(), operation="events", times=2)
        plan = JobPlan(events=True, max_activations=6)
        async with Job.open(tmp_path / "job", client=client, plan=plan) as job:
            await job.add(sandbox.session_ids)
            report = await job.run(progress=seen.append, concurrency=1)
            found = await check(job, report, client, seen)
            assert (report.reason, found) == ("budget reached", Activations(6, 2))
            assert report.detail == "the budget is 6: 6 activations spent, 2 of them at risk"
            assert told(report_text(report, job, "")) == {"6 activations spent", str(found)}


def test_the_words() -> None:
    assert str(Activations(1)) == "1 activation spent"
    assert str(Activations(1, 1)) == "1 activation spent and at risk"
    assert str(Activations(9015, 15, 3)) == "9,015 activations spent, 15 of them at risk, 3 reserved"
    assert Activations(9, 1, 3).settled() == Activations(12, 4)
