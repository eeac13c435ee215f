"""The command line as a user meets it: data, messages, files and exit codes."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from aiohttp import web

from fullstory_async import (
    ActivationBudgetError,
    APITimeoutError,
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    InvalidSessionId,
    JobLockedError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ServerError,
    SessionEvents,
)
from fullstory_async.cli import main
from fullstory_async.cli.exits import Exit, UsageError, exit_for
from fullstory_async.cli.output import answer_line
from fullstory_async.sandbox import Sandbox
from fullstory_async.sandbox.world import World

WORLD = World(0, 20, 200, 200)
IDS = [str(session_id) for session_id, session in WORLD.sessions.items() if session.event_count < 60][:6]


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments: str):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capfd.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run_command


def lines(text: str):
    return [json.loads(line) for line in text.splitlines()]


def test_help_teaches(run):
    code, out, _ = run("--help")
    assert code == 0
    for word in ("sessions", "events", "summary", "fetch", "sandbox", "demo", "Exit codes", "activation"):
        assert word in out
    for command in ("sessions", "events", "summary", "fetch", "sandbox", "demo"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert len(out) > 300
    assert run("--version")[1].strip()


def test_sessions(run):
    code, out, err = run("sessions", "--email", "ada@example.com", "--sandbox")
    assert (code, err) == (0, "")
    assert len(lines(out)) == 20
    assert set(lines(out)[0]) == {"id", "session_id", "user_id", "url", "created"}
    everything = lines(run("sessions", "--uid", "u-1", "--all", "--sandbox")[1])
    assert len(everything) == len(WORLD.of_user(uid="u-1", email=None))
    assert len(lines(run("sessions", "--uid", "u-1", "--limit", "3", "--sandbox")[1])) == 3
    code, out, _ = run("sessions", "--uid", "u-2", "--sandbox", "--output", "table")
    assert (code, "created" in out, "{" in out) == (0, True, False)
    assert run("sessions", "--uid", "nobody", "--sandbox") == (0, "", "no sessions\n")


def test_events_and_summary(run):
    code, out, _ = run("events", IDS[0], "--sandbox")
    assert code == 0
    assert len(lines(out)) == WORLD.sessions[IDS[0]].event_count
    assert {"type", "timestamp", "data"} <= set(lines(out)[0])
    code, out, _ = run(
        "events", f"https://app.fullstory.com/ui/O/session/{IDS[0]}", "--sandbox", "--output", "table"
    )
    assert (code, "click" in out) == (0, True)
    code, out, _ = run("summary", IDS[0], "--profile", "triage", "--sandbox")
    assert (code, lines(out)[0]["response"]["needs_follow_up"] in (True, False)) == (0, True)
    assert lines(run("summary", IDS[0], "--sandbox")[1])[0]["config_profile_id"] is None


def test_verbose_logs_each_request_and_no_e_mail(run):
    code, out, err = run("sessions", "--email", "ada@example.com", "--sandbox", "--verbose")
    assert (code, len(lines(out))) == (0, 20)
    assert "attempt 1, status 200" in err
    assert "ada@" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("events", "1:2", "--sandbox"), 5, "session not found"),
        (("events", "12345", "--sandbox"), 5, "USER:SESSION pairs"),
        (("events", "..", "--sandbox"), 2, "relative path"),
        (("events", "1:2"), 2, "FULLSTORY_API_KEY"),
        (("summary", IDS[0], "--profile", "nonsense", "--sandbox"), 5, "no such profile"),
        (("sessions", "--sandbox"), 2, "--email or --uid"),
        (("sessions", "--uid", "u", "--limit", "0", "--sandbox"), 2, "--limit"),
        (("sessions", "--uid", "u", "--limit", "5", "--all", "--sandbox"), 2, "exclude each other"),
        (("sandbox", "--port", "99999"), 2, "port"),
        (("sandbox", "--mean-events", "30000"), 2, "mean_events"),
        (("sessions", "--uid", "u", "--nonsense"), 2, "--nonsense"),
        (("nonsense",), 2, "nonsense"),
        (("events",), 2, "requires an argument"),
        (("events", "1:2", "--sandbox", "--rate", "0"), 2, "rate"),
        (("events", "1:2", "--sandbox", "--burst", "0"), 2, "burst"),
        (("events", "1:2", "--sandbox", "--timeout", "-1"), 2, "overall_timeout"),
        (("events", "1:2", "--api-key-file", "missing"), 2, "missing"),
        (("sandbox", "--burst", "5"), 2, "--rate"),
        (("sandbox", "--users", "0"), 2, "users"),
        (("demo", "--sessions", "0"), 2, "--sessions"),
        (("demo", "--rate", "0"), 2, "rate"),
        (("demo", "--out-dir", "a/b"), 2, "can't be made"),
        (("demo", "--out-dir", "."), 2, "exists"),
    ],
)
def test_errors_are_one_line_and_a_code(run, arguments, code, said):
    got, out, err = run(*arguments)
    assert (got, out) == (code, "")
    assert said in err
    assert "Traceback" not in err


def test_the_key_comes_from_the_environment_or_a_file(run, monkeypatch, tmp_path):
    (tmp_path / "key").write_text("na1.wrong\n")
    (tmp_path / "bytes").write_bytes(b"\xff")
    nobody = ("events", "1:2", "--base-url", "http://127.0.0.1:1", "--timeout", "5")
    assert run(*nobody, "--api-key-file", "key")[0] == 8
    assert run(*nobody, "--api-key-file", "bytes")[0] == 2
    code, _, err = run(*nobody)
    assert (code, "--api-key-file" in err) == (2, True)
    monkeypatch.setenv("FULLSTORY_API_KEY_FILE", "key")
    assert "no connection" in run(*nobody)[2]
    monkeypatch.setenv("FULLSTORY_API_KEY", "na1.other")
    assert run(*nobody)[0] == 8


def test_fetch(run, tmp_path):
    ids = tmp_path / "ids.txt"
    ids.write_text(
        f"# mine\n\n{IDS[0]}\n{IDS[1]}\n  {IDS[0].replace(':', '!')}\nhttps://app.fullstory.com/ui/O/session/{IDS[2]}\n"
    )
    code, out, err = run(
        "fetch",
        "--ids",
        "ids.txt",
        "--events",
        "--summary",
        "support",
        "--rate",
        "100",
        "--sandbox",
        "--out",
        "out.jsonl",
    )
    assert (code, out) == (0, "")
    assert "3 ids, 1 duplicates dropped" in err
    assert "6 answers, 0 failed, 6 activations" in err
    written = lines((tmp_path / "out.jsonl").read_text())
    assert {(line["session_id"], line["operation"]) for line in written} == {
        (i, o) for i in IDS[:3] for o in ("events", "summary")
    }
    assert all(
        ("events" if line["operation"] == "events" else "summary") in line["answer"] for line in written
    )
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "out.jsonl.errors.jsonl").exists()

    before = (tmp_path / "out.jsonl").read_bytes()
    code, _, err = run("fetch", "--ids", "ids.txt", "--events", "--sandbox", "--out", "out.jsonl")
    assert (code, "--force" in err) == (2, True)
    assert (tmp_path / "out.jsonl").read_bytes() == before
    assert run("fetch", "--ids", "ids.txt", "--events", "--sandbox", "--out", "out.jsonl", "--force")[0] == 0
    assert len(lines((tmp_path / "out.jsonl").read_text())) == 3


def test_fetch_says_which_ids_failed(run, tmp_path, monkeypatch):
    (tmp_path / "ids.txt").write_text(f"{IDS[0]}\n1:2\na/5\n")
    code, _, err = run("fetch", "--ids", "ids.txt", "--events", "--sandbox", "--out", "out.jsonl")
    assert code == 3
    assert "1 are no session ids" in err
    assert "1 × NotFoundError" in err
    assert "1 more calls may have cost an activation" in err
    failures = lines((tmp_path / "out.jsonl.errors.jsonl").read_text())
    assert {(line["session_id"], line["error"]) for line in failures} == {
        ("1:2", "NotFoundError"),
        ("a/5", "InvalidSessionId"),
    }
    code, out, err = run("fetch", "--ids", "ids.txt", "--events", "--sandbox")
    assert (code, len(lines(out))) == (3, 1)
    assert "1:2: GET" in err


def test_fetch_reads_standard_input_and_stays_in_its_budget(run, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(IDS).encode())))
    code, out, err = run("fetch", "--ids", "-", "--events", "--sandbox", "--max-activations", "4")
    assert (code, len(lines(out))) == (7, 4)
    assert "the activation budget covers 4" in err
    assert "2 ids were left over" in err


def test_what_was_not_fetched_can_be_fetched_from_the_errors_file(run, tmp_path):
    (tmp_path / "ids").write_text("\n".join([*IDS, "1:2"]))
    arguments = ("fetch", "--events", "--sandbox", "--rate", "100")
    assert run(*arguments, "--ids", "ids", "--out", "a", "--max-activations", "4")[0] == 7
    assert run(*arguments, "--ids", "a.errors.jsonl", "--out", "b")[0] == 3
    fetched = [line["session_id"] for name in ("a", "b") for line in lines((tmp_path / name).read_text())]
    assert sorted(fetched) == sorted(IDS)
    assert [line["session_id"] for line in lines((tmp_path / "b.errors.jsonl").read_text())] == ["1:2"]


def test_force_leaves_nothing_stale(run, tmp_path):
    (tmp_path / "ids").write_text("1:2")
    (tmp_path / "out").write_text("old")
    (tmp_path / "out.errors.jsonl").write_text("old")
    arguments = ("fetch", "--ids", "ids", "--events", "--sandbox", "--out", "out", "--force")
    assert run(*arguments)[0] == 3
    assert not (tmp_path / "out").exists()
    assert len(lines((tmp_path / "out.errors.jsonl").read_text())) == 1
    (tmp_path / "ids").write_text(IDS[0])
    assert run(*arguments)[0] == 0
    assert len(lines((tmp_path / "out").read_text())) == 1
    assert not (tmp_path / "out.errors.jsonl").exists()


def test_an_output_that_fills_up_ends_the_job_and_says_so(run, tmp_path):
    (tmp_path / "ids").write_text("\n".join(IDS))
    code, _, err = run(
        "fetch", "--ids", "ids", "--events", "--sandbox", "--out", "/dev/full", "--errors", "e", "--force"
    )
    assert code == 1
    assert "/dev/full can't be written: No space left on device; 0 lines are in it" in err
    assert "Traceback" not in err
    assert len(lines((tmp_path / "e").read_text())) == len(IDS)


def test_an_errors_file_that_fills_up_does_not_end_the_job(run, tmp_path):
    (tmp_path / "ids").write_text("\n".join(["1:2", *IDS]))
    code, _, err = run(
        "fetch", "--ids", "ids", "--events", "--sandbox", "--out", "out", "--errors", "/dev/full", "--force"
    )
    assert code == 3
    assert "/dev/full can't be written" in err
    assert '"session_id": "1:2"' in err
    assert "6 answers, 1 failed" in err
    assert Path("/dev/full").exists()


def test_a_budget_and_an_errors_file_that_fills_up_still_end_in_a_report(run, tmp_path):
    (tmp_path / "ids").write_text("\n".join(IDS))
    arguments = ("--out", "out", "--errors", "/dev/full", "--force", "--max-activations", "2")
    code, _, err = run("fetch", "--ids", "ids", "--events", "--sandbox", *arguments)
    assert code == 7
    assert "2 answers, 0 failed, 2 activations" in err
    assert "4 ids were left over" in err


def test_a_reader_that_goes_away_gets_an_account(tmp_path):
    (tmp_path / "ids").write_text("\n".join(IDS))
    shell = f"{sys.executable} -m fullstory_async fetch --ids ids --events --sandbox --rate 3 --burst 1 --errors e | head -n 1; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, cwd=tmp_path, timeout=40)
    assert run.returncode == 141
    assert "nobody reads the output any more" in run.stderr
    assert "Traceback" not in run.stderr
    missing = lines((tmp_path / "e").read_text())
    assert len(missing) >= 4
    assert {line["error"] for line in missing} == {"NoOutcome"}


def test_an_output_that_can_not_be_made_costs_nothing(run, tmp_path):
    (tmp_path / "ids").write_text(IDS[0])
    code, _, err = run("fetch", "--ids", "ids", "--events", "--sandbox", "--out", "/proc/nothing")
    assert (code, "can't be written" in err) == (2, True)
    assert "answers" not in err


def test_an_unreadable_answer_is_kept(run, tmp_path, monkeypatch):
    async def nonsense(exchange, proceed):
        await proceed()
        return web.Response(body=b'{"events": 5}')

    begin = Sandbox.__aenter__

    async def begin_badly(self):
        self.inject(nonsense, times=None)
        return await begin(self)

    monkeypatch.setattr(Sandbox, "__aenter__", begin_badly)
    code, out, err = run("events", IDS[0], "--sandbox")
    assert (code, out) == (1, '{"events": 5}')
    assert "as it came" in err
    (tmp_path / "ids").write_text(IDS[0])
    assert run("fetch", "--ids", "ids", "--events", "--sandbox", "--out", "out")[0] == 3
    (line,) = lines((tmp_path / "out.errors.jsonl").read_text())
    assert (line["error"], line["answer_text"]) == ("DecodeError", '{"events": 5}')


def test_an_answer_is_written_as_it_came_on_one_line():
    raw = b'\xef\xbb\xbf{\r\n "events": [{"event_properties": {"n": 1e999, "n": 2}}]}\n'
    line = answer_line("1:2", "events", SessionEvents("1:2", [], raw=raw))
    assert line.count(b"\n") == 0
    assert b'"answer": {   "events": [{"event_properties": {"n": 1e999, "n": 2}}]} }' in line
    assert json.loads(line)["session_id"] == "1:2"


def on_a_terminal(*arguments: str, cwd: Path, stdout: int) -> tuple[int, str]:
    """Run a command whose standard input and error are a terminal."""
    terminal, inside = pty.openpty()
    command = [sys.executable, "-m", "fullstory_async", *arguments]
    process = subprocess.Popen(
        command, stdin=inside, stdout=stdout, stderr=inside, cwd=cwd, env={**os.environ, "TERM": "xterm"}
    )
    os.close(inside)
    seen = b""
    while process.poll() is None or select.select([terminal], [], [], 0)[0]:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                seen += os.read(terminal, 65536)
            except OSError:
                break
    os.close(terminal)
    return process.wait(30), seen.decode(errors="replace")


def test_on_a_terminal_progress_is_shown_there_and_data_goes_to_standard_output(tmp_path):
    (tmp_path / "ids").write_text("\n".join(IDS))
    with (tmp_path / "data").open("wb") as data:
        code, shown = on_a_terminal(
            "fetch", "--ids", "ids", "--events", "--sandbox", cwd=tmp_path, stdout=data.fileno()
        )
    assert code == 0
    assert {line["session_id"] for line in lines((tmp_path / "data").read_text())} == set(IDS)
    assert "event_type" not in shown
    assert "activations" in shown
    assert "6 answers, 0 failed" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ids", "missing", "--events"), "No such file"),
        (("--ids", ".", "--events"), "directory"),
        (("--ids", "empty", "--events"), "no session ids"),
        (("--ids", "binary", "--events"), "not UTF-8"),
        (("--ids", "ids"), "--events, --summary"),
        (("--ids", "ids", "--events", "--concurrency", "0"), "--concurrency"),
        (("--ids", "ids", "--events", "--rate", "0"), "rate"),
        (("--ids", "ids", "--events", "--summary", "x", "--max-activations", "1"), "--max-activations"),
        (("--ids", "ids", "--events", "--out", "missing/out"), "missing"),
        (("--ids", "ids", "--events", "--out", "folder"), "folder exists"),
        (("--ids", "ids", "--events", "--out", "folder", "--force"), "directory"),
        (("--ids", "ids", "--events", "--out", "x" * 300), "too long"),
        (("--ids", "ids", "--events", "--out", "same", "--errors", "same"), "three different files"),
        (("--ids", "ids", "--events", "--out", "./ids", "--force"), "three different files"),
        (("--ids", "program.py", "--events"), "line 1 looks like no session id"),
        (("--ids", "ids", "--events", "--summary", ""), "--summary needs"),
        (("--ids", "ids", "--events", "--out", "new", "--errors", "nodir/e"), "nodir/e can't be written"),
        (
            ("--ids", "ids", "--events", "--out", "nodir/o", "--errors", "empty", "--force"),
            "nodir/o can't be written",
        ),
        (("--ids", "ids", "--events", "--errors", "empty"), "exists"),
        (("--ids", "bad.jsonl", "--events"), "can't be read"),
        (("--ids", "other.csv", "--events", "--id-column", "nope"), "nope"),
        (("--ids", "other.jsonl", "--events"), "--id-column"),
    ],
)
def test_bad_input_is_said_before_anything_is_sent(run, tmp_path, arguments, said):
    (tmp_path / "ids").write_text(IDS[0])
    (tmp_path / "empty").write_text("# nothing\n\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "bad.jsonl").write_text('{"id": "1:2"}\n{"id"\n')
    (tmp_path / "other.jsonl").write_text('{"name": "x"}\n')
    (tmp_path / "other.csv").write_text("name,id\nx,1:2\n")
    (tmp_path / "program.py").write_text("import this\n")
    (tmp_path / "folder").mkdir()
    before = {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    code, out, err = run("fetch", *arguments, "--sandbox")
    assert (code, out) == (2, "")
    assert said in err
    assert {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before


def test_the_demo_leaves_files_behind_and_overwrites_none(run, tmp_path):
    for folder in ("fullstory-demo", "fullstory-demo-2"):
        code, out, err = run("demo", "--sessions", "30", "--rate", "1000")
        assert code == 0
        assert "60 of 60" in out
        assert folder in out
        assert "60 counted here, 60 charged" in out
        assert "listens on http://127.0.0.1:" in err
        assert {p.name for p in (tmp_path / folder).iterdir()} == {
            "sessions.jsonl",
            "events.jsonl",
            "summaries.jsonl",
            "replay.html",
        }
        assert len(lines((tmp_path / folder / "events.jsonl").read_text())) == 30


def start(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fullstory_async", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture
def served():
    """A sandbox in a process of its own; gives its URL and key."""
    process = start(
        "sandbox",
        "--port",
        "0",
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
    settings = dict(process.stdout.readline().strip().split("=", 1) for _ in range(2))
    yield settings
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    process.stdout.close()
    process.stderr.close()


def ask(served, path):
    with urllib.request.urlopen(served["FULLSTORY_BASE_URL"] + path, timeout=10) as answer:
        return json.load(answer)


def test_a_sandbox_of_its_own_process_serves_the_commands(served, tmp_path):
    ids = ask(served, "/_sandbox/sessions")["session_ids"]
    (tmp_path / "ids").write_text("\n".join(ids))
    command = start(
        "fetch", "--ids", "ids", "--events", "--rate", "200", "--out", "out.jsonl", cwd=tmp_path, **served
    )
    _, err = command.communicate(timeout=40)
    assert command.returncode == 0, err
    stats = ask(served, "/_sandbox/stats")
    assert (stats["activations"], stats["by_status"]) == (50, {"200": 50})

    again = start(
        "fetch",
        "--ids",
        "ids",
        "--summary",
        "support",
        "--rate",
        "200",
        "--out",
        "more.jsonl",
        cwd=tmp_path,
        **served,
    )
    _, err = again.communicate(timeout=40)
    assert again.returncode == 6, err
    assert len((tmp_path / "more.jsonl").read_text().splitlines()) == 10


def test_a_wrong_key_stops_the_job(served, tmp_path):
    (tmp_path / "ids").write_text("\n".join(f"1:{n}" for n in range(500)))
    command = start(
        "fetch",
        "--ids",
        "ids",
        "--events",
        "--concurrency",
        "4",
        "--out",
        "o",
        cwd=tmp_path,
        **{**served, "FULLSTORY_API_KEY": "no"},
    )
    _, err = command.communicate(timeout=40)
    assert command.returncode == 4
    assert "stopped early" in err
    assert ask(served, "/_sandbox/stats")["requests"] <= 12


def test_an_interrupt_keeps_what_was_paid_for(served, tmp_path):
    ids = ask(served, "/_sandbox/sessions")["session_ids"]
    (tmp_path / "ids").write_text("\n".join(ids))
    command = start(
        "fetch",
        "--ids",
        "ids",
        "--events",
        "--concurrency",
        "5",
        "--rate",
        "200",
        "--out",
        "out",
        cwd=tmp_path,
        **served,
    )
    out = tmp_path / "out"
    for _ in range(400):
        if out.exists() and out.stat().st_size:
            break
        time.sleep(0.02)
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=40)
    assert command.returncode == 130, err
    assert "calls on their way" in err
    assert re.search(r"\d+ calls were not made", err)
    missing = [
        json.loads(line)["session_id"] for line in (tmp_path / "out.errors.jsonl").read_text().splitlines()
    ]
    answered = [json.loads(line)["session_id"] for line in out.read_text().splitlines()]
    assert sorted(missing + answered) == sorted(ids)
    charged = ask(served, "/_sandbox/stats")["activations"]
    assert 0 < len(out.read_text().splitlines()) == charged < 50


def test_a_second_interrupt_ends_it_at_once(tmp_path):
    slow = start("sandbox", "--port", "0", "--sessions", "5", "--latency", "30")
    settings = dict(slow.stdout.readline().strip().split("=", 1) for _ in range(2))
    (tmp_path / "ids").write_text("\n".join(f"1:{n}" for n in range(9)))
    arguments = ("fetch", "--ids", "ids", "--events", "--concurrency", "3", "--out", "out")
    command = start(*arguments, cwd=tmp_path, **settings)
    for _ in range(400):
        if ask(settings, "/_sandbox/stats")["requests"] == 3:
            break
        time.sleep(0.02)
    command.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=10)
    assert command.returncode == 143, err
    assert "dropped the calls on their way" in err
    assert "3 more calls may have cost an activation" in err
    assert len(lines((tmp_path / "out.errors.jsonl").read_text())) == 9
    assert not (tmp_path / "out").exists()
    slow.kill()
    slow.communicate()


def test_a_closed_pipe_is_silent(tmp_path):
    command = (
        f"{sys.executable} -m fullstory_async events {IDS[0]} --sandbox | head -n 1; exit ${{PIPESTATUS[0]}}"
    )
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, timeout=40)
    assert run.returncode in (0, 141)
    assert len(run.stdout.splitlines()) == 1
    assert run.stderr == ""


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        main(["demo"])
    assert ended.value.code == 2
    assert "pip install 'fullstory-async[cli]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2), (ConfigurationError("x"), 2), (InvalidSessionId("x"), 2), (AuthenticationError("x"), 4),
        (PermissionDeniedError("x"), 4), (NotFoundError("x"), 5), (RateLimitedError("x"), 6), (APITimeoutError("x"), 6),
        (ServerError("x"), 8), (ConnectError("x"), 8), (ProtocolError("x"), 8), (JobLockedError("x"), 75), (ActivationBudgetError("x"), 7),
        (OSError("x"), 1),
    ],
)  # fmt: skip
def test_each_error_has_its_code(error, code):
    assert exit_for(error) == code
    assert Exit(code)
