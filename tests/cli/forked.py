"""Commands as forks of one process that has imported the command line: real processes at a tenth of the price.

Any number of them may run at a time, and a test may run a script of its own in the same way.
A fork begins where `fullstory-async` begins, with standard streams as the interpreter makes them. At its end it does
what the interpreter does with them, and leaves out the rest of the clean-up, which costs ten times as much as most commands.
"""

from __future__ import annotations

import gc
import io
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn, Self

import attrs

from tests.limits import SECONDS, wait_until

__all__ = ["Ended", "Forks", "Running"]

KEPT = ("PATH", "HOME", "PYTHONPATH", "FULLSTORY_BASE_URL", "FULLSTORY_API_KEY")
_ABOVE = 200
"""A descriptor above all that the process has."""


@attrs.frozen
class Ended:
    """How a command ended: its exit code as a shell shows it, and what it wrote to streams of its own."""

    code: int
    out: str
    err: str


@attrs.define
class Running:
    """A command that runs."""

    pid: int
    _answers: socket.socket
    _files: Sequence[IO[bytes]]
    _ended: Ended | None = None

    @property
    def out(self) -> str:
        """What it has written to standard output so far."""
        return _text(self._files[1])

    def send(self, *numbers: signal.Signals, after: str) -> None:
        """Send signals to the command as soon as it has written a text to standard error."""
        wait_until(lambda: after in _text(self._files[2]) or not self.exists())
        assert after in _text(self._files[2]), _text(self._files[2])
        for number in numbers:
            os.kill(self.pid, number)

    def exists(self) -> bool:
        """Return whether it still runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def wait(self) -> Ended:
        """Wait for the end of the command; what it wrote can be read afterwards, too."""
        if self._ended is None:
            code = int(self._answers.recv(16).decode())
            self._ended = Ended(code if code >= 0 else 128 - code, self.out, _text(self._files[2]))
        return self._ended


class Forks:
    """The process whose forks the commands are."""

    def __init__(self) -> None:
        """Start the process."""
        self._mine, its = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.forked", str(its.fileno())], pass_fds=[its.fileno()],
            start_new_session=True,  # without a terminal, wherever the tests run
        )  # fmt: skip
        its.close()

    def __enter__(self) -> Self:
        """Return the forks themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self._mine.close()
        self._process.wait(SECONDS)

    def run(self, *arguments: str, **settings: Any) -> Ended:
        """Run a command, which `start` explains, and wait for its end."""
        with self.start(*arguments, **settings) as running:
            return running.wait()

    @contextmanager
    def sandbox(self, *options: str, cwd: Path) -> Iterator[dict[str, str]]:
        """Run a sandbox with options of its command line; yield the variables that it prints: its URL and key."""
        with self.start("sandbox", "--port", "0", *options, cwd=cwd) as running:
            wait_until(lambda: running.out.count("\n") >= 2)
            named = (line.partition("=") for line in running.out.splitlines())
            try:
                yield {name: value for name, _, value in named}
            finally:
                os.kill(running.pid, signal.SIGTERM)
            assert running.wait().code == 0

    @contextmanager
    def start(
        self,
        *arguments: str,
        cwd: Path,
        script: str | None = None,
        streams: Mapping[int, int | None] | None = None,
        environment: Mapping[str, str] | None = None,
        encoding: str = "utf-8",
        stdin: bytes = b"",
        terminal: str | None = None,
        background: bool = False,
    ) -> Iterator[Running]:
        """Start a command, whose end the block has to wait for.

        Args:
            arguments: the command line.
            cwd: its directory.
            script: a program in Python to run instead of the command line, with the same arguments.
            streams: descriptors to use as standard streams, or None for a stream that is closed.
            environment: more variables.
            encoding: the encoding of its streams, as a locale decides it.
            stdin: standard input, if ``streams`` has none.
            terminal: the name of the terminal that controls it; it has none otherwise.
            background: whether it is not in the terminal's foreground.
        """
        with ExitStack() as stack:
            files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
            files[0].write(stdin)
            files[0].seek(0)
            given = {**{number: file.fileno() for number, file in enumerate(files)}, **(streams or {})}
            kept = {name: os.environ[name] for name in KEPT if name in os.environ}
            order = {
                "arguments": arguments, "script": script, "cwd": str(cwd), "environment": {**kept, **(environment or {})},
                "encoding": encoding, "open": [number for number in given if given[number] is not None],
                "terminal": terminal, "background": background,
            }  # fmt: skip
            # a socket for each command, as several may run; whole messages, so that a process and its end stay two
            answers, its = map(stack.enter_context, socket.socketpair(type=socket.SOCK_SEQPACKET))
            descriptors = [number for number in given.values() if number is not None]
            socket.send_fds(self._mine, [json.dumps(order).encode()], [its.fileno(), *descriptors])
            answers.settimeout(SECONDS)
            running = Running(int(answers.recv(16).decode()), answers, files)
            try:
                yield running
            except BaseException:
                with suppress(ProcessLookupError):
                    os.kill(running.pid, signal.SIGKILL)
                raise
            finally:
                running.wait()


