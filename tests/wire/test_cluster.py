"""The limiter that processes share through Redis: contract, refusals, pauses, secrets, requests."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import pickle
import subprocess
import sys
import time
import traceback
from types import SimpleNamespace
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer

from fullstory_async import (
    ClientConfig,
    ClientStateError,
    ConfigurationError,
    FullStoryClient,
    FullStoryError,
    LimiterUnavailable,
    RateLimit,
    RateLimitedError,
)
from fullstory_async.cluster import RedisRateLimiter
from fullstory_async.cluster.lease import LEASE
from fullstory_async.sandbox import Sandbox
from tests.limits import SECONDS
from tests.virtual.test_ratelimit import worst_excess
from tests.virtual_time import now

KEY = "na1.CANARY/0f3a+="
VIRTUAL_EPOCH = 1_700_000_000.0


@pytest.fixture(autouse=True)
def _redis_in_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the fake Redis go by the clock of the loop that runs."""

    def virtual_time() -> float:
        with contextlib.suppress(RuntimeError):
            return VIRTUAL_EPOCH + now()
        return time.time()

    clock = SimpleNamespace(time=virtual_time)
    monkeypatch.setattr("fakeredis.commands_mixins.server_mixin.time", clock)
    monkeypatch.setattr("fakeredis._socket._base.time", clock)


class CountingRedis(FakeAsyncRedis):
    asked = 0

    async def execute_command(self, *command: Any, **options: Any) -> Any:
        self.asked += 1
        execute: Any = super().execute_command  # which has no annotations
        return await execute(*command, **options)


def limiters_of(
    server: FakeServer, limit: RateLimit, count: int = 1, *, max_wait: float = 120.0, **settings: Any
) -> list[RedisRateLimiter]:
    config = ClientConfig(api_key=KEY, rate_limit=limit, max_wait=max_wait)
    return [RedisRateLimiter(CountingRedis(server=server), config, **settings) for _ in range(count)]


async def take_for(seconds: float, limiters: list[RedisRateLimiter], workers: int = 3) -> list[float]:
    """Take tokens for so long, by some workers of each limiter; return the times."""
    times, end = [], now() + seconds

    async def work(limiter: RedisRateLimiter) -> None:
        while now() < end:
            await limiter.acquire(max_pause=60)
            times.append(now())

    await asyncio.gather(*(work(limiter) for limiter in limiters for _ in range(workers)))
    return sorted(times)


