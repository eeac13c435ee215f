"""Row 48: the Redis of a shared limiter is killed, restarted, flushed, stopped, slow or useless.

The service's own log always shows the same: no window has more than ``burst + rate·W`` requests.
"""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from fullstory_async import ClientConfig, FullStoryClient, LimiterUnavailable, RateLimit, RateLimitedError
from fullstory_async.cluster import RedisRateLimiter
from fullstory_async.jobs import Job, JobPlan, StopReason
from fullstory_async.sandbox import Fault, Sandbox
from tests.cli.forked import Forks
from tests.faults.calls import error_of
from tests.faults.redis_servers import (
    BINARY,
    INSTALL,
    KINDS,
    KINDS_OF_LONG_ONES,
    RealServer,
    RedisServer,
    answering,
    server_of,
)
from tests.faults.sharing import (
    LIMIT,
    Load,
    arrivals,
    between,
    clients_sharing,
    four_processes,
    keeps_the_limit,
    nothing_leaves_while_it_is_down,
)
from tests.limits import SECONDS, until

pytestmark = pytest.mark.real_time  # as Redis goes by it


@pytest.fixture(params=KINDS)
def redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    server = server_of(request.param, tmp_path)
    server.start()
    yield server
    server.kill()


def sharing(url: str, **settings: Any) -> AbstractAsyncContextManager[tuple[Sandbox, list[FullStoryClient]]]:
    """Run a sandbox and clients of it, each with a limiter of its own in that Redis."""
    return clients_sharing(partial(RedisRateLimiter, url), **settings)


@pytest.mark.row(48)
async def test_row_48_nothing_leaves_while_it_is_down_and_all_goes_on_by_itself(
    redis: RedisServer,
) -> None:
    async with sharing(redis.url) as (sandbox, clients):
        await nothing_leaves_while_it_is_down(sandbox, clients, kill=redis.kill, start=redis.start)


@pytest.mark.row(48)
@pytest.mark.parametrize("redis", KINDS_OF_LONG_ONES, indirect=True)
async def test_row_48_or_each_process_goes_on_at_a_rate_of_its_own(redis: RedisServer) -> None:
    async with sharing(redis.url, fallback=10.0) as (sandbox, clients):
        load = Load(clients)
        await until(lambda: len(sandbox.requests) > 10)
        await asyncio.to_thread(redis.kill)
        await until(lambda: all(cast("Any", client.limiter)._bucket._in_fallback for client in clients))
        await asyncio.sleep(0.1)
        before = len(sandbox.requests)
        await until(lambda: len(sandbox.requests) > before + 10)
        # two processes with 10 a second each, and one that left before
        keeps_the_limit(arrivals(sandbox)[before:], load.standstill, RateLimit(20, 3))
        await asyncio.to_thread(redis.start)
        await until(lambda: between(sandbox, time.monotonic() - 0.5, time.monotonic()) >= 15)  # and 40 in all
        await load.stop()
        assert load.failed.total() == 0
        keeps_the_limit(arrivals(sandbox), load.standstill)


@pytest.mark.row(48)
@pytest.mark.parametrize("command", [("FLUSHALL",), ("SCRIPT", "FLUSH")], ids="".join)
async def test_row_48_what_it_forgets_costs_requests_and_never_adds_any(
    redis: RedisServer, command: tuple[str, ...]
) -> None:
    async with sharing(redis.url) as (sandbox, clients):
        await clients[0].whoami()
        await asyncio.sleep(0.4)  # a full bucket
        load = Load(clients)
        for _ in range(6):
            await asyncio.sleep(0.1)
            await asyncio.to_thread(redis.do, *command)
        await until(lambda: len(sandbox.requests) > 10)
        await load.stop()
        assert load.failed.total() == 0
        keeps_the_limit(arrivals(sandbox), load.standstill)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_it_can_be_closed_when_the_loop_that_it_was_used_in_is_over(redis: RedisServer) -> None:
    config = ClientConfig(api_key="na1.KEY", rate_limit=LIMIT)
    limiter = RedisRateLimiter(redis.url, config)
    asyncio.run(limiter.aclose())
    asyncio.run(limiter.acquire())  # and its connection is left open
    asyncio.run(limiter.aclose())
    asyncio.run(limiter.acquire())

    async def use_and_close() -> None:
        await limiter.acquire()
        await limiter.aclose()
        await limiter.aclose()

    asyncio.run(use_and_close())
    gc.collect()


@pytest.mark.row(48)
async def test_row_48_a_pause_outlives_what_was_reserved_before_it(redis: RedisServer) -> None:
    limit = RateLimit(8, 2)  # a slot is an eighth of a second ahead, or a quarter
    async with sharing(redis.url, limit=limit) as (sandbox, clients):
        load = Load(clients[1:])
        await asyncio.sleep(0.4)
        sandbox.inject(Fault.retry_after(1), operation="list", times=1)
        await clients[0].sessions.list(uid="u-1")
        await load.stop()
        throttled, again = (request.at for request in sandbox.requests if request.operation == "list")
        assert again - throttled >= 1  # as the service asked
        assert between(sandbox, throttled + 0.06 + 3 * load.standstill, throttled + 1) == 0
        keeps_the_limit(arrivals(sandbox), load.standstill, limit)


