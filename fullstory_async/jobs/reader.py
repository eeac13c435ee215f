"""JobReader: what a job holds, read while it is being written or years later."""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import attrs

from fullstory_async.codec import decode_events, decode_summary
from fullstory_async.errors import DecodeError, JobError
from fullstory_async.http.messages import Response
from fullstory_async.jobs.database import DATABASE_NAME, open_reader, storable
from fullstory_async.jobs.fingerprints import fingerprint
from fullstory_async.jobs.lock import LOCK_NAME, holder_of
from fullstory_async.jobs.packing import PackingError, unpacked
from fullstory_async.jobs.plan import EVENTS, SUMMARY, JobEstimate, JobPlan, estimated
from fullstory_async.jobs.threads import in_thread
from fullstory_async.models import SessionEvents, SessionSummary
from fullstory_async.session_id import SessionId

__all__ = ["JobFailure", "JobReader", "JobResult", "JobStatus", "Record"]

T = TypeVar("T")

_LONGEST_LOG = 1 << 20
"""Items beyond what the file itself has room for: those that are in its log."""
_ITEMS = (
    "SELECT seq, session_id, (SELECT seq FROM items AS i INDEXED BY sqlite_autoindex_items_1 WHERE i.session_id = t.session_id) "
    "FROM items AS t WHERE seq BETWEEN ? AND ?"
)
"""SQLite has no checksums, but an index that repeats what its table says: where both agree, no bit of it was flipped."""
_FAILURE = tuple(
    f"t.{name}"
    for name in ("at", "status", "code", "body", "error", "message", "attempts", "may_have_cost", "permanent")
)
_BLOCK = 200
"""Items whose ids are read at a time."""
_TAKEN = 50
_TAKEN_BYTES = 1_000_000
"""Records that a thread hands over at a time: so many, or fewer if their answers are so large together."""


@attrs.frozen(kw_only=True)
class JobFailure:
    """Why one call of a job failed."""

    session_id: str
    operation: str
    """``events`` or ``summary``."""
    error: str
    """The name of the error's class."""
    status: int | None
    code: str | None
    message: str
    attempts: int
    may_have_cost: bool
    """Whether an activation may have been spent."""
    permanent: bool
    """Whether it is tried again only when asked."""
    at: datetime
    body: bytes | None = attrs.field(default=None, repr=False)
    """An answer that was paid for and could not be read."""


