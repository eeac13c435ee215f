"""Completeness: whether a job's file holds every commit that was made to it.

Three numbers are compared, which don't depend on the log that may be missing:

* ``commits`` in the database counts its commits; the `CommitRecord` beside it has the number that it must
  reach.
* ``unclean`` is put into the main file, through a checkpoint, before a run commits anything, and is removed
  when the job is closed. An unclean file without a record, or with the one of an earlier run, is a copy
  without its log, or half of a copy. So is one without a log whose record is older than itself.
* ``spent_ceiling``, also kept in the main file, is never smaller than what is spent or reserved. It is raised
  in large steps, each with a checkpoint. So even a main file alone has an upper bound of what was spent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs

from fullstory_async.amounts import counted
from fullstory_async.errors import JobIncompleteError
from fullstory_async.files.storage_faults import SQLITE_ERRORS
from fullstory_async.jobs.storage.commit_record import Committed, current_boot, read_record
from fullstory_async.jobs.storage.schema import (
    CEILING,
    COMMITS,
    DATABASE_NAME,
    RESERVED,
    RUN,
    UNCLEAN,
    as_job_error,
    close_on_error,
    has_job,
    has_log,
    open_reader,
    read_meta,
)

__all__ = [
    "Evidence",
    "Loss",
    "check_integrity",
    "committed_in_file",
    "evidence_of",
    "find_loss",
    "loss_in",
    "most_spent",
    "number_in",
]


@attrs.frozen
class Loss:
    """Commits that a job's file lacks."""

    commits: int | None
    """How many; ``None`` if nothing says it."""
    responses: int | None
    """Responses in them; ``None`` if nothing says it."""
    spent: int
    """Activations that may have been spent, the lost ones included: an upper bound."""

    @property
    def unreadable(self) -> int:
        """Sessions that can't be read for that reason; 1 if their number is unknown."""
        return self.responses or 1

    def describe(self) -> str:
        """Return what is missing, as a sentence without its subject."""
        if self.commits is None or self.responses is None:
            return "lacks commits, nothing says how many"
        return f"lacks its last {counted(self.commits, 'commit')}, with {counted(self.responses, 'response')}"

    def refusal(self, folder: Path) -> JobIncompleteError:
        """Return the error for opening the job for writing."""
        return JobIncompleteError(
            f"the job {folder} {self.describe()}: its log ({DATABASE_NAME}-wal) is missing or damaged, or "
            "not all of its files were copied. Put the complete folder back if you have it. What is there "
            "can be read and exported. To continue without the rest: "
            f"fullstory-async job accept-loss {folder} (Job.open(…, accept_loss=True)); "
            f"{self.spent} activations count as spent then"
        )


@attrs.frozen
class Evidence:
    """The commits that a database must hold, from where its log can't hide them."""

    record: Committed | None
    """Its record."""
    file: Committed | None
    """The main file alone, if there is a log: an older log, put beside it, would hide newer pages of it."""
    has_log: bool


def evidence_of(folder: Path) -> Evidence:
    """Read what a database must hold; before the database, which may get further commits meanwhile.

    Raises:
        JobError: it can't be read.
    """
    path = folder / DATABASE_NAME
    try:
        record = read_record(path)
        is_logged = has_log(path)  # second: a commit that the record lacks is in it
        return Evidence(record, committed_in_file(path) if is_logged else None, is_logged)
    except OSError as error:
        raise as_job_error(folder, error) from None


def find_loss(folder: Path) -> Loss | None:
    """Return what a job's file lacks, without changing anything.

    Raises:
        JobIncompleteError: the file itself is missing, and something of the job is still there.
    """
    path, evidence = folder / DATABASE_NAME, evidence_of(folder)
    try:
        is_empty = not path.exists() or path.stat().st_size == 0
        hides_log = is_empty and has_log(path)
    except OSError as error:
        raise as_job_error(folder, error) from None
    meta = None if is_empty else _read_meta(folder)
    is_recorded = evidence.record is not None and evidence.record.commits > 0
    if meta is None and (is_recorded or hides_log):
        # Opening it would create an empty job, and SQLite would delete the log.
        raise JobIncompleteError(
            f"the job {folder} has lost its {DATABASE_NAME}, but other files of it are there: put the "
            "complete folder back, or start again in a new folder"
        )
    return None if meta is None else loss_in(meta, evidence)


def loss_in(meta: Mapping[str, Any], evidence: Evidence) -> Loss | None:
    """Return what a database lacks."""
    commits, record = number_in(meta, COMMITS), evidence.record
    is_older = record is None or (record.commits <= commits and not record.is_of(meta.get(RUN)))
    # A commit that the record lacks, since its process was killed between the two, is still in the log.
    is_older = is_older or (not evidence.has_log and record is not None and record.commits < commits)
    if is_older and number_in(meta, UNCLEAN):
        in_file = 0 if evidence.file is None else evidence.file.spent
        return Loss(None, None, max(most_spent(meta), in_file))
    found = [each for each in (evidence.record, evidence.file) if each is not None]
    known = max(found, key=lambda each: each.commits, default=None)
    if known is None or known.commits <= commits:
        return None
    # After a restart of the machine the record itself may lack the last second.
    is_exact = known.boot and known.boot == current_boot()
    spent = max(known.spent, _used(meta) if is_exact else most_spent(meta))
    return Loss(known.commits - commits, max(0, known.answered - number_in(meta, "answered")), spent)


def committed_in_file(path: Path) -> Committed | None:
    """Return the last commit in a main file without its log; ``None`` if it can't be read so."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            meta = read_meta(database)
    except SQLITE_ERRORS:  # a part of it is in the log alone, or a checkpoint writes it just now
        return None
    commits, items, answered = (number_in(meta, name) for name in (COMMITS, "items", "answered"))
    return Committed(commits, most_spent(meta), items, answered)


def most_spent(meta: Mapping[str, Any]) -> int:
    """Return an upper bound of what was spent, even if the last commits are missing."""
    return max(_used(meta), number_in(meta, CEILING))


def _used(meta: Mapping[str, Any]) -> int:
    return number_in(meta, "spent") + number_in(meta, RESERVED)


def number_in(meta: Mapping[str, Any], name: str) -> int:
    """Return a number of ``meta``; 0 if an older version wrote the file, or if it is damaged."""
    value = meta.get(name)
    return value if isinstance(value, int) else 0


def check_integrity(folder: Path) -> None:
    """Raise `JobError` if a job's file is damaged. Changes nothing."""
    database = open_reader(folder)
    with close_on_error(database, folder):
        # The tolerance of readers would hide damage.
        database.execute("PRAGMA writable_schema = OFF")
        if (found := database.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(f"it is damaged ({found})")
    database.close()


def _read_meta(folder: Path) -> dict[str, Any] | None:
    """Return the numbers of a database; ``None`` if it has none."""
    if not has_job(folder):
        return None
    database = open_reader(folder)
    try:
        return read_meta(database)
    except SQLITE_ERRORS as error:
        raise as_job_error(folder, error) from None
    finally:
        database.close()