def _text(file: IO[bytes]) -> str:
    # the command writes at the same offset: read elsewhere
    return os.pread(file.fileno(), 10_000_000, 0).decode()


def _serve(orders: socket.socket) -> None:
    """Run commands in forks, any number at a time, until the other side is closed."""
    with selectors.DefaultSelector() as selector:
        selector.register(orders, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is not None:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    _say_the_end(*key.data)
                    continue
                text, descriptors, _, _ = socket.recv_fds(orders, 65536, 4)
                if not text:
                    return
                answering, *given = descriptors
                order = json.loads(text)
                pid = os.fork()
                if pid == 0:
                    orders.detach()  # its descriptor is closed with all the others
                    if order["terminal"] is not None:
                        _lead(order["terminal"], background=order["background"])
                    _begin(order, given)
                answers = socket.socket(fileno=answering)
                answers.send(str(pid).encode())
                for number in given:
                    os.close(number)
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, answers))


def _say_the_end(pid: int, answers: socket.socket) -> None:
    _, status = os.waitpid(pid, 0)
    with answers:
        answers.send(str(os.waitstatus_to_exitcode(status)).encode())


def _lead(terminal: str, *, background: bool) -> None:
    """Become the leader of a session with a terminal; the command goes on in a process of its own."""
    os.setsid()
    os.open(terminal, os.O_RDWR)  # which makes it the controlling one
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    if pid := os.fork():
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    signal.signal(signal.SIGINT, before)
    if background:
        os.setpgid(0, 0)


def _begin(order: dict[str, Any], given: list[int]) -> None:
    """Become the command: its directory, its variables, its streams."""
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    above = [os.dup2(number, _ABOVE + place) for place, number in enumerate(given)]
    os.closerange(0, _ABOVE)
    for place, number in zip(above, order["open"], strict=True):
        os.dup2(place, number)
    os.closerange(_ABOVE, _ABOVE + len(given))
    sys.stdin, sys.stdout, sys.stderr = (_stream(number, order["encoding"]) for number in range(3))
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    sys.argv = ["fullstory-async", *order["arguments"]]
    if order["script"] is not None:
        _run_script(order["script"])
    from fullstory_async.cli import main

    try:
        main()
    except SystemExit as ended:
        _end(int(ended.code or 0))


def _run_script(text: str) -> NoReturn:
    """Run a program as `python -W error -c` does."""
    warnings.simplefilter("error")
    try:
        exec(compile(text, "script", "exec"), {"__name__": "__main__"})
    except BaseException:  # noqa: BLE001  (which ends the process)
        traceback.print_exc()
        _end(1)
    _end(0)


def _end(code: int) -> NoReturn:
    """End as the interpreter does: with 120 if what is left in the streams can't be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = 120
    os._exit(code)


def _stream(number: int, encoding: str) -> io.TextIOWrapper | None:
    """Open a standard stream as the interpreter does."""
    try:
        os.fstat(number)
    except OSError:
        return None
    unbuffered = number > 0 and bool(os.environ.get("PYTHONUNBUFFERED"))
    raw = io.FileIO(number, "rb" if number == 0 else "wb", closefd=False)
    buffer: Any = raw if unbuffered else io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffer, encoding, "backslashreplace" if number == 2 else "strict",
        line_buffering=number == 2 or raw.isatty(), write_through=unbuffered,
    )  # fmt: skip


if __name__ == "__main__":
    import fullstory_async.cli.app
    import fullstory_async.cli.commands.demo
    import fullstory_async.cli.commands.events
    import fullstory_async.cli.commands.fetch
    import fullstory_async.cli.commands.jobs
    import fullstory_async.cli.commands.listing
    import fullstory_async.cli.commands.profiles
    import fullstory_async.cli.commands.sandbox
    import fullstory_async.cli.commands.sessions
    import fullstory_async.sandbox
    import fullstory_async.sandbox.faults  # noqa: F401  (the forks have them)

    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
