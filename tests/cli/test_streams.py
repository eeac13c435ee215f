"""Standard streams that are closed, full, or that nobody reads any more; and signals while commands run.

What a command is for decides: if that is its output, a failed write is an error; otherwise nothing changes.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fullstory_async.cli import main
from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.jobs import JobReader
from fullstory_async.jobs.storage.lock import LOCK_NAME, raise_if_locked
from fullstory_async.sandbox import Fault, Sandbox
from fullstory_async.testing import running_sandbox
from tests.cli.forked import Ended, Forks
from tests.limits import SECONDS, wait_until

PLAIN = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
UNBUFFERED = {"PYTHONUNBUFFERED": "1"}
LINK = "https://app.fullstory.com/ui/ORG/session/1:2"
KINDS = ("closed", "full", "unread", "hung up")
REASONS = {"closed": errno.EBADF, "full": errno.ENOSPC, "hung up": errno.EIO}

buffered_or_not = pytest.mark.parametrize(
    "environment", [PLAIN, {**PLAIN, **UNBUFFERED}], ids=["buffered", "unbuffered"]
)

PRINTING = (
    ("id", LINK), ("sandbox", "--list-faults"), ("--help",), ("job", "--help"), ("--version",),
    ("whoami",), ("sessions", "--uid", "u-1", "--output", "table"),
    ("profiles", "list"), ("profiles", "get", "support"), ("job", "status", "done.job"),
    ("job", "results", "done.job"), ("job", "export", "done.job", "-", "--format", "csv"),
    ("job", "failures", "done.job", "--output", "table"),
    ("fetch", "--ids", "ids", "--events", "--job", "new.job", "--dry-run"),
)  # fmt: skip
PAYING = (
    ("events", "ID"), ("events", "ID", "--output", "csv"), ("events", "ID", "--output", "timeline"),
    ("context", "ID", "--markdown"), ("summary", "ID"), ("summary", "ID", "--output", "text"),
    ("profiles", "create", "profile.json"),
)  # fmt: skip
"""Commands that print what they paid for, or the id of what they made."""
WORKING = {
    ("fetch", "--ids", "ids", "--events", "--job", "NEW"): 3,
    ("fetch", "--ids", "ids", "--events", "--job", "NEW", "--verbose"): 3,
    ("job", "export", "done.job", "NEW.csv"): 0,
    ("demo", "--sessions", "2", "--rate", "1000", "--out-dir", "NEW"): 0,
    ("fetch", "--no-such-option"): 2,
    ("job", "purge", "done.job", "--session", "7:7"): 5,
}
"""Commands that print nothing, with their exit codes."""


@contextmanager
def stream(kind: str) -> Iterator[int | None]:
    """Give a descriptor that can't be written to; None for a stream that is closed.

    A stuck stream fails when something is written, and seems good until then.
    """
    if kind == "closed":
        yield None
        return
    other = None
    if kind == "full":
        number = os.open("/dev/full", os.O_WRONLY)
    elif kind == "stuck":
        other, number = os.pipe()
        os.set_blocking(number, False)
        os.write(number, bytes(1 << 20))  # as much as it takes
    else:
        reader, number = os.pipe() if kind == "unread" else pty.openpty()
        os.close(reader)
    yield number
    for opened in (number, *(() if other is None else (other,))):
        os.close(opened)


class Place:
    """A folder with a finished job, a sandbox, and the commands that run there."""

    def __init__(self, forks: Forks, sandbox: Sandbox, folder: Path) -> None:
        self.forks, self.sandbox, self.folder = forks, sandbox, folder
        self.settings = {"FULLSTORY_BASE_URL": sandbox.url, "FULLSTORY_API_KEY": sandbox.api_key}
        self.ids = list(sandbox.session_ids)[:3]
        self._numbers = itertools.count()

    def settled(self, *arguments: str) -> list[str]:
        """Return a command line with its placeholders filled in."""
        new = f"new{next(self._numbers)}"
        return [str(self.ids[0]) if text == "ID" else text.replace("NEW", new) for text in arguments]

    def run(
        self,
        *arguments: str,
        stdin: str = "",
        stdout: str = "",
        stderr: str = "",
        unbuffered: bool = False,
        encoding: str = "utf-8",
        variables: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run a command. ``stdin``, ``stdout`` and ``stderr`` say what is wrong with its streams."""
        environment = {**self.settings, **(UNBUFFERED if unbuffered else {}), **(variables or {})}
        with ExitStack() as stack:
            streams = {
                number: stack.enter_context(stream(kind))
                for number, kind in enumerate((stdin, stdout, stderr))
                if kind
            }
            return self.forks.run(
                *self.settled(*arguments), cwd=self.folder, streams=streams, environment=environment,
                encoding=encoding,
            )  # fmt: skip


