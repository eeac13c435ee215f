"""PostgresSlots: asks one function of Postgres in a bounded time; every failure is a `LimiterUnavailable`.

A request has half of its time on an existing connection, and the rest on a new one in case the old one is
dead. If its response is lost, it may have taken slots, which then stay unused.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fullstory_async.cluster.postgres import Postgres
from fullstory_async.cluster.slots import Grant
from fullstory_async.errors import LimiterUnavailable, StorageError

__all__ = ["PostgresSlots"]

_TAKE = "SELECT granted, ahead, paused, beginning FROM {schema}.take_slots(%s, %s, %s, %s, %s, %s, %s, %s)"
_BEGIN = "SELECT begin_at FROM {schema}.buckets WHERE name = %s"


class PostgresSlots:
    """The bucket that Postgres keeps in one row."""

    __slots__ = ("_database", "_is_migrated", "_name", "_owns", "location", "timeout")

    timeout: float
    """Seconds that one request takes at most."""
    location: str
    """The database, without user and password."""

    def __init__(self, database: Postgres, name: str, *, timeout: float, owns: bool) -> None:
        """Name the bucket; nothing is connected yet.

        Args:
            database: where it is; with ``owns`` its tables are made if they are missing, and it is closed.
            name: the bucket's name.
            timeout: seconds that one request takes at most.
            owns: whether nothing else uses the database object.
        """
        self._database = database
        self._name = name
        self._owns = owns
        self._is_migrated = not owns
        self.timeout = timeout
        self.location = database.location

    async def ask(self, values: list[int]) -> Grant:
        """Ask for slots or begin a pause; see `arguments`."""
        row = await self._request(_TAKE, [self._name, *values])
        if row is None:
            raise LimiterUnavailable(f"{self.location} gave no response to a request for slots", sent=False)
        return Grant.parse(*row)

    async def is_valid(self, grant: Grant) -> bool:
        """Return whether slots still hold: there was neither a pause nor a loss since."""
        row = await self._request(_BEGIN, [self._name])
        return row is not None and str(row[0]) == grant.begin

    async def close(self) -> None:
        """Close the connections that were made here; the next request makes new ones."""
        if self._owns:
            await self._database.close()

    def detach(self) -> None:
        """Do nothing: the database object has connections of its own for each event loop and process."""

    async def _request(self, statement: str, values: list[Any]) -> tuple[Any, ...] | None:
        try:
            async with asyncio.timeout(self.timeout):
                try:
                    return await self._run(statement, values, self.timeout / 2)
                except StorageError:
                    return await self._run(statement, values, self.timeout)
        except TimeoutError:
            failure = f"no response from {self.location} within {self.timeout:g} s"
        except StorageError as error:
            failure = error.message
        raise LimiterUnavailable(
            f"the rate limiter that is shared through Postgres can't be asked: {failure}", sent=False
        )

    async def _run(self, statement: str, values: list[Any], timeout: float) -> tuple[Any, ...] | None:
        if not self._is_migrated:
            await self._database.migrate()
            self._is_migrated = True
        async with self._database.connection(timeout=timeout, autocommit=True) as connection:
            cursor = await connection.execute(self._database.statement(statement), values)
            return await cursor.fetchone()

    def __repr__(self) -> str:
        return f"PostgresSlots({self.location}, {self._name!r})"