def our_variables(error: FullStoryError) -> str:
    """Return what a debugger shows of the package's own frames that an error has passed."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [frame for frame in frames if frame.f_globals["__name__"].startswith("fullstory_async")]
    assert ours
    return repr([frame.f_locals for frame in ours])


async def until_full(limiter: RedisRateLimiter) -> None:
    await limiter.acquire()
    await asyncio.sleep(limiter.limit.burst / limiter.limit.rate)


@pytest.mark.virtual_time
async def test_together_they_keep_to_one_limit_and_use_it_in_full() -> None:
    limit = RateLimit(60, 12)
    limiters = limiters_of(FakeServer(), limit, 4)
    await until_full(limiters[0])
    times = await take_for(0.8, limiters)
    assert worst_excess(times, limit) <= 0
    assert sum(at < times[0] + 0.05 for at in times) >= 9  # the burst, but for the margin
    assert len(times) >= 9 + 0.9 * 0.8 * limit.rate


@pytest.mark.virtual_time
async def test_they_share_it_evenly() -> None:
    limit = RateLimit(50, 10)
    limiters = limiters_of(FakeServer(), limit, 4)
    await until_full(limiters[0])
    each = await asyncio.gather(*(take_for(6.0, [limiter], workers=10) for limiter in limiters))
    assert worst_excess(sorted(itertools.chain(*each)), limit) <= 0
    counts = [len(times) for times in each]
    assert sum(counts) >= 0.95 * 6.0 * limit.rate
    assert max(counts) - min(counts) <= 0.1 * sum(counts) / 4


@pytest.mark.virtual_time
async def test_it_asks_once_for_what_goes_at_once_and_twice_for_what_waits() -> None:
    [limiter] = limiters_of(server := FakeServer(), RateLimit(10, 5))
    await until_full(limiter)
    redis = CountingRedis(server=server)
    [limiter] = [RedisRateLimiter(redis, ClientConfig(api_key=KEY, rate_limit=RateLimit(10, 5)))]
    for _ in range(4):
        await limiter.acquire()
    assert redis.asked == 4
    for _ in range(3):
        await limiter.acquire()
    assert redis.asked <= 4 + 3 * 2


@pytest.mark.virtual_time
@pytest.mark.parametrize(("rate", "asked"), [(100, 60), (40, 150), (39, 400)])
async def test_several_that_wait_take_a_lease_with_one_question(rate: float, asked: int) -> None:
    limit = RateLimit(rate, 1)
    [limiter] = limiters_of(server := FakeServer(), limit)
    redis = CountingRedis(server=server)
    limiter = RedisRateLimiter(redis, ClientConfig(api_key=KEY, rate_limit=limit))
    times = await take_for(200 / rate, [limiter], workers=20)
    assert redis.asked <= asked * len(times) / 200
    assert worst_excess(times, limit) <= 1e-6  # as none wakes late in virtual time
    assert len(times) >= 190


class DistantRedis(FakeAsyncRedis):
    """Takes 20 ms for each command, as another data centre does."""

    async def execute_command(self, *command: Any, **options: Any) -> Any:
        await asyncio.sleep(0.01)
        execute: Any = super().execute_command  # which has no annotations
        result = await execute(*command, **options)
        await asyncio.sleep(0.01)
        return result


@pytest.mark.virtual_time
@pytest.mark.parametrize("rate", [30, 39, 40, 100, 1000])
async def test_a_distant_server_slows_no_process_down_that_has_a_burst(rate: float) -> None:
    limit = RateLimit(rate, max(5, rate / 10))
    config = ClientConfig(api_key=KEY, rate_limit=limit)
    limiter = RedisRateLimiter(DistantRedis(server=FakeServer()), config)
    await limiter.acquire()
    times = await take_for(2.0, [limiter], workers=100)
    assert len(times) >= 0.95 * 2.0 * rate
    assert worst_excess(times, limit) <= rate * (LEASE + 0.02)


@pytest.mark.virtual_time
async def test_one_call_after_another_leases_nothing() -> None:
    limit = RateLimit(100, 10)
    alone, other = limiters_of(FakeServer(), limit, 2)
    await until_full(alone)
    for _ in range(3):
        await alone.acquire()
    began = now()
    await other.acquire()  # of the burst, less its margin, two are left
    await other.acquire()
    assert now() - began < 0.001
    assert not await alone.try_acquire()


@pytest.mark.virtual_time
async def test_a_leased_slot_that_a_cancelled_call_left_is_used_by_another_until_it_is_too_old() -> None:
    [limiter] = limiters_of(FakeServer(), RateLimit(100, 10))
    await until_full(limiter)
    for pause, is_there in ((0.0, True), (0.04, True), (0.09, False)):
        for _ in range(6):
            await limiter.acquire()
        tasks = [asyncio.create_task(limiter.acquire()) for _ in range(6)]
        await asyncio.sleep(0.031)
        done = sum(task.done() for task in tasks)
        assert 2 <= done <= 4
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01 + pause)
        assert await limiter.try_acquire() == is_there


@pytest.mark.virtual_time
async def test_a_pause_holds_for_leased_slots_here_at_once_and_elsewhere_after_the_guard() -> None:
    limiters = limiters_of(FakeServer(), limit := RateLimit(100, 1), 3)
    working = [asyncio.create_task(take_for(2.0, [limiter], workers=10)) for limiter in limiters]
    await asyncio.sleep(0.5)
    began = now()
    limiters[0].pause(1.0)
    each = await asyncio.gather(*working)
    here, everything = each[0], sorted(itertools.chain(*each))
    assert [at for at in here if began < at < began + 1.0] == []
    assert [at for at in everything if began + 0.06 < at < began + 1.0] == []
    assert all(times[-1] > began + 1.2 for times in each)
    assert worst_excess(everything, limit) <= 1e-3  # microseconds of a rate


class ForgetfulRedis(FakeAsyncRedis):
    """Loses each script as soon as it was loaded, as it would by another client's SCRIPT FLUSH."""

    async def script_load(self, script: Any) -> Any:
        loaded = await super().script_load(script)
        await self.script_flush()
        return loaded


