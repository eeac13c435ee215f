"""Priority: an interactive call passes the bulk work, which is slowed but never stopped.

No cancellation loses a token or the lead.
"""

from __future__ import annotations

import asyncio
import gc
import random
from typing import Any

import pytest

from fullstory_async import APITimeoutError, ConfigurationError, RateLimit, RateLimitedError, RateLimiter
from fullstory_async.api import ApiContext, ProfilesAPI
from fullstory_async.messages import Request, Response
from fullstory_async.testing import FakeTransport, json_response
from tests.fakes import make_pipeline, make_sessions
from tests.virtual.buckets import Make, filled, make_limiter
from tests.virtual.limits import BucketServer, BulkJob, adaptive
from tests.virtual_time import VirtualLoop, now

__all__ = ["make_limiter"]

pytestmark = pytest.mark.virtual_time

EVENTS: dict[str, list[Any]] = {"events": []}


async def waited(limiter: RateLimiter, **options: Any) -> float:
    before = now()
    await limiter.acquire(**options)
    return now() - before


@pytest.mark.parametrize("rate", [0.5, 2, 8, 50])
async def test_an_interactive_call_waits_for_one_refill_behind_a_bulk_job(
    rate: float, make_limiter: Make
) -> None:
    rng = random.Random(rate)
    limiter = make_limiter(RateLimit(rate, max(1, rate)), max_wait=1e6)
    transport = FakeTransport(respond=lambda _: json_response(EVENTS), seconds=0.08)
    sessions = make_sessions(transport, limiter)
    waits: list[float] = []

    async def interactive() -> None:
        for number in range(20):
            await asyncio.sleep(rng.uniform(2, 4) / rate)
            before = now()
            await sessions.events(f"2:{number}", priority=True)
            waits.append(now() - before - 0.08)

    async with sessions.events_many([f"1:{n}" for n in range(300)], concurrency=50) as outcomes:
        task = asyncio.create_task(interactive())
        async for outcome in outcomes:
            assert outcome.error is None
    await task
    assert len(waits) == 20
    assert max(waits) <= 1 / rate + 0.001


class Ledger:
    """Counts what is reserved, as fast as memory."""

    name = "the ledger"
    reserved = most_reserved = 0

    async def reserve(self) -> None:
        self.reserved += 1
        self.most_reserved = max(self.most_reserved, self.reserved)

    def release(self, reservation: object, /) -> None:
        self.reserved -= 1


async def test_a_ledger_lets_an_interactive_call_pass_a_bulk_job_too() -> None:
    limiter = RateLimiter(RateLimit(10, 1), max_wait=1e6)
    sent: list[str] = []
    ledger = Ledger()

    def respond(request: Request) -> Response:
        sent.append(request.session_id or "")
        ledger.reserved -= 1
        return json_response(EVENTS)

    sessions = make_sessions(FakeTransport(respond=respond), limiter, ledger=ledger)
    async with sessions.events_many([f"1:{n}" for n in range(100)], concurrency=50) as outcomes:
        await asyncio.sleep(1.05)
        before = len(sent)
        people = [asyncio.create_task(sessions.events(f"2:{n}", priority=True)) for n in range(10)]
        await asyncio.gather(*people)
        passed = sent[before:].index("2:9")
        async for outcome in outcomes:
            assert outcome.error is None
    assert passed <= 11  # one token in ten is left to the bulk
    assert ledger.most_reserved <= 4  # two of each kind that wait for the limiter


async def test_a_call_without_priority_waits_behind_the_bulk_job(make_limiter: Make) -> None:
    limiter = await filled(make_limiter(RateLimit(10, 10)))
    bulk = [asyncio.create_task(limiter.acquire(max_pause=60)) for _ in range(60)]
    await asyncio.sleep(0)
    assert await waited(limiter) == pytest.approx(5.1, abs=0.2)
    await asyncio.gather(*bulk)


async def test_a_pause_is_for_everybody_and_priority_comes_first_after_it(make_limiter: Make) -> None:
    limiter = make_limiter(RateLimit(10, 1))
    limiter.pause(3)
    order: list[str] = []

    async def one(name: str, **options: Any) -> None:
        await limiter.acquire(**options)
        order.append(name)

    bulk = [asyncio.create_task(one("bulk")) for _ in range(5)]
    await asyncio.sleep(1)
    before = now()
    await one("priority", priority=True)
    assert now() - before == pytest.approx(2, abs=0.01)
    await asyncio.gather(*bulk)
    assert order == ["priority", *["bulk"] * 5]


