"""Connections: the connections to Postgres of one event loop.

psycopg's own pool lets callers wait for its background attempts to connect, and then only says that it took
too long. Here the caller that needs a connection makes it, so that a failure has its reason at once and the
first call after an outage succeeds.

A statement that takes too long, or whose caller is cancelled, closes its connection: the server then rolls
back. psycopg would ask the server to cancel it and wait for the response, which a stopped server never sends.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, TypeVar

from psycopg import AsyncConnection, Error, waiting
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from fullstory_async.privacy import strip_traceback
from fullstory_async.secret import Secret

__all__ = ["Connection", "Connections"]

T = TypeVar("T")

_IDLE_SECONDS = 60.0
"""After which an idle connection is not used again: a firewall may have dropped it silently."""


class Connection(AsyncConnection[tuple[Any, ...]]):
    """A connection that is closed where a statement is left before its end."""

    idle_since: float
    """When it was given back, by the monotonic clock."""

    async def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for the server, as psycopg does between the parts of a statement."""
        limit = {} if timeout is None else {"timeout": timeout}
        try:
            return await waiting.wait_async(gen, self.pgconn.socket, interval=interval, **limit)
        except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt):
            self.pgconn.finish()
            raise

    def __del__(self, _: Any = None, /) -> None:
        # Of an event loop that ended. psycopg would warn, but nothing is left open: libpq closes it now.
        pass

    @property
    def is_usable(self) -> bool:
        """Whether the server still holds it, as far as is known here, with no transaction open."""
        if self.closed or self.pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        try:
            # an ending server sends a message, then the end of the stream; the second call sees the latter
            self.pgconn.consume_input()
            self.pgconn.consume_input()
        except Error:
            return False
        return True


class Connections:
    """At most ``size`` connections, the one that was used last first."""

    def __init__(self, dsn: Secret, size: int) -> None:
        """Name a server; nothing is connected yet."""
        self._dsn = dsn
        self._free = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._generation = 0
        self._taken: dict[Connection, int] = {}

    async def take(self) -> Connection:
        """Wait for a connection, and make one if none is idle.

        Raises:
            psycopg.Error: the server can't be connected to.
        """
        await self._free.acquire()
        try:
            while self._idle:
                connection = self._idle.pop()
                if connection.is_usable and time.monotonic() - connection.idle_since < _IDLE_SECONDS:
                    break
                connection.pgconn.finish()
            else:
                # no prepared statements: pgbouncer may give the next transaction another server process
                connection = await Connection.connect(
                    self._dsn.reveal(), autocommit=True, prepare_threshold=None
                )
        except BaseException as error:
            self._free.release()
            # The frames of a connecting that was cancelled hold its socket, and the error holds the frames.
            strip_traceback(error)
            raise
        self._taken[connection] = self._generation
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next caller, unless it is broken or the others were closed meanwhile."""
        generation = self._taken.pop(connection)
        self._free.release()
        if generation == self._generation and connection.is_usable:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.pgconn.finish()

    def close(self) -> None:
        """Close all connections: the idle ones now, each of the others when it is given back."""
        self._generation += 1
        while self._idle:
            self._idle.pop().pgconn.finish()
