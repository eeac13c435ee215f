"""A job's SQLite file: its tables, its format, and how it is opened for writing and for reading.

One transaction holds an answer together with the settling of what it cost. The tables:

* ``items``: the sessions, each once, numbered in the order in which they were added;
* ``answers`` and ``failures``: what became of a call, by item and operation; a call has one of them or neither; failures are
  numbered as they come, so that a run tells its own from those of earlier runs;
* ``purged``: fingerprints of sessions that were erased and must not come back;
* ``meta``: the plan, what was spent, what is set aside for calls that may be on their way, how many rows there are, and the secret of
  this job's fingerprints.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

from fullstory_async.errors import JobError, JobStorageError
from fullstory_async.files.private_database import make_private_file

__all__ = [
    "BUSY_SECONDS",
    "COUNT_INVALID_IDS",
    "DATABASE_NAME",
    "checkpoint_wal",
    "fetch_all",
    "has_job",
    "open_reader",
    "open_writer",
    "other_things_in",
    "replace_surrogates",
    "set_meta",
    "unusable",
]

DATABASE_NAME = "job.sqlite3"
BUSY_SECONDS = 2.0
_APPLICATION_ID = 0x46534A42
"""Tells our files from other databases: "FSJB"."""
_VERSION = 1
_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE items (seq INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL UNIQUE)",
    (
        "CREATE TABLE answers (seq INTEGER NOT NULL, operation TEXT NOT NULL, at REAL NOT NULL, attempts INTEGER NOT NULL, "
        "body BLOB NOT NULL, PRIMARY KEY (seq, operation))"
    ),
    (
        "CREATE TABLE failures (number INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER NOT NULL, operation TEXT NOT NULL, at REAL NOT NULL, attempts INTEGER NOT NULL, "
        "error TEXT NOT NULL, status INTEGER, code TEXT, message TEXT NOT NULL, may_have_cost INTEGER NOT NULL, "
        "permanent INTEGER NOT NULL, body BLOB, UNIQUE (seq, operation))"
    ),
    "CREATE TABLE purged (fingerprint TEXT PRIMARY KEY) WITHOUT ROWID",
)

COUNT_INVALID_IDS = "SELECT COUNT(DISTINCT seq) FROM failures WHERE error = 'InvalidSessionId'"
"""Counts the items that are no session ids, for which nothing is ever sent."""


def open_writer(folder: Path) -> sqlite3.Connection:
    """Open a job's file for writing, and make it if there is none. Raises `JobError`."""
    path = folder / DATABASE_NAME
    try:
        make_private_file(path)
        database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise unusable(folder, error) from None
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")  # an answer that was committed survives a power cut
        database.execute("PRAGMA secure_delete = ON")
        _look_for_damage(database, path)
        if not _is_ours(database, folder):
            database.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {_VERSION}")
            database.execute("COMMIT")
        elif (found := database.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(f"it is damaged ({found})")
    except (OSError, sqlite3.Error) as error:
        database.close()
        raise unusable(folder, error) from None
    except JobError:
        database.close()
        raise
    return database


def open_reader(folder: Path) -> sqlite3.Connection:
    """Open a job's file for reading, while it is being written perhaps. Raises `JobError`."""
    path = folder / DATABASE_NAME
    if not _is_file(path, folder):
        raise JobError(f"{folder} is no job: it has no {DATABASE_NAME}")
    # beside a log SQLite wants to write, if only to tell that it reads; where it can't, nobody else does either
    alone = (
        "" if path.with_name(path.name + "-wal").exists() or os.access(folder, os.W_OK) else "&immutable=1"
    )
    try:
        database = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro{alone}", uri=True, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise unusable(folder, error) from None
    try:
        # or SQLite refuses a file that lost its end altogether
        database.execute("PRAGMA writable_schema = ON")
        if not _is_ours(database, folder):
            raise JobError(f"{folder} is no job: its {DATABASE_NAME} is empty")
    except sqlite3.Error as error:
        database.close()
        raise unusable(folder, error) from None
    except JobError:
        database.close()
        raise
    return database


def _is_ours(database: sqlite3.Connection, folder: Path) -> bool:
    """Tell a job from an empty file; refuse anything else, and later formats."""
    application = database.execute("PRAGMA application_id").fetchone()[0]
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if application == _APPLICATION_ID and version == _VERSION:
        return True
    if application == _APPLICATION_ID:
        raise JobError(
            f"the job {folder} has format {version}, and this version of fullstory_async knows only {_VERSION}: "
            "use the version that made it, or a later one"
        )
    if application or version or database.execute("SELECT 1 FROM sqlite_master").fetchone():
        raise JobError(f"{folder / DATABASE_NAME} is a database of something else, not a job")
    return False


def _look_for_damage(database: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that has lost its end. Its log, if there is one, may hold what the file lacks."""
    size, pages = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count"))
    log = path.with_name(path.name + "-wal")
    has_log = log.exists() and log.stat().st_size > 0
    if not has_log and path.stat().st_size < size * pages:
        raise sqlite3.DatabaseError("it is cut off")


def has_job(folder: Path) -> bool:
    """Tell whether a folder holds a job that got as far as its plan; one that was killed before is as good as none."""
    path = folder / DATABASE_NAME
    if not _is_file(path, folder):
        return False
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            tables = database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
            return bool(tables and database.execute("SELECT 1 FROM meta WHERE name = 'plan'").fetchone())
    except sqlite3.Error:
        return True  # whoever opens it will say what is wrong


def other_things_in(folder: Path) -> list[str]:
    """Name what a folder holds that no job has put there."""
    ours = (DATABASE_NAME, "lock", "spare-room")
    try:
        return sorted(each.name for each in folder.iterdir() if not each.name.startswith(ours))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unusable(folder, error) from None


def _is_file(path: Path, folder: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unusable(folder, error) from None


def unusable(folder: Path, error: Exception) -> JobError:
    """Return the error that SQLite's or the operating system's stands for."""
    if "full" in str(error):
        return JobStorageError(
            f"the job {folder} can't be written: the disk is full; make room, nothing is lost"
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
    advice = "; what is intact in it can still be exported" if damaged else ""
    return JobError(f"the job {folder} can't be used: {reason}{advice}")


def fetch_all(reader: sqlite3.Connection, query: str, values: dict[str, Any]) -> list[Any]:
    """Return what a query gives. Raises `JobStorageError` if the file can't be read."""
    try:
        return reader.execute(query, values).fetchall()
    except sqlite3.Error as error:
        raise JobStorageError(f"the job can't be read: {error}") from None


def replace_surrogates(text: str) -> str:
    """Replace what SQLite can't hold: lone surrogates, which a server's message or a broken id may have."""
    return text.encode("utf-8", "replace").decode()


def set_meta(database: sqlite3.Connection, name: str, value: Any) -> None:
    """Keep a value under a name."""
    database.execute("REPLACE INTO meta VALUES (?, ?)", (name, value))


def checkpoint_wal(database: sqlite3.Connection) -> bool:
    """Bring everything into the file itself, and leave nothing of what was erased in its log; tell whether that was done."""
    # whoever waits for this waits elsewhere, and others want to write
    database.execute("PRAGMA busy_timeout = 0")
    try:
        busy = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.OperationalError:
        return False
    finally:
        database.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")
    return not busy
