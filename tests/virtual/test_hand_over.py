"""A call of a fan-out runs in its worker's task until another caller joins it; then the task is the call's."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NoReturn

import pytest

from fullstory_async import RateLimit, RateLimitedError, RateLimiter, RetryPolicy, SessionEvents
from fullstory_async.api import SessionsAPI
from fullstory_async.errors import FullStoryError, NotFoundError, ProgramError, ServerError
from fullstory_async.fanout import FanOut
from fullstory_async.http.call import Attempt
from fullstory_async.messages import Request, Response
from fullstory_async.testing import FakeTransport, json_response
from tests.fakes import make_sessions

pytestmark = pytest.mark.virtual_time

EMPTY = json_response({"events": []})


def make(seconds: float = 10.0, *script: Any, **settings: Any) -> tuple[FakeTransport, SessionsAPI]:
    transport = FakeTransport(script, respond=lambda _: EMPTY, seconds=seconds)
    return transport, make_sessions(transport, **settings)


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@asynccontextmanager
async def joined(
    sessions: SessionsAPI,
) -> AsyncIterator[tuple[FanOut[SessionEvents], asyncio.Task[SessionEvents]]]:
    """Begin a fan-out over one session, and a single call that joins its call."""
    async with sessions.events_many(["1:2"]) as results:
        await asyncio.sleep(0.5)
        single = asyncio.create_task(sessions.events("1:2", timeout=100))
        await asyncio.sleep(0.25)
        yield results, single


async def test_a_call_that_nobody_joins_has_no_task_of_its_own() -> None:
    _, sessions = make()
    async with sessions.events_many(["1:2", "1:3"], concurrency=2) as results:
        await asyncio.sleep(1)
        assert len(others()) == 2
        assert [outcome.error async for outcome in results] == [None, None]


async def test_the_worker_goes_on_and_its_outcome_says_how_long_the_call_took() -> None:
    transport, sessions = make()
    async with sessions.events_many(["1:2", "1:3"], concurrency=1) as results:
        await asyncio.sleep(4)
        joined = await sessions.events("1:2")
        outcomes = [outcome async for outcome in results]
    assert [outcome.session_id for outcome in outcomes] == ["1:2", "1:3"]
    assert [outcome.elapsed for outcome in outcomes] == pytest.approx([10, 10], abs=0.01)
    assert [outcome.attempts for outcome in outcomes] == [1, 1]
    assert joined.response_info is not None
    assert joined.response_info.source == "shared"
    assert joined.response_info.elapsed == pytest.approx(6, abs=0.01)
    assert len(transport.sent) == 2


async def test_leaving_the_fan_out_does_not_take_the_request_along() -> None:
    transport, sessions = make()
    async with joined(sessions) as (_, single):
        pass
    assert isinstance(await single, SessionEvents)
    assert len(transport.sent) == 1
    assert not others()


async def test_leaving_in_the_turn_of_the_loop_in_which_another_joins() -> None:
    transport, sessions = make()
    single: asyncio.Task[SessionEvents] | None = None
    async with sessions.events_many(["1:2"]):
        await asyncio.sleep(4)
        single = asyncio.create_task(sessions.events("1:2"))
        await asyncio.sleep(0)  # it has joined, and the new task of the worker has not begun
    single.cancel()
    await asyncio.wait([single])
    assert not others()
    assert not sessions._api.shared
    assert len(transport.sent) == 1


async def test_who_has_joined_may_leave_again() -> None:
    transport, sessions = make()
    async with joined(sessions) as (results, single):
        single.cancel()
        assert [outcome.error async for outcome in results] == [None]
    assert len(transport.sent) == 1


async def test_when_both_have_left_the_request_is_dropped() -> None:
    transport, sessions = make()
    async with joined(sessions) as (_, single):
        pass
    single.cancel()
    await asyncio.wait([single])
    assert not others()
    assert not sessions._api.shared
    assert len(transport.sent) == 1


async def test_a_stop_drops_an_unsent_call_for_the_fan_out_alone() -> None:
    limiter = RateLimiter(RateLimit(1, 1), max_wait=100)
    transport, sessions = make(0.1, limiter=limiter)
    limiter.pause(30)
    async with joined(sessions) as (results, single):
        results.stop()
        assert [outcome async for outcome in results] == []
        assert not single.done()
    assert isinstance(await single, SessionEvents)
    assert len(transport.sent) == 1


async def test_a_stopped_fan_out_gets_its_failure_while_the_other_waits_for_the_retry() -> None:
    retry = RetryPolicy(repeat_metered=True)
    transport, sessions = make(2.0, json_response({}, status=500), retry=retry)
    async with joined(sessions) as (results, single):
        results.stop()
        (outcome,) = [outcome async for outcome in results]
    assert isinstance(outcome.error, ServerError)
    assert outcome.attempts == 1
    assert not single.done()
    assert isinstance(await single, SessionEvents)
    assert len(transport.sent) == 2


async def test_a_failure_reaches_both() -> None:
    transport, sessions = make(1.0, json_response({}, status=404))
    async with joined(sessions) as (results, single):
        (outcome,) = [outcome async for outcome in results]
    with pytest.raises(NotFoundError) as caught:
        await single
    assert isinstance(outcome.error, NotFoundError)
    assert outcome.error is not caught.value
    assert len(transport.sent) == 1


async def test_a_bug_reaches_the_block_and_the_other() -> None:
    transport, sessions = make(1.0)

    def fail(_: object) -> NoReturn:
        raise ZeroDivisionError

    transport.respond = fail
    async with sessions.events_many(["1:2"]) as results:
        await asyncio.sleep(0.5)
        single = asyncio.create_task(sessions.events("1:2"))
        with pytest.raises(ProgramError, match="ZeroDivisionError"):
            _ = [outcome async for outcome in results]
    with pytest.raises(ProgramError, match="ZeroDivisionError"):
        await single


async def test_another_fan_out_over_the_same_id_while_the_first_one_is_left() -> None:
    transport, sessions = make(1.0)

    async def again() -> list[FullStoryError | None]:
        async with sessions.events_many(["1:2"]) as results:
            return [outcome.error async for outcome in results]

    async with sessions.events_many(["1:2"]):
        await asyncio.sleep(0.5)
        second = asyncio.create_task(again())
        await asyncio.sleep(0)
    third = asyncio.create_task(sessions.events("1:2"))
    assert await second == [None]
    assert isinstance(await third, SessionEvents)
    assert len(transport.sent) == 2
    assert not sessions._api.shared


async def test_the_worker_goes_on_in_the_context_of_its_block() -> None:
    user = contextvars.ContextVar("user", default="")
    seen: list[str] = []
    transport, sessions = make(1.0)

    def respond(_: object) -> Response:
        seen.append(user.get())
        return EMPTY

    async def single() -> None:
        user.set("ada")
        await sessions.events("1:2")

    transport.respond = respond
    user.set("the job")
    async with sessions.events_many(["1:2", "1:3", "1:4"], concurrency=1) as results:
        await asyncio.sleep(0.5)
        other = asyncio.create_task(single())
        assert [outcome.error async for outcome in results] == [None] * 3
    await other
    assert seen == ["the job"] * 3


async def test_a_task_factory_of_the_program_need_not_take_a_context() -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(lambda loop, work: asyncio.Task(work, loop=loop))
    try:
        transport, sessions = make(1.0)
        async with joined(sessions) as (results, single):
            assert [outcome.error async for outcome in results] == [None]
        assert isinstance(await single, SessionEvents)
    finally:
        loop.set_task_factory(None)
    assert len(transport.sent) == 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks that begin at once came with Python 3.12")
async def test_tasks_that_begin_at_once_lose_no_outcome() -> None:
    asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory", None))
    _, sessions = make(0.0)
    async with sessions.events_many(["1:2", "1:3", "1:2"], concurrency=2) as results:
        assert [outcome.error async for outcome in results] == [None] * 3
    async with sessions.events_many(["1:2", "1:3", "1:2"], concurrency=3) as results:
        single = asyncio.create_task(sessions.events("1:2"))
        assert [outcome.error async for outcome in results] == [None] * 3
    assert isinstance(await single, SessionEvents)
    assert not sessions._api.shared


async def test_a_cancellation_that_a_source_of_ids_caught_keeps_nobody_from_joining() -> None:
    transport, sessions = make(1.0)

    async def ids() -> AsyncIterator[str]:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1)
        yield "1:2"

    async with sessions.events_many(ids(), concurrency=1) as results:
        await asyncio.sleep(0.5)
        assert isinstance(await sessions.events("1:2"), SessionEvents)
        assert [outcome.error async for outcome in results] == [None]
    assert len(transport.sent) == 1


class Watched(FakeTransport):
    """Takes random time, fails at random, and records equal requests that are on their way together."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(
            respond=lambda _: json_response({"events": []}, status=rng.choice([200, 200, 200, 429, 500]))
        )
        self._rng, self._under_way = rng, Counter[str | None]()
        self.repeated: list[str | None] = []

    @contextmanager
    def _watch(self, session_id: str | None) -> Iterator[None]:
        if self._under_way[session_id]:
            self.repeated.append(session_id)
        self._under_way[session_id] += 1
        try:
            yield
        finally:
            self._under_way[session_id] -= 1

    async def send(
        self, request: Request, deadline: float, attempt: Attempt, *, streamed: bool = False
    ) -> Response:
        attempt.sent = False
        await asyncio.sleep(self._rng.choice([0, 0.01]))
        with self._watch(request.session_id):
            attempt.sent = True
            await asyncio.sleep(self._rng.uniform(0, 0.3))
            return await super().send(request, deadline, attempt, streamed=streamed)


