"""Deadlines: blocks end in time, under one timer, and as `asyncio.timeout_at` would end them."""

from __future__ import annotations

import asyncio
import random

import pytest

from fullstory_async.http.transport.deadlines import Deadline, Deadlines
from tests.virtual_time import VirtualLoop, now

pytestmark = pytest.mark.virtual_time

START = VirtualLoop.START


def made() -> Deadlines:
    return Deadlines(asyncio.get_running_loop())


def block(deadlines: Deadlines, due: float) -> Deadline:
    """Make a block that has time until so many seconds after the loop's first moment."""
    return Deadline(deadlines, START + due)


def clock() -> float:
    return round(now() - START, 3)


def timers() -> int:
    """Return how many timers the loop has that will ring."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return sum(not timer.cancelled() for timer in loop._scheduled)


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def wait(timed: Deadline, seconds: float = 1000.0) -> str:
    try:
        with timed:
            await asyncio.sleep(seconds)
    except TimeoutError:
        return f"late at {clock():g}"
    except asyncio.CancelledError:
        return f"cancelled at {clock():g}"
    return f"done at {clock():g}"


async def test_each_block_ends_at_its_own_time_or_is_done_before() -> None:
    deadlines = made()
    dues = [5.0, 3.0, 3.0, 8.0, 1.0]
    outcomes = await asyncio.gather(*(wait(block(deadlines, due), 6.0) for due in dues))
    assert outcomes == ["late at 5", "late at 3", "late at 3", "done at 6", "late at 1"]


async def test_one_timer_does_for_all_of_them() -> None:
    deadlines = made()
    tasks = [asyncio.create_task(wait(block(deadlines, 10.0 + n))) for n in range(50)]
    await asyncio.sleep(0)
    assert timers() == 1 + len(tasks)  # and the sleep of each
    assert await asyncio.gather(*tasks) == [f"late at {10 + n}" for n in range(50)]


async def test_an_end_may_be_put_off_or_brought_forward() -> None:
    deadlines = made()
    later, sooner = block(deadlines, 2.0), block(deadlines, 50.0)
    tasks = [asyncio.create_task(wait(later)), asyncio.create_task(wait(sooner))]
    await asyncio.sleep(1)
    later.reschedule(START + 7.0)
    sooner.reschedule(START + 4.0)
    assert await asyncio.gather(*tasks) == ["late at 7", "late at 4"]


async def test_what_is_late_stays_so() -> None:
    timed = block(made(), 2.0)

    async def held_up() -> str:
        try:
            with timed:
                try:
                    await asyncio.sleep(10)
                finally:
                    timed.reschedule(START + 3.0)  # as a request that gets its connection in this moment
                    await asyncio.sleep(5)
        except TimeoutError:
            return f"late at {clock():g}"
        return "done"

    assert await held_up() == "late at 7"


async def test_a_time_that_is_over_already_ends_the_block_at_its_first_wait() -> None:
    await asyncio.sleep(5)
    assert await wait(block(made(), 1.0)) == "late at 5"


async def test_somebody_elses_cancellation_stays_one() -> None:
    task = asyncio.create_task(wait(block(made(), 9.0)))
    await asyncio.sleep(3)
    task.cancel()
    assert await task == "cancelled at 3"


async def test_cancelled_by_another_in_the_moment_it_is_late_it_is_cancelled() -> None:
    deadlines = made()
    task = asyncio.create_task(wait(block(deadlines, 3.0)))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_at(START + 3.0, task.cancel)
    assert await task == "cancelled at 3"


async def test_a_callers_own_timeout_wins_where_it_is_shorter_and_only_there() -> None:
    for ours, theirs, seen in ((9.0, 4.0, "theirs"), (4.0, 9.0, "ours")):
        began, found = now(), ""
        try:
            async with asyncio.timeout_at(began + theirs):
                try:
                    with Deadline(made(), began + ours):
                        await asyncio.sleep(100)
                except TimeoutError:
                    found = "ours"
        except TimeoutError:
            found = "theirs"
        assert (found, round(now() - began, 3)) == (seen, 4.0)
        assert cancelling() == 0


async def test_an_error_of_the_block_is_not_covered_up() -> None:
    with pytest.raises(KeyError):
        with block(made(), 1.0):
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                raise KeyError from None
    assert cancelling() == 0


async def test_nothing_is_left_behind() -> None:
    deadlines = made()
    assert await wait(block(deadlines, 500.0), 1.0) == "done at 1"
    assert timers() == 1
    deadlines.close()
    assert timers() == 0
    assert (
        await wait(block(deadlines, 7.0)) == "late at 7"
    )  # as a given session's calls may be under way still
    task = asyncio.create_task(wait(block(deadlines, 20.0)))
    await asyncio.sleep(1)
    deadlines.close()
    assert await task == "late at 20"


async def outcome(*, ours: bool, due: float, seconds: float, cancelled: float) -> tuple[str, float]:
    """Return how a block ends that is waited in, has a deadline and is cancelled by somebody else, and when."""
    began, what = now(), "done"

    async def run() -> None:
        if ours:
            with Deadline(made(), began + due):
                await asyncio.sleep(seconds)
        else:
            async with asyncio.timeout_at(began + due):
                await asyncio.sleep(seconds)

    task = asyncio.create_task(run())
    timer = asyncio.get_running_loop().call_at(began + cancelled, task.cancel)
    try:
        await task
    except TimeoutError:
        what = "late"
    except asyncio.CancelledError:
        what = "cancelled"
    timer.cancel()
    return what, round(now() - began, 3)


async def test_at_random_it_ends_as_asyncios_own_does() -> None:
    rng = random.Random(3)
    seen = set()
    for _ in range(300):
        due, seconds, cancelled = rng.sample([n / 10 for n in range(1, 40)], 3)
        one, other = [
            await outcome(ours=ours, due=due, seconds=seconds, cancelled=cancelled) for ours in (True, False)
        ]
        assert one == other, (due, seconds, cancelled)
        seen.add(one[0])
    assert seen == {"done", "late", "cancelled"}
