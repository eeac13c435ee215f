"""StorageFault: what an error of SQLite or of the operating system says about the disk.

SQLite reports most failures of the system as "disk I/O error" or "unable to open database file", without
the system's own error. So for these the folder is probed: whoever runs the program must know whether to make
room, to repair the disk or to change a permission.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import secrets
import sqlite3
from pathlib import Path

from fullstory_async.files.file_system import lacks_sqlite_locks

__all__ = ["SQLITE_ERRORS", "StorageFault", "describe_fault", "fault_of"]

SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError, MemoryError)
"""What Python's module raises; the last two for names and sizes that a damaged file has made up."""


class StorageFault(enum.Enum):
    """What is wrong; the value says it to people."""

    FULL = "the disk is full, or a quota is used up"
    INPUT_OUTPUT = "the disk reports an input/output error"
    LOCKED = "another program keeps it locked"
    DENIED = "permission denied"
    READ_ONLY = "Read-only file system or file"
    REMOVED = "its folder or its file was removed or replaced"
    TOO_MANY_FILES = "too many files are open"
    NO_LOCKS = "its file system lacks locks or shared memory"
    DAMAGED = "it is damaged"
    OTHER = "other"
    """Anything else; the error's own text says it."""

    @property
    def may_pass(self) -> bool:
        """Whether time, or whoever runs the machine, may heal it without the file being changed."""
        return self not in _LASTING


_LASTING = frozenset({StorageFault.REMOVED, StorageFault.DAMAGED, StorageFault.NO_LOCKS, StorageFault.OTHER})
_BY_ERRNO = {
    errno.ENOSPC: StorageFault.FULL,
    errno.EDQUOT: StorageFault.FULL,
    errno.EIO: StorageFault.INPUT_OUTPUT,
    errno.EACCES: StorageFault.DENIED,
    errno.EPERM: StorageFault.DENIED,
    errno.EROFS: StorageFault.READ_ONLY,
    errno.ENOENT: StorageFault.REMOVED,
    errno.ESTALE: StorageFault.REMOVED,
    errno.ENOTCONN: StorageFault.REMOVED,
    errno.ENODEV: StorageFault.REMOVED,
    errno.EMFILE: StorageFault.TOO_MANY_FILES,
    errno.ENFILE: StorageFault.TOO_MANY_FILES,
    errno.EAGAIN: StorageFault.LOCKED,
    errno.EBUSY: StorageFault.LOCKED,
}
"""Errors of the system. ``ENOTCONN`` and ``ENODEV`` are those of a file system in user space that is gone."""

_BY_SQLITE_NAME = (
    ("SQLITE_FULL", StorageFault.FULL),
    ("SQLITE_BUSY", StorageFault.LOCKED),
    ("SQLITE_LOCKED", StorageFault.LOCKED),
    ("SQLITE_PROTOCOL", StorageFault.NO_LOCKS),
    ("SQLITE_NOLFS", StorageFault.NO_LOCKS),
    ("SQLITE_READONLY_DBMOVED", StorageFault.REMOVED),
    ("SQLITE_READONLY", StorageFault.READ_ONLY),
    ("SQLITE_PERM", StorageFault.NO_LOCKS),
    ("SQLITE_CORRUPT", StorageFault.DAMAGED),
    ("SQLITE_NOTADB", StorageFault.DAMAGED),
    ("SQLITE_IOERR", StorageFault.INPUT_OUTPUT),
    ("SQLITE_CANTOPEN", StorageFault.OTHER),
)
"""The beginnings of SQLite's names, with the fault if a probe of the folder finds nothing else."""
_PROBED = ("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")
_PROBE_BYTES = 64 * 1024


_NOT_ABOUT_CONTENT = (sqlite3.OperationalError, sqlite3.ProgrammingError, sqlite3.InternalError)


def fault_of(error: Exception, path: Path) -> StorageFault:
    """Return what an error says about a file.

    Args:
        error: an error of SQLite, or of the system.
        path: the file.
    """
    if isinstance(error, OSError):
        return _BY_ERRNO.get(error.errno or 0, StorageFault.OTHER)
    if isinstance(error, (UnicodeDecodeError, MemoryError)):
        return StorageFault.DAMAGED
    name = str(getattr(error, "sqlite_errorname", ""))
    if not name:  # raised by Python's module, or by us
        is_damage = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, _NOT_ABOUT_CONTENT)
        return StorageFault.DAMAGED if is_damage else StorageFault.OTHER
    fault = next((fault for start, fault in _BY_SQLITE_NAME if name.startswith(start)), StorageFault.OTHER)
    if fault is StorageFault.REMOVED or not name.startswith(_PROBED):
        return fault
    return _probe(path) or (StorageFault.NO_LOCKS if lacks_sqlite_locks(error) else fault)


def describe_fault(error: Exception, fault: StorageFault) -> str:
    """Return what is wrong with a file, in words; for the fault that `fault_of` returned."""
    is_made_up = isinstance(error, (UnicodeDecodeError, MemoryError))
    if fault is StorageFault.NO_LOCKS:
        return f"{fault.value} ({error}): move it to a local disk"
    if is_made_up or fault not in {StorageFault.OTHER, StorageFault.DAMAGED}:
        return str(fault.value)
    return str(error.strerror if isinstance(error, OSError) and error.strerror else error)


def _probe(path: Path) -> StorageFault | None:
    """Return what keeps a file's folder from being written, or ``None``."""
    probe = path.with_name(f"{path.name}-{secrets.token_hex(4)}")
    try:
        path.stat()
        file = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(file, os.urandom(_PROBE_BYTES))
            os.fsync(file)
        finally:
            os.close(file)
        if not os.access(path, os.R_OK | os.W_OK):
            return StorageFault.DENIED
    except OSError as error:
        return _BY_ERRNO.get(error.errno or 0)
    finally:
        with contextlib.suppress(OSError):  # it is missing, or its disk is the one that fails
            probe.unlink(missing_ok=True)
    return None