@attrs.frozen(kw_only=True)
class Record:
    """One item with everything about it, as it is kept."""

    seq: int
    session_id: str
    bodies: dict[str, bytes] = attrs.field(repr=False)
    """Operation → the answer's body."""
    fetched: dict[str, datetime]
    """Operation → when the answer came."""
    failures: dict[str, JobFailure]
    """Operation → why there is no answer."""

    def unreadable(self, operation: str, error: DecodeError) -> JobFailure:
        """Return the failure that an answer is which is JSON, but not what its operation answers."""
        return JobFailure(
            session_id=self.session_id, operation=operation, error=type(error).__name__, status=None, code=None,
            message=error.message, attempts=0, may_have_cost=True, permanent=True, at=self.fetched[operation],
            body=self.bodies[operation],
        )  # fmt: skip


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
    """How many answers and failures the last pass could not read."""

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
        except (sqlite3.Error, ValueError, TypeError) as error:
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
    ) -> JobEstimate:
        """Tell what a run by a plan that has grown, with more ids, would come to; nothing is changed.

        Texts among the ids that are no `SessionId` count as such that fail without a call.

        Raises:
            JobError: the plan changes what is done, or the job can't be read.
        """
        plan = self.plan.grown_to(plan)
        status = self.status()
        database = open_reader(self.folder)
        known = "SELECT EXISTS(SELECT 1 FROM items WHERE session_id = ?) OR EXISTS(SELECT 1 FROM purged WHERE fingerprint = ?)"
        new = unusable = 0
        try:
            for each in ids:
                name = storable(each)
                if not database.execute(known, (name, fingerprint(self.secret, name))).fetchone()[0]:
                    new += 1
                    unusable += not isinstance(each, SessionId)
        except sqlite3.Error as error:
            raise JobError(f"the job {self.folder} can't be read: {error}") from None
        finally:
            database.close()
        sessions, operations = status.sessions + new, len(plan.operations)
        settled = operations * unusable + status.done + (0 if retry_failed else status.permanent)
        spent = status.spent + status.set_aside
        return estimated(plan, sessions, sessions * operations - settled, spent, rate)

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
            holder=holder_of(self.folder / LOCK_NAME),
        )  # fmt: skip

    async def results(self) -> AsyncIterator[JobResult]:
        """Give every session's answers and failures, typed, in the order in which the ids were added."""
        iterator = self.records()
        try:
            while (records := await in_thread(_take, iterator)) != []:
                for record in records:
                    yield self._typed(record)
        finally:
            await in_thread(iterator.close)  # type: ignore[attr-defined]

    async def failures(self) -> AsyncIterator[JobFailure]:
        """Give every failure, in the order in which the ids were added."""
        iterator = self.records(with_bodies=False)
        try:
            while (records := await in_thread(_take, iterator)) != []:
                for record in records:
                    for failure in record.failures.values():
                        yield failure
        finally:
            await in_thread(iterator.close)  # type: ignore[attr-defined]

    def records(self, *, with_bodies: bool = True) -> Iterator[Record]:
        """Give every item; of a damaged database those that are intact, counting the others in `damaged`."""
        self.damaged = 0
        database = open_reader(self.folder)
        try:
            last = self._last(database)
            for start in range(1, last + 1, _BLOCK):
                yield from self._block(
                    database, start, min(start + _BLOCK - 1, last), with_bodies=with_bodies
                )
        finally:
            database.close()

    def _last(self, database: sqlite3.Connection) -> int:
        """Return the number of the last item, by whatever of it can be read; an item takes more than a byte."""
        known = [(self.folder / DATABASE_NAME).stat().st_size + _LONGEST_LOG]
        for query in ("SELECT MAX(seq) FROM items", "SELECT value FROM meta WHERE name = 'last_seq'"):
            try:
                known += [each for (each,) in database.execute(query) if isinstance(each, int)]
            except sqlite3.DatabaseError:
                self.damaged += 1
        return min(known)

    def _block(
        self, database: sqlite3.Connection, start: int, end: int, *, with_bodies: bool
    ) -> Iterator[Record]:
        """Read a block of items one by one, so that no more than one answer is in memory."""
        try:
            items = database.execute(_ITEMS, (start, end)).fetchall()
        except sqlite3.DatabaseError:
            items = [item for seq in range(start, end + 1) for item in self._intact(database, seq)]
        for seq, session_id, seq_by_id in items:
            try:
                if seq != seq_by_id:
                    raise PackingError("the item and its index differ")
                yield self._read(database, seq, session_id, with_bodies=with_bodies)
            except (sqlite3.DatabaseError, PackingError):
                self.damaged += 1

    def _intact(self, database: sqlite3.Connection, seq: int) -> list[tuple[int, str, int]]:
        try:
            return database.execute(_ITEMS, (seq, seq)).fetchall()
        except sqlite3.DatabaseError:
            self.damaged += 1
            return []

    def _read(self, database: sqlite3.Connection, seq: int, session_id: str, *, with_bodies: bool) -> Record:
        """Read an item's rows. Raises `PackingError` for what can't have been written so."""
        record = Record(seq=seq, session_id=session_id, bodies={}, fetched={}, failures={})
        try:
            for operation, at, body in _rows(
                database, "answers", seq, ("t.at", "t.body" if with_bodies else "NULL")
            ):
                record.fetched[operation] = datetime.fromtimestamp(at, UTC)
                if body is not None:
                    record.bodies[operation] = unpacked(body)
            for operation, at, status, code, body, *rest in _rows(database, "failures", seq, _FAILURE):
                error, message, attempts, cost, permanent = rest
                record.failures[operation] = JobFailure(
                    session_id=session_id, operation=operation, error=error, status=status, code=code,
                    message=message, attempts=attempts, may_have_cost=bool(cost), permanent=bool(permanent),
                    at=datetime.fromtimestamp(at, UTC), body=None if body is None else unpacked(body),
                )  # fmt: skip
            if record.bodies:
                SessionId(session_id)
        except (TypeError, ValueError, OverflowError, OSError) as error:
            raise PackingError(str(error)) from None
        return record

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


def _rows(
    database: sqlite3.Connection, table: str, seq: int, columns: tuple[str, ...]
) -> Iterator[tuple[Any, ...]]:
    """Give an item's rows, each as its operation and some columns. Raises `PackingError` where table and index differ."""
    query = (
        f"SELECT i.operation, t.seq, t.operation, {', '.join(columns)} "  # noqa: S608
        f"FROM {table} AS i INDEXED BY sqlite_autoindex_{table}_1 JOIN {table} AS t NOT INDEXED ON t.rowid = i.rowid WHERE i.seq = ?"
    )
    for operation, same_seq, same_operation, *row in database.execute(query, (seq,)):
        if (same_seq, same_operation) != (seq, operation):
            raise PackingError("the row and its index differ")
        yield operation, *row


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
