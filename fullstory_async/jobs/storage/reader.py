"""JobReader: what a job holds, read while it is being written or years later."""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import attrs

from fullstory_async.codec import decode_events, decode_summary
from fullstory_async.concurrency import run_in_thread
from fullstory_async.errors import DecodeError, JobError
from fullstory_async.jobs.plan import EVENTS, SUMMARY, JobEstimate, JobPlan, estimate_within_budget
from fullstory_async.jobs.storage.fingerprints import fingerprint
from fullstory_async.jobs.storage.lock import LOCK_NAME, lock_holder
from fullstory_async.jobs.storage.records import JobFailure, Record
from fullstory_async.jobs.storage.recovery import RecoveryScan
from fullstory_async.jobs.storage.schema import (
    COUNT_INVALID_IDS,
    DATABASE_NAME,
    open_reader,
    replace_surrogates,
    unusable,
)
from fullstory_async.messages import Response
from fullstory_async.models import SessionEvents, SessionSummary
from fullstory_async.session_id import SessionId

__all__ = ["JobReader", "JobResult", "JobStatus"]

T = TypeVar("T")

_TAKEN = 50
_TAKEN_BYTES = 1_000_000
"""Records that a thread hands over at a time: so many, or fewer if their answers are so large together."""


@attrs.frozen(kw_only=True)
class JobResult:
    """One session of a job."""

    session_id: str
    """The session."""
    events: SessionEvents | None = None
    """Its events, if they were fetched."""
    summary: SessionSummary | None = None
    """Its summary, if it was generated."""
    failures: tuple[JobFailure, ...] = ()
    """What failed; a call that is neither here nor above has not been made yet."""


@attrs.frozen(kw_only=True)
class JobStatus:
    """How a job stands."""

    plan: JobPlan
    sessions: int
    calls: int
    """Calls of the whole job."""
    done: int
    """Answers."""
    failed: int
    """Failures; those with a passing reason are left to be made again."""
    permanent: int
    """Failures that are tried again only when asked."""
    left: int
    """Calls that are still to be made."""
    spent: int
    """Activations that were spent, or may have been."""
    set_aside: int
    """Activations of calls that are on their way, or were when the process died."""
    holder: str | None
    """The process that has the job open; ``None`` if none has."""


