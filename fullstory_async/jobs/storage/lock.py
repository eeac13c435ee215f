"""JobLock: one process for each job.

The operating system holds the lock. So it ends with the process, however that ends, and a file left behind by
a dead process locks nothing. The content of the file only names the holder to people. On a file system
without such locks a `LockFile` beside it is the lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import weakref
from functools import partial
from pathlib import Path

from fullstory_async.errors import JobLockedError
from fullstory_async.files.file_system import PRIVATE_FILE, means_missing_feature
from fullstory_async.files.lock_file import Holder, LockFile, LockFileHeld, holder_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

__all__ = ["LOCK_NAME", "JobLock", "is_contended", "lock_holder", "lock_with_retry", "raise_if_locked"]

LOCK_NAME = "lock"

_CONTENDED = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)
_LOCK_FILE = ".held"
"""What the name of the lock file adds to the lock's."""
_RETRY_DELAY = 0.05
_LOCK_OFFSET = 2**30
"""The byte that Windows locks, far behind the content, so that this stays readable."""


class JobLock:
    """Holds a job's lock from its creation until `release`."""

    __slots__ = ("__weakref__", "_file", "_lock_file")

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            JobLockedError: another process holds it. Raised at once, with the holder's name.
        """
        self._file: int | None = None
        self._lock_file: LockFile | None = None
        file = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            lock_with_retry(file)
        except OSError as error:
            holder = Holder.read(file)
            os.close(file)
            if error.errno in _CONTENDED:
                raise _locked(path, holder, path) from None
            if not means_missing_feature(error):
                raise
            self._lock_file = _take_lock_file(path)
            return
        with contextlib.suppress(OSError):  # on a full disk the lock holds without a name
            Holder.this_process().write(file)
        self._file = file
        if hasattr(os, "register_at_fork"):
            # Python has no way to unregister it, so a small dead reference stays behind for each lock.
            os.register_at_fork(after_in_child=partial(_release_in_child, weakref.ref(self)))

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
        if self._lock_file is not None:
            self._lock_file.release()


def lock_holder(path: Path) -> str | None:
    """Return the name of the process that holds a lock, or ``None`` if it is free."""
    found = _find_holder(path)
    return None if found is None else _name(found.holder)


def raise_if_locked(path: Path) -> None:
    """Raise `JobLockedError` if another process holds a lock. Doesn't take it."""
    if (found := _find_holder(path)) is not None:
        raise _locked(path, found.holder, found.path)


def _find_holder(path: Path) -> LockFileHeld | None:
    """Return who holds a lock, and the lock file if it is one."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:  # it is missing, or belongs to a user whose jobs we can't run
        return None
    try:
        _lock(file, shared=True)
    except OSError as error:
        if error.errno in _CONTENDED:
            return LockFileHeld(path, Holder.read(file))
        if not means_missing_feature(error):
            raise
        lock_file = _lock_file_of(path)
        holder = holder_of(lock_file)
        is_held = lock_file.exists() and (holder is None or not holder.is_dead)
        return LockFileHeld(lock_file, holder) if is_held else None
    finally:
        os.close(file)
    return None


def _locked(path: Path, holder: Holder | None, held: Path) -> JobLockedError:
    """Return the error of a lock; ``held`` is its own file, or the lock file beside it."""
    text = f"the job {path.parent} is being run by {_name(holder)}; one process at a time"
    if held != path:
        text += f"; its file system has no locks (flock), so if that process has ended, delete {held}"
    return JobLockedError(text)


def _name(holder: Holder | None) -> str:
    return "another process" if holder is None else str(holder)


def _lock_file_of(path: Path) -> Path:
    return path.with_name(path.name + _LOCK_FILE)


def _take_lock_file(path: Path) -> LockFile:
    try:
        return LockFile(_lock_file_of(path))
    except LockFileHeld as found:
        raise _locked(path, found.holder, found.path) from None


def _release_in_child(lock: weakref.ref[JobLock]) -> None:
    """Close a forked child's copy of a lock, which must not outlive the parent."""
    if (inherited := lock()) is not None:
        inherited.release()


def is_contended(error: OSError) -> bool:
    """Return whether a file can't be locked because another process has locked it."""
    return error.errno in _CONTENDED


def lock_with_retry(file: int) -> None:
    """Lock an open file. Tries twice, since `lock_holder` holds a lock for a moment. Raises `OSError`."""
    try:
        _lock(file)
    except OSError as error:
        if error.errno not in _CONTENDED:
            raise
        time.sleep(_RETRY_DELAY)
        _lock(file)


def _lock(file: int, *, shared: bool = False) -> None:
    if fcntl is not None:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    else:
        os.lseek(file, _LOCK_OFFSET, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        os.lseek(file, 0, os.SEEK_SET)
