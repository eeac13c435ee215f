"""A job's SQLite file: its tables, its format, and how it is opened.

A response and the settlement of its cost are always in one transaction. The tables:

* ``items``: the sessions, each once, numbered in the order in which they were added, with their `inputs`;
* ``answers`` and ``failures``: the result of a call, by item and operation. A call has a row in one of them
  or in neither. Failures are numbered in the order of time, so that a run can tell its own from those of
  earlier runs;
* ``purged``: fingerprints of sessions that were erased and must never be fetched again;
* ``meta``: the plan, the activations spent, the activations reserved for calls that may be in flight, the
  number of rows, the secret of this job's fingerprints, and what says whether the file is complete and who
  may write it (`completeness`, `ownership`).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from fullstory_async.errors import ConfigurationError, JobError, JobStorageError
from fullstory_async.files.file_system import lacks_sqlite_locks
from fullstory_async.files.private_database import make_private_file
from fullstory_async.files.storage_faults import SQLITE_ERRORS, StorageFault, describe_fault, fault_of
from fullstory_async.jobs.storage.lock import LOCK_NAME

__all__ = [
    "BUSY_SECONDS",
    "CEILING",
    "COMMITS",
    "COUNT_INVALID_IDS",
    "DATABASE_NAME",
    "RESERVED",
    "RESERVE_NAME",
    "RUN",
    "UNCLEAN",
    "absolute_folder",
    "as_job_error",
    "backfill_wal",
    "checkpoint_wal",
    "close_on_error",
    "fetch_all",
    "fingerprint",
    "foreign_files",
    "has_job",
    "has_log",
    "log_path",
    "new_secret",
    "open_reader",
    "open_writer",
    "read_meta",
    "replace_surrogates",
    "set_checkpoints",
]

DATABASE_NAME = "job.sqlite3"
BUSY_SECONDS = 2.0
_CHECKPOINT_PAGES = 1000
"""SQLite's own default."""
# The names on disk are older than those in the code. They stay, since every existing job has them.
RESERVE_NAME = "spare-room"
"""The disk reserve, see `GroupCommitWriter`."""
RESERVED = "set_aside"
"""The name in ``meta`` of the activations that are reserved for calls that may be in flight."""

COMMITS = "commits"
"""The name in ``meta`` of the number of commits. This name and the next three are missing in older files."""
UNCLEAN = "unclean"
"""The name of the mark that a job was opened, and not closed since."""
CEILING = "spent_ceiling"
"""The name of an upper bound of the activations that are spent or reserved."""
RUN = "run"
"""The name of the token of the last opening, see `fullstory_async.jobs.storage.ownership`."""

_APPLICATION_ID = 0x46534A42
"""Distinguishes our files from other databases: "FSJB"."""
_VERSION = 1
_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE items (seq INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL UNIQUE, input BLOB)",
    (
        "CREATE TABLE answers (seq INTEGER NOT NULL, operation TEXT NOT NULL, at REAL NOT NULL, "
        "attempts INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (seq, operation))"
    ),
    (
        "CREATE TABLE failures (number INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER NOT NULL, "
        "operation TEXT NOT NULL, at REAL NOT NULL, attempts INTEGER NOT NULL, "
        "error TEXT NOT NULL, status INTEGER, code TEXT, message TEXT NOT NULL, "
        "may_have_cost INTEGER NOT NULL, permanent INTEGER NOT NULL, body BLOB, UNIQUE (seq, operation))"
    ),
    "CREATE TABLE purged (fingerprint TEXT PRIMARY KEY) WITHOUT ROWID",
)

COUNT_INVALID_IDS = "SELECT COUNT(DISTINCT seq) FROM failures WHERE error = 'InvalidSessionId'"
"""Counts the items that aren't session ids, for which nothing is ever sent."""


