"""Row 110: connections that open while tokens drain, before a strict bucket of the same numbers."""

from __future__ import annotations

import asyncio

import pytest

from fullstory_async import RateLimit, RateLimiter
from tests.virtual.limits import BucketServer
from tests.virtual_time import now

pytestmark = pytest.mark.virtual_time


class Program:
    """Calls over connections that stay open, each of which takes two and a half round trips to open."""

    def __init__(self, limit: RateLimit, round_trip: float) -> None:
        self.limiter, self.round_trip, self.idle = RateLimiter(limit), round_trip, 0
        self.server = BucketServer(limit.rate, limit.burst)

    async def call(self) -> None:
        await self.limiter.acquire(max_pause=60)
        level = self.limiter.level
        if level is not None:  # as the transport does
            level.unsent += 1
        if self.idle:
            self.idle -= 1
        else:
            await asyncio.sleep(2.5 * self.round_trip)
        if level is not None:
            level.leave(now())
        await asyncio.sleep(self.round_trip / 2)
        (self.server.refused if self.server.wait() else self.server.accepted).append(now())
        await asyncio.sleep(self.round_trip / 2)
        self.idle += 1

    async def run(self, calls: int) -> float:
        """Make calls at a concurrency that fits the rate; return the seconds that it took."""
        began, places = now(), asyncio.Semaphore(max(16, int(self.limiter.rate)))

        async def one() -> None:
            async with places:
                await self.call()

        await asyncio.gather(*(one() for _ in range(calls)))
        return now() - began


@pytest.mark.row(110)
@pytest.mark.parametrize(("rate", "burst"), [(8, 8), (20, 40), (50, 50), (100, 100), (100, 1), (10, 2)])
@pytest.mark.parametrize("round_trip", [0, 0.06, 0.2])
async def test_row_110_connections_that_open_while_tokens_drain(
    rate: float, burst: float, round_trip: float
) -> None:
    program = Program(RateLimit(rate, burst), round_trip)
    for _ in range(2):  # cold, and after a time in which the pool was closed
        calls = int(burst + 3 * rate)
        took = await program.run(calls)
        assert took <= (calls - burst) / rate + 4 * round_trip + burst / rate * 0.1 + 1
        if burst >= rate * 0.5:
            assert program.server.refused == []
        await asyncio.sleep(60)
        program.idle = 0


@pytest.mark.row(110)
async def test_row_110_a_call_that_never_leaves_holds_its_token_only_while_it_tries() -> None:
    limiter = RateLimiter(RateLimit(1, 3))
    assert limiter.level is not None
    for _ in range(2):
        await limiter.acquire()
        limiter.level.unsent += 1
    await asyncio.sleep(10)
    waiting = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(10)
    assert not waiting.done()
    limiter.level.leave(now())
    await waiting
