"""The limiter: its contract in every window, the pause, cancellation, one loop after another."""

from __future__ import annotations

import asyncio
import math
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullstory_async import ClientStateError, RateLimit, RateLimitedError, RateLimiter
from tests.limits import SECONDS
from tests.virtual.buckets import Make, close, filled, limiters, make_limiter
from tests.virtual_time import VirtualLoop, now

__all__ = ["make_limiter"]

pytestmark = pytest.mark.virtual_time


async def grants(limiter: RateLimiter, count: int, workers: int) -> list[float]:
    """Take so many tokens by so many workers; return the times."""
    times: list[float] = []

    async def work() -> None:
        while len(times) + 1 <= count:
            times.append(0.0)
            place = len(times) - 1
            await limiter.acquire()
            times[place] = now()

    await asyncio.gather(*(work() for _ in range(workers)))
    return sorted(times)


def worst_excess(times: list[float], limit: RateLimit) -> float:
    """Return by how much the busiest of all windows passes ``burst + rate·W``."""
    worst, least = -1.0, math.inf
    for i, at in enumerate(times):
        beyond = i - limit.rate * (at - times[0])
        least = min(least, beyond)
        worst = max(worst, beyond - least + 1 - limit.burst)
    return worst


@pytest.mark.parametrize("kind", ["local", "redis"])
@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.2, 200), st.floats(1, 60), st.integers(1, 40),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 3)), max_size=3),
)  # fmt: skip
def test_every_window_keeps_the_contract(
    kind: str, rate: float, burst: float, workers: int, pauses: list[tuple[float, float]]
) -> None:
    limit = RateLimit(rate, burst)

    async def scenario() -> list[float]:
        limiter = make(limit, max_wait=1e9)
        loop = asyncio.get_running_loop()
        for at, length in pauses:
            loop.call_later(at, limiter.pause, length)
        return await grants(limiter, 120, workers)

    with limiters(kind) as make, asyncio.Runner(loop_factory=VirtualLoop) as runner:
        times = runner.run(scenario())
    assert len(times) == 120
    assert worst_excess(times, limit) <= 1e-6


async def test_the_rate_is_used_in_full(make_limiter: Make) -> None:
    limit = RateLimit(50, 50)
    times = await grants(await filled(make_limiter(limit)), 1000, 32)
    assert 1000 / (times[-1] - times[0]) >= 50
    assert times[46] - times[0] < 0.001  # all of the burst but its margin leaves at once


async def test_a_burst_of_one_goes_one_by_one(make_limiter: Make) -> None:
    times = await grants(make_limiter(RateLimit(10, 1)), 11, 4)
    assert times[-1] - times[0] == pytest.approx(1.0, abs=0.01)


async def test_nobody_leaves_during_a_pause_and_few_right_after_it(make_limiter: Make) -> None:
    limiter = make_limiter(RateLimit(10, 2))
    start = now()
    asyncio.get_running_loop().call_later(1.0, limiter.pause, 5.0)
    times = [t - start for t in await grants(limiter, 60, 50)]
    assert not [t for t in times if 1.0 < t < 6.0]
    assert len([t for t in times if 6.0 <= t < 6.1]) <= 3


async def test_a_pause_is_only_lengthened(make_limiter: Make) -> None:
    limiter = make_limiter(RateLimit())
    limiter.pause(5)
    limiter.pause(1)
    limiter.pause(-3)
    assert limiter.paused_for == pytest.approx(5)
    await asyncio.sleep(5)
    assert limiter.paused_for == 0


async def test_a_pause_that_is_too_long_is_an_error_at_once(make_limiter: Make) -> None:
    limiter = make_limiter(RateLimit(), max_wait=120)
    limiter.pause(86_400)
    before = now()
    with pytest.raises(RateLimitedError, match="86400 s") as caught:
        await limiter.acquire()
    assert now() == before
    assert caught.value.retry_after == pytest.approx(86_400)
    assert caught.value.status is None
    await close(limiter)