@pytest.mark.virtual_time
async def test_a_script_that_is_lost_between_loading_it_and_its_use_is_no_failure() -> None:
    config = ClientConfig(api_key=KEY, rate_limit=RateLimit(10, 5))
    limiter = RedisRateLimiter(ForgetfulRedis(server=FakeServer()), config)
    await limiter.acquire()
    await limiter.acquire()


@pytest.mark.virtual_time
async def test_a_name_that_is_new_begins_with_an_empty_bucket_and_another_name_is_another_limit() -> None:
    server, limit = FakeServer(), RateLimit(10, 10)
    began = now()
    [limiter] = limiters_of(server, limit)
    await limiter.acquire()
    await limiter.acquire()
    assert now() - began >= 0.24  # a tenth and the guard, and a tenth
    [other] = limiters_of(server, limit, name="other")
    await until_full(other)
    began = now()
    await other.acquire()
    await other.acquire()
    assert now() - began < 0.1


@pytest.mark.virtual_time
async def test_a_pause_holds_for_all_and_is_only_lengthened() -> None:
    first, second = limiters_of(FakeServer(), RateLimit(50, 50), 2)
    await until_full(first)
    began = now()
    first.on_throttled(0.4, admitted_at=began)
    first.pause(0.1)
    await asyncio.sleep(0.05)
    await second.acquire(max_pause=5)
    assert 0.38 <= now() - began < 0.6
    assert second.paused_for == 0
    await first.aclose()


@pytest.mark.virtual_time
async def test_a_pause_that_is_too_long_is_an_error_at_once_elsewhere_too() -> None:
    first, second = limiters_of(FakeServer(), RateLimit(50, 50), 2)
    await until_full(first)
    first.pause(3600)
    await first.aclose()  # which waits until it is published
    for longest in (None, 600.0):
        with pytest.raises(RateLimitedError, match="is closed for another 3600 s") as caught:
            await second.acquire(max_pause=longest)
        assert caught.value.retry_after == pytest.approx(3600, abs=1)
    assert second.paused_for == pytest.approx(3600, abs=1)


@pytest.mark.virtual_time
async def test_a_single_call_waits_for_others_no_longer_than_max_wait_and_bulk_work_does() -> None:
    server, limit = FakeServer(), RateLimit(4, 1)
    [bulk] = limiters_of(server, limit)
    [single] = limiters_of(server, limit, max_wait=0.2)
    await until_full(bulk)
    working = asyncio.create_task(take_for(0.8, [bulk], workers=4))
    await asyncio.sleep(0.02)
    with pytest.raises(RateLimitedError, match="is taken for another 0 s") as caught:
        await single.acquire()
    assert caught.value.retry_after is not None
    assert 0.2 < caught.value.retry_after <= 0.5
    queue = await asyncio.gather(*(bulk.acquire() for _ in range(2)))
    assert queue == [None, None]
    await working


@pytest.mark.virtual_time
async def test_priority_passes_what_waits_in_the_same_process() -> None:
    [limiter] = limiters_of(FakeServer(), RateLimit(10, 1))
    working = asyncio.create_task(take_for(1.0, [limiter], workers=10))
    await asyncio.sleep(0.3)
    began = now()
    await limiter.acquire(priority=True)
    assert now() - began <= 0.15
    await working


@pytest.mark.virtual_time
async def test_cancelled_waits_leave_one_slot_each_unused_at_most() -> None:
    [limiter] = limiters_of(FakeServer(), RateLimit(20, 1))
    await until_full(limiter)
    tasks = [asyncio.create_task(limiter.acquire()) for _ in range(50)]
    await asyncio.sleep(0.12)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    began = now()
    await limiter.acquire()
    assert now() - began < 0.15


