"""Row 48: the Redis of a shared limiter is killed, restarted, flushed, stopped, slow or useless.

The service's own log always shows the same: no window has more than ``burst + rate·W`` requests.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from fullstory_async import ClientConfig, FullStoryClient, LimiterUnavailable, RateLimit, RateLimitedError
from fullstory_async.cluster import RedisRateLimiter
from fullstory_async.jobs import Job, JobPlan, StopReason
from fullstory_async.sandbox import Fault, Sandbox
from tests.cli.forked import Forks
from tests.faults.calls import QUICK, error_of
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
from tests.limits import SECONDS, until
from tests.virtual.test_ratelimit import worst_excess

LIMIT = RateLimit(40, 8)

pytestmark = pytest.mark.real_time  # as Redis goes by it


@pytest.fixture(params=KINDS)
def redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    server = server_of(request.param, tmp_path)
    server.start()
    yield server
    server.kill()


@asynccontextmanager
async def sharing(
    url: str, *, processes: int = 2, limit: RateLimit = LIMIT, **settings: Any
) -> AsyncIterator[tuple[Sandbox, list[FullStoryClient]]]:
    """Run a sandbox and clients of it, each with a limiter of its own, as processes have."""
    async with Sandbox(users=1, sessions=4, mean_events=3) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=limit, retry=QUICK)
        settings = {"timeout": SECONDS, **settings}
        limiters = [RedisRateLimiter(url, config, **settings) for _ in range(processes)]
        clients = [FullStoryClient(config=config, limiter=limiter) for limiter in limiters]
        for client in clients:
            await client.__aenter__()
        try:
            yield sandbox, clients
        finally:
            for client, limiter in zip(clients, limiters, strict=True):
                await client.close()
                await limiter.aclose()


class Load:
    """Workers that call as fast as they can until `stop`; counts failures by attempts and whether sent."""

    def __init__(self, clients: list[FullStoryClient], workers: int = 4) -> None:
        self.failed: Counter[tuple[int, bool]] = Counter()
        self.standstill = 0.0
        """The most seconds that this process has stood still, as it does on a busy machine."""
        self._failures = [0] * (len(clients) * workers)
        self._over = False
        self._tasks = [
            asyncio.create_task(self._work(number, clients[number % len(clients)]))
            for number in range(len(self._failures))
        ]
        self._tasks.append(asyncio.create_task(self._watch()))

    async def _work(self, number: int, client: FullStoryClient) -> None:
        while not self._over:
            try:
                await client.whoami()
            except LimiterUnavailable as error:
                self.failed[error.attempts, error.sent] += 1
                self._failures[number] += 1
                await asyncio.sleep(0.02)

    async def _watch(self) -> None:
        while not self._over:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            self.standstill = max(self.standstill, time.monotonic() - began - 0.005)

    async def until_each_has_failed(self) -> None:
        """Wait until each worker has failed once more; what it had sent before is answered then."""
        before = list(self._failures)
        await until(lambda: all(now > then for now, then in zip(self._failures, before, strict=True)))

    async def stop(self) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)


def between(sandbox: Sandbox, start: float, end: float) -> int:
    return sum(start <= request.at < end for request in sandbox.requests)


def keeps_the_limit(times: list[float], standstill: float, limit: RateLimit = LIMIT) -> None:
    """Look at when requests arrived. A process that stood still may have sent late what it was let send in time."""
    late = 3 * standstill if standstill > 0.02 else 0.0
    assert worst_excess(sorted(times), limit) <= limit.rate * late


def arrivals(sandbox: Sandbox) -> list[float]:
    return [request.at for request in sandbox.requests]


@pytest.mark.row(48)
async def test_row_48_nothing_leaves_while_it_is_down_and_all_goes_on_by_itself(
    redis: RedisServer,
) -> None:
    async with sharing(redis.url) as (sandbox, clients):
        load = Load(clients)
        await until(lambda: len(sandbox.requests) > 10)
        assert load.failed.total() == 0
        await asyncio.to_thread(redis.kill)
        await load.until_each_has_failed()
        before = len(sandbox.requests)
        await load.until_each_has_failed()
        assert len(sandbox.requests) == before
        await asyncio.to_thread(redis.start)
        await until(lambda: len(sandbox.requests) > before + 5)
        await load.stop()
        assert set(load.failed) == {(0, False)}
        keeps_the_limit(arrivals(sandbox), load.standstill)


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
        (None, "Timeout|no answer within 0.3 s"),
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


WORKER = """
import asyncio, os, sys, time
from fullstory_async import ClientConfig, FullStoryClient, RateLimit
from fullstory_async.cluster import RedisRateLimiter

async def main(redis, url, key, rate, burst, seconds):
    config = ClientConfig(api_key=key, base_url=url, rate_limit=RateLimit(float(rate), float(burst)))
    async with RedisRateLimiter(redis, config) as limiter, FullStoryClient(config=config, limiter=limiter) as client:
        await client.whoami()
        print("ready", flush=True)
        os.read(0, 1)
        end = time.monotonic() + float(seconds)
        done = standstill = 0

        async def watch():
            nonlocal standstill
            while (began := time.monotonic()) < end:
                await asyncio.sleep(0.005)
                standstill = max(standstill, time.monotonic() - began - 0.005)

        async def work():
            nonlocal done
            while time.monotonic() < end:
                await client.whoami()
                done += 1

        await asyncio.gather(watch(), *(work() for _ in range(10)))
        print(done, standstill)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.row(48)
@pytest.mark.parametrize("redis", KINDS_OF_LONG_ONES, indirect=True)
async def test_row_48_four_processes_keep_to_one_limit(
    redis: RedisServer, forks: Forks, tmp_path: Path
) -> None:
    limit = RateLimit(50, 10)
    async with Sandbox(users=1, sessions=4, mean_events=3) as sandbox:
        arguments = (redis.url, sandbox.url, sandbox.api_key, limit.rate, limit.burst, 1.5)
        reading, writing = os.pipe()
        with ExitStack() as stack:
            workers = [
                stack.enter_context(
                    forks.start(*map(str, arguments), script=WORKER, cwd=tmp_path, streams={0: reading})
                )
                for _ in range(4)
            ]
            os.close(reading)
            await until(lambda: all(worker.out == "ready\n" for worker in workers))
            here = Load([])
            os.write(writing, b"\n\n\n\n")
            await until(lambda: not any(worker.exists() for worker in workers))
            os.close(writing)
            await here.stop()
        printed = [worker.wait().out.removeprefix("ready\n") for worker in workers]
        done, standstill = zip(*(map(float, text.split()) for text in printed), strict=True)
        assert min(done) > 0
        assert sum(done) > limit.burst
        keeps_the_limit(arrivals(sandbox), max(*standstill, here.standstill), limit)


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