async def test_priority_at_an_adaptive_limit() -> None:
    server = BucketServer(10)
    job = BulkJob(server, adaptive())
    waits: list[float] = []

    async def interactive() -> None:
        for _ in range(100):
            await asyncio.sleep(1.7)
            before, refused, rate = now(), len(server.refused), job.limiter.rate
            paused = job.limiter.paused_for
            await job.limiter.acquire(priority=True)
            if len(server.refused) == refused:  # else a pause began meanwhile
                waits.append((now() - before - paused) * rate)

    await asyncio.gather(job.run(200), interactive())
    assert len(waits) >= 95
    assert max(waits) <= 1.01


async def test_a_tenth_is_left_to_the_others(make_limiter: Make) -> None:
    limiter = make_limiter(RateLimit(100, 1), max_wait=1e6)
    taken = {True: 0, False: 0}

    async def take(priority: bool) -> None:
        while True:
            await limiter.acquire(priority=priority)
            taken[priority] += 1

    tasks = [asyncio.create_task(take(n < 30)) for n in range(60)]
    await asyncio.sleep(20)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(taken.values()) >= 0.98 * 2000
    assert taken[False] == pytest.approx(0.1 * 2000, rel=0.1)


async def test_each_class_is_served_in_order(make_limiter: Make) -> None:
    limiter = make_limiter(RateLimit(10, 1))
    order: list[tuple[bool, int]] = []

    async def one(priority: bool, number: int) -> None:
        await limiter.acquire(priority=priority)
        order.append((priority, number))

    await limiter.acquire()
    await asyncio.gather(*(one(n % 4 == 0, n) for n in range(24)))
    for priority in (True, False):
        numbers = [number for kind, number in order if kind is priority]
        assert numbers == sorted(numbers)
    assert [kind for kind, _ in order[:6]] == [True] * 6


@pytest.mark.parametrize("seed", range(40))
async def test_any_cancellation_wakes_the_next_and_loses_nothing(seed: int) -> None:
    """Callers come, wait and are cancelled at random moments, with pauses; all others are served in time."""
    rng = random.Random(seed)
    rate = 200
    limiter = adaptive(rate, 1000) if seed % 2 else RateLimiter(RateLimit(rate, 5), max_wait=1e6)
    loop = asyncio.get_running_loop()
    granted: list[float] = []

    async def one(delay: float) -> None:
        await asyncio.sleep(delay)
        await limiter.acquire(priority=rng.random() < 0.3, max_pause=rng.choice([None, 60.0]))
        granted.append(now())

    tasks = [asyncio.create_task(one(rng.uniform(0, 1.5))) for _ in range(400)]
    doomed = rng.sample(tasks, 250)
    for task in doomed:
        if rng.random() < 0.5:
            loop.call_later(rng.uniform(0, 3), task.cancel)
        else:  # in the very moment in which somebody is served
            loop.call_at(1000 + 1.0 * rng.randrange(0, 600) / rate + 1e-6, task.cancel)
    for _ in range(4):
        loop.call_later(rng.uniform(0, 2.5), limiter.pause, rng.uniform(0, 0.3))
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert not [r for r in results if r is not None and not isinstance(r, asyncio.CancelledError)]
    assert len(granted) >= 150
    assert max(granted) <= 1000 + 1.5 + 4 * 0.3 + 400 / rate
    limiter.pause(0)
    await asyncio.sleep(1)
    assert await limiter.try_acquire()  # no call has the lead, and the bucket is full again


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("grant", [1, 2, 3])
@pytest.mark.parametrize("who", ["asks", "has priority", "is next"])
async def test_a_cancellation_at_each_step_around_a_grant(who: str, grant: int, steps: int) -> None:
    """A call cancelled just before or after it got the lead or a token costs the others nothing."""
    limiter = RateLimiter(RateLimit(10, 1))
    loop = asyncio.get_running_loop()
    await limiter.acquire()
    began = now()
    tasks = {}
    for name in ("asks", "is next", "has priority", "last"):
        tasks[name] = asyncio.create_task(limiter.acquire(priority=name == "has priority"))
        await asyncio.sleep(0)

    def cancel(steps: int) -> None:
        if steps:
            loop.call_soon(cancel, steps - 1)
        else:
            tasks[who].cancel()

    loop.call_at(began + 0.1 * grant, cancel, steps)
    results = await asyncio.gather(*tasks.values(), return_exceptions=True)
    served = sum(result is None for result in results)
    assert served >= 3
    assert now() - began <= 0.1 * served + 0.001
    await asyncio.sleep(0.11)
    assert await limiter.try_acquire()