@pytest.mark.virtual_time
@pytest.mark.parametrize("rate", [30, 120])
async def test_alone_and_back_again_it_never_gives_more(
    rate: float, caplog: pytest.LogCaptureFixture
) -> None:
    limit, server = RateLimit(rate, 6), FakeServer()
    limiters = limiters_of(server, limit, 3, fallback=limit.rate / 3)
    await until_full(limiters[0])
    loop = asyncio.get_running_loop()
    loop.call_later(0.05, setattr, server, "connected", False)
    loop.call_later(0.5, setattr, server, "connected", True)
    with caplog.at_level("INFO", "fullstory_async"):
        times = await take_for(1.6, limiters)
    assert worst_excess(times, limit) <= 0
    assert len(times) >= 0.75 * 1.6 * limit.rate
    assert caplog.text.count(f"going on alone at {rate / 3:g}/s") == 3
    assert caplog.text.count("responds again") == 3


@pytest.mark.virtual_time
async def test_alone_it_refuses_what_would_wait_too_long() -> None:
    server = FakeServer()
    [limiter] = limiters_of(server, RateLimit(30, 6), fallback=0.1, max_wait=1.0)
    server.connected = False
    with pytest.raises(RateLimitedError) as caught:
        await limiter.acquire()
    assert caught.value.retry_after == pytest.approx(10, abs=0.1)
    limiter.pause(5.0)  # is not published to a Redis that can't be asked
    assert limiter.paused_for == pytest.approx(5.0, abs=0.1)


@pytest.mark.virtual_time
async def test_all_who_wait_hear_of_a_failure_at_once() -> None:
    server = FakeServer()
    [limiter] = limiters_of(server, RateLimit(5, 1))
    tasks = [asyncio.create_task(limiter.acquire(max_pause=60)) for _ in range(20)]
    await asyncio.sleep(0.3)
    server.connected = False
    began = now()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert now() - began < 0.4
    failed = [error for error in results if error is not None]
    assert len(failed) >= 18
    assert {type(error) for error in failed} == {LimiterUnavailable}
    assert len({id(error) for error in failed}) == len(failed)
    server.connected = True
    await limiter.acquire()


@pytest.mark.virtual_time
async def test_a_pause_that_can_not_be_published_holds_here(caplog: pytest.LogCaptureFixture) -> None:
    server = FakeServer()
    [limiter] = limiters_of(server, RateLimit(50, 5))
    await limiter.acquire()
    server.connected = False
    limiter.pause(30)
    await limiter.aclose()
    assert "other processes do not know of a pause of 30.0 s" in caplog.text
    assert limiter.paused_for == pytest.approx(30, abs=0.5)


@pytest.mark.virtual_time
async def test_a_clock_that_is_set_back_begins_anew_and_keeps_a_pause() -> None:
    server = FakeServer()
    [limiter] = limiters_of(server, RateLimit(20, 5))
    await limiter.acquire()
    redis: Any = FakeAsyncRedis(server=server)  # of bytes, and not of text as its class says
    [key] = await redis.keys()
    later = int((VIRTUAL_EPOCH + now() + 3600) * 1e6)
    await redis.set(key, f"{later} {later + 10**6} {later}")
    began = now()
    await limiter.acquire()
    assert 0.09 <= now() - began < 0.3
    await redis.set(key, f"{later + 500_000} {later + 600_000} {later}")
    began = now()
    await limiter.acquire()
    assert 0.45 <= now() - began < 0.8


@pytest.mark.virtual_time
async def test_what_is_kept_expires_a_day_after_it_was_needed_and_names_no_key() -> None:
    server = FakeServer()
    [limiter] = limiters_of(server, RateLimit(20, 5))
    await limiter.acquire()
    limiter.pause(1000)
    await limiter.aclose()
    redis: Any = FakeAsyncRedis(server=server)  # of bytes, and not of text as its class says
    [key] = await redis.keys()
    assert key.startswith(b"fullstory_async:rate:api.fullstory.com:")
    assert b"CANARY" not in key
    assert await redis.ttl(key) == pytest.approx(86_400 + 1000, abs=10)


@pytest.mark.virtual_time
async def test_what_lies_under_the_name_and_is_none_of_ours_is_an_error_or_replaced() -> None:
    server = FakeServer()
    redis = FakeAsyncRedis(server=server)
    [limiter] = limiters_of(server, RateLimit(50, 5), name="x")
    await redis.set("fullstory_async:rate:x", "who knows")
    await limiter.acquire()
    await redis.delete("fullstory_async:rate:x")
    await redis.lpush("fullstory_async:rate:x", "who knows")
    with pytest.raises(LimiterUnavailable, match="WRONGTYPE"):
        await limiter.acquire()