@pytest.fixture(scope="module")
def place(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("streams")
    with running_sandbox(sessions=20, users=2, mean_events=5) as sandbox:
        place = Place(forks, sandbox, folder)
        (folder / "ids").write_text("\n".join([*map(str, place.ids), "9:9"]))
        (folder / "profile.json").write_text('{"name": "mine"}')
        assert place.run("fetch", "--ids", "ids", "--events", "--job", "done.job").code == 3
        yield place


def assert_tidy(ended: Ended, what: object) -> None:
    assert "Traceback" not in ended.err + ended.out, what
    assert not re.search("Exception (ignored|in|was)", ended.err + ended.out), what


@pytest.mark.row(91)
@pytest.mark.parametrize("shift", range(2))
def test_output_that_cannot_be_written_is_an_error_where_it_is_the_work(place: Place, shift: int) -> None:
    for number, arguments in enumerate((*PRINTING, *PAYING)):
        kind = KINDS[(number + 2 * shift) % 4]
        ended = place.run(*arguments, stdout=kind, unbuffered=(number + shift) % 4 >= 2)
        assert_tidy(ended, (arguments, kind))
        if kind == "unread":
            assert ended.code == 141, arguments
            assert "fullstory-async:" not in ended.err, arguments
        else:
            assert ended.code == 1, (arguments, kind, ended)
            reason = f"[Errno {REASONS[kind]}] {os.strerror(REASONS[kind])}"
            line = ended.err.splitlines()[-1]
            assert line == f"fullstory-async: standard output: {reason}", arguments


@pytest.mark.row(91)
def test_nothing_is_paid_for_if_the_result_could_not_be_printed(place: Place) -> None:
    profiles = place.run("profiles", "list").out
    before = place.sandbox.activations
    for arguments, kind in itertools.product(PAYING[::3], ("closed", "unread", "hung up")):
        assert place.run(*arguments, stdout=kind).code == (141 if kind == "unread" else 1)
    assert (place.sandbox.activations, place.run("profiles", "list").out) == (before, profiles)


@pytest.mark.row(91)
def test_messages_that_cannot_be_written_change_nothing(place: Place) -> None:
    commands = {**dict.fromkeys((*PRINTING, *PAYING), 0), **WORKING}
    for (arguments, code), kind in zip(commands.items(), itertools.cycle(KINDS)):
        ended = place.run(*arguments, stderr=kind, unbuffered=kind == "full")
        assert (ended.code, bool(ended.out)) == (code, arguments not in WORKING), (arguments, kind)


@pytest.mark.row(91)
def test_work_that_prints_nothing_succeeds_without_any_stream(place: Place) -> None:
    for (arguments, code), kind in zip(WORKING.items(), itertools.cycle(KINDS)):
        ended = place.run(*arguments, stdout=kind)
        assert_tidy(ended, arguments)
        assert ended.code == code, (arguments, kind)
        assert place.run(*arguments, stdin="closed", stdout=kind, stderr="closed").code == code, (
            arguments,
            kind,
        )
    # no file that a job opens takes the place of a stream that is closed
    for folder in place.folder.glob("new*"):
        if (folder / "job.db").exists():
            assert JobReader(folder).status().done == len(place.ids)
    for arguments in (PRINTING[0], PAYING[0]):
        assert place.run(*arguments, stdin="closed", stdout="closed", stderr="full").code == 1


@pytest.mark.row(91)
def test_a_sandbox_serves_whoever_reads_its_url(place: Place) -> None:
    for kind in ("closed", "unread"):
        with stream(kind) as out, place.forks.start(
            "sandbox", "--port", "0", cwd=place.folder, streams={1: out}
        ) as running:  # fmt: skip
            running.send(signal.SIGTERM, after="press Ctrl-C")
            ended = running.wait()
        assert ended.code == 0, ended
        assert "standard output: [Errno" in ended.err
        assert "serving http://127.0.0.1:" in ended.err


@pytest.mark.parametrize("size", [10, 100_000])  # kept until the end, and written at once
def test_the_first_error_decides_the_code(place: Place, size: int) -> None:
    place.sandbox.inject(Fault.status(200, body=b'{"events": 5, "x": "%s"}' % (b"x" * size)), times=1)
    ended = place.run("events", "ID", stdout="stuck", unbuffered=size == 10)
    assert (ended.code, "as it was received" in ended.err) == (1, True)
    assert_tidy(ended, size)


def test_a_closed_input_is_a_usage_error(place: Place) -> None:
    for arguments in (
        ("profiles", "create", "-"),
        ("fetch", "--ids", "-", "--events", "--job", "NEW", "--sandbox"),
    ):
        ended = place.run(*arguments, stdin="closed")
        assert (ended.code, ended.out, "is closed" in ended.err) == (2, "", True)


def test_the_interpreters_own_start_and_end_change_nothing() -> None:
    """The same in processes that no other process has prepared."""
    command = (sys.executable, "-m", "fullstory_async", "id", LINK)
    for kind, environment, code in (("unread", PLAIN, 141), ("full", {**PLAIN, **UNBUFFERED}, 1)):
        with stream(kind) as out:
            run = subprocess.run(
                command, stdout=out, stderr=subprocess.PIPE, env=environment, timeout=SECONDS
            )
        assert (run.returncode, run.stderr.count(b"\n")) == (code, int(code == 1))
    shell = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    assert subprocess.run([*shell, *command], env=PLAIN, timeout=SECONDS).returncode == 1


COMMANDS = (
    "", "sessions", "events", "summary", "fetch", "sandbox", "demo",
    "profiles create", "job results",
)  # fmt: skip


@pytest.mark.row(92)
def test_help_and_data_in_an_ascii_locale(place: Place) -> None:
    for command in COMMANDS:
        ended = place.run(*command.split(), "--help", encoding="ascii")
        assert (ended.code, ended.err) == (0, ""), command
        # nothing had to be replaced: no help text asks a question
        assert ("Usage: " in ended.out, "?" in ended.out) == (True, False), command
    for output in ("jsonl", "json", "csv", "table", "timeline"):
        event = {
            "event_type": "click",
            "event_time": "2026-05-04T10:00:00Z",
            "event_properties": {"x": "\u4e0a"},
        }
        body = json.dumps({"events": [event]}, ensure_ascii=False).encode()
        place.sandbox.inject(Fault.status(200, body=body), times=1)
        ended = place.run("events", "ID", "--output", output, encoding="ascii")
        assert (ended.code, ended.err) == (0, "1 activation spent\n"), output
        if output in ("jsonl", "json"):
            assert "\\u4e0a" in ended.out


@pytest.mark.row(92)
def test_no_width_is_too_odd(place: Place) -> None:
    usual = place.run("job", "--help").out
    for columns in ("0", "x", "", "\u00b2"):
        assert place.run("job", "--help", variables={"COLUMNS": columns, "LINES": columns}).out == usual, (
            columns
        )
    failures = ("job", "failures", "done.job", "--output", "table")
    shown = place.run(*failures).out.split()
    for columns in ("1", "99999999"):
        ended = place.run("fetch", "--help", variables={"COLUMNS": columns})
        assert (ended.code, max(map(len, ended.out.splitlines())) <= 1000) == (0, True)
        assert place.run(*failures, variables={"COLUMNS": columns}).out.split()[:3] == shown[:3]


@pytest.mark.row(92)
def test_colours_are_forced_and_forbidden_by_their_variables(place: Place, tmp_path: Path) -> None:
    """NO_COLOR wins, and a pipe never gets a display that moves its cursor."""
    for variables, coloured in (
        ({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": ""}, False), ({"TERM": "dumb", "FORCE_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False), ({"FORCE_COLOR": "1", "NO_COLOR": ""}, True),
    ):  # fmt: skip
        assert ("\x1b[" in place.run("job", "--help", variables=variables).out) is coloured, variables
    for more in ({"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1"}):
        for arguments in (
            ("fetch", "--ids", "ids", "--events", "--job", "NEW"),
            ("job", "export", "done.job", "NEW.csv"),
        ):
            ended = place.run(*arguments, variables={"TERM": "xterm", **more})
            assert ended.code in (0, 3)
            assert "\x1b" not in ended.err, (arguments, more)


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, inside = pty.openpty()
    for term, live in (("dumb", False), ("xterm", True)):
        monkeypatch.setenv("TERM", term)
        with open(inside, "w", closefd=False) as stderr:
            monkeypatch.setattr(sys, "stderr", stderr)
            assert StreamConsole(stderr=True).is_live is live
    os.close(terminal)
    with open(inside, "w", closefd=False) as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        assert not StreamConsole(stderr=True).is_live  # it was closed
    os.close(inside)


@pytest.mark.row(93)
def test_a_second_hang_up_is_not_a_second_ctrl_c(place: Place) -> None:
    """A closed terminal, its shell and the login service each send one: calls that were paid for still arrive."""
    rounds = (
        ((signal.SIGHUP, signal.SIGHUP), True), ((signal.SIGTERM, signal.SIGHUP), True),
        ((signal.SIGINT, signal.SIGINT), False),
    )  # fmt: skip
    for numbers, kept in rounds:
        place.sandbox.inject(Fault.stall(0.5), operation="events", times=len(place.ids))
        before = place.sandbox.activations
        command = place.settled("fetch", "--ids", "ids", "--events", "--job", "NEW", "--concurrency", "3")
        with place.forks.start(*command, cwd=place.folder, environment=place.settings) as running:
            wait_until(lambda: place.sandbox.activations == before + len(place.ids))  # noqa: B023
            for number in numbers:
                running.send(number, after="")
                time.sleep(0.05)  # signals that arrive together are one
            ended = running.wait()
        assert ended.code == 128 + numbers[0], ended
        folder = place.folder / command[command.index("--job") + 1]
        assert JobReader(folder).status().done == (len(place.ids) if kept else 0)


@pytest.mark.row(93)
def test_a_server_that_loses_its_terminal_says_so(place: Place) -> None:
    for number, code in ((signal.SIGHUP, 129), (signal.SIGINT, 0)):
        with place.forks.start("sandbox", "--port", "0", cwd=place.folder) as running:
            running.send(number, after="press Ctrl-C")
            assert running.wait().code == code


@pytest.mark.row(93)
def test_a_job_that_is_stopped_and_continued_loses_nothing(place: Place) -> None:
    before = place.sandbox.activations
    place.sandbox.inject(Fault.stall(0.3), operation="events", times=len(place.ids))
    command = place.settled("fetch", "--ids", "ids", "--events", "--job", "NEW")
    with place.forks.start(*command, cwd=place.folder, environment=place.settings) as running:
        wait_until(lambda: place.sandbox.activations == before + len(place.ids))
        running.send(signal.SIGSTOP, after="")
        time.sleep(0.4)  # the responses arrive meanwhile
        running.send(signal.SIGCONT, after="")
        assert running.wait().code == 3
    assert JobReader(place.folder / command[-1]).status().done == len(place.ids)
    assert place.sandbox.activations == before + len(place.ids)


@pytest.mark.row(93)
def test_a_demo_takes_its_child_along(place: Place) -> None:
    command = place.settled("demo", "--crash", "--sessions", "200", "--rate", "50", "--out-dir", "NEW")
    lock = place.folder / command[-1] / "demo.job" / LOCK_NAME
    with place.forks.start(*command, cwd=place.folder) as running:
        wait_until(lock.exists)
        running.send(signal.SIGTERM, after="listens on")
        assert running.wait().code == 143
    raise_if_locked(lock)


def test_ctrl_c_while_the_command_line_is_imported_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "fullstory_async.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "fullstory_async.cli.app", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 130


def test_ctrl_c_while_the_package_is_imported_is_no_traceback(tmp_path: Path) -> None:
    # attrs is among the first that the package imports
    (tmp_path / "attrs").mkdir()
    interrupting = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    (tmp_path / "attrs" / "__init__.py").write_text(interrupting)
    script = tmp_path / "fullstory-async"  # as pip writes it
    script.write_text("from fullstory_async.cli import main\nmain()\n")
    settings = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"}

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=settings, capture_output=True, text=True)

    for command in (
        ["-m", "fullstory_async"],
        ["-mfullstory_async"],
        ["-Xdev", "-Bm", "fullstory_async"],
        [str(script)],
    ):
        ended = run([sys.executable, *command, "whoami"])
        assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")
    # a program that imports the package keeps its own way
    program = [sys.executable, "-c", "from fullstory_async import FullStoryClient"]
    assert run(program).stderr.endswith("KeyboardInterrupt\n")
