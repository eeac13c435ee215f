"""PrivateDatabase: a small SQLite file that only its owner can read.

It is opened for each transaction, so there is nothing to close, and several processes can share it. SQLite
alone would create files that others can read, and would accept any database as ours. So a file is created
with the right mode first, and records its kind and its format. Any other file is rejected and left unchanged.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from fullstory_async.errors import ConfigurationError, FullStoryError, StorageError
from fullstory_async.files.file_system import (
    PRIVATE_FILE,
    make_private,
    warn_of_no_permissions,
)
from fullstory_async.files.lock_file import LockFile, LockFileHeld
from fullstory_async.files.storage_faults import SQLITE_ERRORS, StorageFault, describe_fault, fault_of

__all__ = ["FINISH_SECONDS", "PrivateDatabase", "make_private_file"]

FINISH_SECONDS = 30.0
"""Seconds that closing a client waits for what is still to be written, for one file."""
_BUSY_SECONDS = 10.0
_POLL_SECONDS = 0.01


@attrs.define(kw_only=True)
class PrivateDatabase:
    """One kind of file: its path, its marks, and the tables of a new one."""

    path: Path
    what: str
    """Its kind, for messages: ``summary cache``."""
    application_id: int
    """Four bytes in the file that distinguish this kind from others."""
    version: int
    schema: Sequence[str]
    """Statements that create the tables."""
    upgrades: Sequence[Sequence[str]] = ()
    """Statements that bring the tables of version 1 to version 2, of version 2 to version 3, and so on."""
    must_stay: bool = False
    """Whether a file that was used and is gone is a failure; otherwise a new one is created."""
    _was_used: bool = attrs.field(default=False, init=False)
    """Whether it could be opened before, so that a failure may pass: a mount that went comes back."""

    @contextmanager
    def transaction(self, *, immediate: bool = False) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction; ``immediate`` takes the write lock at once.

        Raises:
            ConfigurationError: the file could never be opened, is of another kind or of a later version, or
                is damaged.
            StorageError: it can't be read or written now: another process holds it, or the disk fails.
        """
        try:
            if not (self._was_used and self.must_stay):
                make_private_file(self.path)
            elif not self.path.exists():
                raise FileNotFoundError(errno.ENOENT, "it is gone: removed, or its disk is not mounted")
            database = sqlite3.connect(self.path, timeout=_BUSY_SECONDS)
            try:
                self._prepare(database)
                self._was_used = True
                with database:
                    if immediate:
                        database.execute("BEGIN IMMEDIATE")
                    yield database
            finally:
                database.close()
        except (*SQLITE_ERRORS, OSError) as error:
            raise self._as_ours(error) from None

    def _as_ours(self, error: Exception) -> FullStoryError:
        """Convert an error of SQLite or of the operating system."""
        fault = fault_of(error, self.path)
        reason = error.strerror if isinstance(error, OSError) else describe_fault(error, fault)
        # SQLite says neither; os.path.isdir raises nothing, unlike Path.is_dir
        if os.path.isdir(self.path):  # noqa: PTH112
            reason = "it is a folder; name a file"
        elif not self._was_used and not os.path.isdir(self.path.parent):  # noqa: PTH112
            reason = f"the folder {self.path.parent} doesn't exist"
        if fault.may_pass or (self._was_used and fault is not StorageFault.DAMAGED):
            return StorageError(f"the {self.what} {self.path} can't be used now: {reason}")
        return ConfigurationError(f"the {self.what} {self.path} can't be used: {reason}")

    def _prepare(self, database: sqlite3.Connection) -> None:
        """Create the tables in a new file, and make a file private that others can read."""
        # Overwrites deleted rows, which hold personal data; the setting belongs to the connection.
        database.execute("PRAGMA secure_delete = ON")
        created = False
        if _marks(database) != (self.application_id, self.version):
            with database:
                # IMMEDIATE: of two processes that find an empty file, the second waits, and finds the tables.
                database.execute("BEGIN IMMEDIATE")
                found = self._version_of(database)
                created = not found
                steps = self.upgrades[found - 1 :] if found else (self.schema,)
                marks = (
                    f"PRAGMA application_id = {self.application_id}",
                    f"PRAGMA user_version = {self.version}",
                )
                for statement in (*itertools.chain.from_iterable(steps), *marks):
                    database.execute(statement)
        # Another program may have put the file into this mode, in which it would depend on a second one.
        if database.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            with contextlib.suppress(sqlite3.OperationalError):  # it still has the file open
                database.execute("PRAGMA journal_mode = DELETE")
        if not make_private(self.path, PRIVATE_FILE) and created:
            warn_of_no_permissions(self.path)

    def _version_of(self, database: sqlite3.Connection) -> int:
        """Return the version of a file of this kind; 0 if it is empty.

        Raises:
            ConfigurationError: it is something else, or of a later version.
        """
        application, version = _marks(database)
        if application == self.application_id and 1 <= version <= self.version:
            return version
        if application == self.application_id:
            raise ConfigurationError(
                f"the {self.what} {self.path} has format {version}, and this version of fullstory_async "
                f"knows only {self.version}; name another file"
            )
        if application or version or database.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise ConfigurationError(f"{self.path} is a database of something else, not a {self.what}")
        return 0


def make_private_file(path: Path) -> None:
    """Create an empty private file, unless it exists.

    It gets its name only after it is closed. SQLite's locks belong to the process and not to the connection,
    so closing a file that some thread has open through SQLite would release that thread's locks.
    """
    if path.exists():
        return
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass  # another process was faster
    except OSError:  # a file system without hard links
        _rename_unless_exists(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def _rename_unless_exists(fresh: Path, path: Path) -> None:
    """Rename a file. A lock keeps other processes from replacing the one that was renamed first."""
    until = time.monotonic() + _BUSY_SECONDS
    while not path.exists():
        try:
            lock = LockFile(path.with_name(f".{path.name}.lock"))
        except LockFileHeld as held:
            if time.monotonic() > until:
                raise OSError(errno.EAGAIN, f"{held}; if that process has ended, delete the file") from None
            time.sleep(_POLL_SECONDS)
            continue
        try:
            if not path.exists():
                fresh.replace(path)
        finally:
            lock.release()


def _marks(database: sqlite3.Connection) -> tuple[int, int]:
    """Return the kind and the format that a file records."""
    names = ("application_id", "user_version")
    application, version = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    return application, version
