"""PostgresLedger: counts and caps the activations of a budget and of a key's month, over all machines.

An activation is reserved by a statement that is committed before its request leaves, so a process that dies
has counted too much, never too little. The month is that of the server's clock, in UTC.

One task counts for all callers of a process: while one statement is in flight, further reservations gather,
and the next statement takes all of them. Releases gather too. A statement that the server runs after its
callers have given up is refused by the server, so that nothing is counted that can't be sent. Only a
connection that breaks between the server's commit and its response leaves the reservations of one statement
counted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from datetime import datetime, timedelta

import attrs

from fullstory_async.api.error_copies import separate
from fullstory_async.cluster.budget import Budget, Grant, LedgerStatus
from fullstory_async.cluster.connections import Connection
from fullstory_async.cluster.postgres import Postgres
from fullstory_async.concurrency import Backoff
from fullstory_async.errors import ClientStateError, ConfigurationError, FullStoryError, StorageError

__all__ = ["PostgresLedger", "PostgresReservation"]

_FINISH_SECONDS = 30.0
"""Seconds for which `PostgresLedger.finish` waits."""

_logger = logging.getLogger("fullstory_async.cluster")


@attrs.frozen
class PostgresReservation:
    """One activation that is counted before it is spent."""

    month: str
    """The month in which it counts."""


class PostgresLedger:
    """Counts the activations of a named budget, and of a key's month, over all machines; caps both.

    Usage: ``FullStoryClient(config=config, ledger=PostgresLedger(database, config.key_fingerprint))``.
    """

    database: Postgres
    """The database."""
    budget: str
    """The budget's name."""

    def __init__(
        self,
        database: Postgres,
        key_fingerprint: str,
        organisation: str | None = None,
        *,
        budget: str = "default",
        max_activations: int | None = None,
        monthly_cap: int | None = None,
    ) -> None:
        """Name a budget; it is created when it is first used.

        Args:
            database: where it counts.
            key_fingerprint: the key, see `ClientConfig.key_fingerprint`.
            organisation: the key's organisation; a budget belongs to one.
            budget: the budget's name. All machines that use it spend from it.
            max_activations: the most that all machines together may spend from the budget. A number replaces
                the one that is stored, for all of them; ``None`` keeps what is stored.
            monthly_cap: the same for all budgets of the key in one month.

        Raises:
            ConfigurationError: a value can't be used.
        """
        if not isinstance(database, Postgres):
            raise ConfigurationError(f"database must be a Postgres, not {type(database).__name__}")
        if not (isinstance(budget, str) and budget and "\0" not in budget):
            raise ConfigurationError(f"budget must be a name, not {budget!r}")
        for option, cap in (("max_activations", max_activations), ("monthly_cap", monthly_cap)):
            if cap is not None and (isinstance(cap, bool) or not isinstance(cap, int) or cap < 0):
                raise ConfigurationError(f"{option} must be a whole number, 0 or more, not {cap!r}")
        self.database = database
        self.budget = budget
        self._rows = Budget(database.schema, database.location, budget, key_fingerprint)
        self._organisation = organisation
        self._caps = {"max_activations": max_activations, "monthly_cap": monthly_cap}
        self._is_open = False
        self._server_clock: tuple[datetime, float] | None = None
        self._start(None)

    def _start(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Begin without work, in another event loop or process than before."""
        self._loop, self._pid = loop, os.getpid()
        self._waiting: list[asyncio.Future[PostgresReservation]] = []
        self._unspent: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The budget and the database, for messages."""
        return f"the budget {self.budget!r} in {self.database.location}"

    async def open(self) -> None:
        """Create the budget, or set its caps; done by the first reservation too.

        Raises:
            ConfigurationError: the budget belongs to another organisation.
            StorageError: the database can't be used.
        """
        if self._is_open:
            return
        async with self.database.connection() as connection:
            await self._rows.prepare(connection, **self._caps)
            if self._organisation is not None:
                await self._rows.assign(connection, self._organisation)
        self._is_open = True

    async def assign(self, organisation: str) -> None:
        """Say which organisation the key belongs to; a budget belongs to the first one that is named.

        Raises:
            ConfigurationError: the budget belongs to another organisation.
            StorageError: the database can't be used.
        """
        self._organisation = organisation
        await self.open()
        async with self.database.connection() as connection:
            await self._rows.assign(connection, organisation)

    async def reserve(self) -> PostgresReservation:
        """Count one activation, before it is spent.

        A cancellation returns at once. If the activation is counted all the same, it is then released.

        Raises:
            ActivationBudgetError: a cap would be exceeded.
            ClientStateError: another event loop uses the ledger at the same time.
            ConfigurationError, StorageError: the database can't be used.
        """
        self._enter_loop()
        counted: asyncio.Future[PostgresReservation] = asyncio.get_running_loop().create_future()
        self._waiting.append(counted)
        self._work()
        try:
            return await counted
        except asyncio.CancelledError:
            if counted.done() and not counted.cancelled() and counted.exception() is None:
                self.release(counted.result())  # it was counted in the same turn of the loop
            raise

    def release(self, reservation: PostgresReservation) -> None:
        """Uncount an activation that was not spent, without waiting for it; log it if that fails."""
        self._enter_loop()
        self._unspent[reservation.month] += 1
        self._work()

    async def reserve_in(self, connection: Connection, activations: int = 1) -> Grant:
        """Count activations in the transaction of a connection; they are counted if it is committed.

        Call it last in the transaction: it locks the budget for all machines until the commit. The ledger has
        to be opened before.

        Returns:
            How many were reserved: fewer than asked for where a cap is reached.

        Raises:
            ActivationBudgetError: not a single one fits.
            StorageError: the budget does not exist.
        """
        return await self._rows.reserve(connection, activations)

    async def release_in(self, connection: Connection, activations: int, *, month: str) -> None:
        """Uncount activations that were not spent, in the transaction of a connection.

        Args:
            connection: in a transaction.
            activations: how many.
            month: that of their `Grant`.
        """
        await self._rows.release(connection, activations, month)

    async def spent(self) -> int:
        """Return the budget's activations: spent, those at risk included, or reserved."""
        return (await self.status()).spent

    async def status(self) -> LedgerStatus:
        """Return what the budget and the key have spent, over all machines."""
        async with self.database.connection() as connection:
            return await self._rows.read(connection)

    async def finish(self) -> None:
        """Wait until everything that was to be counted or released is in the database, 30 seconds at most."""
        self._enter_loop()
        if self._task is not None:
            _, busy = await asyncio.wait([self._task], timeout=_FINISH_SECONDS)
            for task in busy:
                task.cancel()
                await asyncio.wait([task])
                _logger.warning(
                    "activations that were not spent stay counted: %s can't be used", self.database.location
                )

    def _enter_loop(self) -> None:
        if (loop := asyncio.get_running_loop()) is self._loop and self._pid == os.getpid():
            return
        if self._pid == os.getpid() and self._loop is not None and self._loop.is_running():
            raise ClientStateError(
                "the ledger is used in another event loop, which still runs: make one for each loop"
            )
        self._start(loop)

    def _work(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._count())

    async def _count(self) -> None:
        """Count what has gathered, until nothing is left."""
        backoff = Backoff(0.1, 2.0)
        while self._waiting or self._unspent:
            if self._waiting:
                waiting, self._waiting = self._waiting, []
                await self._reserve_for([each for each in waiting if not each.done()])
            if self._unspent and not await self._release():
                await backoff.sleep()

    async def _reserve_for(self, waiting: list[asyncio.Future[PostgresReservation]]) -> None:
        """Reserve for callers in one statement; the first ones get what a cap leaves."""
        while waiting:
            try:
                grant = await self._reserve(len(waiting))
            except (FullStoryError, asyncio.CancelledError) as error:
                for caller in waiting:
                    if isinstance(error, FullStoryError) and not caller.done():
                        caller.set_exception(separate(error))
                    caller.cancel()
                if isinstance(error, asyncio.CancelledError):
                    raise
                return
            granted, waiting = waiting[: grant.activations], waiting[grant.activations :]
            for caller in granted:
                if caller.done():  # it was cancelled meanwhile
                    self._unspent[grant.month] += 1
                else:
                    caller.set_result(PostgresReservation(grant.month))

    async def _reserve(self, activations: int) -> Grant:
        await self.open()
        began = time.monotonic()  # from here on the connection's time counts, in which it may have to be made
        try:
            async with self.database.connection(autocommit=True) as connection:
                if self._server_clock is None:
                    cursor = await connection.execute("SELECT clock_timestamp()")
                    [[clock]] = await cursor.fetchall()
                    self._server_clock = clock, time.monotonic()
                clock, asked = self._server_clock
                latest = clock + timedelta(seconds=began - asked + self.database.timeout)
                grant = await self._rows.reserve(connection, activations, latest=latest)
        except StorageError:
            self._server_clock = None  # the next server may have another one
            raise
        self._server_clock = grant.clock, time.monotonic()
        return grant

    async def _release(self) -> bool:
        """Release what was not spent; return whether nothing has to be tried again."""
        unspent, self._unspent = self._unspent, Counter()
        committing = False
        try:
            async with self.database.connection() as connection:
                for month, activations in unspent.items():
                    await self._rows.release(connection, activations, month)
                committing = True
        except StorageError as error:
            if committing or error.permanent:  # perhaps it was done: done twice, too little would be counted
                _logger.warning(
                    "%d activations that were not spent may stay counted: %s", unspent.total(), error
                )
                return True
            self._unspent += unspent
            return False
        return True

    def __repr__(self) -> str:
        return f"PostgresLedger({self.database!r}, budget={self.budget!r})"