async def test_a_long_wait_is_logged(caplog: pytest.LogCaptureFixture, make_limiter: Make) -> None:
    limiter = make_limiter(RateLimit())
    limiter.pause(30)
    with caplog.at_level("INFO", "fullstory_async"):
        await limiter.acquire()
        assert "waiting 30.0 s" in caplog.text
        slow = await filled(make_limiter(RateLimit(0.1, 1)))
        await slow.acquire()
        await slow.acquire()
    assert "0 calls wait before this one, 10.0 s" in caplog.text


@pytest.mark.row(39)
@pytest.mark.parametrize("seed", range(20))
async def test_any_cancellation_leaves_it_usable(seed: int, make_limiter: Make) -> None:
    rng = random.Random(seed)
    limiter = make_limiter(RateLimit(20, 3))
    loop = asyncio.get_running_loop()
    tasks = [asyncio.create_task(limiter.acquire()) for _ in range(100)]
    for task in rng.sample(tasks, 60):
        loop.call_later(rng.uniform(0, 3), task.cancel)
    loop.call_later(rng.uniform(0, 2), limiter.pause, rng.uniform(0, 2))
    await asyncio.gather(*tasks, return_exceptions=True)
    before = now()
    await asyncio.wait_for(limiter.acquire(), 1)
    assert now() - before < 0.2


def test_one_limiter_in_one_loop_after_another_keeps_its_level() -> None:
    limiter = RateLimiter(RateLimit(10, 5))

    async def take(count: int) -> float:
        start = now()
        for _ in range(count):
            await limiter.acquire()
        return now() - start

    def run(count: int) -> float:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(take(count))

    assert run(4) == pytest.approx(0, abs=0.001)
    assert run(5) >= 0.4  # the bucket was nearly empty; a fresh one would let all five through


async def test_a_wait_for_a_token_beyond_max_wait_is_an_error_unless_it_is_bulk_work(
    make_limiter: Make,
) -> None:
    limiter = await filled(make_limiter(RateLimit(0.002, 1), max_wait=120))
    await limiter.acquire()
    before = now()
    with pytest.raises(RateLimitedError, match="500 s, longer than max_wait"):
        await limiter.acquire()
    assert now() == before
    await limiter.acquire(max_pause=60)
    assert now() - before == pytest.approx(500, abs=1)


async def test_max_wait_bounds_pauses_and_queue_together(make_limiter: Make) -> None:
    limiter = make_limiter(RateLimit(100, 100), max_wait=10)
    limiter.pause(9)
    loop = asyncio.get_running_loop()
    for n in range(1, 20):
        loop.call_later(8 * n, limiter.pause, 9)
    before = now()
    with pytest.raises(RateLimitedError):
        await limiter.acquire()
    assert now() - before <= 10

    slow = make_limiter(RateLimit(8, 8), max_wait=20)
    slow.pause(10)
    waits = []

    async def one() -> None:
        try:
            await slow.acquire()
        except RateLimitedError:
            return
        waits.append(now() - before)

    before = now()
    await asyncio.gather(*(one() for _ in range(400)))
    assert 60 < len(waits) < 110
    assert max(waits) <= 20.1


@pytest.mark.row(41)
async def test_it_refuses_to_serve_two_running_loops() -> None:
    limiter = RateLimiter(RateLimit())
    await limiter.acquire()

    raised: list[BaseException] = []

    def elsewhere() -> None:
        try:
            asyncio.run(limiter.acquire())
        except ClientStateError as error:
            raised.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(SECONDS)  # this loop stands still meanwhile, but it is the running one
    assert "another running event loop" in str(raised[0])


@pytest.mark.row(108)
def test_row_108_two_loops_in_turns_with_calls_that_wait_in_both() -> None:
    limiter, loops = RateLimiter(RateLimit(8, 8)), [VirtualLoop(), VirtualLoop()]
    calls: list[list[asyncio.Task[None]]] = [[], []]
    for _ in range(10):
        for loop, made in zip(loops, calls, strict=True):
            made += [loop.create_task(limiter.acquire(max_pause=60)) for _ in range(20)]
            loop.run_until_complete(asyncio.sleep(1))
    served, refused = ([task for task in made if task.done()] for made in calls)
    assert all(task.exception() is None for task in served)
    assert all(isinstance(task.exception(), ClientStateError) for task in refused)
    assert len(refused) == 200
    assert 8 * 10 <= len(served) <= 8 + 8 * 10
    # when nothing waits any more, the other loop has its turn
    loops[0].run_until_complete(asyncio.gather(*calls[0]))
    loops[1].run_until_complete(limiter.acquire())
    for loop in loops:
        loop.close()


