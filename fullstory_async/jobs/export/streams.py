"""Exports into pipes, terminals and other open files, which take the bytes as they come."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from fullstory_async.jobs.export.inspection import descriptor_of

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["ExportStopped", "opened_stream"]

_LOOK_SECONDS = 0.1
"""How often a wait for the other side looks whether the export was stopped."""
_BUFFER = 64 * 1024
_ATOMIC = getattr(select, "PIPE_BUF", 512)
"""Bytes that a pipe takes without blocking when it is ready."""


class ExportStopped(Exception):
    """An export was stopped before its end; it left no file."""


@contextmanager
def opened_stream(path: Path, stopped: threading.Event | None) -> Iterator[IO[bytes]]:
    """Open a pipe or a device for writing, or an open file that a name such as ``/dev/stdout`` means.

    Args:
        path: its name.
        stopped: if set by another thread, ends waits for the other side.

    Raises:
        ExportStopped: ``stopped`` was set.
        OSError: it can't be opened, or it can't be written to; `BrokenPipeError` if its reader has left.
    """
    number = descriptor_of(path)
    # An open file keeps its position, and whether it is appended to, only if it isn't opened again.
    handle = _open(path, stopped) if number is None else os.dup(number)
    raw = _Stream(handle, stopped)
    with raw, io.BufferedWriter(raw, _BUFFER) as file:
        yield cast("IO[bytes]", file)


def _open(path: Path, stopped: threading.Event | None) -> int:
    """Open a pipe when it has a reader."""
    while True:
        try:
            return os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        # An open call that waits for a reader could not be stopped.
        if stopped is None:
            time.sleep(_LOOK_SECONDS)
        elif stopped.wait(_LOOK_SECONDS):
            raise ExportStopped


class _Stream(io.RawIOBase):
    """Writes to a descriptor, and ends when the export is stopped while the other side takes nothing."""

    def __init__(self, handle: int, stopped: threading.Event | None) -> None:
        super().__init__()
        self._handle, self._stopped = handle, stopped
        self._may_block = os.name != "nt" and not stat.S_ISREG(os.fstat(handle).st_mode)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._handle

    def write(self, data: ReadableBuffer, /) -> int:
        while self._may_block:
            poll = select.poll()
            poll.register(self._handle, select.POLLOUT)
            if poll.poll(_LOOK_SECONDS * 1000):
                with contextlib.suppress(BlockingIOError):  # another writer was faster
                    return os.write(self._handle, memoryview(data)[:_ATOMIC])
            if self._stopped is not None and self._stopped.is_set():
                raise ExportStopped
        return os.write(self._handle, data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._handle)
        super().close()
