"""The limiter that processes share through Postgres: contract, faults, clocks, forks and event loops.

The service's own log always shows the same: no window of W seconds has more than ``burst + rate·(W + 0.05)``
requests, or ``burst + rate·W`` below 40 a second.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from fullstory_async import (
    ClientConfig,
    ClientStateError,
    ConfigurationError,
    FullStoryClient,
    LimiterUnavailable,
    RateLimit,
    RateLimitedError,
)
from fullstory_async.cluster import Postgres, PostgresRateLimiter
from fullstory_async.sandbox import Fault, Sandbox
from tests.cli.forked import Forks
from tests.cluster.pgbouncers import pgbouncer
from tests.cluster.postgres_servers import Server, new_name
from tests.faults.calls import error_of
from tests.faults.sharing import (
    Load,
    arrivals,
    between,
    clients_sharing,
    four_processes,
    keeps_the_limit,
    nothing_leaves_while_it_is_down,
)
from tests.limits import SECONDS, until

KEY = "na1.CANARY/0f3a+="
HOUR = 3600.0

pytestmark = pytest.mark.real_time  # as Postgres goes by it


def sharing(dsn: str, **settings: Any) -> AbstractAsyncContextManager[tuple[Sandbox, list[FullStoryClient]]]:
    """Run a sandbox and clients of it, each with a limiter of its own in that database."""
    return clients_sharing(partial(PostgresRateLimiter, dsn), **{"name": new_name("limit"), **settings})


def limiter_of(
    where: str | Postgres, limit: RateLimit, *, max_wait: float = 120.0, **settings: Any
) -> PostgresRateLimiter:
    config = ClientConfig(api_key=KEY, rate_limit=limit, max_wait=max_wait)
    return PostgresRateLimiter(where, config, **{"timeout": SECONDS, "name": new_name("limit"), **settings})


@pytest.mark.parametrize(
    "limit",
    [RateLimit(50, 5), RateLimit(100, 1), RateLimit(200, 100), RateLimit(20, 4)],
    ids=["50/s", "100/s", "200/s", "20/s"],
)
async def test_four_processes_keep_to_one_limit_and_share_it(
    postgres: Server, limit: RateLimit, forks: Forks, tmp_path: Path
) -> None:
    seen = await four_processes(
        "PostgresRateLimiter", postgres.dsn(), limit, 2.0, forks=forks, folder=tmp_path
    )
    keeps_the_limit(seen.times, seen.standstill, limit)
    assert sum(seen.done) > limit.burst
    assert min(seen.done) >= 0.25 * sum(seen.done) / 4


async def test_the_clocks_of_the_processes_do_not_matter(
    postgres: Server, forks: Forks, tmp_path: Path
) -> None:
    limit = RateLimit(50, 5)
    seen = await four_processes(
        "PostgresRateLimiter", postgres.dsn(), limit, 1.5,
        forks=forks, folder=tmp_path, ahead=(HOUR, -HOUR, 0, HOUR),
    )  # fmt: skip
    keeps_the_limit(seen.times, seen.standstill, limit)
    assert min(seen.done) >= 0.25 * sum(seen.done) / 4


async def test_a_new_name_begins_with_an_empty_bucket_and_another_name_is_another_limit(
    database: Postgres,
) -> None:
    async with database:
        limit = RateLimit(10, 10)
        for _ in range(2):
            limiter = limiter_of(database, limit)
            began = time.monotonic()
            await limiter.acquire()
            await limiter.acquire()
            assert time.monotonic() - began >= 0.24  # a tenth and the guard, and a tenth


@pytest.mark.parametrize("limit", [RateLimit(8, 2), RateLimit(200, 5)], ids=["8/s", "200/s"])
async def test_a_429_in_one_process_pauses_all(postgres: Server, limit: RateLimit) -> None:
    async with sharing(postgres.dsn(), limit=limit) as (sandbox, clients):
        load = Load(clients[1:])
        await until(lambda: len(sandbox.requests) > 3)
        sandbox.inject(Fault.retry_after(1), operation="list", times=1)
        await clients[0].sessions.list(uid="u-1")
        await load.stop()
        throttled, again = (request.at for request in sandbox.requests if request.operation == "list")
        assert again - throttled >= 1  # as the service asked
        assert between(sandbox, throttled + 0.1 + 3 * load.standstill, throttled + 1) == 0
        keeps_the_limit(arrivals(sandbox), load.standstill, limit)


async def test_a_pause_that_is_too_long_is_an_error_at_once_elsewhere_too(database: Postgres) -> None:
    async with database:
        first, second = (limiter_of(database, RateLimit(50, 50), name="one") for _ in range(2))
        await first.acquire()
        first.pause(3600)
        await first.aclose()  # which waits until it is published
        for longest in (None, 600.0):
            with pytest.raises(RateLimitedError, match=r"is closed for another 3[56]\d\d s") as caught:
                await second.acquire(max_pause=longest)
            assert caught.value.retry_after == pytest.approx(3600, abs=SECONDS)


async def test_a_wait_that_is_too_long_takes_no_slot(database: Postgres) -> None:
    async with database:
        impatient = limiter_of(database, RateLimit(0.01, 1), max_wait=0.1)
        for _ in range(3):
            with pytest.raises(
                RateLimitedError, match="is closed for another|is taken for another"
            ) as caught:
                await impatient.acquire()
            assert caught.value.retry_after is not None
            assert caught.value.retry_after <= 100.1  # a slot that was taken would make it 200


async def test_nothing_leaves_while_postgres_is_down_and_all_continues_by_itself(postgres: Server) -> None:
    async with sharing(postgres.dsn()) as (sandbox, clients):
        await nothing_leaves_while_it_is_down(sandbox, clients, kill=postgres.kill, start=postgres.start)


async def test_with_a_fallback_each_process_continues_at_its_own_rate(postgres: Server) -> None:
    async with sharing(postgres.dsn(), fallback=10.0) as (sandbox, clients):
        load = Load(clients)
        await until(lambda: len(sandbox.requests) > 10)
        await asyncio.to_thread(postgres.kill)
        await until(lambda: all(cast("Any", client.limiter)._bucket._in_fallback for client in clients))
        await asyncio.sleep(0.1)
        before = len(sandbox.requests)
        await until(lambda: len(sandbox.requests) > before + 10)
        # two processes with 10 a second each, and one that left before
        keeps_the_limit(arrivals(sandbox)[before:], load.standstill, RateLimit(20, 3))
        await asyncio.to_thread(postgres.start)
        await until(lambda: not any(cast("Any", client.limiter)._bucket._in_fallback for client in clients))
        before = len(sandbox.requests)
        await until(lambda: len(sandbox.requests) > before + 10)
        await load.stop()
        assert load.failed.total() == 0
        keeps_the_limit(arrivals(sandbox), load.standstill)


async def test_a_bucket_that_a_crash_lost_starts_empty(postgres: Server, database: Postgres) -> None:
    async with database:
        limiter = limiter_of(database, RateLimit(10, 10))
        await limiter.acquire()
        await asyncio.sleep(1.0)  # a full bucket
        await asyncio.to_thread(postgres.kill)
        await asyncio.to_thread(postgres.start)
        assert postgres.do(f"SELECT count(*) FROM {database.schema}.buckets") == [(0,)]
        began = time.monotonic()
        for _ in range(3):
            await limiter.acquire()
        assert time.monotonic() - began >= 0.34  # a tenth and the guard, and two tenths


async def test_a_server_that_stands_still_is_waited_for_no_longer_than_the_timeout(postgres: Server) -> None:
    async with sharing(postgres.dsn(), timeout=0.5) as (sandbox, clients):
        load = Load(clients)
        await until(lambda: len(sandbox.requests) > 10)
        postgres.stop()
        try:
            assert type(await error_of(clients[0].whoami())) is LimiterUnavailable
            await load.until_each_has_failed()
            before = len(sandbox.requests)
            await load.until_each_has_failed()
            assert len(sandbox.requests) == before
        finally:
            postgres.go_on()
        await until(lambda: len(sandbox.requests) > before + 5)
        await load.stop()
        keeps_the_limit(arrivals(sandbox), load.standstill)


async def test_a_replica_is_an_error_that_says_so_and_the_primary_is_found_again(postgres: Server) -> None:
    async with sharing(postgres.dsn()) as (sandbox, clients):
        load = Load(clients)
        await until(lambda: len(sandbox.requests) > 10)
        postgres.do("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        try:
            await load.until_each_has_failed()
            error = await error_of(clients[0].whoami())
            assert type(error) is LimiterUnavailable
            assert "it is read-only, as a replica is: name the primary" in str(error)
            before = len(sandbox.requests)
            await load.until_each_has_failed()
            assert len(sandbox.requests) == before
        finally:
            postgres.do(
                "SET default_transaction_read_only = off",
                "ALTER SYSTEM RESET default_transaction_read_only",
                "SELECT pg_reload_conf()",
            )
        await until(lambda: len(sandbox.requests) > before + 5)
        await load.stop()
        keeps_the_limit(arrivals(sandbox), load.standstill)


async def test_a_failover_to_a_replica_that_is_promoted_starts_with_an_empty_bucket() -> None:
    primary = Server()
    servers = [primary]
    try:
        primary.start()
        database = new_name("failover")
        primary.do(f"CREATE DATABASE {database}")
        limit = RateLimit(10, 10)
        limiter = limiter_of(primary.dsn(dbname=database), limit, name="one")
        await limiter.acquire()
        await limiter.aclose()
        servers.append(replica := primary.replica())
        await asyncio.to_thread(replica.start)
        alone = limiter_of(replica.dsn(dbname=database), limit, name="one")
        with pytest.raises(LimiterUnavailable, match="it is read-only, as a replica is: name the primary"):
            await alone.acquire()
        both = primary.dsn(
            dbname=database, host="127.0.0.1,127.0.0.1", port=f"{primary.port},{replica.port}",
            target_session_attrs="read-write",
        )  # fmt: skip
        limiter = limiter_of(both, limit, name="one")
        await limiter.acquire()
        await asyncio.to_thread(primary.kill)
        with pytest.raises(LimiterUnavailable):
            await limiter.acquire()
        await asyncio.to_thread(replica.do, "SELECT pg_promote()")
        began = time.monotonic()
        for each in (limiter, alone, limiter):
            await each.acquire()
        assert time.monotonic() - began >= 0.34  # a tenth and the guard, and two tenths
        await alone.aclose()
        await limiter.aclose()
    finally:
        for server in servers:
            server.remove()


async def test_a_locked_row_leaves_no_process_of_the_server_behind(
    database: Postgres, postgres: Server
) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    async with database:
        limiter = limiter_of(database, RateLimit(50, 5), timeout=0.5)
        await limiter.acquire()
        with psycopg.connect(postgres.dsn()) as other:
            other.execute(f"LOCK TABLE {database.schema}.buckets".encode())
            for _ in range(3):
                with pytest.raises(LimiterUnavailable):
                    await limiter.acquire()
            await until(lambda: postgres.do(waiting) == [(0,)])
        await limiter.acquire()


async def test_it_works_behind_pgbouncer_in_transaction_mode(
    postgres: Server, forks: Forks, tmp_path: Path
) -> None:
    limit = RateLimit(50, 5)
    with pgbouncer(postgres) as dsn:
        seen = await four_processes("PostgresRateLimiter", dsn, limit, 1.5, forks=forks, folder=tmp_path)
    keeps_the_limit(seen.times, seen.standstill, limit)
    assert min(seen.done) >= 0.25 * sum(seen.done) / 4


async def test_a_clock_of_the_server_that_is_set_back_begins_anew_and_keeps_a_pause(
    database: Postgres, postgres: Server
) -> None:
    async with database:
        limiter = limiter_of(database, RateLimit(20, 5))
        await limiter.acquire()
        table = f"{database.schema}.buckets"
        hour = 3600 * 1000000
        postgres.do(
            f"UPDATE {table} SET begin_at = begin_at + {hour}, arrival = arrival + {hour}, seen = seen + {hour}"
        )
        began = time.monotonic()
        await limiter.acquire()
        assert time.monotonic() - began >= 0.09  # a twentieth and the guard, and not an hour
        postgres.do(
            f"UPDATE {table} SET seen = seen + {hour}, begin_at = seen + {hour} + 500000, arrival = seen + {hour} + 600000"
        )
        began = time.monotonic()
        await limiter.acquire()
        assert time.monotonic() - began >= 0.45


async def test_priority_passes_what_waits_in_the_same_process(database: Postgres) -> None:
    async with database:
        limiter = limiter_of(database, RateLimit(50, 1))
        order: list[int] = []

        async def take(number: int, *, priority: bool = False) -> None:
            await limiter.acquire(max_pause=60, priority=priority)
            order.append(number)

        waiting = [asyncio.create_task(take(number)) for number in range(30)]
        await until(lambda: len(order) > 2)
        before = len(order)
        await take(100, priority=True)
        assert order.index(100) <= before + 1
        await asyncio.gather(*waiting)


FORK = """
import asyncio, os, sys, traceback
from fullstory_async import ClientConfig, RateLimit
from fullstory_async.cluster import PostgresRateLimiter