@pytest.mark.parametrize("seed", range(60))
async def test_any_order_of_joining_leaving_and_stopping(seed: int) -> None:
    rng = random.Random(seed)
    transport = Watched(rng)
    retry = RetryPolicy(repeat_metered=rng.random() < 0.5)
    sessions = make_sessions(transport, RateLimiter(RateLimit(60, 6)), retry=retry)
    names = [f"1:{n}" for n in range(5)]
    defects: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: defects.append(context))

    async def single() -> None:
        await asyncio.sleep(rng.uniform(0, 1.5))
        timeout = rng.choice([0.05, 0.2, 5.0])
        try:
            async with asyncio.timeout(rng.choice([0.02, 0.2, 10])):
                await sessions.events(rng.choice(names), timeout=timeout)
        except (TimeoutError, FullStoryError):
            pass

    async def many() -> None:
        await asyncio.sleep(rng.uniform(0, 0.5))
        given = rng.choices(names, k=12)
        end, after = rng.choice(["consume", "consume", "leave", "stop"]), rng.uniform(0, 1)
        found: list[str] = []
        async with sessions.events_many(given, concurrency=rng.choice([1, 3, 12])) as results:
            if end == "stop":
                asyncio.get_running_loop().call_later(after, results.stop)
            try:
                async with asyncio.timeout(after if end == "leave" else None):
                    found = [outcome.session_id async for outcome in results]
            except TimeoutError:
                assert end == "leave"
        if end == "consume":
            assert Counter(found) == Counter(given)
        assert not Counter(found) - Counter(given)

    async with asyncio.timeout(600), asyncio.TaskGroup() as group:
        for work in [many] * 3 + [single] * 25:
            group.create_task(work())
    assert not others()
    assert not sessions._api.shared
    assert not transport.repeated
    assert not defects


async def test_a_pause_longer_than_a_joined_call_has_leaves_the_fan_out_waiting() -> None:
    transport, sessions = make(1.0, json_response({}, status=429, retry_after="40"))
    async with sessions.events_many(["1:2"]) as results:
        await asyncio.sleep(0.5)
        with pytest.raises(RateLimitedError):
            await sessions.events("1:2", timeout=5)
        assert [outcome.error async for outcome in results] == [None]
    assert len(transport.sent) == 2
