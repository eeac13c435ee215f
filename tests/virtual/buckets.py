"""Limiters in virtual time: with a local bucket, and with one in a Redis whose clock is the loop's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from fakeredis.commands_mixins import server_mixin

from fullstory_async import ClientConfig, RateLimit, RateLimiter
from fullstory_async.cluster import RedisRateLimiter

Make = Callable[..., RateLimiter]


class LoopClock:
    """Stands in for the `time` module: the time of the running loop, as a date."""

    @staticmethod
    def time() -> float:
        return 1.75e9 + asyncio.get_running_loop().time()


@contextmanager
def limiters(kind: str) -> Iterator[Make]:
    """Give a function that makes limiters of one kind, as `RateLimiter` does."""
    if kind == "local":
        yield RateLimiter
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_mixin, "time", LoopClock)
        yield redis_limiter


def redis_limiter(limit: RateLimit, *, max_wait: float = 120.0) -> RedisRateLimiter:
    """Return a limiter with a Redis of its own."""
    config = ClientConfig(api_key="na1.KEY", rate_limit=limit, max_wait=max_wait)
    return RedisRateLimiter(FakeAsyncRedis(server=FakeServer()), config)


async def filled(limiter: RateLimiter) -> RateLimiter:
    """Return the limiter once its bucket is full; one in Redis is empty at first."""
    if isinstance(limiter, RedisRateLimiter):
        await limiter.acquire(max_pause=1e6)
        await asyncio.sleep(limiter.limit.burst / limiter.limit.rate)
    return limiter


async def close(limiter: RateLimiter) -> None:
    """Wait until other processes would know of a pause."""
    if isinstance(limiter, RedisRateLimiter):
        await limiter.aclose()


@pytest.fixture(params=["local", "redis"])
def make_limiter(request: pytest.FixtureRequest) -> Iterator[Make]:
    with limiters(request.param) as make:
        yield make
