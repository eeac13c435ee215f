"""Settlements: what became of claims: answers, failures, and activations that were not spent.

Each is saved together with the end of its claim, in one transaction, many at once. While Postgres is away
they are held in memory, and saved when it is back.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import attrs

from fullstory_async.cluster.connections import Connection
from fullstory_async.cluster.gathering import Gatherer
from fullstory_async.cluster.postgres import Postgres
from fullstory_async.cluster.postgres_ledger import PostgresLedger
from fullstory_async.cluster.stored import Claim
from fullstory_async.files.compression import compressor
from fullstory_async.jobs.storage.statements import FailureRow
from fullstory_async.threads import WorkerThread

__all__ = ["Settlement", "Settlements"]

_MOST = 500
_MOST_BYTES = 16 * 1024 * 1024
"""Bytes of the responses of one transaction, unless a single one is larger."""
_FIRST_RETRY = 60.0
"""Seconds after which a session that failed temporarily is claimed again; doubled after each further try."""
_MOST_TRIES = 5


@attrs.frozen(kw_only=True)
class Settlement:
    """The end of a claim."""

    claim: Claim
    month: str | None = None
    """The month in which its activations count; ``None`` if none is known to be reserved."""
    spent: int
    """Activations that were spent, those at risk included."""
    at_risk: int = 0
    """Those of them that were possibly not charged."""
    came: float = 0.0
    """Loop time at which the call ended."""
    attempts: int = 0
    body: bytes | None = attrs.field(default=None, repr=False)
    """The response, or one that could not be read."""
    failure: FailureRow | None = None

    @property
    def is_answer(self) -> bool:
        """Whether there is an answer."""
        return self.body is not None and self.failure is None


class Settlements(Gatherer[Settlement, None]):
    """Settles the claims of one process."""

    ledger: PostgresLedger
    """Counts the activations."""
    month: str | None
    """The month of the latest reservation."""

    def __init__(self, database: Postgres, budget: int, ledger: PostgresLedger) -> None:
        """Prepare; ``budget`` is its number."""
        super().__init__("answers of the store", most=_MOST)
        self.ledger, self.month = ledger, None
        self._database, self._budget = database, budget
        self._compress: Callable[[list[bytes]], list[bytes]] = compressor()
        self._thread = WorkerThread("compression")

    def keeps(self, item: Settlement) -> bool:  # noqa: ARG002
        """Return True: a caller that is cancelled leaves an answer that was paid for."""
        return True

    async def write(self, items: list[Settlement]) -> list[Exception | None]:
        """Settle the first of some claims, as many as fit into one transaction."""
        size = 0
        group: list[Settlement] = []
        for each in items:
            size += len(each.body or b"")
            if group and size > _MOST_BYTES:
                break
            group.append(each)
        stored = await self._compressed(group)
        async with self._database.connection() as connection:
            await self._save(connection, group, stored)
        return [None] * len(group)

    async def _compressed(self, group: list[Settlement]) -> list[bytes | None]:
        bodies = [each.body for each in group if each.body is not None]
        packed = iter(await self._thread.run(self._compress, bodies) if bodies else [])
        return [None if each.body is None else next(packed) for each in group]

    async def _save(
        self, connection: Connection, group: list[Settlement], stored: list[bytes | None]
    ) -> None:
        now = asyncio.get_running_loop().time()
        answers = [
            (each.claim.seq, now - each.came, each.attempts, body)
            for each, body in zip(group, stored, strict=True)
            if each.is_answer
        ]
        if answers:
            save = self._database.statement("SELECT {schema}.save_answers(%s, %s, %s, %s, %b)")
            seqs, ages, attempts, bodies = map(list, zip(*answers, strict=True))
            await connection.execute(save, (self._budget, seqs, ages, attempts, bodies))
        for each, body in zip(group, stored, strict=True):
            if each.failure is not None:
                await self._save_failure(connection, each, each.failure, now, body)
        alike: dict[tuple[UUID, str | None], list[Settlement]] = {}
        for each in group:
            alike.setdefault((each.claim.worker, each.month or self.month), []).append(each)
        unspent: Counter[str | None] = Counter()
        at_risk = 0
        for (worker, month), some in alike.items():
            ended = await self._end_claims(connection, worker, some)
            unspent[month] += ended[0]
            at_risk += ended[1]
        if at_risk:
            update = "UPDATE {schema}.budgets SET at_risk = at_risk + %s WHERE id = %s"
            await connection.execute(self._database.statement(update), (at_risk, self._budget))
        # last: it locks the budget for all machines until the commit
        for month, activations in unspent.items():
            if activations:
                counted = month or await self._month_now(connection)
                await self.ledger.release_in(connection, activations, month=counted)

    async def _month_now(self, connection: Connection) -> str:
        """Return the server's month, for a call that was left before the one of its reservation was known."""
        query = b"SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM')"
        [[month]] = await (await connection.execute(query)).fetchall()
        return str(month)

    async def _save_failure(
        self, connection: Connection, each: Settlement, failure: FailureRow, now: float, body: bytes | None
    ) -> None:
        save = "SELECT {schema}.save_failure(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        values = (
            self._budget, each.claim.seq, now - each.came, failure.attempts, failure.error, failure.status,
            failure.code, failure.message, failure.may_have_cost, failure.permanent,
            _FIRST_RETRY, _MOST_TRIES, body,
        )  # fmt: skip
        await connection.execute(self._database.statement(save), values)

    async def _end_claims(
        self, connection: Connection, worker: UUID, group: list[Settlement]
    ) -> tuple[int, int]:
        """Remove claims; return how many of their activations were not spent, and how many are at risk."""
        end = self._database.statement("SELECT * FROM {schema}.end_claims(%s, %s, %s, %s, %s)")
        seqs, numbers = [each.claim.seq for each in group], [each.claim.number for each in group]
        spent, at_risk = [each.spent for each in group], [each.at_risk for each in group]
        cursor = await connection.execute(end, (worker, seqs, numbers, spent, at_risk))
        [[unspent, risked]] = await cursor.fetchall()
        return unspent, risked
