"""Commands on a terminal of their own: a pseudo-terminal that is the controlling one of a new session."""

from __future__ import annotations

import os
import pty
import select
import threading
from pathlib import Path

import attrs

from tests.cli.forked import Forks

__all__ = ["Ended", "Terminals"]

_NUMBERS = {"stdin": 0, "stdout": 1, "stderr": 2}


@attrs.frozen(kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    shown: str
    """What the terminal showed."""
    out: str
    """What was printed to streams that were not the terminal."""
    err: str


@attrs.frozen
class Terminals:
    """Runs commands with a terminal, or without one."""

    _forks: Forks

    def run(
        self,
        *arguments: str,
        cwd: Path,
        typed: str = "",
        streams: str = "stdin,stderr",
        background: bool = False,
        stdin: bytes = b"",
        environment: dict[str, str] | None = None,
    ) -> Ended:
        """Run a command on a terminal.

        Args:
            arguments: the command line.
            cwd: its directory.
            typed: the answer to the first question.
            streams: the standard streams that are the terminal; the others are files.
            background: whether the command is in a process group that is not the foreground one.
            stdin: standard input, if it is a file.
            environment: more variables.
        """
        terminal, inside = pty.openpty()
        seen, over = bytearray(), threading.Event()
        person = threading.Thread(target=_watch, args=(terminal, typed.encode(), seen, over))
        person.start()
        try:
            ended = self._forks.run(
                *arguments, cwd=cwd, stdin=stdin, terminal=os.ttyname(inside), background=background,
                streams={_NUMBERS[name]: inside for name in streams.split(",") if name},
                environment={"TERM": "xterm", **(environment or {})},
            )  # fmt: skip
        finally:
            over.set()
            person.join()
            os.close(inside)
            os.close(terminal)
        return Ended(code=ended.code, shown=seen.decode(errors="replace"), out=ended.out, err=ended.err)

    def without(
        self, *arguments: str, cwd: Path, stdin: bytes = b"", environment: dict[str, str] | None = None
    ) -> Ended:
        """Run a command in a session that has no terminal, as cron does."""
        ended = self._forks.run(*arguments, cwd=cwd, stdin=stdin, environment=environment)
        return Ended(code=ended.code, shown="", out=ended.out, err=ended.err)


def _watch(terminal: int, typed: bytes, seen: bytearray, over: threading.Event) -> None:
    """Read what a terminal shows, and answer its first question."""
    while not over.is_set() or select.select([terminal], [], [], 0)[0]:
        if select.select([terminal], [], [], 0.02)[0]:
            seen += os.read(terminal, 65536)
        if typed and b"[y/N] " in seen:
            os.write(terminal, typed)
            typed = b""
