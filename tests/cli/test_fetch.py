"""Durable jobs on the command line: from the estimate to the export, with every way to end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fullstory_async import SessionId
from fullstory_async.cli.ids import IdInput
from fullstory_async.cli.messages import estimate_text
from fullstory_async.cli.program import program
from fullstory_async.ids.inputs import SessionInput
from fullstory_async.jobs import Job, JobEstimate, JobPlan, JobReader
from fullstory_async.jobs.storage.rescue import HeldResult
from fullstory_async.sandbox.world import World
from fullstory_async.session_id import UnusableId
from tests.cli.conftest import Run
from tests.cli.forked import Forks
from tests.cli.terminals import Terminals
from tests.limits import SECONDS, wait_until

WORLD = World(0, 20, 200, 200)
IDS = [str(session_id) for session_id, session in WORLD.sessions.items() if session.event_count < 60][:6]
FAST = ("--rate", "1000", "--sandbox")
STOPPING = "Stopping: waiting up to 5 s for calls in flight"


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def start(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fullstory_async", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture
def served(forks: Forks, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A sandbox in a process of its own; gives its URL and key."""
    options = (
        "--sessions",
        "50",
        "--mean-events",
        "20",
        "--latency",
        "0.3",
        "--rate",
        "500",
        "--quota",
        "60",
    )
    with forks.sandbox(*options, cwd=tmp_path) as settings:
        yield settings


def ask(served: dict[str, str], path: str) -> dict[str, Any]:
    with urllib.request.urlopen(served["FULLSTORY_BASE_URL"] + path, timeout=SECONDS) as response:
        found: dict[str, Any] = json.load(response)
        return found


