"""The standard streams: a failed write ends a command with its own exit code, not Python's 120.

Standard output carries a command's data, so a command whose work is to print fails if that can't be written.
Messages and progress go to standard error, whose loss changes nothing: `fetch`, `demo`, `sandbox`,
`job export` to files and `job purge` succeed by what they leave behind.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["flush_streams", "guard_streams", "require_output", "write_optional"]


def guard_streams() -> None:
    """Replace standard streams that are closed, and make standard error drop what it can't write.

    Call it once, before anything else opens a file. Streams that a test or an embedding program put in place
    are kept.
    """
    # a closed descriptor is taken by the next file opened, such as a job's database
    for number in range(3):
        if not _is_open(number):
            os.open(os.devnull, os.O_RDONLY)  # takes the lowest free number, which is this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  (every write fails)
    # in an ASCII locale, text for people loses characters rather than fail; JSON has escapes for them
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        raw = io.BufferedWriter(_Dropping(2, "w", closefd=False))
        encoding = "utf-8" if sys.stderr is None else sys.stderr.encoding
        sys.stderr = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace", line_buffering=True)


def flush_streams() -> OSError | None:
    """Flush standard output and return the error if that fails.

    What can't be written is dropped; or Python would try once more at its exit, and change the exit code to
    120.
    """
    sys.stderr.flush()
    try:
        sys.stdout.flush()
    except OSError as error:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        sys.stdout.flush()
        return error
    return None


def require_output() -> None:
    """Raise `OSError` if standard output is closed or has no reader, before anything is spent on it."""
    if not isinstance(sys.stdout, io.TextIOWrapper):
        return
    number = sys.stdout.fileno()
    os.write(number, b"")  # fails if it was closed, or its terminal was
    if sys.platform == "win32":
        return
    output = select.poll()
    output.register(number, 0)
    if any(state & select.POLLERR for _, state in output.poll(0)):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def write_optional(text: str) -> OSError | None:
    """Write text that the command can do without; return the error if that fails."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        flush_streams()
        return error
    return None


def _is_open(number: int) -> bool:
    with contextlib.suppress(OSError):
        os.fstat(number)
        return True
    return False


class _Dropping(io.FileIO):
    """A file that drops what it can't write.

    So a command ends without a terminal as it would with one.
    """

    def write(self, data: ReadableBuffer, /) -> int:
        size = memoryview(data).nbytes
        with contextlib.suppress(OSError):
            written = super().write(data)
            return size if written is None else written  # None: it would have to wait
        return size
