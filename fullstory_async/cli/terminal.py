"""The terminal: where a person can be asked, even if the standard streams are files or pipes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ask"]


def ask(question: str) -> bool | None:
    """Ask a yes-or-no question; return whether the answer is yes, or ``None`` if no one can be asked.

    Raises:
        KeyboardInterrupt: the person pressed Ctrl-C instead.
    """
    with _open_terminal() as terminal:
        if terminal is None:
            return None
        source, target = terminal
        try:
            os.write(target, f"{question} [y/N] ".encode())
            reply = _read_line(source)
            if not reply.endswith(b"\n"):
                os.write(target, b"\n")
        except KeyboardInterrupt:
            os.write(target, b"\n")
            raise
        except OSError:
            # the terminal was closed
            return False
        return reply.strip().lower() in (b"y", b"yes")


def _read_line(source: int) -> bytes:
    line = b""
    while not line.endswith(b"\n") and (more := os.read(source, 1024)):
        line += more
    return line


@contextmanager
def _open_terminal() -> Iterator[tuple[int, int] | None]:
    """Give the descriptors to read from and to write to; ``None`` where no one could answer."""
    with contextlib.ExitStack() as stack:
        try:
            terminal = os.open("/dev/tty", os.O_RDWR)
        except OSError:
            # no controlling terminal, as on Windows and in some containers
            streams = (sys.stdin, sys.stderr)
            known = all(stream is not None and stream.isatty() for stream in streams)
            yield (sys.stdin.fileno(), sys.stderr.fileno()) if known else None
            return
        stack.callback(os.close, terminal)
        # reading from the background would stop the process until a person brings it to the foreground
        yield (terminal, terminal) if _is_in_foreground(terminal) else None


def _is_in_foreground(terminal: int) -> bool:
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
