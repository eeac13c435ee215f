"""Postgres: connections, transactions, migrations and what a failure says."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import re
import subprocess
import sys
import tarfile
import zipfile
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest

from fullstory_async.cluster import Postgres, PostgresLedger
from fullstory_async.cluster.migrations import known
from fullstory_async.errors import ConfigurationError, StorageError
from tests.cluster.postgres_servers import PASSWORD, Server, new_name
from tests.limits import until

ROOT = Path(__file__).parent.parent.parent


async def count(database: Postgres, table: str = "budgets") -> int:
    async with database.connection() as connection:
        cursor = await connection.execute(database.statement(f"SELECT count(*) FROM {{schema}}.{table}"))
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])


async def add(connection: psycopg.AsyncConnection[tuple[object, ...]], database: Postgres, name: str) -> None:
    await connection.execute(database.statement("INSERT INTO {schema}.budgets (name) VALUES (%s)"), (name,))


def sockets() -> int:
    """Return how many sockets this process has open."""
    links = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # of the listing itself
            links.append(str(each.readlink()))
    return sum(link.startswith("socket:") for link in links)


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
        rows = postgres.do("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
        assert rows[0][0] <= 4 + 1


async def test_cancelled_blocks_leave_no_connection_and_no_transaction(
    database: Postgres, postgres: Server
) -> None:
    rng = random.Random(7)

    async def block(number: int) -> None:
        async with database.connection() as connection:
            await add(connection, database, f"row {number}")
            await connection.execute("SELECT pg_sleep(0.002)")

    clients = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    # those that an earlier test left may take a while to end
    [(earlier,)] = postgres.do(f"SELECT coalesce(array_agg(pid), '{{}}') {clients}")
    others = f"{clients} AND pid <> ALL (ARRAY{earlier}::integer[])"
    async with database:
        for number in range(40):
            blocks = [asyncio.create_task(block(6 * number + each)) for each in range(6)]
            await asyncio.sleep(rng.choice([0, 0.001, 0.004, 0.008]))
            for each in blocks:
                each.cancel()
            await asyncio.gather(*blocks, return_exceptions=True)
        # all four can be had at the same time
        async with AsyncExitStack() as held:
            for _ in range(4):
                await held.enter_async_context(database.connection())
        await until(lambda: postgres.do(f"SELECT count(*), bool_and(state = 'idle') {others}") == [(4, True)])


async def test_a_cancelled_connecting_closes_its_socket_without_the_garbage_collector(
    database: Postgres,
) -> None:
    async def cancel_some(delay: float) -> None:
        connecting = [asyncio.create_task(count(database)) for _ in range(4)]
        await asyncio.sleep(delay)
        for each in connecting:
            each.cancel()
        await asyncio.gather(*connecting, return_exceptions=True)

    gc.collect()
    gc.disable()
    before = sockets()
    try:
        for number in range(40):
            await cancel_some(number * 0.0005)
            await database.close()
        assert sockets() == before
    finally:
        gc.enable()


async def test_it_can_be_used_in_one_event_loop_after_the_other(database: Postgres) -> None:
    async with database:
        assert await count(database) == 0

    def elsewhere() -> int:
        return asyncio.run(count(database))

    assert await asyncio.to_thread(elsewhere) == 0
    assert await count(database) == 0
    await database.close()


@pytest.mark.parametrize(
    "dsn",
    [
        "nonsense",
        f"postgresql://u:{PASSWORD}%zz@h/d",
        f"host=h passwort={PASSWORD}",
        f"postgresql://u:{PASSWORD}@h/d",  # it has a slash
        f"postgresql://u:1/{PASSWORD}@h/d",
    ],
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


async def test_a_role_with_the_rights_of_the_page_can_do_no_more(
    postgres: Server, database: Postgres, schema: str
) -> None:
    async with database:
        await PostgresLedger(database, "k").reserve()
    page = (ROOT / "docs" / "cluster.md").read_text()
    [block] = re.findall(r"```sql\n(CREATE ROLE .*?)```", page, re.DOTALL)
    role = new_name("worker")
    postgres.do(block.replace("fullstory_worker", role).replace(" fullstory", f" {schema}"))
    async with Postgres(postgres.dsn(user=role, password="a long one"), schema=schema) as worker:
        ledger = PostgresLedger(worker, "k", budget="another", max_activations=5, monthly_cap=9)
        ledger.release(await ledger.reserve())
        await ledger.finish()
        assert (await ledger.status()).month_spent == 1
        for forbidden in (
            "DELETE FROM {schema}.budgets", "DROP TABLE {schema}.months", "CREATE TABLE {schema}.mine (x int)",
            "DELETE FROM {schema}.migrations", "ALTER TABLE {schema}.keys ADD x int", "TRUNCATE {schema}.months",
        ):  # fmt: skip
            with pytest.raises(
                StorageError, match="the role lacks a right: grant it .see docs/cluster.md"
            ) as caught:
                async with worker.connection() as connection:
                    await connection.execute(worker.statement(forbidden))
            assert caught.value.permanent


async def test_a_role_that_may_not_create_the_tables_is_told_who_may(postgres: Server, schema: str) -> None:
    role = new_name("worker")
    postgres.do(f"CREATE ROLE {role} LOGIN PASSWORD 'other'")
    database = Postgres(postgres.dsn(user=role, password="other"), schema=schema)
    with pytest.raises(StorageError, match="'fullstory-async cluster init' with the DSN of its owner"):
        await database.open()
    await database.close()


async def test_without_its_tables_the_ledger_says_what_to_do(database: Postgres) -> None:
    with pytest.raises(StorageError, match="a table does not exist: run 'fullstory-async cluster init'"):
        await PostgresLedger(database, "k").reserve()
    await database.close()


async def test_a_forked_process_leaves_the_connections_of_its_parent(database: Postgres) -> None:
    async with database:
        async with database.connection() as connection:
            await add(connection, database, "before")
        child = await asyncio.to_thread(_forked, database)
        assert child == 0
        async with database.connection() as connection:
            await add(connection, database, "after")
        assert await count(database) == 3


def _forked(database: Postgres) -> int:
    async def use() -> None:
        async with database.connection() as connection:
            await add(connection, database, "child")
        await database.close()

    if (child := os.fork()) == 0:
        code = 1
        try:
            asyncio.run(use())
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def test_a_connection_that_was_idle_for_long_is_not_used_again(
    database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def process() -> int:
        async with database.connection() as connection:
            return connection.info.backend_pid

    async with database:
        first = await process()
        assert await process() == first
        monkeypatch.setattr("fullstory_async.cluster.connections._IDLE_SECONDS", 0.0)
        assert await process() != first


def test_the_migrations_are_in_what_is_published(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    names = {f"fullstory_async/cluster/migrations/{each.file.name}" for each in known()}
    [wheel], [source] = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    assert names <= set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(source) as archive:
        assert names <= {name.partition("/")[2] for name in archive.getnames()}