def absolute_folder(folder: str | os.PathLike[str]) -> Path:
    """Return a job folder that stays the same when the program changes its working directory.

    Raises:
        ConfigurationError: it isn't a path.
        JobError: the working directory is gone.
    """
    if not isinstance(folder, (str, os.PathLike)) or "\0" in str(folder):
        raise ConfigurationError(f"the job's folder must be a path, not {folder!r}")
    try:
        return Path(folder).absolute()
    except OSError as error:
        raise as_job_error(Path(folder), error) from None


def open_writer(folder: Path) -> sqlite3.Connection:
    """Open a job's file for writing; create it if it is missing. Raises `JobError`."""
    path = folder / DATABASE_NAME
    try:
        make_private_file(path)
        database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise as_job_error(folder, error) from None
    with close_on_error(database, folder):
        # WAL: a reader, such as an export, never waits for the writer, nor the writer for it.
        database.execute("PRAGMA journal_mode = WAL")
        # FULL: a committed response survives a power failure; with NORMAL the last commits could be lost.
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA secure_delete = ON")
        _check_truncated(database, path)
        if not _is_ours(database, folder):
            database.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {_VERSION}")
            database.execute("COMMIT")
        elif (found := database.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(f"it is damaged ({found})")
    return database


def open_reader(folder: Path) -> sqlite3.Connection:
    """Open a job's file for reading. Raises `JobError`."""
    path = folder / DATABASE_NAME
    if not _is_file(path, folder):
        if not folder.exists():
            raise JobError(f"there is no folder {folder}")
        raise JobError(f"{folder} is not a job: it has no {DATABASE_NAME}")
    # A reader of a WAL file writes to its index. Where it can't, no other process can either, so the file is
    # immutable; where a log exists, it must be read too, which `immutable` would skip.
    is_immutable = not log_path(path).exists() and not os.access(folder, os.W_OK)
    database = _connect_reader(folder, immutable=is_immutable)
    with close_on_error(database, folder):
        try:
            database.execute("PRAGMA application_id").fetchone()
        except sqlite3.OperationalError as error:
            # A file system without locks or shared memory: a job without a log is read without.
            if not lacks_sqlite_locks(error) or has_log(path):
                raise
            database.close()
            database = _connect_reader(folder, immutable=True)
    with close_on_error(database, folder):
        if not _is_ours(database, folder):
            raise JobError(f"{folder} is not a job: its {DATABASE_NAME} is empty")
    return database


def _connect_reader(folder: Path, *, immutable: bool) -> sqlite3.Connection:
    uri = f"{(folder / DATABASE_NAME).resolve().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
    try:
        database = sqlite3.connect(uri, uri=True, check_same_thread=False)
    except sqlite3.Error as error:
        raise as_job_error(folder, error) from None
    with close_on_error(database, folder):
        # Without this, SQLite refuses to read any page of a file that is truncated.
        database.execute("PRAGMA writable_schema = ON")
    return database


@contextmanager
def close_on_error(database: sqlite3.Connection, folder: Path) -> Iterator[None]:
    """Close a connection if the block fails, and raise what happened as a `JobError`."""
    try:
        yield
    except BaseException as error:
        database.close()
        if isinstance(error, (OSError, *SQLITE_ERRORS)):
            raise as_job_error(folder, error) from None
        # Only a damaged file holds values of a wrong type.
        if isinstance(error, (ValueError, TypeError)):
            raise JobError(f"the job {folder} is damaged at its root: {error}") from None
        raise


def _is_ours(database: sqlite3.Connection, folder: Path) -> bool:
    """Return whether a file is a job; False if it is empty.

    Raises:
        JobError: it is something else, or of a later format.
    """
    application = database.execute("PRAGMA application_id").fetchone()[0]
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if application == _APPLICATION_ID and version == _VERSION:
        return True
    if application == _APPLICATION_ID:
        raise JobError(
            f"the job {folder} has format {version}, and this version of fullstory_async knows only "
            f"{_VERSION}: use the version that made it, or a later one"
        )
    if application or version or database.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise JobError(f"{folder / DATABASE_NAME} is a database of something else, not a job")
    return False


def _check_truncated(database: sqlite3.Connection, path: Path) -> None:
    """Reject a file that has lost its end, unless its log may hold the missing pages."""
    size, pages = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count"))
    if not has_log(path) and path.stat().st_size < size * pages:
        raise sqlite3.DatabaseError("it is cut off")


def log_path(path: Path) -> Path:
    """Return the log of a database, which holds the commits that aren't in the file yet."""
    return path.with_name(f"{path.name}-wal")


def has_log(path: Path) -> bool:
    """Return whether a database has a log with commits. Raises `OSError`."""
    log = log_path(path)
    return log.exists() and log.stat().st_size > 0


def read_meta(database: sqlite3.Connection) -> dict[str, Any]:
    """Return all of ``meta``."""
    return dict(database.execute("SELECT name, value FROM meta").fetchall())


def has_job(folder: Path) -> bool:
    """Return whether a folder holds a job, which has a plan from its first commit on."""
    path = folder / DATABASE_NAME
    if not _is_file(path, folder):
        return False
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            tables = database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
            return bool(tables and database.execute("SELECT 1 FROM meta WHERE name = 'plan'").fetchone())
    except SQLITE_ERRORS:
        return True  # opening it raises the error that explains what is wrong


def foreign_files(folder: Path) -> list[str]:
    """Return the names of a folder's files that don't belong to a job."""
    ours = (DATABASE_NAME, LOCK_NAME, RESERVE_NAME)
    try:
        return sorted(each.name for each in folder.iterdir() if not each.name.startswith(ours))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise as_job_error(folder, error) from None


def _is_file(path: Path, folder: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise as_job_error(folder, error) from None


def as_job_error(folder: Path, error: Exception, *, name: str = DATABASE_NAME) -> JobError:
    """Convert an error of SQLite or of the operating system; ``name`` is the file's."""
    fault = fault_of(error, folder / name)
    if fault is StorageFault.FULL:
        return JobStorageError(
            f"the job {folder} can't be written: the disk is full; make room, nothing is lost"
        )
    advice = "; what is intact in it can still be exported" if fault is StorageFault.DAMAGED else ""
    kind = JobStorageError if fault.may_pass else JobError
    return kind(f"the job {folder} can't be used: {describe_fault(error, fault)}{advice}")


def fetch_all(reader: sqlite3.Connection, query: str, values: dict[str, Any]) -> list[Any]:
    """Return all rows of a query. Raises `JobStorageError` if the file can't be read."""
    try:
        return reader.execute(query, values).fetchall()
    except SQLITE_ERRORS as error:
        raise JobStorageError(f"the job can't be read: {error}") from None


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which SQLite can't store.

    Messages of a server and invalid ids may have them.
    """
    return text.encode("utf-8", "replace").decode()


def checkpoint_wal(database: sqlite3.Connection) -> bool:
    """Empty the log into the file; return whether it was done.

    A log that isn't empty may still hold erased sessions.
    """
    # No waiting here, which would hold up all other changes: the caller tries again.
    database.execute("PRAGMA busy_timeout = 0")
    try:
        busy = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.OperationalError:
        return False
    finally:
        database.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")
    return not busy


def backfill_wal(database: sqlite3.Connection) -> bool:
    """Copy the log into the file, without waiting for readers; return whether all of it was copied."""
    try:
        _, pages, done = database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.Error:  # the log keeps everything, and the next commit tries again
        return False
    return bool(pages == done)


def set_checkpoints(database: sqlite3.Connection, *, automatic: bool) -> None:
    """Let SQLite copy the log into the file after large commits, as it does by default, or not."""
    database.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES if automatic else 0}")


def new_secret() -> str:
    """Return a random secret for the fingerprints of one job."""
    return secrets.token_hex(16)


def fingerprint(secret: str, text: str) -> str:
    """Return a keyed hash of personal data: 16 hexadecimal digits.

    Without the secret, the text can't be guessed from it, nor compared with another job's.
    """
    return hmac.new(secret.encode(), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:16]
