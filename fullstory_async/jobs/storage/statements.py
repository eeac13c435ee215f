"""The statements that change a job's rows, each a function of an open database.

None of them knows the state in memory: `JobStore` keeps both together.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from fullstory_async.errors import FullStoryError
from fullstory_async.jobs.storage.schema import COUNT_INVALID_IDS, replace_surrogates
from fullstory_async.jobs.storage.state import Counts
from fullstory_async.jobs.storage.tasks import JobTask

__all__ = [
    "FailureRow",
    "ResponseRow",
    "count_refused",
    "count_rows",
    "delete_failure",
    "erase_item",
    "get_meta",
    "insert_failure",
    "insert_item",
    "insert_responses",
    "is_purged",
    "is_unanswered",
    "recount_rows",
    "select_known",
    "set_meta",
]

ResponseRow = tuple[int, str, float, int, bytes]
"""Item, operation, time, attempts, body."""


@attrs.frozen
class FailureRow:
    """Why a call failed."""

    error: str
    """The name of the error's class."""
    status: int | None
    code: str | None
    message: str
    attempts: int
    may_have_cost: bool
    permanent: bool

    @classmethod
    def of(cls, error: FullStoryError, *, permanent: bool) -> FailureRow:
        """Return the row of an error."""
        return cls(
            error=type(error).__name__,
            status=error.status,
            code=None if error.code is None else replace_surrogates(str(error.code)),
            message=replace_surrogates(error.message),
            attempts=error.attempts,
            may_have_cost=error.may_have_cost,
            permanent=permanent,
        )


_ROWS_PER_INSERT = 199
"""Responses that one statement inserts at most: older SQLites bind 999 values, five for each."""


def get_meta(database: sqlite3.Connection, name: str) -> Any:
    """Return the value of a name, or ``None``."""
    found = database.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if found is None else found[0]


def set_meta(database: sqlite3.Connection, **values: Any) -> None:
    """Store values under their names, with one statement."""
    rows = ", ".join(["(?, ?)"] * len(values))
    flat = [each for pair in values.items() for each in pair]
    database.execute(f"REPLACE INTO meta VALUES {rows}", flat)  # noqa: S608  (question marks)


def insert_item(database: sqlite3.Connection, session_id: str, given: bytes | None) -> int | None:
    """Insert an item with its input; return its number, or ``None`` if it exists.

    An item keeps the first input that it was given.
    """
    found = database.execute("SELECT seq FROM items WHERE session_id = ?", (session_id,)).fetchone()
    if found is None:
        insert = "INSERT INTO items (session_id, input) VALUES (?, ?)"
        return database.execute(insert, (session_id, given)).lastrowid
    if given is not None:
        database.execute("UPDATE items SET input = ? WHERE seq = ? AND input IS NULL", (given, *found))
    return None


def insert_responses(
    database: sqlite3.Connection,
    rows: Sequence[ResponseRow],
    compress: Callable[[list[bytes]], list[bytes]],
    *,
    only_missing: bool = False,
) -> None:
    """Insert responses, many with one statement.

    Each statement takes Python's lock again, and a busy event loop lets the thread wait for it. With
    ``only_missing``, those that are there already, or whose item was erased, are left out.
    """
    verb = "INSERT OR IGNORE" if only_missing else "INSERT"
    if only_missing:
        rows = [row for row in rows if _has_item(database, row[0])]
    for start in range(0, len(rows), _ROWS_PER_INSERT):
        some = rows[start : start + _ROWS_PER_INSERT]
        bodies = compress([body for *_, body in some])
        values = [value for row, body in zip(some, bodies, strict=True) for value in (*row[:-1], body)]
        marks = ", ".join(["(?, ?, ?, ?, ?)"] * len(some))
        database.execute(f"{verb} INTO answers VALUES {marks}", values)


def _has_item(database: sqlite3.Connection, seq: int) -> bool:
    return database.execute("SELECT 1 FROM items WHERE seq = ?", (seq,)).fetchone() is not None


def insert_failure(
    database: sqlite3.Connection, task: JobTask, failure: FailureRow, body: bytes | None
) -> None:
    """Insert a failure; ``body`` is a compressed response that could not be read."""
    values = (
        task.seq, task.operation, time.time(), failure.attempts, failure.error, failure.status, failure.code,
        failure.message, failure.may_have_cost, failure.permanent, body,
    )  # fmt: skip
    database.execute("INSERT INTO failures VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def delete_failure(database: sqlite3.Connection, task: JobTask) -> bool | None:
    """Delete a call's failure; return whether it was permanent, ``None`` without one."""
    call = (task.seq, task.operation)
    query = "SELECT permanent FROM failures WHERE seq = ? AND operation = ?"
    if (found := database.execute(query, call).fetchone()) is None:
        return None
    database.execute("DELETE FROM failures WHERE seq = ? AND operation = ?", call)
    return bool(found[0])


def is_purged(database: sqlite3.Connection, mark: str) -> bool:
    """Return whether the session with a fingerprint was erased."""
    return database.execute("SELECT 1 FROM purged WHERE fingerprint = ?", (mark,)).fetchone() is not None


def is_unanswered(database: sqlite3.Connection, task: JobTask) -> bool:
    """Return whether a task is one of the job, and has no response."""
    query = (
        "SELECT 1 FROM items i WHERE seq = ? AND session_id = ? AND NOT EXISTS "
        "(SELECT 1 FROM answers a WHERE a.seq = i.seq AND a.operation = ?)"
    )
    return database.execute(query, (task.seq, task.session_id, task.operation)).fetchone() is not None


def erase_item(database: sqlite3.Connection, session_id: str, mark: str) -> int | None:
    """Erase a session; return its number, or ``None`` if it wasn't there.

    Only its fingerprint stays, so that it can't be added again.
    """
    database.execute("INSERT OR IGNORE INTO purged VALUES (?)", (mark,))
    found = database.execute("SELECT seq FROM items WHERE session_id = ?", (session_id,)).fetchone()
    if found is None:
        return None
    for table in ("items", "answers", "failures"):
        database.execute(f"DELETE FROM {table} WHERE seq = ?", found)  # noqa: S608  (one of these three)
    return int(found[0])


def count_rows(database: sqlite3.Connection) -> Counts:
    """Count the rows, and read the activations that are spent."""

    def one(query: str) -> int:
        return int(database.execute(query).fetchone()[0])

    return Counts(
        items=one("SELECT COUNT(*) FROM items"),
        answered=one("SELECT COUNT(*) FROM answers"),
        failed=one("SELECT COUNT(*) FROM failures"),
        permanent=one("SELECT COUNT(*) FROM failures WHERE permanent"),
        unusable=one(COUNT_INVALID_IDS),
        spent=get_meta(database, "spent"),
        at_risk=get_meta(database, "at_risk") or 0,
    )


def recount_rows(database: sqlite3.Connection, counts: Counts) -> Counts:
    """Count the rows again; the activations stay as they are, since the file has those of the last commit."""
    return attrs.evolve(count_rows(database), spent=counts.spent, at_risk=counts.at_risk)


def select_known(database: sqlite3.Connection, session_ids: Sequence[str]) -> set[str]:
    """Return those of some ids that the job has."""
    query = "SELECT 1 FROM items WHERE session_id = ?"
    return {each for each in session_ids if database.execute(query, (each,)).fetchone()}


def count_refused(database: sqlite3.Connection) -> int:
    """Return the number of calls that were made and have failed permanently, as with a 404 or 400."""
    query = "SELECT COUNT(*) FROM failures WHERE permanent AND attempts > 0"
    return int(database.execute(query).fetchone()[0])
