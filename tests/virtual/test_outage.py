"""Outages of the service as a job sees them: who asks whether it is back, and when."""

from __future__ import annotations

import asyncio

import pytest

from fullstory_async import APITimeoutError, RateLimitedError
from fullstory_async.jobs.circuit_breaker import FAILURE_THRESHOLD, CircuitBreaker
from fullstory_async.jobs.failures import is_throttled
from tests.virtual_time import now

pytestmark = pytest.mark.virtual_time


def lose(outage: CircuitBreaker) -> None:
    for _ in range(FAILURE_THRESHOLD):
        outage.lost(now())


async def waited(outage: CircuitBreaker) -> tuple[bool, float]:
    """Return whether it was this call's turn to ask, and after how many seconds."""
    began = now()
    return await outage.wait_to_ask(), round(now() - began, 3)


async def test_one_call_at_a_time_asks_after_pauses_that_double():
    outage = CircuitBreaker(600)
    lose(outage)
    for pause in (1, 2, 4, 8, 16, 30, 30):
        assert await waited(outage) == (True, pause)
        outage.lost(now())
        outage.has_asked()
    first, second = asyncio.create_task(waited(outage)), asyncio.create_task(waited(outage))
    assert await first == (True, 30)
    await asyncio.sleep(5)
    assert not second.done()
    outage.answered()
    outage.has_asked()
    assert await second == (False, 35)


async def test_an_answer_that_was_still_on_its_way_lets_everybody_go_on_at_once():
    outage = CircuitBreaker(600)
    for _ in range(2):  # in the second outage as in the first
        lose(outage)
        calls = [asyncio.create_task(waited(outage)) for _ in range(3)]
        await asyncio.sleep(0.25)
        outage.answered()
        assert await asyncio.gather(*calls) == [(False, 0.25)] * 3
    lose(outage)
    assert await waited(outage) == (True, 1)


async def test_who_is_cancelled_in_its_pause_leaves_the_turn_to_the_next():
    outage = CircuitBreaker(600)
    lose(outage)
    first, second = asyncio.create_task(waited(outage)), asyncio.create_task(waited(outage))
    await asyncio.sleep(0.5)
    first.cancel()
    assert await second == (True, 2.5)


def test_a_call_whose_time_ran_out_while_it_obeyed_a_429_was_throttled():
    late, unsent = APITimeoutError("late", sent=False), APITimeoutError("late", sent=False)
    late.__cause__ = RateLimitedError("slower")
    assert is_throttled(late)
    assert is_throttled(RateLimitedError("slower"))
    assert not is_throttled(unsent)
    late.sent = True
    assert not is_throttled(late)
