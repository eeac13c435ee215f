"""PostgresStore: transactions that meet, and conditions under which one has to be repeated or refused."""

from __future__ import annotations

import asyncio

import pytest

from fullstory_async import FullStoryClient, RateLimit, RetryPolicy, Success
from fullstory_async.cluster import Postgres, claims
from fullstory_async.cluster.stored import Claim
from fullstory_async.errors import ConfigurationError, LimiterUnavailable
from fullstory_async.ratelimit.limiter import RateLimiter
from tests.cluster.postgres_servers import Server, new_name
from tests.cluster.test_store import bench, config_of, fetched
from tests.limits import until


async def test_two_adds_in_opposite_order_wait_for_each_other(postgres: Server, schema: str) -> None:
    async with bench(postgres, schema) as at, at.store() as one, at.store() as two:
        ids = [f"{user}:{user + 1}" for user in range(1, 10_001)]
        added = await asyncio.gather(one.add(ids), two.add(ids[::-1]))
        assert sum(each.new for each in added) == 10_000
        assert (await one.status()).sessions == 10_000


async def test_a_purge_and_a_mark_of_the_same_session_wait_for_each_other(
    postgres: Server, schema: str
) -> None:
    async with bench(postgres, schema) as at, at.store() as store:
        run = store._run
        assert run is not None
        claim = await run.claims.take(at.ids[0])
        assert isinstance(claim, Claim)
        async with run.claims.lease._database.connection() as marking:
            mark = f'SELECT "{schema}".mark_sent(%s, %s, %s)'.encode()
            await marking.execute(mark, (claim.worker, [claim.seq], [claim.number]))
            purge = asyncio.create_task(store.purge(at.ids[0]))
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            await until(lambda: postgres.do(waits)[0][0] == 1)
            await run.settlements.ledger.reserve_in(marking)
        assert await purge
        status = await store.status()
        assert (status.spent, status.at_risk, status.sent, status.sessions) == (1, 1, 0, 0)


async def test_a_lock_that_is_held_for_long_leaves_no_claim_that_nobody_has(
    postgres: Server, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LEASE", 1.2)
    async with bench(postgres, schema) as at, at.store() as store:
        run = store._run
        assert run is not None
        database = run.claims.lease._database
        monkeypatch.setattr(database, "timeout", 0.6)
        async with database.connection(timeout=60) as holding:
            await holding.execute(f"SELECT pg_advisory_xact_lock(5067837, id) FROM {schema}.budgets".encode())
            taking = asyncio.create_task(run.claims.take(at.ids[0]))
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            await until(lambda: postgres.do(waits)[0][0] == 1)
            await asyncio.sleep(1.5)
            assert postgres.do(waits)[0][0] <= 1
        found = await taking
        for _ in range(20):
            if isinstance(found, Claim):
                break
            await asyncio.sleep(0.1)
            found = await run.claims.take(at.ids[0])
        assert isinstance(found, Claim)


class Unavailable(RateLimiter):
    """A rate limit that can't be asked the first times."""

    def __init__(self, failures: int) -> None:
        super().__init__(RateLimit(1000, 1000))
        self.failures = failures

    async def try_acquire(self) -> bool:
        self.failures -= 1
        if self.failures >= 0:
            raise LimiterUnavailable("away", sent=False)
        return await super().try_acquire()


async def test_a_call_that_waits_for_the_limiter_reserves_one_activation(
    postgres: Server, schema: str
) -> None:
    async with bench(postgres, schema) as at, at.store(max_activations=3) as store:
        async with at.client() as client:
            await fetched(store, client, at.ids[:1])
        once = config_of(at.sandbox, retry=RetryPolicy(attempts=1))
        async with FullStoryClient(config=once, limiter=Unavailable(4)) as client:
            outcomes = await fetched(store, client, at.ids[1:3])
        assert all(isinstance(each, Success) for each in outcomes)
        at.sandbox.assert_paid(3)
        assert (await store.status()).spent == 3


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_another_isolation_level_is_refused(postgres: Server, schema: str, level: str) -> None:
    role = new_name("role")
    postgres.do(
        f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'a long one'",
        f"ALTER ROLE {role} SET default_transaction_isolation = '{level}'",
    )
    with pytest.raises(
        ConfigurationError, match=f"default_transaction_isolation is '{level}' in Postgres at"
    ):
        await Postgres(postgres.dsn(user=role, password="a long one"), schema=schema).open()


async def test_the_owner_of_the_schema_alone_can_create_the_tables(postgres: Server, schema: str) -> None:
    role = new_name("owner")
    postgres.do(
        f"CREATE ROLE {role} LOGIN PASSWORD 'a long one'", f'CREATE SCHEMA "{schema}" AUTHORIZATION {role}'
    )
    async with Postgres(postgres.dsn(user=role, password="a long one"), schema=schema):
        pass
