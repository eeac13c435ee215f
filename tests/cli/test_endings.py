"""How ``fetch`` ends and resumes: signals, a locked job, the resume command, and the results as JSON."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fullstory_async.cli.commands.fetch import run_job
from fullstory_async.jobs import Job, JobPlan, JobReader
from tests.cli.conftest import Run
from tests.cli.forked import Forks
from tests.cli.terminals import Terminals
from tests.cli.test_fetch import IDS, ask
from tests.cli.test_streams import buffered_or_not
from tests.jobs.test_job import opened, run_once
from tests.limits import SECONDS, wait_until
from tests.wire.servers import Connection, client_of, http, raw_server

FETCH = ("fetch", "--ids", "ids", "--events", "--job", "j")


@pytest.fixture
def slow(forks: Forks, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A sandbox with slow responses, and a file of its ids; gives its URL and key."""
    options = ("--sessions", "50", "--mean-events", "5", "--latency", "0.2")
    with forks.sandbox(*options, cwd=tmp_path) as settings:
        (tmp_path / "ids").write_text("\n".join(ask(settings, "/_sandbox/sessions")["session_ids"]))
        yield settings


def wait_for(settings: dict[str, str], activations: int) -> None:
    wait_until(lambda: ask(settings, "/_sandbox/stats")["activations"] >= activations)


@buffered_or_not
def test_a_closed_terminal_stops_it_in_good_order(
    slow: dict[str, str], forks: Forks, tmp_path: Path, environment: dict[str, str]
) -> None:
    terminal, inside = pty.openpty()
    variables = {**environment, "TERM": "xterm", **slow}
    command = (*FETCH, "--concurrency", "4")
    streams = dict.fromkeys(range(3), inside)
    with forks.start(*command, cwd=tmp_path, streams=streams, environment=variables) as running:
        os.close(inside)
        wait_for(slow, 4)
        os.close(terminal)
        os.kill(running.pid, signal.SIGHUP)
    assert running.wait().code == 128 + signal.SIGHUP
    status = JobReader(tmp_path / "j").status()
    assert 4 <= status.done == status.spent == ask(slow, "/_sandbox/stats")["activations"] < 50


def test_a_log_is_not_mixed_with_a_live_display(terminals: Terminals, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("1:2")
    command = (*FETCH, "--sandbox", "--verbose")
    ended = terminals.run(*command, cwd=tmp_path)
    assert (ended.code, "\x1b" in ended.shown) == (3, False)
    assert "events 1:2: attempt 1, status 404" in ended.shown
    assert "1 × NotFoundError" in ended.shown


def test_nohup_is_respected(slow: dict[str, str], tmp_path: Path) -> None:
    command = subprocess.Popen(
        ["nohup", sys.executable, "-m", "fullstory_async", *FETCH, "--rate", "500", "--concurrency", "8"],
        cwd=tmp_path, env={**os.environ, **slow},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(slow, 4)
    command.send_signal(signal.SIGHUP)
    assert command.wait(SECONDS) == 0
    assert JobReader(tmp_path / "j").status().done == 50


def test_the_resume_command_names_every_option_that_matters(
    slow: dict[str, str], forks: Forks, tmp_path: Path
) -> None:
    command = (
        *FETCH, "--concurrency", "3", "--retry-failed", "--ledger", "my ledger", "--monthly-cap", "900",
        "--rescue-file", "aside", "--rate", "50", "--burst", "2", "--timeout", "20", "--yes",
    )  # fmt: skip
    with forks.start(*command, cwd=tmp_path, environment=slow) as running:
        wait_for(slow, 3)
        os.kill(running.pid, signal.SIGINT)
    ended = running.wait()
    assert ended.code == 130
    assert (
        "To resume: fullstory-async fetch --job j --resume --rate 50 --burst 2 --timeout 20 --concurrency 3 "
        "--ledger 'my ledger' --monthly-cap 900 --retry-failed --rescue-file aside\n"
    ) in ended.err.replace("50.0", "50").replace("2.0 ", "2 ").replace("20.0", "20")


class Interrupting(io.StringIO):
    """A standard error that raises SIGINT while the final report is written."""

    def write(self, text: str) -> int:
        if text.startswith("Finished"):
            os.kill(os.getpid(), signal.SIGINT)
        return super().write(text)


async def test_a_signal_at_the_very_end_does_not_cut_off_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = Interrupting()
    monkeypatch.setattr(sys, "stderr", stderr)
    async with opened(sessions=3) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=JobPlan(events=True)) as job:
            await job.add(sandbox.session_ids)
            assert (await run_job(job, concurrency=4))[0] == 0
    said = stderr.getvalue()
    assert ("Total: 3 results" in said, "Stopping" in said) == (True, False)


HOLDING = """
import sys
from pathlib import Path
from fullstory_async.jobs.storage.lock import JobLock

lock = JobLock(Path(sys.argv[1]) / "lock")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def taken(folder: Path, forks: Forks) -> Iterator[int]:
    """Hold a job's lock from another process."""
    reading, writing = os.pipe()
    with forks.start(str(folder), script=HOLDING, cwd=folder, streams={0: reading}) as holder:
        os.close(reading)
        wait_until(lambda: holder.out == "held\n")
        try:
            yield holder.pid
        finally:
            os.close(writing)


def test_a_job_that_another_process_runs_is_refused_before_anything_else(
    run: Run, forks: Forks, tmp_path: Path
) -> None:
    (tmp_path / "ids").write_text(IDS[0])
    assert run(*FETCH, "--sandbox", "--rate", "1000")[0] == 0
    with taken(tmp_path / "j", forks) as pid:
        code, out, err = run(
            "fetch", "--job", "j", "--resume", "--base-url", "http://127.0.0.1:9", "--ids", "-"
        )
        assert (code, out, err.count("\n")) == (75, "", 1)
        assert f"the job j is being run by process {pid}" in err
        code, out, _ = run("fetch", "--job", "j", "--resume", "--dry-run", "--sandbox")
        assert (code, json.loads(out)["calls"]) == (0, 0)


ANSWERS = [
    '{"events": [], "x": "ਊ, 上"\n}'.encode("utf-16"),
    '{"events": [],\r\n "x": "é"}'.encode("utf-32-le"),
    b'\xef\xbb\xbf{"events": [], "x": 1}\n',
    b'{"events": [], "x": "\xed\xa0\x80"}',
]


def test_results_are_lines_of_utf_8_whatever_came(run: Run, tmp_path: Path) -> None:
    answers = iter([http(b'{"orgId": "O"}'), *map(http, ANSWERS)])

    async def fill() -> None:
        async def handler(connection: Connection) -> None:
            await connection.send(next(answers))

        async with raw_server(handler) as server, client_of(server.url) as client:
            ids = [f"1:{n}" for n in range(len(ANSWERS))]
            report = await run_once(tmp_path / "j", client, JobPlan(events=True), ids, concurrency=1)
            assert report.done == len(ANSWERS)

    asyncio.run(fill())
    code, out, _ = run("job", "results", "j")
    assert code == 0
    found = [json.loads(line)["answer"]["x"] for line in out.splitlines()]
    assert found == ["ਊ, 上", "é", 1, "\ud800"]
