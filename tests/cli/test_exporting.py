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
from tests.cli.forked import Forks
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


def test_standard_output_gets_the_main_table_and_messages_go_elsewhere(
    small: Path, run: Run, forks: Forks, tmp_path: Path
) -> None:
    code, out, err = run("job", "export", str(small), "-", "--format", "jsonl", "--redact", "user_email")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, f"user_email: {len(rows)} values dropped\n")  # the second reading counts
    assert [row["seq"] for row in rows[:2]] == [0, 1]
    assert run("job", "export", str(small), "events.jsonl", "--redact", "user_email")[0] == 0
    assert out == (tmp_path / "events.jsonl").read_text()
    with (tmp_path / "all.csv").open("ab") as file:
        file.write(b"kept\n")
        file.flush()
        for target in ("-", "/dev/stdout"):
            command = ("job", "export", str(small), target, "--format", "csv")
            assert forks.run(*command, cwd=tmp_path, streams={1: file.fileno()}).code == 0
    first, *rest = (tmp_path / "all.csv").read_text().splitlines()
    assert (first, len(rest)) == ("kept", 2 * (1 + len(rows)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-"], "is a pipe or a terminal, which needs file_format (--format)"),
        (["-", "--format", "parquet"], "takes JSON Lines or CSV only"),
        (["-", "--format", "xlsx"], "--format"),
        (["out.csv", "--out-dir", "out"], "a file or a folder (--out-dir), and not both"),
        (["--overwrit"], "unknown option --overwrit; a file of this name is ./--overwrit"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused(
    small: Path, run: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    code, out, err = run("job", "export", str(small), *arguments)
    assert (code, out, message in err, err.count("\n")) == (2, "", True, 1), err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_written_by_its_option_or_a_name_without_a_suffix(
    small: Path, run: Run, tmp_path: Path
) -> None:
    options = ("--format", "csv", "--partition-by", "date", "--rows-per-file", "1", "--bom")
    for target in (["out"], ["--out-dir", "out"]):
        code, out, err = run("job", "export", str(small), *target, *options)
        assert (code, out, err) == (0, "", "out\n")
    files = sorted((tmp_path / "out" / "events" / "event_date=2026-05-04").iterdir())
    assert [path.name for path in files] == [f"part-000{number}.csv" for number in range(6)]
    assert all(path.read_bytes().startswith(b"\xef\xbb\xbf") for path in files)


@pytest.mark.parametrize(("schema", "note"), [("v1", "note: the schema v1 will be removed"), ("v2", "")])
def test_the_old_schema_is_written_with_a_note(small: Path, run: Run, schema: str, note: str) -> None:
    code, out, err = run("job", "export", str(small), "-", "--format", "jsonl", "--schema", schema)
    assert (code, err.partition(" in the next version")[0], err.count("\n")) == (0, note, bool(note))
    assert ("properties" in json.loads(out.splitlines()[0])) == (schema == "v1")