def test_one_event_loop_after_another_and_not_two_at_once() -> None:
    server = FakeServer()
    config = ClientConfig(api_key=KEY, rate_limit=RateLimit(50, 5))
    redis = FakeAsyncRedis(server=server)
    limiter = RedisRateLimiter(redis, config)

    async def elsewhere() -> None:
        await limiter.try_acquire()

    async def use() -> None:
        await limiter.try_acquire()
        with pytest.raises(ClientStateError):
            await asyncio.to_thread(asyncio.run, elsewhere())

    asyncio.run(use())
    asyncio.run(use())


async def test_a_client_takes_it_and_answers_with_it() -> None:
    async with Sandbox(users=1, sessions=4, mean_events=3) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(100, 20))
        async with (
            RedisRateLimiter(FakeAsyncRedis(), config) as limiter,
            FullStoryClient(config=config, limiter=limiter) as client,
        ):
            assert client.limiter is limiter
            assert limiter.limit == RateLimit(100, 20)
            async with client.sessions.events_many(sandbox.session_ids) as outcomes:
                assert [outcome.error async for outcome in outcomes] == [None] * 4
            assert client.stats.waited > 0


@pytest.mark.parametrize("url", ["http://user:CANARY@host", "redis://:CANARY@host:port/0", "CANARY", ""])
def test_a_url_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisRateLimiter(url, ClientConfig(api_key=KEY))
    assert "CANARY" not in str(caught.value)
    assert "CANARY" not in our_variables(caught.value)
    assert caught.value.__context__ is None


def test_a_url_needs_no_port() -> None:
    limiter = RedisRateLimiter("redis://127.0.0.1", ClientConfig(api_key=KEY))
    assert "Redis at 127.0.0.1:6379" in repr(limiter)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"config": ClientConfig(api_key=KEY, rate_limit=RateLimit.adaptive())}, "adaptive"),
        ({"config": ClientConfig()}, "no API key"),
        ({"config": RateLimit()}, "ClientConfig"),
        ({"redis": 6379}, "redis must be"),
        ({"name": ""}, "name"),
        ({"name": KEY}, "not the API key"),
        ({"fallback": 0}, "fallback"),
        ({"fallback": RateLimit(1)}, "fallback"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_settings_of_a_wrong_kind_are_refused(settings: dict[str, Any], message: str) -> None:
    settings = {"redis": "redis://127.0.0.1", "config": ClientConfig(api_key=KEY), **settings}
    with pytest.raises(ConfigurationError, match=message) as caught:
        RedisRateLimiter(settings.pop("redis"), settings.pop("config"), **settings)
    assert "CANARY" not in str(caught.value)


@pytest.mark.virtual_time
async def test_the_password_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    config = ClientConfig(api_key=KEY, rate_limit=RateLimit(5, 5))
    with caplog.at_level("DEBUG"):
        for path in ("redis://user:PASSWORD@127.0.0.1:1/0", "unix://user:PASSWORD@/nowhere.sock"):
            limiter = RedisRateLimiter(path, config)
            alone = RedisRateLimiter(path, config, fallback=50.0)
            await alone.acquire()
            with pytest.raises(LimiterUnavailable) as caught:
                await limiter.acquire()
            error = caught.value
            for text in (
                repr(limiter),
                repr(limiter._shared_bucket),
                str(error),
                repr(error),
                our_variables(error),
            ):
                assert "PASSWORD" not in text
            assert "PASSWORD" not in str(pickle.loads(pickle.dumps(error)))
    assert "PASSWORD" not in caplog.text
    assert "127.0.0.1:1" in caplog.text


def test_the_package_does_not_import_redis() -> None:
    script = "import fullstory_async, fullstory_async.jobs, sys\nassert 'redis' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


def test_without_the_extra_it_says_what_to_install() -> None:
    script = "import sys; sys.modules['redis'] = None; from fullstory_async.cluster import RedisRateLimiter"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=SECONDS)
    assert run.stderr.splitlines()[-1].endswith(
        "ConfigurationError: RedisRateLimiter needs: pip install 'fullstory-async[redis]'"
    )
