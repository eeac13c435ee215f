"""The adaptive limiter: how much of an unknown limit it uses, its refusals, and changes of the limit."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import Any

import pytest

from fullstory_async import ConfigurationError, RateLimit, RateLimiter
from fullstory_async.messages import Response
from fullstory_async.ratelimit.adaptive import AdaptiveRate
from fullstory_async.testing import FakeTransport, json_response
from tests.fakes import FarTransport, make_sessions
from tests.virtual.limits import BucketServer, BulkJob, FixedWindow, SlidingWindow, adaptive
from tests.virtual_time import VirtualLoop, now

pytestmark = pytest.mark.virtual_time

FOUND = 60.0
"""Seconds after which the limit has been found, and the figures of the steady state begin."""


async def fetched(server: BucketServer, seconds: float, *, start: float = 2.0) -> BulkJob:
    job = BulkJob(server, adaptive(start))
    await job.run(seconds)
    assert not job.failed
    return job


@pytest.mark.row(28)
@pytest.mark.row(31)
@pytest.mark.parametrize(
    ("limit", "seconds", "start", "tells"),
    [
        (2, 900, 10, True), (10, 300, 1, True), (50, 90, 5, True), (100, 80, 1, True), (2, 900, 2, False), (50, 100, 2, False),
    ],
)  # fmt: skip
async def test_an_unknown_limit_is_used_to_95_percent_with_few_refusals(
    limit: int, seconds: int, start: int, tells: bool
) -> None:
    server = BucketServer(limit, tells=tells)
    await fetched(server, seconds, start=start)
    assert server.used(FOUND, seconds) >= 0.95
    assert server.refusals(0, seconds) <= (0.20 if limit == 2 else 0.05)
    assert server.used(0, seconds) >= 0.85  # finding it included


@pytest.mark.row(31)
@pytest.mark.parametrize("kind", [FixedWindow, SlidingWindow], ids=["fixed window", "sliding window"])
@pytest.mark.parametrize(("limit", "seconds"), [(2, 600), (10, 160), (30, 120)])
async def test_other_kinds_of_limits_are_found_too(
    kind: type[FixedWindow | SlidingWindow], limit: int, seconds: int
) -> None:
    server = kind(limit)
    await fetched(server, seconds)
    assert server.used(FOUND, seconds) >= 0.92
    assert server.refusals(0, seconds) <= 0.05


async def test_a_large_burst_is_used_as_well() -> None:
    server = BucketServer(20, burst=20)
    await fetched(server, 160)
    assert server.used(FOUND, 160) >= 0.97
    assert server.refusals(0, 160) <= 0.02


@pytest.mark.row(31)
async def test_a_limit_that_drops_is_followed_at_once_and_one_that_rises_in_two_minutes() -> None:
    server = BucketServer(20)
    loop = asyncio.get_running_loop()
    loop.call_later(80, setattr, server, "rate", 2)
    loop.call_later(160, setattr, server, "rate", 20)
    await fetched(server, 320)
    counts = {"served": len(server.accepted), "refused": len(server.refused)}
    assert server.refusals(80, 160) <= 0.1, counts
    dropped = sum(90 <= at - server.began < 160 for at in server.accepted)
    assert dropped >= 0.95 * 2 * 70
    assert server.used(280, 320) >= 0.95


async def test_refusals_of_one_moment_are_one_decrease() -> None:
    limiter = adaptive(start=100)
    began, rates = float("inf"), list[float]()

    def answer(_: object) -> Response:
        if began <= now() < began + 0.2:
            return json_response(status=429, retry_after="1")
        rates.append(limiter.rate)
        return json_response({"events": []})

    transport = FarTransport(answer, lambda: 0.05)
    sessions = make_sessions(transport, limiter)
    await sessions.events("2:1")  # the first response: from now on all workers may be in flight
    began, rates[:] = now(), []
    async with sessions.events_many([f"1:{n}" for n in range(20)], concurrency=20) as outcomes:
        assert [outcome.error async for outcome in outcomes] == [None] * 20
    assert len(transport.sent) >= 30
    assert rates[0] == 48.0  # half of it, and β of that; ten refusals by themselves would make it 0.2


@pytest.mark.row(31)
async def test_workers_get_the_same() -> None:
    server = BucketServer(10)
    job = await fetched(server, 300)
    shares = sorted(job.by_worker.values())
    assert len(shares) == 50
    assert shares[-1] - shares[0] <= 0.05 * shares[0] + 1
    assert (
        job.longest <= 3 * 50 / 10
    )  # three rounds: the search goes through slower rates, and a refused call waits again


async def test_nothing_is_tried_that_nobody_needs() -> None:
    limiter = adaptive(start=8)
    sessions = make_sessions(FakeTransport(respond=lambda _: json_response({"events": []})), limiter)
    for number in range(200):
        await sessions.events(f"1:{number}")
        await asyncio.sleep(0.5)
    assert limiter.rate == 8


async def test_one_call_after_the_other_finds_its_rate_too() -> None:
    server = BucketServer(4)
    job = BulkJob(server, adaptive(start=1), workers=1)
    await job.run(300)
    assert not job.failed
    assert server.used(FOUND, 300) >= 0.95
    assert server.refusals(0, 300) <= 0.02


async def test_it_stays_below_the_ceiling_and_above_nothing() -> None:
    server = BucketServer(1000)
    job = BulkJob(server, adaptive(start=5, ceiling=20))
    await job.run(30)
    assert job.limiter.rate == 20
    assert server.used(10, 30) == pytest.approx(20 / 1000, rel=0.02)
    assert not server.refused

    law = AdaptiveRate(1.0, 10.0)
    for second in range(100):
        law.on_throttled(float(second), admitted_at=float(second))
    assert law.rate == 0.2


async def test_a_rate_that_changes_leaves_no_gap_and_no_burst() -> None:
    limiter = adaptive(start=10)
    server = BucketServer(1e9)
    job = BulkJob(server, limiter)
    await job.run(6)
    gaps = [b - a for a, b in zip(server.accepted, server.accepted[1:], strict=False)]
    assert max(gaps) <= 0.1 + 0.021  # the first interval, and the jitter of the way
    busiest = max(sum(at <= other < at + 0.1 for other in server.accepted) for at in server.accepted)
    assert busiest <= 0.15 * limiter.rate + 1


def test_what_was_found_is_kept_in_the_next_event_loop() -> None:
    limiter = adaptive(start=10)

    async def find() -> None:
        await BulkJob(BucketServer(5), limiter).run(60)

    async def take() -> float:
        before = now()
        for _ in range(20):
            await limiter.acquire()
        return now() - before

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(find())
    found = limiter.rate
    assert found == pytest.approx(5, rel=0.1)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        loop._virtual_now = 5000.0
        assert runner.run(take()) == pytest.approx(19 / found, rel=0.02)
    assert limiter.rate == found


def test_an_adaptive_limit_is_a_value() -> None:
    limit = RateLimit.adaptive(start=3, ceiling=40)
    assert repr(limit) == "RateLimit.adaptive(start=3, ceiling=40)"
    assert pickle.loads(pickle.dumps(limit)) == copy.deepcopy(limit) == limit
    assert limit != RateLimit(3, 1)
    assert hash(limit) == hash(RateLimit.adaptive(3, 40))
    assert RateLimiter(limit).rate == 3
    assert RateLimiter(RateLimit(7)).rate == 7


@pytest.mark.parametrize(
    ("start", "ceiling"), [(0, 10), (0.1, 10), (20, 10), ("2", 10), (2, None), (2, float("inf")), (True, 10)]
)
def test_an_adaptive_limit_needs_a_start_and_a_ceiling_above_it(start: Any, ceiling: Any) -> None:
    with pytest.raises(ConfigurationError):
        RateLimit.adaptive(start=start, ceiling=ceiling)
