"""``job export`` from the command line: interrupted, killed, and with a misspelt field."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from pathlib import Path

import pytest

from fullstory_async import ClientConfig, FullStoryClient, RateLimit
from fullstory_async.jobs import Job, JobPlan
from fullstory_async.sandbox import Fault, Sandbox
from tests.cli.conftest import Run
from tests.cli.test_fetch import start
from tests.limits import SECONDS, wait_until

EVENT = {
    "event_type": "click",
    "event_time": "2026-05-04T10:00:00Z",
    "event_properties": {"user_email": "ada@example.com", "text": "x" * 50},
}
PLAN = JobPlan(events=True)


async def make(folder: Path, *, events: int, sessions: int = 3, plan: JobPlan = PLAN) -> None:
    """Make a job whose sessions have so many events each."""
    async with Sandbox(users=1, sessions=sessions, mean_events=3) as sandbox:
        body = json.dumps({"events": [EVENT] * events}).encode()
        sandbox.inject(Fault.status(200, body=body), operation="events", times=None)
        config = ClientConfig(
            api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(10_000, 10_000)
        )
        async with (
            FullStoryClient(config=config) as client,
            Job.open(folder, client=client, plan=plan) as job,
        ):
            await job.add(sandbox.session_ids)
            await job.run()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job whose export takes seconds."""
    folder = tmp_path_factory.mktemp("jobs") / "large.job"
    asyncio.run(make(folder, sessions=12, events=4000))
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs") / "small.job"
    asyncio.run(make(folder, events=2))
    return folder


def export_until_it_writes(folder: Path, out: Path) -> subprocess.Popen[str]:
    """Begin an export; return it stopped (SIGSTOP) when it has written something beside its target.

    It runs only between two looks, so that it can't end before it is looked at, however busy the machine is.
    """
    command = start("job", "export", str(folder), str(out))

    def writes() -> bool:
        command.send_signal(signal.SIGSTOP)
        assert command.poll() is None, command.communicate()
        if any(path.is_file() and path.stat().st_size > 1000 for path in out.parent.rglob("*")):
            return True
        command.send_signal(signal.SIGCONT)
        return False

    wait_until(writes)
    return command


@pytest.mark.parametrize(
    ("number", "code", "suffix"),
    [(signal.SIGINT, 130, "csv"), (signal.SIGTERM, 143, "csv"), (signal.SIGHUP, 129, "sqlite")],
)
def test_a_signal_ends_it_and_leaves_nothing(
    large: Path, tmp_path: Path, number: signal.Signals, code: int, suffix: str
) -> None:
    command = export_until_it_writes(large, tmp_path / f"out.{suffix}")
    command.send_signal(number)
    command.send_signal(signal.SIGCONT)
    assert (command.communicate(timeout=SECONDS), command.returncode) == (
        ("", "interrupted; nothing was written\n"),
        code,
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["csv", "sqlite"])
def test_the_next_export_removes_what_a_killed_one_left_and_nothing_of_a_live_one(
    large: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out.{suffix}"
    killed = export_until_it_writes(large, out)
    killed.kill()
    killed.communicate()
    left = set(tmp_path.iterdir())
    assert left
    both = [start("job", "export", str(large), str(out)) for _ in range(2)]
    assert [each.communicate(timeout=SECONDS)[1].splitlines()[0] for each in both] == [str(out)] * 2
    assert [each.returncode for each in both] == [0, 0]
    assert not left & set(tmp_path.iterdir())
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_redaction_of_an_unknown_field_is_refused_and_nothing_is_written(
    small: Path, run: Run, tmp_path: Path
) -> None:
    command = ("job", "export", str(small), "out.csv", "--redact", "user_email")
    for wrong in ("user_emial", "user_emial=hash"):
        code, out, err = run(*command, "--redact", wrong)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "nothing in the job is called 'user_emial', so nothing was written" in err
        assert list(tmp_path.iterdir()) == []
    code, _, err = run(*command, "--redact", "user_emial", "--allow-missing")
    assert (code, "user_emial: no field has this name" in err) == (0, True)
    assert "ada@example.com" not in (tmp_path / "out.csv").read_text()


def test_names_that_are_known_or_hidden_within_others_are_not_missing(
    small: Path, run: Run, tmp_path: Path
) -> None:
    names = "event_properties, user_email,message , response=hash"
    code, _, err = run("job", "export", str(small), "out.jsonl", "--redact", names)
    assert code == 0
    rows = len((tmp_path / "out.jsonl").read_text().splitlines())
    assert rows > 1
    assert err.splitlines()[-4:] == [
        f"event_properties: {rows} values dropped",
        "user_email: 6 values dropped",
        "message: 0 values dropped",
        "response: 0 values replaced",
    ]
    assert "ada@example.com" not in (tmp_path / "out.jsonl").read_text()


def test_a_job_without_a_row_has_nothing_to_miss(run: Run, tmp_path: Path) -> None:
    async def begin() -> None:
        async with Job.open(tmp_path / "empty.job", plan=PLAN):
            pass

    asyncio.run(begin())
    assert run("job", "export", "empty.job", "out.csv", "--redact", "user_email")[0] == 0


def test_a_status_for_people_says_each_thing_once(small: Path, run: Run) -> None:
    names = [
        line.split()[0] for line in run("job", "status", str(small), "--output", "table")[1].splitlines()
    ]
    assert ("events" in names, "plan" in names) == (True, False)
