"""A second process that opens a job although the first still runs it, since the lock file is gone."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from fullstory_async import DecodeError, JobLockedError
from fullstory_async.cli.messages import report_text
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.storage.inputs import NewItem
from fullstory_async.jobs.storage.store import JobStore
from fullstory_async.jobs.storage.tasks import JobTask
from fullstory_async.sandbox import Fault
from tests.jobs.test_edges import Wrapped
from tests.jobs.test_job import opened
from tests.jobs.test_lost_log import store_in

EVENTS = JobPlan(events=True)
BODY = b'{"events": []}'


def stored(folder: Path) -> dict[str, bytes]:
    return {
        record.session_id: record.bodies["events"] for record in JobReader(folder).records() if record.bodies
    }


@pytest.mark.row(96)
@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_the_first_process_stops_and_its_paid_responses_are_kept(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "j"
    async with opened(sessions=40) as (sandbox, client):
        in_flight, go_on = asyncio.Event(), asyncio.Event()
        sent = 0

        async def hold(_: object) -> None:
            nonlocal sent
            sent += 1
            if sent == 10:
                in_flight.set()
            if 2 < sent <= 10:  # until the first response, few calls are started
                await go_on.wait()

        Wrapped(client, hold)
        plan = JobPlan(events=True, max_activations=30)
        async with Job.open(folder, client=client, plan=plan) as first:
            await first.add(sandbox.session_ids)
            running = asyncio.ensure_future(first.run(concurrency=8))
            await in_flight.wait()
            if how == "removed":
                (folder / "lock").unlink()
            else:
                (folder / "lock.new").write_text("{}")
                (folder / "lock.new").replace(folder / "lock")
            async with Job.open(folder, client=client) as second:
                assert second.counts.spent == 2 + 8  # what the first has spent, and has in flight
                go_on.set()
                report = await running
                assert (report.reason, report.new_responses) == ("taken over", 10)
                assert "lock file was removed or replaced" in report.detail
                assert "process " in report.detail
                assert "(when the other process has ended)" in report_text(report, first, "fetch --resume")
                last = await second.run(concurrency=8)
                with pytest.raises(JobLockedError):
                    await first.add(["9:9"])
                with pytest.raises(JobLockedError):
                    await first.purge(sandbox.session_ids[0])
        assert (last.reason, last.spent, last.done) == ("budget reached", 30, 30)
        assert sandbox.activations == 30
        assert len(stored(folder)) == 30
        async with Job.open(folder, client=client) as third:
            assert (third.counts.answered, third.counts.spent, third.counts.items) == (30, 30, 40)
    reader = JobReader(folder)
    assert (len(list(reader.records())), reader.damaged, reader.missing) == (40, 0, None)


async def two_stores(folder: Path) -> tuple[JobStore, JobStore]:
    first = store_in(folder)
    await first.add([NewItem(f"1:{n}") for n in range(1, 7)])
    for seq in range(1, 7):
        assert await first.reserve(JobTask(seq, f"1:{seq}", "events"), 1)
    return first, JobStore(folder, EVENTS)


@pytest.mark.row(96)
async def test_both_results_of_a_call_are_one_and_none_of_an_erased_session_comes_back(
    tmp_path: Path,
) -> None:
    """Whichever comes first, and whatever the other process made of the same call."""
    first, second = await two_stores(tmp_path / "j")
    task = {seq: JobTask(seq, f"1:{seq}", "events") for seq in range(1, 7)}
    failure = DecodeError("odd")
    await second.save_response(task[1], b'{"events": [2]}', attempts=1, spent=1)
    await first.save_response(task[1], BODY, attempts=1, spent=1)
    await first.save_response(task[2], BODY, attempts=1, spent=1)
    await second.save_response(task[2], b'{"events": [2]}', attempts=1, spent=1)
    await second.save_failure(task[3], failure, body=None, permanent=False, spent=1)
    await first.save_response(task[3], BODY, attempts=1, spent=1)
    await first.save_response(task[4], BODY, attempts=1, spent=1)
    await second.save_failure(task[4], failure, body=None, permanent=False, spent=1)
    await second.purge("1:5")
    await first.save_response(task[5], b'{"events": ["erased"]}', attempts=1, spent=1)
    await first.save_failure(task[5], failure, body=b"erased", permanent=True, spent=1)
    await first.save_failure(task[6], failure, body=b"paid and odd", permanent=True, spent=1)
    await first.flush()
    with pytest.raises(JobLockedError):
        await first.reserve(task[1], 1)
    await second.flush()
    counts = second.counts
    assert (counts.items, counts.answered, counts.failed, counts.permanent) == (5, 4, 1, 1)
    assert counts.spent == 6 + 4  # what the first had in flight, and the second's own calls
    first.close()
    second.close()
    assert stored(tmp_path / "j") == {
        "1:1": b'{"events": [2]}', "1:2": BODY, "1:3": BODY, "1:4": BODY,
    }  # fmt: skip
    failures = [each for record in JobReader(tmp_path / "j").records() for each in record.failures.values()]
    assert [(each.session_id, each.body) for each in failures] == [("1:6", b"paid and odd")]
    assert JobReader(tmp_path / "j").status().spent == 10


@pytest.mark.row(96)
async def test_what_the_first_process_closes_is_not_marked_as_complete(tmp_path: Path) -> None:
    first, second = await two_stores(tmp_path / "j")
    first.close()
    await second.save_response(JobTask(1, "1:1", "events"), BODY, attempts=1, spent=1)
    copy = shutil.copytree(tmp_path / "j", tmp_path / "copy")
    second.close()
    (copy / "job.sqlite3-wal").unlink()
    assert JobReader(copy).missing is not None


async def test_a_job_that_is_opened_again_by_its_own_process_is_its_own(tmp_path: Path) -> None:
    async with opened(sessions=3) as (sandbox, client):
        sandbox.inject(Fault.status(500), times=1)
        for _ in range(2):
            async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
                await job.add(sandbox.session_ids)
                assert (await job.run()).reason == "finished"