limiter = PostgresRateLimiter(sys.argv[1], ClientConfig(api_key="na1.KEY", rate_limit=RateLimit(200, 1)), timeout=60)

async def use():
    await asyncio.gather(*(limiter.acquire() for _ in range(20)))
    return await asyncio.to_thread(os.getpid)

async def parent():
    assert await use() == os.getpid()
    if (child := os.fork()) == 0:
        try:
            code = 0 if asyncio.run(use()) == os.getpid() else 3
        except BaseException:
            traceback.print_exc()
            code = 4
        os._exit(code)
    await asyncio.gather(*(use() for _ in range(5)))
    while (found := os.waitpid(child, os.WNOHANG)) == (0, 0):
        await asyncio.sleep(0.01)
    await use()
    print(os.waitstatus_to_exitcode(found[1]))

asyncio.run(parent())
"""


def test_a_forked_process_has_connections_and_slots_of_its_own(postgres: Server) -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK, postgres.dsn()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_one_event_loop_after_another_and_not_two_at_once(postgres: Server) -> None:
    limiter = limiter_of(postgres.dsn(), RateLimit(200, 5))

    async def elsewhere() -> None:
        await limiter.try_acquire()

    async def use() -> None:
        await asyncio.gather(*(limiter.acquire() for _ in range(20)))
        with pytest.raises(ClientStateError):
            await asyncio.to_thread(asyncio.run, elsewhere())

    async def use_and_close() -> None:
        await use()
        await limiter.aclose()
        await limiter.aclose()

    asyncio.run(limiter.aclose())
    asyncio.run(use())
    asyncio.run(use_and_close())
    asyncio.run(use_and_close())


async def test_without_tables_or_rights_it_says_what_to_do(database: Postgres, postgres: Server) -> None:
    with pytest.raises(LimiterUnavailable, match="fullstory-async cluster init"):
        await limiter_of(database, RateLimit(50, 5)).acquire()
    role = new_name("role")
    postgres.do(f"CREATE ROLE {role} LOGIN PASSWORD 'S3CRET'")
    limiter = limiter_of(postgres.dsn(user=role, password="S3CRET-no"), RateLimit(50, 5))
    with pytest.raises(LimiterUnavailable, match="it refuses the user or the password") as caught:
        await limiter.acquire()
    assert "S3CRET" not in str(caught.value) + repr(limiter)
    await limiter.aclose()
    await database.close()


async def test_a_role_with_least_rights_takes_slots(database: Postgres, postgres: Server) -> None:
    role, schema = new_name("role"), database.schema
    async with database:
        postgres.do(
            f"CREATE ROLE {role} LOGIN PASSWORD 'S3CRET'",
            f"GRANT USAGE ON SCHEMA {schema} TO {role}",
            f"GRANT SELECT, INSERT, UPDATE ON {schema}.buckets TO {role}",
        )
        own = Postgres(postgres.dsn(user=role, password="S3CRET"), schema=schema)
        limiter = limiter_of(own, RateLimit(50, 5))
        await asyncio.gather(*(limiter.acquire() for _ in range(10)))
        limiter.pause(0.05)
        await limiter.aclose()
        await own.close()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"config": ClientConfig(api_key=KEY, rate_limit=RateLimit.adaptive())}, "adaptive"),
        ({"config": ClientConfig()}, "no API key"),
        ({"database": 5432}, "dsn must be"),
        ({"database": "postgresql://u:CANARY%zz@h/d"}, "dsn is not one that libpq can read"),
        ({"name": KEY}, "not the API key"),
        ({"fallback": 0}, "fallback"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_settings_of_a_wrong_kind_are_refused(settings: dict[str, Any], message: str) -> None:
    settings = {"database": "postgresql://127.0.0.1/d", "config": ClientConfig(api_key=KEY), **settings}
    with pytest.raises(ConfigurationError, match=message) as caught:
        PostgresRateLimiter(settings.pop("database"), settings.pop("config"), **settings)
    assert "CANARY" not in str(caught.value)
