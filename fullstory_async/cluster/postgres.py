"""Postgres: transactions in a bounded time, of which every failure is a `StorageError`.

A connection is used by one caller at a time, and for one transaction, so that it works behind pgbouncer in
transaction mode too. After a failure all idle connections are closed: a server that became a replica would
answer "read-only" over them for ever. The next call connects again, and with several hosts in the DSN and
``target_session_attrs=read-write`` it finds the new primary.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self
from weakref import WeakKeyDictionary

import psycopg
from psycopg.conninfo import conninfo_to_dict

from fullstory_async import validators
from fullstory_async.cluster import migrations
from fullstory_async.cluster.connections import Connection, Connections
from fullstory_async.cluster.postgres_errors import Failure, failure_of
from fullstory_async.errors import ConfigurationError, StorageError
from fullstory_async.privacy import hide_arguments
from fullstory_async.secret import Secret
from fullstory_async.spelling import Reading

__all__ = ["Postgres"]

_MIGRATION_SECONDS = 600.0
"""For a large table, and for the other processes that wait for it."""


class Postgres:
    """A schema of a Postgres database.

    Usage: ``async with Postgres(dsn) as database``, or `open` and `close`. After a fork or in another event
    loop it uses connections of its own.
    """

    schema: str
    """The schema that holds all tables."""
    location: str
    """Host and database, without the credentials, for messages."""
    timeout: float
    """Seconds for which one transaction is waited for."""

    @hide_arguments
    def __init__(
        self, dsn: str | Secret, *, schema: str = "fullstory", timeout: float = 10.0, connections: int = 4
    ) -> None:
        """Name a database; nothing is connected yet.

        Args:
            dsn: ``postgresql://user:password@host/database?sslmode=verify-full``, or anything else that libpq
                takes, whose ``PG…`` variables and ``~/.pgpass`` count too.
            schema: lower-case letters, digits and underscores.
            timeout: seconds for which one transaction is waited for, connecting included.
            connections: how many this process opens at most.

        Raises:
            ConfigurationError: a value can't be used.
        """
        if not isinstance(dsn, (str, Secret)):
            raise ConfigurationError(f"dsn must be a text such as postgresql://…, not {type(dsn).__name__}")
        if not (isinstance(schema, str) and re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema)):
            raise ConfigurationError(
                f"schema must be up to 63 lower-case letters, digits and underscores, not {schema!r}"
            )
        if not (validators.is_number(timeout) and timeout > 0):
            raise ConfigurationError(f"timeout must be a number of seconds, above 0, not {timeout!r}")
        if isinstance(connections, bool) or not isinstance(connections, int) or connections < 1:
            raise ConfigurationError(f"connections must be a whole number, 1 or more, not {connections!r}")
        self._dsn = Secret.of(dsn)
        self._password, self.location = _read_dsn(self._dsn)
        self.schema = schema
        self.timeout = timeout
        self._size = connections
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Connections] = WeakKeyDictionary()
        self._inherited: list[object] = []
        self._pid = os.getpid()

    @asynccontextmanager
    async def connection(
        self, *, timeout: float | None = None, autocommit: bool = False
    ) -> AsyncIterator[Connection]:
        """Run the block in a transaction, which is committed at its end and rolled back after an exception.

        Args:
            timeout: seconds for the whole block; by default those of the constructor.
            autocommit: each statement is a transaction of its own.

        Raises:
            StorageError: the database can't be used, or did not respond in time. If that happened at the end
                of the block, the transaction may have been committed nevertheless.
        """
        limit = self.timeout if timeout is None else timeout
        connections = self._connections()
        failure: Failure | None = None
        scope = asyncio.timeout(limit)
        try:
            async with scope:
                connection = await connections.take()
                try:
                    await _begin(connection, limit, autocommit=autocommit)
                    yield connection
                    await _commit(connection, autocommit=autocommit)
                except psycopg.Error:
                    connection.pgconn.finish()
                    raise
                except Exception:
                    await _roll_back(connection)
                    raise
                finally:
                    connections.give_back(connection)
        except TimeoutError:
            if not scope.expired():
                raise
            failure = Failure(f"no response within {limit:g} s")
        except psycopg.Error as error:
            failure = failure_of(error)
        if failure is not None:
            # Raised here and not above: the cause may show more than it should.
            if failure.of_server:
                connections.close()
            raise self._error(failure) from None

    async def open(self) -> Self:
        """Connect, and create or upgrade the tables if that is needed.

        Raises:
            ConfigurationError: the tables were made by a later version of this package.
            StorageError: the database can't be used, or the role may not create what is missing.
        """
        await self.migrate()
        return self

    async def migrate(self) -> None:
        """Create or upgrade the tables, one process at a time; nothing is done if they are up to date.

        Raises:
            ConfigurationError: they were made by a later version of this package.
            StorageError: the database can't be used, or the role may not create them.
        """
        async with self.connection() as connection:
            await self._check_isolation(connection)
            if await migrations.is_current(connection, self.schema, self.location):
                return
        async with self.connection(timeout=_MIGRATION_SECONDS) as connection:
            await migrations.apply(connection, self.schema, self.location)

    async def _check_isolation(self, connection: Connection) -> None:
        """Raise `ConfigurationError` if transactions don't see what others commit meanwhile."""
        [[level]] = await (await connection.execute("SHOW transaction_isolation")).fetchall()
        if level != "read committed":
            raise ConfigurationError(
                f"default_transaction_isolation is {level!r} in {self.location}: ALTER ROLE … SET "
                "default_transaction_isolation = 'read committed', for the role of the DSN"
            )

    async def close(self) -> None:
        """Close the connections of the running event loop; the database may be used again."""
        self._connections().close()

    def statement(self, text: str) -> bytes:
        """Return a statement with the schema's name in place of ``{schema}``."""
        return migrations.statement(text, self.schema)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _connections(self) -> Connections:
        if self._pid != os.getpid():
            # Kept, because closing them here would end the parent's sessions.
            self._inherited.append(dict(self._by_loop))
            self._by_loop, self._pid = WeakKeyDictionary(), os.getpid()
        loop = asyncio.get_running_loop()
        if (found := self._by_loop.get(loop)) is None:
            found = self._by_loop[loop] = Connections(self._dsn, self._size)
        return found

    def _error(self, failure: Failure) -> StorageError:
        text = failure.text
        if self._password:
            # as it is, however short; and in other spellings
            text = self._password.redact(Reading(text.replace(self._password.reveal(), "…")), "…").text
        error = StorageError(f"{self.location} can't be used: {text}")
        error.permanent = failure.permanent
        return error

    def __repr__(self) -> str:
        if not hasattr(self, "schema"):  # its making was refused, and a traceback shows it
            return "Postgres(not made)"
        return f"Postgres({self.location!r}, schema={self.schema!r})"