@pytest.mark.row(48)
@pytest.mark.skipif(BINARY is None, reason=INSTALL)
async def test_row_48_one_that_is_stopped_is_waited_for_no_longer_than_the_timeout(tmp_path: Path) -> None:
    redis = RealServer(tmp_path)
    redis.start()
    try:
        async with sharing(redis.url, timeout=0.3) as (sandbox, clients):
            load = Load(clients)
            await until(lambda: len(sandbox.requests) > 10)
            redis.stop()
            assert type(await error_of(clients[0].whoami())) is LimiterUnavailable
            await load.until_each_has_failed()
            before = len(sandbox.requests)
            await load.until_each_has_failed()
            assert len(sandbox.requests) == before
            redis.go_on()
            await until(lambda: len(sandbox.requests) > before + 5)
            await load.stop()
            keeps_the_limit(arrivals(sandbox), load.standstill)
    finally:
        redis.kill()


@pytest.mark.row(48)
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "Timeout|no response within 0.3 s"),
        (b"-READONLY You can't write against a read only replica.\r\n", "read only replica"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "loading the dataset"),
        (b"-NOAUTH Authentication required.\r\n", "Authentication required"),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", "maxmemory"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "InvalidResponse|Protocol"),
    ],
    ids=["silent", "replica", "loading", "noauth", "full", "http"],
)
async def test_row_48_one_that_is_of_no_use_is_an_error_that_says_so(answer: bytes | None, said: str) -> None:
    async with answering(answer) as url:
        # only the silent one is to run out of time
        async with sharing(url, timeout=0.3 if answer is None else SECONDS) as (sandbox, clients):
            errors = await asyncio.gather(*(error_of(clients[0].whoami()) for _ in range(5)))
            for error in errors:
                assert type(error) is LimiterUnavailable
                assert re.search(said, str(error))
            assert sandbox.requests == []


@pytest.mark.row(48)
@pytest.mark.parametrize("redis", KINDS_OF_LONG_ONES, indirect=True)
@pytest.mark.parametrize("limit", [RateLimit(50, 10), RateLimit(100, 1)], ids=["50/s", "100/s"])
async def test_row_48_four_processes_keep_to_one_limit(
    redis: RedisServer, limit: RateLimit, forks: Forks, tmp_path: Path
) -> None:
    seen = await four_processes("RedisRateLimiter", redis.url, limit, 1.5, forks=forks, folder=tmp_path)
    assert min(seen.done) > 0
    assert sum(seen.done) > limit.burst
    keeps_the_limit(seen.times, seen.standstill, limit)


@pytest.mark.row(48)
async def test_row_48_a_job_waits_for_it_and_counts_no_session_as_failed(
    redis: RedisServer, tmp_path: Path
) -> None:
    async with sharing(redis.url, processes=1) as (sandbox, [client]):
        plan = JobPlan(events=True)
        async with Job.open(tmp_path / "one.job", client=client, plan=plan) as job:
            await job.add(sandbox.session_ids)
            await asyncio.to_thread(redis.kill)
            report = await job.run(network_patience=0.2)
            assert report.reason is StopReason.NETWORK_DOWN
            assert "the rate limiter that is shared through Redis" in report.detail
            assert report.failed.total() == report.spent == sandbox.activations == 0
            running = asyncio.create_task(job.run(network_patience=SECONDS))
            await asyncio.sleep(0.3)
            await asyncio.to_thread(redis.start)
            report = await running
            assert report.reason is StopReason.FINISHED
            assert report.done == sandbox.activations == len(sandbox.session_ids)


@pytest.mark.row(48)
async def test_row_48_a_wait_that_is_too_long_takes_no_slot(redis: RedisServer) -> None:
    async with sharing(redis.url, limit=RateLimit(0.01, 1)) as (sandbox, clients):
        limiters = [RedisRateLimiter(redis.url, client.config, name="slow") for client in clients]
        impatient = RedisRateLimiter(
            redis.url, ClientConfig(rate_limit=RateLimit(0.01, 1), max_wait=0.1), name="slow"
        )
        for _ in range(3):
            with pytest.raises(
                RateLimitedError, match="is closed for another|is taken for another"
            ) as caught:
                await impatient.acquire()
            assert caught.value.retry_after is not None
            assert 60 < caught.value.retry_after <= 100.1  # a slot that was taken would make it 200
        for limiter in (*limiters, impatient):
            await limiter.aclose()
        assert sandbox.requests == []