class JobReader:
    """Reads a job's folder. Its database is opened for each pass, and never written."""

    folder: Path
    plan: JobPlan
    damaged: int
    """How many sessions the last pass could not read, in whole or in part; known when it is over."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Look at a job. Raises `JobError` if there is none, or its format is a later one."""
        self.folder = Path(folder)
        self.damaged = 0
        database = open_reader(self.folder)
        try:
            meta = dict(database.execute("SELECT name, value FROM meta"))
            self.plan = JobPlan.from_json(meta["plan"])
            self.secret: str = meta["secret"]
            self.spent: int = meta["spent"]
            self.input_complete: bool = meta.get("input_complete") != 0
        except (sqlite3.Error, KeyError, ValueError, TypeError) as error:
            raise JobError(f"the job {folder} is damaged at its root: {error}") from None
        finally:
            database.close()

    def count(self, query: str) -> int:
        """Return the number that a query gives."""
        database = open_reader(self.folder)
        try:
            return int(database.execute(query).fetchone()[0])
        except sqlite3.Error as error:
            raise unusable(self.folder, error) from None
        except (ValueError, TypeError) as error:
            raise JobError(f"the job {self.folder} can't be read: {error}") from None
        finally:
            database.close()

    def estimate(
        self,
        plan: JobPlan,
        ids: Iterable[SessionId | str] = (),
        *,
        retry_failed: bool = False,
        rate: float = math.inf,
        charges: int = 1,
    ) -> JobEstimate:
        """Tell what a run by a plan that has grown, with more ids, would come to; nothing is changed.

        Args:
            plan: the plan, perhaps a grown one.
            ids: further ids. Texts among them that are no `SessionId` count as such that fail without a call.
            retry_failed: as for `Job.run`.
            rate: calls a second.
            charges: how many activations a call may cost, as `RetryPolicy.max_charges_per_call` tells.

        Raises:
            JobError: the plan changes what is done, or the job can't be read.
        """
        plan = self.plan.grown_to(plan)
        status = self.status()
        database = open_reader(self.folder)
        known = "SELECT EXISTS(SELECT 1 FROM items WHERE session_id = ?) OR EXISTS(SELECT 1 FROM purged WHERE fingerprint = ?)"
        new = bad = 0
        try:
            for each in ids:
                name = replace_surrogates(each)
                if not database.execute(known, (name, fingerprint(self.secret, name))).fetchone()[0]:
                    new += 1
                    bad += not isinstance(each, SessionId)
        except sqlite3.Error as error:
            raise unusable(self.folder, error) from None
        finally:
            database.close()
        sessions, operations = status.sessions + new, len(plan.operations)
        never = bad + (self.count(COUNT_INVALID_IDS) if retry_failed else 0)
        settled = operations * never + status.done + (0 if retry_failed else status.permanent)
        spent = status.spent + status.set_aside
        return estimate_within_budget(plan, sessions, sessions * operations - settled, spent, rate, charges)

    def status(self) -> JobStatus:
        """Count what the job holds. Raises `JobError` if it can't be read."""
        operations = len(self.plan.operations)
        items = self.count("SELECT COUNT(*) FROM items")
        answered = self.count("SELECT COUNT(*) FROM answers")
        permanent = self.count("SELECT COUNT(*) FROM failures WHERE permanent")
        return JobStatus(
            permanent=permanent,
            plan=self.plan, sessions=items, calls=items * operations, done=answered,
            failed=self.count("SELECT COUNT(*) FROM failures"), left=items * operations - answered - permanent,
            spent=self.count("SELECT value FROM meta WHERE name = 'spent'"),
            set_aside=self.count("SELECT COALESCE(MAX(value), 0) FROM meta WHERE name = 'set_aside'"),
            holder=lock_holder(self.folder / LOCK_NAME),
        )  # fmt: skip

    async def results(self) -> AsyncIterator[JobResult]:
        """Give every session's answers and failures, typed, in the order in which the ids were added."""
        iterator = self.records()
        try:
            while (records := await run_in_thread(_take, iterator)) != []:
                for record in records:
                    yield self._typed(record)
        finally:
            await run_in_thread(iterator.close)  # type: ignore[attr-defined]

    async def failures(self) -> AsyncIterator[JobFailure]:
        """Give every failure, in the order in which the ids were added."""
        iterator = self.records(with_bodies=False)
        try:
            while (records := await run_in_thread(_take, iterator)) != []:
                for record in records:
                    for failure in record.failures.values():
                        yield failure
        finally:
            await run_in_thread(iterator.close)  # type: ignore[attr-defined]

    def records(self, *, with_bodies: bool = True) -> Iterator[Record]:
        """Give every item; of a damaged database those that are intact, counting the others in `damaged`."""
        self.damaged = 0
        database = open_reader(self.folder)
        found = RecoveryScan(database, (self.folder / DATABASE_NAME).stat().st_size)
        try:
            yield from found.records(with_bodies=with_bodies)
        finally:
            self.damaged = found.damaged
            database.close()

    def _typed(self, record: Record) -> JobResult:
        failures = list(record.failures.values())

        def decoded(operation: str, decode: Callable[[Response], T]) -> T | None:
            if operation not in record.bodies:
                return None
            try:
                return decode(Response(status=200, body=record.bodies[operation]))
            except DecodeError as error:
                failures.append(record.unreadable(operation, error))
                return None

        events = decoded(EVENTS, lambda response: decode_events(response, SessionId(record.session_id)))
        summary = decoded(
            SUMMARY,
            lambda response: decode_summary(response, SessionId(record.session_id), self.plan.summary),
        )
        return JobResult(
            session_id=record.session_id, events=events, summary=summary, failures=tuple(failures)
        )


def _take(iterator: Iterator[Record]) -> list[Record]:
    """Return the next records; none at the end."""
    taken: list[Record] = []
    size = 0
    for record in iterator:
        taken.append(record)
        size += sum(map(len, record.bodies.values()))
        if len(taken) >= _TAKEN or size >= _TAKEN_BYTES:
            break
    return taken