async def _begin(connection: Connection, limit: float, *, autocommit: bool) -> None:
    if autocommit:
        return
    # A client that is lost in the middle of a transaction must not hold its locks for as long as TCP does.
    bound = f"{max(1, round(limit * 1000))}ms"
    await connection.execute(
        f"BEGIN; SET LOCAL statement_timeout = '{bound}'; "
        f"SET LOCAL idle_in_transaction_session_timeout = '{bound}'".encode()
    )


async def _commit(connection: Connection, *, autocommit: bool) -> None:
    if autocommit:
        return
    cursor = await connection.execute("COMMIT")
    if cursor.statusmessage != "COMMIT":
        raise psycopg.InternalError("a statement of the transaction failed, so nothing of it was kept")


async def _roll_back(connection: Connection) -> None:
    """End a transaction whose block failed; a connection that can't is closed."""
    try:
        await connection.execute("ROLLBACK")
    except psycopg.Error:
        connection.pgconn.finish()


def _is_plausible(settings: Mapping[str, object]) -> bool:
    """Return whether the ports of a DSN are numbers, and its database no address."""
    ports = str(settings.get("port") or "").split(",")
    return all(not each or each.isdecimal() for each in ports) and "@" not in str(
        settings.get("dbname") or ""
    )


def _read_dsn(dsn: Secret) -> tuple[Secret | None, str]:
    """Return the password and where the database is.

    Raises:
        ConfigurationError: libpq can't read it.
    """
    settings = None
    with contextlib.suppress(psycopg.Error):  # its text quotes the DSN
        settings = conninfo_to_dict(dsn.reveal())
    # A password with an unquoted "/" ends up in other parts, which messages show.
    if settings is None or not _is_plausible(settings):
        raise ConfigurationError(
            "dsn is not one that libpq can read: postgresql://user:password@host/database, or "
            "host=… dbname=…; in a URL, write / as %2F, @ as %40 and % as %25"
        )
    password = settings.get("password")
    hosts = str(settings.get("host") or settings.get("hostaddr") or os.environ.get("PGHOST") or "localhost")
    ports = str(settings.get("port") or os.environ.get("PGPORT") or "5432").split(",")
    servers = ",".join(
        f"{host}:{port or 5432}" for host, port in zip(hosts.split(","), itertools.cycle(ports), strict=False)
    )
    name = settings.get("dbname") or os.environ.get("PGDATABASE") or settings.get("user") or ""
    return (Secret(password) if isinstance(password, str) else None), f"Postgres at {servers}/{name}"
