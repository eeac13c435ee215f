"""The circuit breaker of a job: which call probes a service that is down, and when."""

from __future__ import annotations

import asyncio

import pytest

from fullstory_async.jobs.circuit_breaker import FAILURE_THRESHOLD, CircuitBreaker
from tests.virtual_time import now

pytestmark = pytest.mark.virtual_time


def fail(breaker: CircuitBreaker) -> None:
    for _ in range(FAILURE_THRESHOLD):
        breaker.record_failure(now())


async def waited(breaker: CircuitBreaker) -> tuple[bool, float]:
    """Return whether this call is the probe, and after how many seconds."""
    began = now()
    return await breaker.acquire_probe(), round(now() - began, 3)


async def test_one_call_at_a_time_probes_after_pauses_that_double() -> None:
    breaker = CircuitBreaker(600)
    fail(breaker)
    for pause in (1, 2, 4, 8, 16, 30, 30):
        assert await waited(breaker) == (True, pause)
        breaker.record_failure(now())
        breaker.release_probe()
    first, second = asyncio.create_task(waited(breaker)), asyncio.create_task(waited(breaker))
    assert await first == (True, 30)
    await asyncio.sleep(5)
    assert not second.done()
    breaker.record_success()
    breaker.release_probe()
    assert await second == (False, 35)


async def test_a_response_still_in_flight_lets_all_calls_continue_at_once() -> None:
    breaker = CircuitBreaker(600)
    for _ in range(2):  # in the second outage as in the first
        fail(breaker)
        calls = [asyncio.create_task(waited(breaker)) for _ in range(3)]
        await asyncio.sleep(0.25)
        breaker.record_success()
        assert await asyncio.gather(*calls) == [(False, 0.25)] * 3
    fail(breaker)
    assert await waited(breaker) == (True, 1)


async def test_a_probe_cancelled_in_its_pause_leaves_the_next_one_to_probe() -> None:
    breaker = CircuitBreaker(600)
    fail(breaker)
    first, second = asyncio.create_task(waited(breaker)), asyncio.create_task(waited(breaker))
    await asyncio.sleep(0.5)
    first.cancel()
    assert await second == (True, 2.5)


async def test_it_is_exhausted_once_it_was_open_for_the_whole_patience() -> None:
    breaker = CircuitBreaker(10)
    fail(breaker)
    assert (breaker.is_open, breaker.is_exhausted) == (True, False)
    await asyncio.sleep(10)
    breaker.record_failure(now())
    assert breaker.is_exhausted
    breaker.record_success()
    assert (breaker.is_open, breaker.is_exhausted) == (False, False)
