"""JobLock: one process for each job.

The operating system holds the lock, so it goes with the process however that ends, and a lock that a dead process
left behind is none. What stands in the file only tells people who the holder is.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import weakref
from pathlib import Path

from fullstory_async.errors import JobLockedError
from fullstory_async.files.private_database import PRIVATE_FILE

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

__all__ = ["LOCK_NAME", "JobLock", "lock_holder", "raise_if_locked"]

LOCK_NAME = "lock"

_TAKEN = (BlockingIOError, PermissionError)
_A_LOOK = 0.05
_FAR = 2**30
"""Where Windows locks a byte: what stands in the file stays readable."""


_held: weakref.WeakSet[JobLock] = weakref.WeakSet()


class JobLock:
    """Holds a job's lock from its making until `release`."""

    __slots__ = ("__weakref__", "_file")

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises `JobLockedError`, which names the holder, at once if it is taken."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            _lock_soon(self._file)
        except _TAKEN:
            holder = _holder(self._file)
            os.close(self._file)
            raise _locked(path, holder) from None
        except OSError:  # a file system without locks
            os.close(self._file)
            raise
        note = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        }
        with contextlib.suppress(OSError):  # on a full disk the lock holds without its note
            os.ftruncate(self._file, 0)
            os.write(self._file, json.dumps(note).encode())
        _held.add(self)

    def release(self) -> None:
        """Give the lock back; a second time does nothing."""
        if self in _held:
            _held.discard(self)
            os.close(self._file)


def lock_holder(path: Path) -> str | None:
    """Name the process that has a lock; ``None`` if nobody has it."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:  # there is none, or it is somebody else's and not to be locked by us
        return None
    try:
        _lock(file, shared=True)
    except _TAKEN:
        return _holder(file)
    finally:
        os.close(file)
    return None


def raise_if_locked(path: Path) -> None:
    """Raise `JobLockedError` if another process has a lock, without taking it."""
    if (holder := lock_holder(path)) is not None:
        raise _locked(path, holder)


def _locked(path: Path, holder: str) -> JobLockedError:
    return JobLockedError(f"the job {path.parent} is being run by {holder}; one process at a time")


def _leave_to_the_parent() -> None:
    """Close in a forked child what it inherited: the lock is its parent's, and must not outlive that."""
    for lock in list(_held):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)


def _lock_soon(file: int) -> None:
    """Lock a file, also if `lock_holder` looks at it just now, which takes no time."""
    try:
        _lock(file)
    except _TAKEN:
        time.sleep(_A_LOOK)
        _lock(file)


def _lock(file: int, *, shared: bool = False) -> None:
    if fcntl is not None:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    else:
        os.lseek(file, _FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        os.lseek(file, 0, os.SEEK_SET)


def _holder(file: int) -> str:
    try:
        os.lseek(file, 0, os.SEEK_SET)
        note = json.loads(os.read(file, 1000))
        return f"process {note['pid']} on {note['host']} since {note['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
