"""Postgres: connections, transactions, migrations and what a failure says."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from fullstory_async.cluster import Postgres
from fullstory_async.cluster.migrations import known
from fullstory_async.errors import ConfigurationError, StorageError
from tests.cluster.postgres_servers import PASSWORD, Server


async def count(database: Postgres, table: str = "budgets") -> int:
    async with database.connection() as connection:
        cursor = await connection.execute(database.statement(f"SELECT count(*) FROM {{schema}}.{table}"))
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])


async def add(connection: psycopg.AsyncConnection[tuple[object, ...]], database: Postgres, name: str) -> None:
    await connection.execute(database.statement("INSERT INTO {schema}.budgets (name) VALUES (%s)"), (name,))


async def test_a_block_is_a_transaction(database: Postgres) -> None:
    async with database:
        async with database.connection() as connection:
            await add(connection, database, "kept")
        with pytest.raises(ZeroDivisionError):
            async with database.connection() as connection:
                await add(connection, database, "undone")
                _ = 1 / 0
        assert await count(database) == 1
        with pytest.raises(StorageError, match="nothing of it was kept"):
            async with database.connection() as connection:
                await add(connection, database, "undone")
                with pytest.raises(psycopg.Error):
                    await connection.execute("SELECT 1/0")
        assert await count(database) == 1


async def test_many_processes_create_the_tables_once(postgres: Server, schema: str) -> None:
    opened = [Postgres(postgres.dsn(), schema=schema) for _ in range(8)]
    await asyncio.gather(*(each.open() for each in opened))
    assert await count(opened[0], "migrations") == len(known())
    await asyncio.gather(*(each.open() for each in opened))
    for each in opened:
        await each.close()
    assert await count(opened[0], "migrations") == len(known())
    await opened[0].close()


async def test_tables_of_a_later_version_are_refused(database: Postgres) -> None:
    async with database, database.connection() as connection:
        await connection.execute(
            database.statement("INSERT INTO {schema}.migrations (number, name) VALUES (9000, 'later')")
        )
    with pytest.raises(
        ConfigurationError, match=r"later version of fullstory-async \(migration 9000\): upgrade"
    ):
        await database.open()
    await database.close()


async def test_connections_are_few_and_used_again(database: Postgres, postgres: Server) -> None:
    async with database:
        await asyncio.gather(*(count(database) for _ in range(50)))
        rows = postgres.do("SELECT count(*) FROM pg_stat_activity WHERE datname = 'postgres'")
        assert rows[0][0] <= 4 + 1


async def test_it_can_be_used_in_one_event_loop_after_the_other(database: Postgres) -> None:
    async with database:
        assert await count(database) == 0

    def elsewhere() -> int:
        return asyncio.run(count(database))

    assert await asyncio.to_thread(elsewhere) == 0
    assert await count(database) == 0
    await database.close()


@pytest.mark.parametrize(
    "dsn", ["nonsense", f"postgresql://u:{PASSWORD}%zz@h/d", f"host=h passwort={PASSWORD}"]
)
def test_a_dsn_that_can_not_be_read_is_not_quoted(dsn: str) -> None:
    with pytest.raises(ConfigurationError, match="dsn is not one that libpq can read") as caught:
        Postgres(dsn)
    assert dsn not in str(caught.value)


async def test_a_wrong_password_is_named_and_not_shown(postgres: Server, schema: str) -> None:
    database = Postgres(postgres.dsn(password="wr0ng-one"), schema=schema)
    with pytest.raises(StorageError, match="it refuses the user or the password: check the DSN") as caught:
        await database.open()
    assert caught.value.permanent
    assert "wr0ng" not in str(caught.value) + repr(database)
    await database.close()