async def test_ten_thousand_who_wait_leave_in_any_order() -> None:
    limiter = RateLimiter(RateLimit(1000, 10), max_wait=2)
    tasks = [asyncio.create_task(limiter.acquire(priority=n % 3 == 0, max_pause=60)) for n in range(10_000)]
    await asyncio.sleep(0.5)
    shuffled = random.Random(1).sample(tasks, 9000)
    for task in shuffled:
        task.cancel()
    await asyncio.sleep(0)
    assert await waited(limiter) <= 1.1  # and it is not refused for those who have gone
    before = now()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert now() == before
    assert await waited(limiter) <= 0.002


async def test_a_waiting_call_is_rejected_when_a_pause_is_too_long_for_it(make_limiter: Make) -> None:
    limiter = make_limiter(RateLimit(1, 1), max_wait=60)
    bulk = [asyncio.create_task(waited(limiter, max_pause=500)) for _ in range(10)]
    await asyncio.sleep(0)
    single = asyncio.create_task(waited(limiter))
    urgent = asyncio.create_task(waited(limiter, priority=True))
    await asyncio.sleep(0.5)
    limiter.pause(55)
    before = now()
    with pytest.raises(RateLimitedError, match="longer than max_wait"):  # 55 s of pause and 10 of queue
        await single
    assert now() == before
    await urgent
    assert now() - before == pytest.approx(55, abs=0.01)
    limiter.pause(400)
    late = asyncio.create_task(waited(limiter, max_pause=100))
    with pytest.raises(RateLimitedError, match="closed for another 400 s"):
        await late
    await asyncio.gather(*bulk)
    assert now() - before == pytest.approx(55.5 + 400 + 8, abs=1)


async def test_a_deadline_ends_the_wait_with_priority_too(make_limiter: Make) -> None:
    limiter = make_limiter(RateLimit(0.01, 1))
    sessions = make_sessions(FakeTransport(respond=lambda _: json_response(EVENTS)), limiter)
    await sessions.events("1:1", priority=True)
    before = now()
    with pytest.raises(APITimeoutError):
        await sessions.events("1:2", priority=True, timeout=30)
    assert now() - before == pytest.approx(30, abs=0.01)


async def test_every_single_call_takes_it() -> None:
    transport = FakeTransport(
        respond=lambda request: json_response({"summary": "s"} if request.operation == "summary" else {})
    )
    limiter = RateLimiter(RateLimit(1, 1), max_wait=1e6)
    sessions = make_sessions(transport, limiter)
    bulk = [asyncio.create_task(limiter.acquire()) for _ in range(50)]
    await asyncio.sleep(0)
    before = now()
    await sessions.context("1:1", priority=True)
    await sessions.summary("1:1", priority=True)
    await sessions.list(uid="u", priority=True)
    await ProfilesAPI(ApiContext(make_pipeline(transport, limiter))).delete("p", priority=True)
    assert now() - before <= 4.01
    values: list[Any] = ["yes", 1, None]
    for wrong in values:
        with pytest.raises(ConfigurationError, match="priority"):
            await sessions.events("1:1", priority=wrong)
    assert len(transport.sent) == 4
    for task in bulk:
        task.cancel()
    await asyncio.gather(*bulk, return_exceptions=True)


async def test_one_line_in_the_log_for_a_pause_and_for_a_queue(
    caplog: pytest.LogCaptureFixture, make_limiter: Make
) -> None:
    server = BucketServer(1, burst=60)
    limiter = make_limiter(RateLimit(5, 5))
    job = BulkJob(server, limiter)
    with caplog.at_level("INFO", "fullstory_async.ratelimit"):
        limiter.pause(30)
        job_task = asyncio.create_task(job.run(32))
        loop = asyncio.get_running_loop()
        for n in range(50):  # as 429s of the same moment come in
            loop.call_later(10 + n / 1000, limiter.pause, 30)
        await job_task
    logged = [record.getMessage() for record in caplog.records]
    assert logged.count("rate limit pause: waiting 30.0 s") == 1
    assert len([text for text in logged if "pause" in text]) == 2  # and when it is prolonged by ten seconds
    assert len([text for text in logged if "calls wait before this one" in text]) == 1


def test_a_loop_that_is_closed_with_calls_in_it_leaves_no_noise() -> None:
    limiter = RateLimiter(RateLimit(1, 1))
    loop = VirtualLoop()

    async def begin() -> None:
        await limiter.acquire()
        for _ in range(5):
            task: Any = loop.create_task(limiter.acquire())
            task._log_destroy_pending = False  # the noise that is asyncio's own
        await asyncio.sleep(0.1)

    loop.run_until_complete(begin())
    loop.close()
    gc.collect()  # an exception in here is a warning, and a warning fails the test
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(waited(limiter)) <= 1.01
