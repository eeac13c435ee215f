"""Postgres away: nothing is sent that could not be counted, the error says what to do, and it goes on by itself."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fullstory_async import ClientConfig, FullStoryClient, RateLimit, RetryPolicy, Success
from fullstory_async.cluster import Postgres, PostgresLedger
from fullstory_async.errors import StorageError
from fullstory_async.jobs import Job, JobPlan
from fullstory_async.sandbox import Sandbox
from tests.cluster.pgbouncers import pgbouncer
from tests.cluster.postgres_servers import PASSWORD, Server, new_name
from tests.limits import SECONDS, until

OTHERS = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
"""The other connections of the server."""


@pytest.fixture
def database(postgres: Server, schema: str) -> Postgres:
    return Postgres(postgres.dsn(), schema=schema, timeout=1.0)


@asynccontextmanager
async def opened(database: Postgres) -> AsyncIterator[PostgresLedger]:
    """Open a ledger that has counted one activation; it has released everything at the end."""
    async with database:
        ledger = PostgresLedger(database, "the-key")
        await ledger.reserve()
        try:
            yield ledger
        finally:
            await ledger.finish()


async def refused(ledger: PostgresLedger, text: str) -> StorageError:
    with pytest.raises(StorageError, match=text) as caught:
        await ledger.reserve()
    assert not caught.value.permanent
    assert PASSWORD not in str(caught.value)
    assert str(caught.value).startswith(f"{ledger.database.location} can't be used: ")
    return caught.value


async def test_a_server_that_is_down(postgres: Server, database: Postgres) -> None:
    async with opened(database) as ledger:
        postgres.kill()
        # at once: after the timeout, there would be another text
        await refused(ledger, "Connection refused.* [(]check that it runs, and the DSN[)]")
        postgres.start()
        await ledger.reserve()
        assert await ledger.spent() == 2


async def test_connections_that_died_while_they_were_idle_are_not_used(
    postgres: Server, database: Postgres
) -> None:
    async with opened(database) as ledger:
        await asyncio.gather(*(ledger.status() for _ in range(4)))
        postgres.kill()
        postgres.start()
        await ledger.reserve()
        postgres.do(f"SELECT pg_terminate_backend(pid) {OTHERS}")
        await until(lambda: not postgres.do(f"SELECT pid {OTHERS}"))
        await ledger.reserve()
        assert await ledger.spent() == 3


async def test_a_server_that_stands_still(postgres: Server, database: Postgres) -> None:
    """A partition: what was asked for then is not counted later either, because nothing was sent for it."""
    async with opened(database) as ledger:
        postgres.stop()
        callers = [asyncio.create_task(ledger.reserve()) for _ in range(5)]
        outcomes = await asyncio.gather(*callers, return_exceptions=True)
        postgres.go_on()
        assert {str(each).partition("used: ")[2] for each in outcomes} == {"no response within 1 s"}
        await ledger.reserve()
        await until(lambda: not postgres.do(f"SELECT pid {OTHERS} AND state <> 'idle'"))
        assert await ledger.spent() == 2


async def test_a_server_that_became_read_only(postgres: Server, database: Postgres) -> None:
    async with opened(database) as ledger:
        postgres.do("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        try:
            await until(lambda: postgres.do("SHOW default_transaction_read_only") == [("on",)])
            await refused(
                ledger, "it is read-only, as a replica is: name the primary, or target_session_attrs"
            )
        finally:
            postgres.do(
                "SET default_transaction_read_only = off", "ALTER SYSTEM RESET default_transaction_read_only",
                "SELECT pg_reload_conf()",
            )  # fmt: skip
        await until(lambda: postgres.do("SHOW default_transaction_read_only") == [("off",)])
        await ledger.reserve()
        assert await ledger.spent() == 2


async def test_a_server_with_too_many_connections(postgres: Server, schema: str) -> None:
    role = new_name("worker")
    await Postgres(postgres.dsn(), schema=schema).open()
    postgres.do(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'other' CONNECTION LIMIT 5")
    postgres.do(f"ALTER ROLE {role} NOSUPERUSER", f"GRANT ALL ON SCHEMA {schema} TO {role}")
    postgres.do(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}")
    database = Postgres(postgres.dsn(user=role, password="other"), schema=schema)
    async with opened(database) as ledger:
        await database.close()
        postgres.do(f"ALTER ROLE {role} CONNECTION LIMIT 0")
        await refused(
            ledger, "it has too many connections: raise max_connections, or put pgbouncer before it"
        )
        postgres.do(f"ALTER ROLE {role} CONNECTION LIMIT 5")
        await ledger.reserve()
        assert await ledger.spent() == 2


async def test_a_server_whose_disk_is_full(postgres: Server, database: Postgres) -> None:
    """Its process may not let a file grow beyond the middle of a page, and says that there is no space."""
    async with opened(database) as ledger:
        for _ in range(4):  # their rows fill a page, so that the next one needs another page
            await PostgresLedger(database, "the-key", budget=secrets.token_hex(900)).open()
        other = PostgresLedger(database, "the-key", budget=secrets.token_hex(900))
        async with database.connection(autocommit=True) as connection:  # the one that is used next
            process = connection.info.backend_pid
        postgres.limit_files(process, 8192 + 100)
        await refused(other, "its disk is full: make room on its disk, or raise the quota|File too large")
        assert (await ledger.status()).month_spent == 1
        await other.reserve()  # over another connection, whose process may write
        assert (await ledger.status()).month_spent == 2


async def test_another_transaction_that_holds_the_budget(postgres: Server, database: Postgres) -> None:
    async with opened(database) as ledger:
        async with database.connection(timeout=60) as connection:
            await connection.execute(database.statement("SELECT 1 FROM {schema}.budgets FOR UPDATE"))
            await refused(ledger, "no response within 1 s")
        await ledger.reserve()
        assert await ledger.spent() == 2


async def test_what_was_not_spent_is_released_when_the_server_is_back(
    postgres: Server, database: Postgres
) -> None:
    async with opened(database) as ledger:
        reservations = [await ledger.reserve() for _ in range(3)]
        postgres.kill()
        for each in reservations:
            ledger.release(each)
        await asyncio.sleep(0.05)
        postgres.start()
        await ledger.finish()
        assert await ledger.spent() == 1


async def test_pgbouncer_in_transaction_mode(postgres: Server, schema: str) -> None:
    with pgbouncer(postgres, size=2) as dsn:
        async with opened(Postgres(dsn, schema=schema, timeout=5.0)) as ledger:
            for _ in range(5):
                await asyncio.gather(
                    *(ledger.reserve() for _ in range(20)), *(ledger.status() for _ in range(4))
                )
            assert await ledger.spent() == 101
            postgres.kill()
            await refused(ledger, "no response within 5 s|closed|connect")
            postgres.start()
            # pgbouncer itself waits before it connects again
            async with asyncio.timeout(SECONDS):
                while True:
                    try:
                        await ledger.reserve()
                        break
                    except StorageError:
                        await asyncio.sleep(0.1)
            assert await ledger.spent() == 102


async def test_the_primary_is_found_among_several_hosts(postgres: Server, schema: str) -> None:
    # nothing listens at the first one
    dsn = postgres.dsn(
        host="127.0.0.1,127.0.0.1", port=f"1,{postgres.port}", target_session_attrs="read-write"
    )
    async with opened(Postgres(dsn, schema=schema)) as ledger:
        assert await ledger.spent() == 1


async def test_options_of_tls_reach_libpq(postgres: Server, schema: str) -> None:
    database = Postgres(postgres.dsn(sslmode="require"), schema=schema)
    with pytest.raises(StorageError, match="server does not support SSL, but SSL was required"):
        await database.open()
    await database.close()


async def test_a_job_waits_for_its_budget_and_goes_on(
    postgres: Server, database: Postgres, tmp_path: Path
) -> None:
    async with opened(database) as ledger, Sandbox(sessions=40, mean_events=3) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(200, 5))
        async with (
            FullStoryClient(config=config, ledger=ledger) as client,
            Job.open(tmp_path / "job", client=client, plan=JobPlan(events=True)) as job,
        ):
            await job.add(sandbox.session_ids)
            running = asyncio.create_task(job.run(concurrency=4))
            await until(lambda: sandbox.activations > 5)
            postgres.kill()
            await asyncio.sleep(0.5)
            sent = sandbox.activations
            await asyncio.sleep(0.5)
            assert sandbox.activations == sent
            postgres.start()
            report = await running
        assert (report.reason, report.done, sandbox.activations) == ("finished", 40, 40)
        # the callers of one statement may be counted without knowing it
        assert 1 + 40 <= await ledger.spent() <= 1 + 40 + 4


async def test_calls_of_a_client_send_nothing_meanwhile_and_go_on(
    postgres: Server, database: Postgres
) -> None:
    async with opened(database) as ledger, Sandbox(sessions=6) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, retry=RetryPolicy(attempts=1))
        async with FullStoryClient(config=config, ledger=ledger) as client:
            postgres.kill()
            with pytest.raises(StorageError, match="Connection refused"):
                await client.sessions.events(sandbox.session_ids[0], timeout=0.5)
            assert sandbox.activations == 0
            async with client.sessions.events_many(sandbox.session_ids) as results:
                await asyncio.sleep(0.3)
                assert sandbox.activations == 0
                postgres.start()
                assert [type(outcome) async for outcome in results] == [Success] * 6
        assert await ledger.spent() == 1 + 6
        sandbox.assert_paid(6)