@pytest.mark.row(108)
def test_row_108_calls_that_wait_in_a_closed_loop_hold_nobody_up() -> None:
    limiter, loop = RateLimiter(RateLimit(1, 1)), VirtualLoop()
    loop.run_until_complete(limiter.acquire())
    waiting = loop.create_task(limiter.acquire())
    loop.run_until_complete(asyncio.sleep(0))
    other = VirtualLoop()
    with pytest.raises(ClientStateError, match="which has stopped"):
        other.run_until_complete(limiter.acquire())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(waiting)
    other.run_until_complete(limiter.acquire())
    abandoned = other.create_task(limiter.acquire())
    other.run_until_complete(asyncio.sleep(0))
    other.close()
    loop.run_until_complete(limiter.acquire())
    loop.close()
    abandoned._log_destroy_pending = False  # type: ignore[attr-defined]  # nothing ends it: its loop is closed


def test_repr() -> None:
    assert repr(RateLimiter(RateLimit(2, 3))) == "RateLimiter(RateLimit(rate=2, burst=3), max_wait=120.0)"


async def test_a_newcomer_overtakes_nobody_who_waits_out_a_pause() -> None:
    limiter = RateLimiter(RateLimit(2, 1))
    limiter.pause(5)
    early = [asyncio.create_task(limiter.acquire()) for _ in range(2)]
    await asyncio.sleep(1)
    limiter._not_before = 0.0  # the pause is over, and those who waited have not had their turn yet
    assert not await limiter.try_acquire()
    await asyncio.gather(*early)
    await asyncio.sleep(2)
    assert await limiter.try_acquire()


async def test_a_token_that_a_pause_made_useless_is_spent_all_the_same() -> None:
    limiter = RateLimiter(RateLimit(1, 1))
    await limiter.acquire()
    waiting = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(0.5)
    limiter.pause(0.7)  # over the moment in which the one who waits gets its token
    await asyncio.sleep(0.6)
    waiting.cancel()
    await asyncio.sleep(0.3)
    began = now()
    assert not await limiter.try_acquire()  # rather than to wait for a bucket that is not full again
    assert now() == began


async def test_the_old_names_still_work_and_name_the_new_ones() -> None:
    limiter = RateLimiter(RateLimit.adaptive(start=10))
    with pytest.warns(DeprecationWarning, match="now called try_acquire"):
        assert await limiter.acquire_now()
    with pytest.warns(DeprecationWarning, match=r"now called acquire\(max_pause=\)"):
        await limiter.acquire(longest_pause=60)
    with pytest.warns(DeprecationWarning, match=r"now called on_response\(limited=\)"):
        limiter.answered(waited=True)
    assert limiter.rate > 10
    with pytest.warns(DeprecationWarning, match=r"now called on_throttled\(admitted_at=\)"):
        limiter.throttled(5, admitted=now())
    assert limiter.rate < 10
    assert limiter.paused_for == pytest.approx(5)
    limiter.pause(600)
    with pytest.warns(DeprecationWarning), pytest.raises(RateLimitedError, match="waits for 60 s"):
        await limiter.acquire(longest_pause=60)


async def test_tokens_taken_at_once_and_tokens_waited_for_come_from_one_bucket() -> None:
    """Each makes the other's count out of date; a fixed seed takes them in any order."""
    rng = random.Random(5)
    limit = RateLimit(10, 5)
    limiter = RateLimiter(limit)
    times: list[float] = []
    for _ in range(300):
        if not await limiter.try_acquire():
            if rng.random() < 0.5:
                await asyncio.sleep(rng.uniform(0, 0.4))
                continue
            await limiter.acquire()
        times.append(now())
    assert worst_excess(times, limit) <= 1e-6
    assert len(times) / (times[-1] - times[0]) >= 0.9 * limit.rate
