"""RecordReader: reads a job's file as records, while it is being written or years later."""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fullstory_async.activations import Activations
from fullstory_async.errors import JobError
from fullstory_async.files.compression import CorruptRecord
from fullstory_async.files.storage_faults import SQLITE_ERRORS
from fullstory_async.jobs.plan import JobEstimate, JobPlan, estimate_within_budget
from fullstory_async.jobs.storage.backup import back_up
from fullstory_async.jobs.storage.completeness import Loss, evidence_of, loss_in
from fullstory_async.jobs.storage.inputs import column_names, read_names
from fullstory_async.jobs.storage.lock import LOCK_NAME, lock_holder
from fullstory_async.jobs.storage.records import JobStatus, Record
from fullstory_async.jobs.storage.recovery import RecoveryScan
from fullstory_async.jobs.storage.schema import (
    DATABASE_NAME,
    RESERVED,
    absolute_folder,
    as_job_error,
    fingerprint,
    open_reader,
    read_meta,
    replace_surrogates,
)
from fullstory_async.jobs.storage.state import Counts
from fullstory_async.jobs.storage.statements import count_rows, get_meta
from fullstory_async.session_id import SessionId

__all__ = ["RecordReader"]


class RecordReader:
    """Reads a job's folder. Its database is opened for each pass, and never written."""

    folder: Path
    plan: JobPlan
    input_columns: dict[str, str]
    """Column of the tables that the ids came from → its name in an export, such as ``input_ticket``."""
    damaged: int
    """Sessions that the last pass could not read, completely or partly; known at its end."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open a job. Raises `JobError` if there is none, or if its format is a later one."""
        self.folder = absolute_folder(folder)
        self.damaged = 0
        meta, self._loss = self._load()
        try:
            self.plan = JobPlan.from_json(meta["plan"])
            self.secret: str = meta["secret"]
            self.spent: int = meta["spent"]
            names = read_names(meta.get("input_columns"))
            self.input_columns, self._lacks_names = column_names(names or ()), names is None
            # the name in the file, which existing jobs have
            self.organisation: str | None = meta.get("account")
            self.input_complete: bool = meta.get("input_complete") != 0
        except (KeyError, ValueError, TypeError) as error:
            raise JobError(f"the job {folder} is damaged at its root: {error}") from None

    def _load(self) -> tuple[dict[str, Any], Loss | None]:
        """Return the job's ``meta``, and what the file lacks."""
        meta, loss = self._compare()
        # Again: between the first two steps, another process may have made the record of an older job.
        return (meta, loss) if loss is None else self._compare()

    def _compare(self) -> tuple[dict[str, Any], Loss | None]:
        evidence = evidence_of(self.folder)
        with self._opened() as database:
            meta = read_meta(database)
        return meta, loss_in(meta, evidence)

    @property
    def missing(self) -> str | None:
        """What the job's file lacks, as in "lacks its last 3 commits"; ``None`` if it is complete.

        The log of a process that was killed may be lost or damaged, or only a part of the folder was copied.
        """
        return None if self._loss is None else self._loss.describe()

    def check_complete(self) -> None:
        """Raise `JobIncompleteError` if the job's file lacks commits, and so can't be run."""
        if self._loss is not None:
            raise self._loss.refusal(self.folder)

    def backup(self, target: str | os.PathLike[str]) -> Path:
        """Copy the job to a new folder, also while another process runs it; return the folder.

        The copy is complete as of one moment. What was reserved for calls in flight counts as spent in it. A
        rescue file that the program named is not copied.

        Args:
            target: the folder; it must not exist.

        Raises:
            ConfigurationError: the target exists, or its parent doesn't.
            JobIncompleteError: the job's file lacks commits.
            JobError: the job is damaged, or the target can't be written.
        """
        self.check_complete()
        return back_up(self.folder, target)

    def estimate(
        self,
        plan: JobPlan,
        ids: Iterable[SessionId | str] = (),
        *,
        retry_failed: bool = False,
        rate: float = math.inf,
        charges: int = 1,
    ) -> JobEstimate:
        """Estimate a run with more ids, or with a plan that has grown. Changes nothing.

        Args:
            plan: the plan, perhaps a grown one.
            ids: further ids. Each text that isn't a `SessionId` counts as one that fails without a call.
            retry_failed: as for `Job.run`.
            rate: calls per second.
            charges: the most activations that a call may cost, see `RetryPolicy.max_charges_per_call`.

        Raises:
            JobError: the plan changes what is done, or the job can't be read.
        """
        plan = self.plan.grown_to(plan)
        status = self.status()
        new, invalid = self._count_new(ids)
        sessions, operations = status.sessions + new, len(plan.operations)
        # Invalid ids never cost a call, though their failures are left for `retry_failed`.
        never = invalid + (self._counts()[0].unusable if retry_failed else 0)
        settled = operations * never + status.done + (0 if retry_failed else status.permanent)
        # what another process has reserved is perhaps not free again when this run begins
        spent = status.spent + status.reserved
        return estimate_within_budget(plan, sessions, sessions * operations - settled, spent, rate, charges)

    def _count_new(self, ids: Iterable[SessionId | str]) -> tuple[int, int]:
        """Count the ids that aren't in the job, and those of them that are invalid."""
        known = (
            "SELECT EXISTS(SELECT 1 FROM items WHERE session_id = ?) "
            "OR EXISTS(SELECT 1 FROM purged WHERE fingerprint = ?)"
        )
        new = invalid = 0
        with self._opened() as database:
            for each in ids:
                name = replace_surrogates(each)
                if not database.execute(known, (name, fingerprint(self.secret, name))).fetchone()[0]:
                    new += 1
                    invalid += not isinstance(each, SessionId)
        return new, invalid

    def status(self) -> JobStatus:
        """Count the job's rows. Raises `JobError` if it can't be read."""
        # asked first: a process that ends after it has settled its reservations
        holder = lock_holder(self.folder / LOCK_NAME)
        counts, activations = self._counts()
        if holder is None:
            activations = activations.settled()
        if self._loss is not None:
            most = max(self._loss.spent, activations.spent + activations.reserved)
            activations = Activations(
                activations.spent, activations.at_risk, most - activations.spent
            ).settled()
        calls = counts.items * len(self.plan.operations)
        return JobStatus(
            plan=self.plan,
            sessions=counts.items,
            calls=calls,
            done=counts.answered,
            failed=counts.failed,
            permanent=counts.permanent,
            left=calls - counts.answered - counts.permanent,
            spent=activations.spent,
            at_risk=activations.at_risk,
            reserved=activations.reserved,
            holder=holder,
            missing=self.missing,
        )

    def _counts(self) -> tuple[Counts, Activations]:
        """Count the rows and the activations at one moment."""
        with self._opened() as database:
            # in one transaction: a call that is settled between two reads would be missing in both
            database.execute("BEGIN")
            try:
                counts = count_rows(database)
                reserved = get_meta(database, RESERVED) or 0
                return counts, Activations(*map(int, (counts.spent, counts.at_risk, reserved)))
            except (ValueError, TypeError) as error:
                raise JobError(f"the job {self.folder} can't be read: {error}") from None

    def records(self, *, with_bodies: bool | str = True) -> Generator[Record, None, None]:
        """Yield every intact item, and count the damaged ones in `damaged`."""
        self.damaged = 0
        database = open_reader(self.folder)
        scan = RecoveryScan(database, (self.folder / DATABASE_NAME).stat().st_size)
        try:
            yield from scan.records(with_bodies=with_bodies)
        finally:
            lost = 0 if self._loss is None else self._loss.unreadable
            self.damaged = max(scan.damaged, lost, int(self._lacks_names))
            database.close()

    def record_of(self, session_id: SessionId, *, with_bodies: bool | str = True) -> Record | None:
        """Return the item of one session; None if the job doesn't have it.

        Raises:
            JobError: it is damaged, or the job can't be read.
        """
        with self._opened() as database:
            scan = RecoveryScan(database, (self.folder / DATABASE_NAME).stat().st_size)
            try:
                return scan.find(session_id, with_bodies=with_bodies)
            except CorruptRecord as error:
                raise JobError(f"the session {session_id} in {self.folder} is damaged: {error}") from None

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        database = open_reader(self.folder)
        try:
            yield database
        except SQLITE_ERRORS as error:
            raise as_job_error(self.folder, error) from None
        finally:
            database.close()