@pytest.mark.smoke
def test_from_the_ids_to_the_export(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text(
        f"# mine\n\n{IDS[0]}\n{IDS[1]}\n  {IDS[0].replace(':', '!')}\n"
        f"https://app.fullstory.com/ui/O/session/{IDS[2]}\n"
    )
    code, out, err = run(
        "fetch", "--ids", "ids.txt", "--events", "--summary", "support", "--job", "a.job", *FAST
    )
    assert (code, out) == (0, "")
    assert "3 sessions, 6 calls left, 1 duplicate dropped, up to 6 activations" in err
    assert "Total: 6 results, 0 permanent failures, 0 calls left, 6 activations spent" in err
    assert "fullstory-async job export a.job out.jsonl" in err
    answers = lines(run("job", "results", "a.job")[1])
    assert [(line["full_session_id"], line["operation"]) for line in answers] == [
        (session_id, operation) for session_id in IDS[:3] for operation in ("events", "summary")
    ]
    assert len(answers[0]["answer"]["events"]) == WORLD.sessions[SessionId(IDS[0])].event_count
    assert len(lines(run("job", "results", "a.job", "--operation", "summary")[1])) == 3
    assert run("job", "results", "a.job", "--operation", "context")[0] == 2
    (status,) = lines(run("job", "status", "a.job")[1])
    assert (status["sessions"], status["done"], status["left"], status["spent"]) == (3, 6, 0, 6)
    assert "max_activations" in run("job", "status", "a.job", "--output", "table")[1]
    code, out, err = run(
        "job", "export", "a.job", "out.jsonl", "--redact", "user_email", "--redact", "device_id=hash"
    )
    assert (code, out, err.splitlines()[:3]) == (
        0,
        "",
        ["out.jsonl", "out.summaries.jsonl", "out.sessions.jsonl"],
    )
    rows = lines((tmp_path / "out.jsonl").read_text())
    assert len(rows) == sum(WORLD.sessions[SessionId(session_id)].event_count for session_id in IDS[:3])
    assert {len(row["device_id"]) for row in rows} == {16}
    assert run("job", "export", "a.job", "out.xlsx")[0] == 2
    assert run("job", "failures", "a.job") == (0, "", "")


def test_failures_are_reported_and_listed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text(f"{IDS[0]}\n1:2\n")
    code, _, err = run("fetch", "--ids", "ids", "--events", "--job", "j", *FAST)
    assert (code, "1 × NotFoundError" in err, "job failures j" in err) == (3, True, True)
    (failure,) = lines(run("job", "failures", "j")[1])
    assert (failure["full_session_id"], failure["error"], failure["permanent"]) == (
        "1:2",
        "NotFoundError",
        True,
    )
    assert "NotFoundError" in run("job", "failures", "j", "--output", "table")[1]
    assert run("job", "report", "j", "j.html", "--title", "Friday") == (0, "", "j.html\n")
    page = (tmp_path / "j.html").read_text()
    assert "<h1>Friday</h1>" in page
    assert "NotFoundError" in page
    assert run("job", "report", "j", "j/job.sqlite3")[0] == 2


def test_a_budget_ends_a_run_and_a_larger_one_resumes_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("\n".join(IDS))
    code, _, err = run("fetch", "--ids", "ids", "--events", "--job", "j", "--max-activations", "4", *FAST)
    assert (code, "Budget reached: 4 results" in err, "larger --max-activations" in err) == (7, True, True)
    assert "the remaining budget of 4 activations does not cover all calls" in err
    code, _, err = run("fetch", "--job", "j", "--resume", "--max-activations", "100", *FAST)
    assert (code, "Total: 6 results" in err) == (0, True)
    code, _, err = run("fetch", "--job", "j", "--resume", "--summary", "support", *FAST)
    assert (code, "12 results" in err) == (0, True), err  # a plan may grow


def test_a_dry_run_spends_nothing_and_leaves_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("\n".join([*IDS, IDS[0]]))
    code, out, err = run(
        "fetch", "--ids", "ids", "--events", "--summary", "x", "--job", "j", "--dry-run", "--sandbox"
    )
    assert (code, "6 sessions, 12 calls left" in err) == (0, True)
    (estimate,) = lines(out)
    assert (estimate["sessions"], estimate["activations"], estimate["seconds"]) == (6, 12, 1.5)
    assert [path.name for path in tmp_path.iterdir()] == ["ids"]


def test_an_erased_session_is_gone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("\n".join(IDS))
    run("fetch", "--ids", "ids", "--events", "--job", "j", *FAST)
    code, out, err = run("job", "purge", "j", "--session", IDS[0].replace(":", "%3A"))
    assert (code, out, err) == (0, "", "1 session erased; earlier exports and backups still have it\n")
    for wrong in ("", "na1.AbCdEfGhIjKlMnOp"):
        code, out, err = run("job", "purge", "j", f"--session={IDS[1]}", f"--session={wrong}")
        assert (code, out, "AbCdEf" in err) == (2, "", False), err
    link = f"https://app.fullstory.com/ui/ORG/session/{IDS[1].replace(':', '%3A')}"
    given = [f"--session={each}" for each in (IDS[0], IDS[1], "a typo", IDS[2], link)]
    code, out, err = run("job", "purge", "j", *given)
    assert (code, out, err.splitlines()) == (
        5,
        "",
        [
            f"j has no data of the session {IDS[0]}, and will not fetch it",
            "j has no data of the session a typo, and will not fetch it",
            "2 sessions erased; earlier exports and backups still have them",
        ],
    )
    assert [row["full_session_id"] for row in lines(run("job", "results", "j")[1])] == IDS[3:]
    code, _, err = run("job", "purge", "nothing", "--session", IDS[0])
    assert (code, "there is no folder" in err) == (2, True)


def test_rescued_results_are_taken_in_from_where_the_command_says(run: Run, tmp_path: Path) -> None:
    """And erased there, although the job itself is never told of the place."""

    async def leave_rescued() -> None:
        async with Job.open(tmp_path / "j", plan=JobPlan(events=True), rescue_file=tmp_path / "aside") as job:
            await job.add(IDS[:3])
            held = [HeldResult(seq, IDS[seq - 1], "events", 1.0, 1, b'{"events": []}') for seq in (1, 2)]
            assert job._store is not None
            job._store.writer.rescue_file.append(held)

    asyncio.run(leave_rescued())
    assert run("job", "purge", "j", "--session", IDS[0], "--rescue-file", "aside")[0] == 0
    assert IDS[0] not in (tmp_path / "aside").read_text()
    code, _, err = run("fetch", "--job", "j", "--resume", "--rescue-file", "aside", *FAST)
    assert (code, "2 results" in err) == (0, True), err
    assert JobReader(tmp_path / "j").status().spent == 1
    assert not (tmp_path / "aside").exists()


def test_a_ledger_caps_the_month_over_jobs(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("\n".join(IDS))
    for name, code in (("one", 0), ("two", 7)):
        got, _, err = run(
            "fetch",
            "--ids",
            "ids",
            "--events",
            "--job",
            name,
            "--ledger",
            "month.db",
            "--monthly-cap",
            "8",
            *FAST,
        )
        assert got == code, err
    assert "the month's cap of 8 activations is reached" in err
    assert "(with a larger --monthly-cap)" in err


@pytest.mark.parametrize(("cap", "name"), [(4, "--max-activations"), (5, "--monthly-cap")])
def test_with_two_budgets_the_one_that_was_reached_is_named(
    run: Run, tmp_path: Path, cap: int, name: str
) -> None:
    (tmp_path / "ids").write_text("\n".join(IDS))
    code, _, err = run(
        "fetch", "--ids", "ids", "--events", "--job", "j", "--max-activations", str(cap), "--ledger", "l.db",
        "--monthly-cap", str(9 - cap), *FAST,
    )  # fmt: skip
    assert (code, f"(with a larger {name})" in err) == (7, True), err


@pytest.mark.parametrize(
    ("seconds", "duration"),
    [(0.4, "0.4 s"), (119.4, "119 s"), (120, "2 min"), (7170, "2 h"), (12_540, "3 h 29 min")],
)
def test_the_estimate_counts_ids_and_gives_durations_as_people_do(seconds: float, duration: str) -> None:
    ids = IdInput()
    for given in (SessionId("1:2"), SessionId("1:2"), UnusableId("..", "a path"), SessionId("5")):
        ids.add(SessionInput(given, given))
    estimate = JobEstimate(sessions=3, calls=2, activations=1, spent=4, max_activations=5, seconds=seconds)
    assert estimate_text(ids, estimate, adaptive=False) == (
        "3 sessions, 2 calls left, 1 duplicate dropped, 1 invalid id counted as failed, "
        "1 id is not a USER:SESSION pair (FullStory may not know them), up to 1 activation, "
        f"at least {duration}, 4 already spent, "
        "the remaining budget of 1 activation does not cover all calls\n"
    )
    ids.close()


def test_a_profile_that_does_not_exist_is_said_before_anything_is_spent(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("\n".join(IDS))
    code, _, err = run("fetch", "--ids", "ids", "--summary", "suport", "--job", "j", *FAST)
    assert (code, "there is no profile 'suport'" in err) == (2, True)
    assert not (tmp_path / "j").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ids", "missing", "--events"), "No such file"), (("--ids", ".", "--events"), "directory"),
        (("--ids", "empty", "--events"), "no session ids"),
        (("--ids", "binary", "--events"), "does not look like a session id"), (("--ids", "ids"), "--events, --summary"),
        (("--events",), "a new job needs --ids"),
        (("--ids", "ids", "--events", "--concurrency", "0"), "--concurrency"),
        (("--ids", "ids", "--events", "--rate", "0"), "rate"),
        (("--ids", "ids", "--events", "--max-activations", "0"), "--max-activations"),
        (("--ids", "ids", "--events", "--monthly-cap", "5"), "--ledger"),
        (("--ids", "program.py", "--events"), "line 1 does not look like a session id"),
        (("--ids", "ids", "--events", "--summary", ""), "--summary needs"),
        (("--ids", "bad.jsonl", "--events"), "can't be read"),
        (("--ids", "other.csv", "--events", "--id-column", "nope"), "nope"),
        (("--ids", "other.jsonl", "--events"), "--id-column"), (("--resume",), "no job"),
        (("--ids", "ids", "--events", "--summary", "x", "--resume"), "no job"),
    ],
)  # fmt: skip
def test_bad_input_is_reported_before_anything_is_sent(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "ids").write_text(IDS[0])
    (tmp_path / "empty").write_text("# nothing\n\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "bad.jsonl").write_text('{"id": "1:2"}\n{"id"\n')
    (tmp_path / "other.jsonl").write_text('{"name": "x"}\n')
    (tmp_path / "other.csv").write_text("name,id\nx,1:2\n")
    (tmp_path / "program.py").write_text("import this\n")
    code, out, err = run("fetch", *arguments, "--job", "j", "--sandbox")
    assert (code, out) == (2, "")
    assert said in err
    assert not (tmp_path / "j").exists()


def test_a_folder_of_other_things_is_no_place_for_a_job(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text(IDS[0])
    command = ("fetch", "--ids", "ids.txt", "--events", *FAST)
    for folder, said in ((".", "contains other files, such as ids.txt"), ("ids.txt", "is a file")):
        code, out, err = run(*command, "--job", folder)
        assert (code, out, err.count("\n"), said in err) == (2, "", 1, True)
    assert [each.name for each in tmp_path.iterdir()] == ["ids.txt"]
    (tmp_path / "made before").mkdir()
    assert run(*command, "--job", "made before")[0] == 0


def test_an_existing_job_is_continued_only_with_resume(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text(IDS[0])
    assert run("fetch", "--ids", "ids", "--events", "--job", "j", *FAST)[0] == 0
    code, _, err = run("fetch", "--ids", "ids", "--events", "--job", "j", *FAST)
    assert (code, "add --resume to continue it" in err) == (2, True)
    (tmp_path / "ids").write_text("\n".join(IDS))
    code, _, err = run("fetch", "--ids", "ids", "--job", "j", "--resume", *FAST)
    assert (code, "6 sessions, 5 calls left" in err, "1 already spent" in err) == (0, True, True)
    code, _, err = run("fetch", "--job", "j", "--resume", "--summary", "support", "--ids", "ids", *FAST)
    assert code == 0
    code, _, err = run("fetch", "--job", "j", "--resume", "--summary", "sales", *FAST)
    assert (code, "can't change that" in err) == (2, True)


def test_the_sessions_of_a_user_go_through_a_pipe_into_a_job(forks: Forks, tmp_path: Path) -> None:
    listing = ("sessions", "--email", "ada@example.com", "--all", "--sandbox")
    fetching = ("fetch", "--ids", "-", "--events", "--job", "ada.job", "--yes", *FAST)
    reading, writing = os.pipe()
    with forks.start(*listing, cwd=tmp_path, streams={1: writing}) as listed:
        os.close(writing)
        with forks.start(*fetching, cwd=tmp_path, streams={0: reading}) as fetched:
            os.close(reading)
    ada = sum(session.user.email == "ada@example.com" for session in WORLD.sessions.values())
    ended = fetched.wait()
    assert (listed.wait().code, ended.code) == (0, 0), ended.err
    assert ada > 1
    assert f"Total: {ada} results, 0 permanent failures, 0 calls left" in ended.err


def test_the_end_of_input_at_the_question_ends_its_line(terminals: Terminals, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("\n".join(f"1:{n}" for n in range(120)))
    command = ("fetch", "--ids", "ids", "--events", "--job", "j", *FAST)
    ended = terminals.run(*command, cwd=tmp_path, typed="\x04")
    assert (ended.code, "[y/N] \r\n" in ended.shown) == (130, True), ended


def test_ids_that_are_not_pairs_are_counted_and_confirmed_before_they_cost_anything(
    run: Run, terminals: Terminals, tmp_path: Path
) -> None:
    halves = [str(session_id).split(":")[1] for session_id in IDS]  # as a column of sessions' output has them
    (tmp_path / "ids").write_text("\n".join([*halves, IDS[0]]))
    command = ("fetch", "--ids", "ids", "--events", "--job", "j", *FAST)
    note = f"{len(halves)} ids are not USER:SESSION pairs (FullStory may not know them)"
    code, _, err = run(*command, "--dry-run")
    assert (code, note in err) == (0, True)
    ended = terminals.run(*command, cwd=tmp_path, typed="n\n")
    assert (ended.code, note in ended.shown, "nothing was spent" in ended.shown) == (130, True, True)


def test_a_dry_run_on_a_job_changes_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text(IDS[0])
    run("fetch", "--ids", "ids", "--events", "--job", "j", *FAST)
    (tmp_path / "more").write_text("\n".join(IDS))
    before = run("job", "status", "j")[1]
    code, out, _ = run(
        "fetch",
        "--job",
        "j",
        "--resume",
        "--ids",
        "more",
        "--summary",
        "sales",
        "--max-activations",
        "99",
        "--dry-run",
        *FAST,
    )
    (estimate,) = lines(out)
    assert (code, estimate["sessions"], estimate["calls"]) == (0, 6, 11)
    assert run("job", "status", "j")[1] == before


def test_a_sandbox_of_its_own_process_serves_jobs(
    served: dict[str, str], forks: Forks, tmp_path: Path
) -> None:
    ids = ask(served, "/_sandbox/sessions")["session_ids"]
    (tmp_path / "ids").write_text("\n".join(ids))
    first = ("fetch", "--ids", "ids", "--events", "--rate", "200", "--job", "j", "--yes")
    ended = forks.run(*first, cwd=tmp_path, environment=served)
    assert ended.code == 0, ended.err
    stats = ask(served, "/_sandbox/stats")
    assert (stats["activations"], stats["by_status"]) == (50, {"200": 51})  # and one for whose key it is
    again = ("fetch", "--job", "j", "--resume", "--summary", "support", "--rate", "200", "--yes")
    ended = forks.run(*again, cwd=tmp_path, environment=served)
    assert (ended.code, "Rate limited" in ended.err) == (6, True), ended.err
    assert JobReader(tmp_path / "j").status().done == 60  # the sandbox's quota


@pytest.mark.row(22)
def test_a_wrong_key_stops_the_job(served: dict[str, str], forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("\n".join(f"1:{n}" for n in range(500)))
    wrong = {**served, "FULLSTORY_API_KEY": "na1.wrong"}
    command = ("fetch", "--ids", "ids", "--events", "--concurrency", "4", "--job", "j", "--yes")
    ended = forks.run(*command, cwd=tmp_path, environment=wrong)
    assert (ended.code, "Key rejected" in ended.err) == (4, True), ended.err
    assert ask(served, "/_sandbox/stats")["requests"] <= 12


@pytest.mark.row(42)
def test_an_interrupt_keeps_what_was_paid_for(served: dict[str, str], forks: Forks, tmp_path: Path) -> None:
    ids = ask(served, "/_sandbox/sessions")["session_ids"]
    (tmp_path / "ids").write_text("\n".join(ids))
    first = (
        "fetch",
        "--ids",
        "ids",
        "--events",
        "--concurrency",
        "5",
        "--rate",
        "200",
        "--job",
        "j",
        "--yes",
    )
    with forks.start(*first, cwd=tmp_path, environment=served) as command:
        wait_until(lambda: ask(served, "/_sandbox/stats")["activations"] > 5)
        os.kill(command.pid, signal.SIGINT)
    ended = command.wait()
    assert ended.code == 130, ended.err
    assert STOPPING in ended.err
    charged = ask(served, "/_sandbox/stats")["activations"]
    status = JobReader(tmp_path / "j").status()
    assert 5 < status.done == status.spent == charged < 50
    assert "To resume: fullstory-async fetch --job j --resume --rate 200" in ended.err
    again = ("fetch", "--job", "j", "--resume", "--rate", "200", "--yes")
    last = forks.run(*again, cwd=tmp_path, environment=served)
    assert (last.code, ask(served, "/_sandbox/stats")["activations"]) == (0, 50)


@pytest.mark.row(42)
def test_a_second_interrupt_ends_it_at_once(forks: Forks, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("\n".join(f"1:{n}" for n in range(9)))
    first = ("fetch", "--ids", "ids", "--events", "--concurrency", "3", "--job", "j", "--yes")
    with forks.sandbox("--sessions", "5", "--fault", "stall() operation=events", cwd=tmp_path) as settings:
        with forks.start(*first, cwd=tmp_path, environment=settings) as command:
            wait_until(lambda: ask(settings, "/_sandbox/stats")["requests"] == 4)
            os.kill(command.pid, signal.SIGTERM)
            command.send(signal.SIGINT, after=STOPPING)
    ended = command.wait()
    assert ended.code == 143, ended.err
    assert (
        "Total: 0 results, 0 permanent failures, 9 calls left, 3 activations spent, 3 of them at risk"
        in ended.err
    )
    assert "3 calls interrupted in flight, or" in ended.err


async def test_without_a_terminal_a_plain_line_is_printed_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fullstory_async.cli import progress
    from fullstory_async.http.hooks import Stats
    from fullstory_async.jobs import JobProgress

    clock = [0.0]
    monkeypatch.setattr(progress, "_LINE_INTERVAL", 0.05)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    figures: dict[str, Any] = {
        "calls": 100,
        "failed": 1,
        "max_activations": 50,
        "stats": Stats(throttled=3),
        "allowed_rate": 8,
    }
    async with progress.JobDisplay() as display:
        for clock[0], done in ((0.0, 0), (9.0, 8), (10.0, 16)):
            display.show(JobProgress(**figures, done=done, spent=0, last_error=None))
        clock[0] = 12.0
        error = "1:2: [red]no\x1b[2J" + "x" * 200
        display.show(JobProgress(**figures, done=20, spent=10, last_error=error))
        await asyncio.sleep(0.18)  # lines are printed without new figures, too
    printed = capsys.readouterr().err.splitlines()
    assert 2 <= len(printed) <= 3
    assert printed[0].startswith(
        "21 of 100 calls, 1 failed, 2.0/s of 8, 3 × 429, 10 activations spent, 40 left, 40 s to go, "
        "1:2: [red]no"
    )
    assert "\x1b" not in "".join(printed)
    assert max(map(len, printed)) < 240


@pytest.mark.parametrize("latency", [0.05, 2.5])
async def test_the_rate_that_is_shown_is_not_above_the_limit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], latency: float
) -> None:
    """A limiter lets a second's worth through at once, and then 8 a second."""
    from fullstory_async.cli import progress
    from fullstory_async.http.hooks import Stats
    from fullstory_async.jobs import JobProgress

    clock = [0.0]
    monkeypatch.setattr(progress, "_LINE_INTERVAL", 0.001)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    figures: dict[str, Any] = {
        "calls": 500,
        "failed": 0,
        "max_activations": None,
        "stats": Stats(),
        "allowed_rate": 8.0,
    }
    async with progress.JobDisplay() as display:
        for done in range(8, 150):  # eight were there before
            clock[0] = latency + max(0, done - 16) / 8 if done > 8 else 0.0
            display.show(JobProgress(**figures, done=done, spent=done, last_error=None))
            await asyncio.sleep(0.003)
    shown = [
        line.partition("calls, ")[2].partition("/s of 8")[0] for line in capsys.readouterr().err.splitlines()
    ]
    assert shown[0] == "…"
    rates = [float(each) for each in shown if each != "…"]
    assert len(rates) > 50
    assert min(rates) > 7.5
    assert max(rates) <= 8.1


def test_a_job_finds_its_rate_and_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("\n".join(IDS))
    command = ("fetch", "--ids", "ids", "--events", "--sandbox", "--rate", "adaptive", "--job", "j")
    code, _, err = run(*command)
    assert code == 0
    assert f"{len(IDS) / 2:.0f} s at the initial rate" in err
    assert f"{len(IDS)} results" in err


def test_the_demo_leaves_one_folder_that_the_next_one_replaces(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "fullstory-demo"
    for sessions in (30, 20):
        code, _, err = run("demo", "--sessions", str(sessions), "--rate", "1000")
        assert code == 0
        assert f"{2 * sessions} of {2 * sessions}, 0 failed" in err
        assert f"{2 * sessions} activations spent; the sandbox charged {2 * sessions}" in err
        assert "listens on http://127.0.0.1:" in err
        timeline, _, rest = err.partition("events shown\n")[2].partition("\nIts summary: ")
        assert len(re.findall(r"^ +\d+:\d\d\.\d ", timeline, re.MULTILINE)) == 5
        frustrations = rest.partition("Top frustrations of all sessions\n")[2].partition("\n\n")[0]
        counts = [int(count) for count in re.findall(r"^ *(\d+) ×", frustrations, re.MULTILINE)]
        assert counts == sorted(counts, reverse=True)
        assert len(counts) == 5
        assert "events, among them" in (folder / "replay.html").read_text()
        assert {p.name for p in folder.iterdir()} == {
            "sessions.jsonl", "demo.job", "events.jsonl", "events.summaries.jsonl", "events.failures.jsonl",
            "events.sessions.jsonl", "events.pages.jsonl", "replay.html", ".fullstory-demo",
        }  # fmt: skip
        ids = {line["full_session_id"] for line in lines((folder / "events.jsonl").read_text())}
        assert len(ids) == sessions
    assert [path.name for path in tmp_path.glob("fullstory-demo*")] == ["fullstory-demo"]


def test_the_commands_that_the_demo_shows_work_as_they_are_typed(run: Run, tmp_path: Path) -> None:
    _, _, err = run("demo", "--sessions", "5", "--rate", "1000")
    commands = re.findall(r"^  fullstory-async (.*)$", err, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        code, _, problem = run(*command.split())
        assert code == 0, problem
    assert {"demo.sqlite", "report.html"} <= {path.name for path in (tmp_path / "fullstory-demo").iterdir()}


def test_the_demo_replaces_no_files_of_others(run: Run, tmp_path: Path) -> None:
    (tmp_path / "fullstory-demo").mkdir()
    (tmp_path / "fullstory-demo" / "thesis.txt").write_text("mine")
    code, _, err = run("demo", "--sessions", "2", "--rate", "1000")
    assert (code, "no demo made it" in err) == (2, True)
    code, _, err = run("demo", "--sessions", "2", "--rate", "1000", "--out-dir", "other")
    assert code == 0
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    code, _, err = run("demo", "--sessions", "2", "--rate", "1000", "--out-dir", "other")
    assert (code, (tmp_path / "other" / "thesis.txt").read_text()) == (0, "mine")


def test_a_running_demo_keeps_its_folder(run: Run, tmp_path: Path) -> None:

    assert run("demo", "--sessions", "2", "--rate", "1000")[0] == 0

    async def again() -> tuple[int, str, str]:
        async with Job.open(tmp_path / "fullstory-demo" / "demo.job"):
            return await asyncio.to_thread(run, "demo", "--sessions", "2", "--rate", "1000")

    code, _, err = asyncio.run(again())
    assert (code, "a demo is using fullstory-demo" in err) == (2, True)


@pytest.mark.parametrize(
    ("started", "shown"),
    [
        (".venv/bin/fullstory-async", ".venv/bin/fullstory-async"),
        ("/a b/fullstory-async", "'/a b/fullstory-async'"),
        ("/lib/fullstory_async/__main__.py", f"{sys.executable} -m fullstory_async"),
        ("pytest", "fullstory-async"),
    ],
)
def test_commands_in_messages_start_as_this_one_was_started(
    started: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [started, "demo"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert program() == shown


def test_a_command_on_the_path_is_shown_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "fullstory-async"
    installed.write_text("#!/bin/sh\n")
    installed.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(installed)])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == "fullstory-async"


def test_the_demo_survives_a_crash(run: Run) -> None:
    code, _, err = run("demo", "--sessions", "60", "--rate", "200", "--crash", "--concurrency", "8")
    assert (code, "120 of 120" in err, "kill -9 after" in err) == (0, True, True)
    assert "results survived it" in err
    # what the kill left, the report and the table name the same activations
    spent = re.findall(r"\d+ activations spent(?:, \d+ of them at risk)?", err)[-1]
    assert f"0 calls left, {spent}\n" in err
    at_kill = re.search(r"results are on disk, (\d+) activations spent", err)
    of_run = re.search(r"Finished: \d+ results and (\d+) activations spent in this run", err)
    assert at_kill is not None
    assert of_run is not None
    assert int(at_kill[1]) + int(of_run[1]) == int(spent.split()[0])


def test_a_job_that_was_killed_before_it_had_ids_wants_them_again(run: Run, tmp_path: Path) -> None:
    from fullstory_async.jobs import Job, JobPlan

    async def begin() -> None:
        async with Job.open(tmp_path / "j", plan=JobPlan(events=True)):
            pass

    asyncio.run(begin())
    code, _, err = run("fetch", "--job", "j", "--resume", "--sandbox")
    assert (code, "name their file again with --ids" in err) == (2, True)


def test_the_months_cap_is_named_in_the_estimate(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("\n".join(f"1:{n}" for n in range(50)))
    code, out, err = run(
        "fetch", "--sandbox", "--job", "m", "--ids", "ids", "--events", "--ledger", "l.db",
        "--monthly-cap", "10", "--dry-run"
    )  # fmt: skip
    assert code == 0
    assert "the remaining budget of 10 activations does not cover all calls" in err
    assert json.loads(out)["activations"] == 10
