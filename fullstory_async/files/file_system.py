"""What a file system may lack: locks, hard links, permissions.

Network shares (SMB, 9p), memory cards (exFAT, FAT) and buckets behind FUSE lack some of them. How they say so
differs: by one of several error numbers, or by success without an effect.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import stat
from pathlib import Path

__all__ = [
    "PRIVATE_FILE",
    "PRIVATE_FOLDER",
    "lacks_sqlite_locks",
    "make_private",
    "means_missing_feature",
    "sync_folder",
    "warn_of_no_permissions",
]

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700

_logger = logging.getLogger("fullstory_async.files")

_MISSING = frozenset(
    {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOLCK, errno.ENOTTY}
)
_SQLITE_LOCKS = (
    "SQLITE_PERM", "SQLITE_PROTOCOL", "SQLITE_NOLFS", "SQLITE_IOERR_LOCK", "SQLITE_IOERR_RDLOCK",
    "SQLITE_IOERR_UNLOCK", "SQLITE_IOERR_CHECKRESERVEDLOCK", "SQLITE_IOERR_SHM",
)  # fmt: skip


def means_missing_feature(error: OSError) -> bool:
    """Return whether an operation failed because the file system does not offer it."""
    return error.errno in _MISSING


def lacks_sqlite_locks(error: Exception) -> bool:
    """Return whether SQLite failed because the file system has no byte-range locks or no shared memory."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorname", "").startswith(
        _SQLITE_LOCKS
    )


def make_private(path: Path, mode: int) -> bool:
    """Take the permissions of other users away; return False if that has no effect. Raises `OSError`."""
    # Windows has other permissions, which a file inherits from its folder.
    if os.name == "nt" or not _is_open_to_others(path):
        return True
    try:
        path.chmod(mode)
    except OSError as error:
        if not means_missing_feature(error):
            raise
    # FAT and SMB may accept a change that has no effect.
    return not _is_open_to_others(path)


def sync_folder(folder: Path) -> None:
    """Put the name of a new file on disk too, where the system can synchronise folders. Raises `OSError`."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if not means_missing_feature(error):
            raise
    finally:
        os.close(handle)


def warn_of_no_permissions(path: Path) -> None:
    """Log that other users may read a file or folder."""
    _logger.warning(
        "%s can't be made private (chmod): its file system has no permissions, or it belongs to another "
        "user. Other users of this machine may be able to read it",
        path,
    )


def _is_open_to_others(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
