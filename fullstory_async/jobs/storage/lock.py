"""JobLock: one process for each job.

The operating system holds the lock. So it ends with the process, however that ends, and a file left behind by
a dead process locks nothing. The content of the file only names the holder to people.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import weakref
from functools import partial
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

_CONTENDED = (BlockingIOError, PermissionError)
_RETRY_DELAY = 0.05
_LOCK_OFFSET = 2**30
"""The byte that Windows locks, far behind the content, so that this stays readable."""


class JobLock:
    """Holds a job's lock from its creation until `release`."""

    __slots__ = ("__weakref__", "_file")

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            JobLockedError: another process holds it. Raised at once, with the holder's name.
        """
        self._file: int | None = None
        file = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            _lock_with_retry(file)
        except _CONTENDED:
            holder = _read_holder(file)
            os.close(file)
            raise _locked(path, holder) from None
        except OSError:  # a file system without locks
            os.close(file)
            raise
        note = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        }
        with contextlib.suppress(OSError):  # on a full disk the lock holds without a name
            os.ftruncate(file, 0)
            os.write(file, json.dumps(note).encode())
        self._file = file
        if hasattr(os, "register_at_fork"):
            # Python has no way to unregister it, so a small dead reference stays behind for each lock.
            os.register_at_fork(after_in_child=partial(_release_in_child, weakref.ref(self)))

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def lock_holder(path: Path) -> str | None:
    """Return the name of the process that holds a lock, or ``None`` if it is free."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:  # it is missing, or belongs to a user whose jobs we can't run
        return None
    try:
        _lock(file, shared=True)
    except _CONTENDED:
        return _read_holder(file)
    finally:
        os.close(file)
    return None


def raise_if_locked(path: Path) -> None:
    """Raise `JobLockedError` if another process holds a lock. Doesn't take it."""
    if (holder := lock_holder(path)) is not None:
        raise _locked(path, holder)


def _locked(path: Path, holder: str) -> JobLockedError:
    return JobLockedError(f"the job {path.parent} is being run by {holder}; one process at a time")


def _release_in_child(lock: weakref.ref[JobLock]) -> None:
    """Close a forked child's copy of a lock, which must not outlive the parent."""
    if (inherited := lock()) is not None:
        inherited.release()


def _lock_with_retry(file: int) -> None:
    """Lock a file. Tries twice, since `lock_holder` holds a lock for a moment."""
    try:
        _lock(file)
    except _CONTENDED:
        time.sleep(_RETRY_DELAY)
        _lock(file)


def _lock(file: int, *, shared: bool = False) -> None:
    if fcntl is not None:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    else:
        os.lseek(file, _LOCK_OFFSET, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        os.lseek(file, 0, os.SEEK_SET)


def _read_holder(file: int) -> str:
    try:
        os.lseek(file, 0, os.SEEK_SET)
        note = json.loads(os.read(file, 1000))
        return f"process {note['pid']} on {note['host']} since {note['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
