"""Ownership: the run that may write a job's rows, as the database itself knows it.

The lock keeps a second process out only while its file stays in place. So each opening writes a token into
the database, and each transaction compares it. A process whose token was replaced has lost the job. It starts
no further call, but the responses of its calls in flight are paid for, and the process that took over has
counted them as spent: it adds those that the job lacks. As it counts a commit for them, the other process
notices, and counts the rows again.
"""

from __future__ import annotations

import enum
import secrets
import sqlite3
from pathlib import Path

from fullstory_async.errors import JobLockedError
from fullstory_async.files.lock_file import Holder
from fullstory_async.jobs.storage.schema import COMMITS, RUN
from fullstory_async.jobs.storage.state import StoreState
from fullstory_async.jobs.storage.statements import recount_rows

__all__ = ["Sharing", "new_run", "owner_of", "recount", "taken_over"]

_SEPARATOR = ", run "


class Sharing(enum.Enum):
    """Who writes a job's database."""

    ALONE = enum.auto()
    SHARED = enum.auto()
    """This process; another one that has lost the job adds the responses that it still receives."""
    TAKEN_OVER = enum.auto()
    """Another process: this one has lost the job."""


def new_run() -> str:
    """Return a token of this process: a text that names it, and that no other opening has."""
    return f"{Holder.this_process()}{_SEPARATOR}{secrets.token_hex(8)}"


def taken_over(folder: Path, owner: object) -> JobLockedError:
    """Return the error of a process that has lost a job to the owner of a token."""
    name = owner.split(_SEPARATOR)[0] if isinstance(owner, str) else "another process"
    return JobLockedError(
        f"the job {folder} was opened by {name} while this process had it open: its lock file was removed or "
        "replaced. This process has stopped; the responses that it still receives are kept"
    )


def owner_of(database: sqlite3.Connection) -> tuple[object, int]:
    """Return the token of the last opening, and the number of the last commit."""
    query = "SELECT name, value FROM meta WHERE name IN (?, ?)"
    found = dict(database.execute(query, (RUN, COMMITS)).fetchall())
    return found.get(RUN), found.get(COMMITS, 0)


def recount(database: sqlite3.Connection, state: StoreState) -> None:
    """Bring a state's counts in line with rows that another process has written, too.

    What is spent stays: the other process's calls were counted when it lost the job.
    """
    database.execute(
        "DELETE FROM failures WHERE NOT EXISTS (SELECT 1 FROM items i WHERE i.seq = failures.seq) OR EXISTS "
        "(SELECT 1 FROM answers a WHERE a.seq = failures.seq AND a.operation = failures.operation)"
    )
    state.counts = recount_rows(database, state.counts)
