"""The brake in a fan-out, in virtual time: calls that wait, are stopped, and are released."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fullstory_async import (
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    ConflictError,
    DecodeError,
    FullStoryError,
    NoSessionFoundError,
    NotFoundError,
    ResponseTooLarge,
    ServerError,
    fanout,
)
from fullstory_async.brake import Brake
from fullstory_async.messages import Response

pytestmark = pytest.mark.virtual_time


class Call:
    """A call that takes a second; an id that begins with a 0 is unknown."""

    running = started = most = 0
    gave_up, droppable = False, True
    error: FullStoryError = NotFoundError("unknown")

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.attempts = 0

    def stop(self) -> None: ...

    async def run(self, host: object = None) -> str:
        Call.started += 1
        Call.running += 1
        Call.most = max(Call.most, Call.running)
        try:
            if self.session_id != "free":
                self.attempts = 1
                await asyncio.sleep(1)
            if self.session_id.startswith("0"):
                raise Call.error
        finally:
            Call.running -= 1
        return self.session_id


@pytest.fixture(autouse=True)
def fresh() -> None:
    Call.running = Call.started = Call.most = 0
    Call.error = NotFoundError("unknown")


async def test_waiting_calls_begin_with_the_first_success() -> None:
    ids = ["1", *(f"0{n}" for n in range(99))]
    async with fanout.FanOut(ids, Call, concurrency=50, brake=Brake(10)) as results:
        await asyncio.sleep(0.5)
        assert Call.started == 10
        await asyncio.sleep(1)
        assert (Call.started, Call.running) == (60, 50)
        assert len([outcome async for outcome in results]) == 100
    assert Call.most == 50


async def test_calls_that_were_not_sent_release_nothing() -> None:
    ids = ["free"] * 30 + [f"0{n}" for n in range(99)]
    outcomes = []
    with pytest.raises(NoSessionFoundError):
        async with fanout.FanOut(ids, Call, concurrency=50, brake=Brake(10)) as results:
            async for outcome in results:
                outcomes.append(outcome)
    assert (Call.started, len(outcomes), Call.most) == (40, 40, 10)


@pytest.mark.parametrize("error", [BadRequestError, DecodeError, ResponseTooLarge, APIStatusError])
async def test_whatever_fails_for_each_session_counts(error: type[FullStoryError]) -> None:
    Call.error = error("no", code="x") if error is APIStatusError else error("no")
    ids = [f"0{n}" for n in range(99)]
    with pytest.raises(NoSessionFoundError, match=f"the latest one ended in {error.__name__}"):
        async with fanout.FanOut(ids, Call, concurrency=50, brake=Brake(10)) as results:
            async for _ in results:
                pass
    assert Call.started == 10


@pytest.mark.parametrize("error", [ServerError, ConflictError, APITimeoutError])
async def test_failures_of_the_service_or_the_network_do_not_count(error: type[FullStoryError]) -> None:
    Call.error = error("no", response=Response(status=409)) if error is ConflictError else error("no")
    ids = [f"0{n}" for n in range(99)]
    async with fanout.FanOut(ids, Call, concurrency=50, brake=Brake(10)) as results:
        assert len([outcome async for outcome in results]) == 99


async def test_refused_calls_of_earlier_runs_count() -> None:
    ids = [f"0{n}" for n in range(99)]
    for refused, started in ((4, 6), (10, 6), (11, 6)):
        with pytest.raises(NoSessionFoundError):
            async with fanout.FanOut(ids, Call, concurrency=50, brake=Brake(10, refused=refused)) as results:
                async for _ in results:
                    pass
        assert Call.started == started


async def test_stop_ends_calls_that_wait() -> None:
    async def endless() -> AsyncIterator[str]:
        while True:
            yield "0"

    async with fanout.FanOut(endless(), Call, concurrency=50, brake=Brake(10)) as results:
        await asyncio.sleep(0.5)
        results.stop()
        assert [outcome async for outcome in results] == []
    assert (Call.started, Call.running) == (10, 0)


async def test_leaving_the_block_ends_calls_that_wait() -> None:
    async with fanout.FanOut(["0"] * 100, Call, concurrency=50, brake=Brake(10)):
        await asyncio.sleep(0.5)
    assert (Call.started, Call.running) == (10, 0)
