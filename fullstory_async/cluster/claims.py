"""Claims: which sessions this process may fetch, and the lease on which all of its claims depend.

A claim is free to lose. `mark` makes it *sent*: in the transaction that marks it, an activation is reserved,
and that is committed before the request leaves. A process that doesn't renew its lease loses all its claims.
Every change names the process and the number of its claim, so one that stood still for a while changes
nothing that has been taken over.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID, uuid4

from fullstory_async.api.error_copies import separate
from fullstory_async.cluster.answers import Settlement, Settlements
from fullstory_async.cluster.budget_rows import BudgetRow
from fullstory_async.cluster.connections import Connection
from fullstory_async.cluster.gathering import Gatherer
from fullstory_async.cluster.postgres import Postgres
from fullstory_async.cluster.stored import Busy, Claim, ClaimLost, Erased, KeptAnswer, KeptFailure, Taken
from fullstory_async.errors import ActivationBudgetError, StorageError
from fullstory_async.http.call import Call
from fullstory_async.jobs.storage.schema import fingerprint

__all__ = ["LEASE", "Claims", "Lease"]

LEASE = 20.0
"""Seconds after which a process that gives no sign of life loses its claims."""
_BEATS = 4
"""Signs of life in the time of a lease."""
_MOST_TAKEN = 32
"""Sessions that are asked for at once; each may have an answer of some megabytes."""
_MOST_MARKED = 500
_CLOSING_SECONDS = 5.0

_MARK = "SELECT {schema}.mark_sent(%s, %s, %s)"
_UNMARK = "UPDATE {schema}.claims SET sent = sent - 1 WHERE seq = ANY (%s)"

_FREE = "DELETE FROM {schema}.claims WHERE worker = %s AND number = ANY (%s)"
_LOST = "the session was taken over by another process, or is done"

_logger = logging.getLogger("fullstory_async.cluster")


class Lease:
    """The name under which this process works, as long as it renews it."""

    worker: UUID | None
    """``None`` until it has claimed something, and after the lease has expired."""
    valid_until: float
    """Loop time until which no other process can have taken over this one's claims."""
    calls: set[Call]
    """The calls that may only be sent until then."""

    def __init__(self, database: Postgres, seconds: float) -> None:
        """Prepare a lease; it begins with `begin`."""
        self._database, self._seconds = database, seconds
        self.worker, self.valid_until, self.calls = None, -math.inf, set()
        self._task: asyncio.Task[None] | None = None
        self._beginning = asyncio.Lock()

    async def begin(self) -> UUID:
        """Return the name of this process, and register it if it has none. Raises `StorageError`."""
        async with self._beginning:
            if self.worker is None:
                self.worker = await self._register()
            return self.worker

    async def _register(self) -> UUID:
        worker, asked = uuid4(), asyncio.get_running_loop().time()
        insert = (
            "INSERT INTO {schema}.workers (id, expires) "
            "VALUES (%s, clock_timestamp() + make_interval(secs => %s))"
        )
        async with self._database.connection(autocommit=True) as connection:
            await connection.execute(self._database.statement(insert), (worker, self._seconds))
        self._extend(asked)
        if self._task is None:
            self._task = asyncio.create_task(self._renew())
        return worker

    def lose(self, worker: UUID) -> None:
        """Note that a lease has expired."""
        if self.worker == worker:
            _logger.warning("the lease of this process has expired; others may take over its sessions")
            self.worker = None
            for call in self.calls:
                call.send_by = -math.inf
            self.calls.clear()

    async def end(self) -> None:
        """Free all claims, so that others need not wait for the lease to expire."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        if (worker := self.worker) is None:
            return
        self.worker = None
        end = (
            "WITH gone AS (DELETE FROM {schema}.workers WHERE id = %s RETURNING id) "
            "SELECT {schema}.abandon(array_agg(id)) FROM gone"
        )
        try:
            async with self._database.connection(timeout=_CLOSING_SECONDS, autocommit=True) as connection:
                await connection.execute(self._database.statement(end), (worker,))
        except StorageError as error:
            _logger.warning("claims stay until their lease expires: %s", error)

    async def _renew(self) -> None:
        beat = self._database.statement("SELECT {schema}.beat(%s, %s)")
        while True:
            await asyncio.sleep(self._seconds / _BEATS)
            if (worker := self.worker) is None:
                continue
            asked = asyncio.get_running_loop().time()
            try:
                async with self._database.connection(timeout=self._seconds, autocommit=True) as connection:
                    cursor = await connection.execute(beat, (worker, self._seconds))
                    row = await cursor.fetchone()
            except StorageError as error:
                _logger.info("the lease could not be renewed: %s", error)
                continue
            if row is not None and row[0]:
                self._extend(asked)
            else:
                self.lose(worker)

    def _extend(self, asked: float) -> None:
        self.valid_until = asked + self._seconds
        for call in self.calls:
            call.send_by = self.valid_until


class _Takes(Gatherer[str, Taken]):
    """Asks for sessions, many at once."""

    def __init__(self, claims: Claims) -> None:
        super().__init__("sessions of the store", most=_MOST_TAKEN)
        self._claims = claims

    async def write(self, items: list[str]) -> list[Taken | Exception]:
        return [*await self._claims.take_all(items)]

    def left(self, result: Taken) -> None:
        if isinstance(result, Claim):
            self._claims.release(result)


class _Marks(Gatherer[Claim, str]):
    """Marks claims as sent, many at once; gives the month in which the activation counts."""

    def __init__(self, claims: Claims) -> None:
        super().__init__("activations of the store", most=_MOST_MARKED)
        self._claims = claims

    async def write(self, items: list[Claim]) -> list[str | Exception]:
        try:
            months = await self._claims.mark_all(items)
        except ActivationBudgetError as error:
            return [separate(error) for _ in items]
        return [ClaimLost(_LOST) if month is None else month for month in months]


class Claims:
    """The claims of one process."""

    held: dict[str, Claim]
    """Sessions that were claimed in advance, and are not being fetched yet."""

    def __init__(self, database: Postgres, budget: BudgetRow, settlements: Settlements) -> None:
        """Prepare; nothing is claimed yet."""
        self.lease = Lease(database, LEASE)
        self.held = {}
        self._database, self._budget, self._settlements = database, budget, settlements
        self._seconds = LEASE
        self._numbers: Iterator[int] = itertools.count(1)
        self._after = 0
        self._lost: list[int] = []
        self._takes, self._marks = _Takes(self), _Marks(self)

    async def take(self, session_id: str) -> Taken:
        """Return what the store has of a session; if nothing, claim it.

        While Postgres is away, this waits.

        Raises:
            StorageError: the database can't be used, and time alone won't help.
        """
        claim = self.held.pop(session_id, None)
        if claim is not None and claim.worker == self.lease.worker:
            return claim
        return await self._takes.submit(session_id)

    async def mark(self, claim: Claim) -> str:
        """Reserve an activation for a claim, and mark it as sent; on disk when this returns.

        Returns:
            The month in which it counts.

        Raises:
            ClaimLost: another process has taken it over.
            ActivationBudgetError: the budget or the month's cap is used up.
            StorageError: as for `take`.
        """
        return await self._marks.submit(claim)

    def release(self, claim: Claim) -> None:
        """Free a claim for which nothing was sent, without waiting for it."""
        self._settlements.submit_later(Settlement(claim=claim, spent=0))

    def release_held(self, session_ids: Iterable[str]) -> None:
        """Free what was claimed in advance and is not being fetched, without waiting for it."""
        for each in session_ids:
            if (claim := self.held.pop(each, None)) is not None:
                self.release(claim)

    async def take_all(self, session_ids: list[str]) -> list[Taken]:
        """Take some sessions with one statement. Raises `StorageError`."""
        query = self._database.statement("SELECT * FROM {schema}.take(%s, %s, %s, %s, %s, %s)")
        marks = [fingerprint(self._budget.secret, each) for each in session_ids]
        while True:
            worker, number = await self.lease.begin(), next(self._numbers)
            values = (self._budget.number, worker, number, self._seconds, session_ids, marks)
            async with self._asking(worker, number) as connection:
                cursor = await connection.execute(query, values, binary=True)
                rows = await cursor.fetchall()
            if rows:
                break
            self.lease.lose(worker)
        found = {
            str(session_id): _taken(None if seq is None else Claim(seq, worker, number), *rest)
            for session_id, seq, *rest in rows
        }
        return [found[each] for each in session_ids]

    @asynccontextmanager
    async def _asking(self, worker: UUID, number: int) -> AsyncIterator[Connection]:
        """Connect; claims whose confirmation was lost are freed by the next caller, since no one has them."""
        lost, self._lost = self._lost, []
        try:
            async with self._database.connection(autocommit=True) as connection:
                if lost:
                    await connection.execute(self._database.statement(_FREE), (worker, lost))
                lost = [number]
                yield connection
        except BaseException:
            self._lost += lost
            raise

    async def mark_all(self, claims: list[Claim]) -> list[str | None]:
        """Mark claims in one transaction, or the first of them where a cap is reached.

        Returns:
            For each of these the month in which its activation counts; ``None`` if it was not held any more.

        Raises:
            ActivationBudgetError: not a single one can be reserved.
        """
        worker = self.lease.worker
        mine = [each for each in claims if each.worker == worker]
        if not mine:
            return [None] * len(claims)
        mark, unmark = map(self._database.statement, (_MARK, _UNMARK))
        values = (worker, [each.seq for each in mine], [each.number for each in mine])
        async with self._database.connection() as connection:
            rows = await (await connection.execute(mark, values)).fetchall()
            marked = [each for each in mine if (each.seq,) in rows]
            if not marked:
                return [None] * len(claims)
            grant = await self._settlements.ledger.reserve_in(connection, len(marked))
            if beyond := marked[grant.activations :]:
                await connection.execute(unmark, ([each.seq for each in beyond],))
        self._settlements.month = grant.month
        done = claims[: claims.index(beyond[0])] if beyond else claims
        return [grant.month if each in marked else None for each in done]

    async def claim(self, limit: int) -> list[str]:
        """Claim up to ``limit`` pending sessions in advance. Raises `StorageError`."""
        found: list[str] = []
        try:
            while len(found) < limit:
                some = await self._claim_next(limit - len(found))
                found += some
                if not some and not self._after:
                    break
                # the next search begins behind these: what is done before them would have to be skipped
                self._after = self.held[some[-1]].seq if some else 0
        except BaseException as error:
            if found and isinstance(error, StorageError):
                return found
            self.release_held(found)  # a caller that was cancelled doesn't get them
            raise
        return found

    async def _claim_next(self, limit: int) -> list[str]:
        query = self._database.statement("SELECT * FROM {schema}.claim(%s, %s, %s, %s, %s, %s)")
        while True:
            worker, number = await self.lease.begin(), next(self._numbers)
            values = (self._budget.number, worker, number, self._seconds, self._after, limit)
            async with self._asking(worker, number) as connection:
                rows = await (await connection.execute(query, values)).fetchall()
            if not rows or rows[0][0] is not None:
                self.held |= {session_id: Claim(seq, worker, number) for session_id, seq in rows}
                return [session_id for session_id, _ in rows]
            self.lease.lose(worker)

    async def stop(self) -> None:
        """Ask for no more sessions, and mark no more of them as sent."""
        await self._takes.finish(0)
        await self._marks.finish(0)


def _taken(
    claim: Claim | None, is_mine: bool | None, at: datetime, body: bytes | None, failed_at: datetime,
    error: str | None, status: int | None, code: str | None, message: str,
) -> Taken:  # fmt: skip
    """Return a row of the function `take` as a value."""
    if claim is None:
        return Erased()
    if body is not None:
        return KeptAnswer(at, body)
    if error is not None:
        return KeptFailure(failed_at, error, status, code, message)
    return claim if is_mine else Busy()
