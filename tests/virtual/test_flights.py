"""Equal calls at the same time share one request, and a caller that leaves harms none of the others."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine
from typing import Any, NoReturn, Self

import pytest

from fullstory_async import (
    APITimeoutError,
    FullStoryError,
    LLMOptions,
    ProfileConfiguration,
    ProgramError,
    RateLimit,
    RateLimitedError,
    RateLimiter,
    RetryPolicy,
    ServerError,
)
from fullstory_async.api import SessionsAPI
from fullstory_async.testing import FakeTransport, json_response
from tests.fakes import make_sessions

pytestmark = pytest.mark.virtual_time


def make(seconds: float = 10.0, **settings: Any) -> tuple[FakeTransport, SessionsAPI]:
    transport = FakeTransport(respond=lambda _: json_response({"response": {"a": [1]}}), seconds=seconds)
    return transport, make_sessions(transport, **settings)


async def test_fifty_calls_are_one_request() -> None:
    transport, sessions = make()
    found = await asyncio.gather(*(sessions.summary("1:2", config_profile_id="p") for _ in range(50)))
    assert len(transport.sent) == 1
    assert all(each == found[0] for each in found)
    found[0].response["a"].append(2)
    assert found[1].response == {"a": [1]}  # nobody shares what can be changed
    await sessions.summary("1:2", config_profile_id="p")
    assert len(transport.sent) == 2  # nothing is remembered without a cache


async def test_what_differs_is_another_request() -> None:
    transport, sessions = make()
    other = ProfileConfiguration(llm=LLMOptions(pre_prompt="x"))
    await asyncio.gather(
        sessions.summary("1:2"), sessions.summary("1:3"), sessions.summary("1:2", config_profile_id="p"),
        sessions.summary("1:2", overrides=other), sessions.summary("1:2", overrides=other),
        sessions.summary("1:2", extra_query={"a": 1}), sessions.summary("1:2", extra_headers={"X-A": "1"}),
    )  # fmt: skip
    assert len(transport.sent) == 6


async def test_how_long_somebody_would_wait_makes_no_difference() -> None:
    transport, sessions = make()
    async with sessions.summaries_many(["1:2"]) as results:
        found = await asyncio.gather(sessions.summary("1:2"), sessions.summary("1:2", timeout=100))
        assert [outcome.value async for outcome in results] == [found[0]]
    assert len(transport.sent) == 1


async def test_each_has_its_own_time() -> None:
    transport, sessions = make()
    calls = [asyncio.create_task(sessions.summary("1:2", timeout=seconds)) for seconds in (3, 30)]
    await asyncio.sleep(2)
    calls.append(asyncio.create_task(sessions.summary("1:2", timeout=3)))  # 5 s from the request's beginning
    calls.append(asyncio.create_task(sessions.summary("1:2", timeout=9)))
    started = asyncio.get_running_loop().time()
    ended: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each).__name__ for each in ended] == [
        "APITimeoutError",
        "SessionSummary",
        "APITimeoutError",
        "SessionSummary",
    ]
    assert asyncio.get_running_loop().time() - started == pytest.approx(8, abs=0.01)
    assert (ended[0].sent, ended[0].attempts, ended[0].may_have_cost) == (True, 1, True)
    assert ended[2].elapsed == pytest.approx(3, abs=0.01)
    assert len(transport.sent) == 1


async def test_a_patient_call_does_not_take_over_the_verdict_of_an_impatient_one() -> None:
    answers = [json_response({}, status=429, retry_after="200"), json_response({"summary": "ok"})]
    transport = FakeTransport(answers, seconds=1.0)
    sessions = make_sessions(transport)
    hasty = asyncio.create_task(sessions.summary("1:2"))
    await asyncio.sleep(0.5)
    async with sessions.summaries_many(["1:2"]) as results:
        outcomes = [outcome async for outcome in results]
    with pytest.raises(RateLimitedError):
        await hasty
    assert outcomes[0].value is not None
    assert outcomes[0].value.summary == "ok"


async def test_one_403_of_a_shared_request_is_one_denial() -> None:
    transport = FakeTransport(
        respond=lambda request: (
            json_response({}, status=403) if "%3A2/" in request.path else json_response({"summary": "x"})
        ),
        seconds=1.0,
    )
    sessions = make_sessions(transport)
    async with sessions.summaries_many(
        ["1:2"] * 3 + [f"1:{n}" for n in range(3, 30)], concurrency=4
    ) as results:
        outcomes = [outcome async for outcome in results]
    assert len(outcomes) == 30


async def test_events_and_context_are_shared_too() -> None:
    one = json_response({"events": [{"event_type": "click"}]})
    transport = FakeTransport(
        respond=lambda request: one if request.operation == "events" else json_response({}), seconds=1
    )
    sessions = make_sessions(transport)
    events = await asyncio.gather(*(sessions.events("1:2") for _ in range(3)))
    contexts = await asyncio.gather(*(sessions.context("1:2") for _ in range(3)))
    assert [request.operation for _, request in transport.sent] == ["events", "context"]
    assert all(each == events[0] and len(each) == 1 for each in events)
    assert len({id(each) for each in (*events, *contexts)}) == 6
    assert [each.activations for each in events] == [each.activations for each in contexts] == [1, 0, 0]
    assert [each.response_info.source for each in events if each.response_info] == [
        "service",
        "shared",
        "shared",
    ]


async def test_a_caller_with_more_time_keeps_the_request_of_one_with_less() -> None:
    transport = FakeTransport(respond=lambda _: json_response({"events": []}), seconds=10)
    sessions = make_sessions(transport)
    hasty = asyncio.create_task(ended(sessions.events("1:2", timeout=3)))
    await asyncio.sleep(1)
    patient = asyncio.create_task(ended(sessions.events("1:2", timeout=30)))
    error, seconds = await hasty
    assert isinstance(error, APITimeoutError)
    assert error.may_have_cost
    assert seconds == pytest.approx(3, abs=0.01)
    result, seconds = await patient
    assert result.activations == 0
    assert seconds == pytest.approx(9, abs=0.01)
    assert len(transport.sent) == 1


async def test_one_that_leaves_does_not_take_the_others_along() -> None:
    transport, sessions = make()
    calls = [asyncio.create_task(sessions.summary("1:2")) for _ in range(50)]
    await asyncio.sleep(1)
    calls[0].cancel()  # the one that started it
    calls[7].cancel()
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(each, asyncio.CancelledError) for each in ended) == 2
    assert len(transport.sent) == 1


async def test_when_the_last_one_has_left_the_request_is_dropped() -> None:
    transport, sessions = make()
    calls = [asyncio.create_task(sessions.summary("1:2")) for _ in range(3)]
    await asyncio.sleep(1)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert len(asyncio.all_tasks()) == 1
    await sessions.summary("1:2")  # and is no trap for the next
    assert len(transport.sent) == 2


async def test_an_error_reaches_everybody_and_is_not_remembered() -> None:
    answers = [json_response({"code": "server_error"}, status=500), json_response({"summary": "ok"})]
    transport = FakeTransport(answers, seconds=1.0)
    sessions = make_sessions(transport)
    ended = await asyncio.gather(*(sessions.summary("1:2") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(each, ServerError) and each.may_have_cost for each in ended)
    assert (await sessions.summary("1:2")).summary == "ok"


@pytest.mark.row(103)
@pytest.mark.parametrize("status", [404, 429])
async def test_row_103_those_who_share_a_failed_request_share_no_exception(status: int) -> None:
    """What one caller's frames hold, and what it notes on its error, is in nobody else's report."""
    transport = FakeTransport(respond=lambda _: json_response({}, status=status), seconds=1.0)
    sessions = make_sessions(transport, retry=RetryPolicy(attempts=2, wait_initial=5, wait_jitter=0))

    async def ask(person: str, timeout: float | None) -> FullStoryError:
        try:
            await sessions.summary("1:2", timeout=timeout)
        except FullStoryError as error:
            error.add_note(person)
            return error
        raise AssertionError

    people = {"ann": None, "bob": None, "eve": 3.0}  # eve has no time for a second attempt
    errors = await asyncio.gather(*(ask(*each) for each in people.items()))
    assert len({id(error) for error in errors}) == len(people)
    assert len({(type(error), str(error)) for error in errors[:2]}) == 1
    assert vars(errors[0]).keys() == vars(errors[1]).keys()
    for person, error in zip(people, errors, strict=True):
        seen: BaseException | None = error
        assert error.__notes__ == [person]
        while seen is not None:
            frames = traceback.TracebackException.from_exception(seen, capture_locals=True).stack
            assert [
                other for other in people if other != person and other in str([f.locals for f in frames])
            ] == []
            seen = seen.__cause__ or seen.__context__


class Restored(Exception):
    """It can't be made again in any way that is known for exceptions."""

    def __new__(cls, *, code: int) -> Self:
        """Make it."""
        return super().__new__(cls, code)

    def __init__(self, *, code: int) -> None:
        super().__init__("no", code)


def in_a_circle() -> ValueError:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


@pytest.mark.row(122)
@pytest.mark.parametrize(
    "defect",
    [
        Restored(code=3), in_a_circle(), FileNotFoundError(2, "missing", "a.txt"), UnicodeDecodeError("utf-8", b"x", 0, 1, "why"),
        ExceptionGroup("group", [ValueError("inner"), Restored(code=4)]),
    ],
    ids=lambda each: type(each).__name__,
)  # fmt: skip
async def test_row_122_any_defect_behind_a_shared_request_reaches_its_callers(defect: Exception) -> None:
    """Of whatever class: one that can't be copied is the same for all of them."""

    def fail(_: object) -> NoReturn:
        raise defect

    sessions = make_sessions(FakeTransport(respond=fail, seconds=1.0))
    found = await asyncio.gather(sessions.summary("1:2"), sessions.summary("1:2"), return_exceptions=True)
    for error in found:
        assert isinstance(error, ProgramError)
        assert (type(error.__cause__), str(error.__cause__)) == (type(defect), str(defect))
    causes = [error.__cause__ for error in found if isinstance(error, ProgramError)]
    assert (causes[0] is causes[1]) == isinstance(defect, Restored)
    if isinstance(defect, ExceptionGroup):
        inner = [each.exceptions[0] for each in causes if isinstance(each, ExceptionGroup)]
        assert (len(inner), inner[0] is inner[1], str(inner[0])) == (2, False, "inner")


async def test_a_defect_behind_a_shared_request_is_reported_to_each_caller_alone() -> None:
    class Odd(Exception):  # which can't be made from its ``args``
        def __init__(self, one: str, two: str) -> None:
            super().__init__(f"{one} {two}")

    for defect in (ValueError("defect"), Odd("a", "defect")):

        def fail(_: object, defect: Exception = defect) -> NoReturn:
            raise defect

        sessions = make_sessions(FakeTransport(respond=fail, seconds=1.0))
        one, two = await asyncio.gather(
            sessions.summary("1:2"), sessions.summary("1:2"), return_exceptions=True
        )
        assert isinstance(one, ProgramError)
        assert isinstance(two, ProgramError)
        assert str(one) == str(two)
        assert type(one.__cause__) is type(two.__cause__) is type(defect)
        assert str(one.__cause__) == str(two.__cause__) == str(defect)
        assert len({id(each) for each in (one, two, one.__cause__, two.__cause__)}) == 4
        assert "in fail" in "".join(traceback.format_exception(one))  # where it was raised first


async def test_a_fan_out_shares_too_and_still_gives_an_outcome_for_each_id() -> None:
    transport, sessions = make()
    async with sessions.summaries_many(["1:2"] * 20 + ["1:3"], concurrency=21) as results:
        outcomes = [outcome async for outcome in results]
    assert len(outcomes) == 21
    assert len(transport.sent) == 2


async def test_stopping_a_fan_out_delivers_shared_calls_that_were_sent() -> None:
    transport, sessions = make()
    async with sessions.summaries_many(["1:2"] * 5, concurrency=5) as results:
        await asyncio.sleep(1)
        results.stop()
        outcomes = [outcome async for outcome in results]
    assert len(outcomes) == 5
    assert len(transport.sent) == 1


async def test_a_refusal_reaches_single_calls_as_before() -> None:
    transport = FakeTransport(respond=lambda _: json_response({}, status=429, retry_after="500"))
    sessions = make_sessions(transport)
    with pytest.raises(RateLimitedError):
        await sessions.summary("1:2")
    assert len(transport.sent) == 1


async def ended(call: Coroutine[Any, Any, object]) -> tuple[Any, float]:
    """Return what became of a call, and after how many seconds."""
    started = asyncio.get_running_loop().time()
    (outcome,) = await asyncio.gather(call, return_exceptions=True)
    return outcome, asyncio.get_running_loop().time() - started


@pytest.mark.parametrize("status", [429, 503])
async def test_a_wait_that_is_longer_than_the_callers_time_is_told_at_once(status: int) -> None:
    transport = FakeTransport([json_response({}, status=status, retry_after="30")])
    sessions = make_sessions(transport, retry=RetryPolicy(repeat_metered=True))
    error, seconds = await ended(sessions.summary("1:2", timeout=5))
    assert (type(error), error.attempts, error.retry_after) == (
        RateLimitedError if status == 429 else ServerError,
        1,
        30,
    )
    assert seconds < 0.1
    assert "1:2" in str(error)


async def test_of_those_who_share_a_request_only_those_with_too_little_time_leave() -> None:
    answers = [json_response({}, status=429, retry_after="30"), json_response({"summary": "ok"})]
    transport = FakeTransport(answers, seconds=1.0)
    sessions = make_sessions(transport)
    hasty, patient, never = (sessions.summary("1:2", timeout=seconds) for seconds in (5, 100, 10))
    async with sessions.summaries_many(["1:2"]) as results:
        (first, early), (second, late), (third, _) = await asyncio.gather(
            ended(hasty), ended(patient), ended(never)
        )
        assert [outcome.value async for outcome in results] == [second]
    assert isinstance(first, RateLimitedError)
    assert isinstance(third, RateLimitedError)
    assert first is not third
    assert (first.attempts, second.summary) == (1, "ok")
    assert early == pytest.approx(1, abs=0.1)
    assert late == pytest.approx(32, abs=0.1)
    assert len(transport.sent) == 2


async def test_who_joins_during_the_wait_has_its_own_time_for_it() -> None:
    """As a call that is not shared has: it waits for the limiter, which may be quicker than it said."""
    answers = [json_response({}, status=429, retry_after="30"), json_response({"summary": "ok"})]
    sessions = make_sessions(FakeTransport(answers))
    first = asyncio.create_task(sessions.summary("1:2"))
    await asyncio.sleep(1)
    for call in (sessions.summary("1:2", timeout=5), sessions.summary("1:3", timeout=5)):
        error, seconds = await ended(call)
        assert isinstance(error, APITimeoutError)
        assert (error.sent, error.attempts, error.may_have_cost) == (False, 0, False)
        assert seconds == pytest.approx(5, abs=0.1)
    assert (await first).summary == "ok"


async def test_a_call_with_priority_that_joins_a_request_waits_at_its_pace_and_costs_nothing_more() -> None:
    limiter = RateLimiter(RateLimit(1, 1))
    transport = FakeTransport(
        respond=lambda request: json_response({"summary": "ok"} if request.operation == "summary" else {})
    )
    sessions = make_sessions(transport, limiter)
    before = [asyncio.create_task(sessions.context(f"1:{number}")) for number in range(3, 9)]
    await asyncio.sleep(0)
    first = asyncio.create_task(sessions.summary("1:2"))
    await asyncio.sleep(0)
    joined, other = await asyncio.gather(
        ended(sessions.summary("1:2", priority=True)), ended(sessions.summary("1:9", priority=True))
    )
    assert joined[1] == pytest.approx(7, abs=0.1)  # six before it, and the other one
    assert other[1] == pytest.approx(1, abs=0.1)
    await asyncio.gather(first, *before)
    assert len(transport.sent) == 6 + 2


async def test_a_shared_request_that_ends_in_a_429_is_given_up_once_for_all() -> None:
    transport = FakeTransport(respond=lambda _: json_response({}, status=429, retry_after="1"), seconds=0.5)
    sessions = make_sessions(transport)
    calls = [asyncio.create_task(ended(sessions.summary("1:2")))]
    await asyncio.sleep(0.7)
    calls += [asyncio.create_task(ended(sessions.summary("1:2"))) for _ in range(9)]
    outcomes = [outcome for outcome, _ in await asyncio.gather(*calls)]
    assert all(isinstance(error, RateLimitedError) for error in outcomes)
    assert {(error.attempts, error.may_have_cost) for error in outcomes} == {(3, False)}
    assert len(transport.sent) == 3  # and not three for each


async def test_a_caller_with_more_time_waits_on_for_the_rate_limiter() -> None:
    transport = FakeTransport(respond=lambda _: json_response({"events": []}))
    sessions = make_sessions(transport, RateLimiter(RateLimit(0.05, 1)))
    await sessions.events("1:9")  # takes the only token; the next one comes after 20 seconds
    hasty = asyncio.create_task(ended(sessions.events("1:2", timeout=3)))
    await asyncio.sleep(1)
    patient = asyncio.create_task(ended(sessions.events("1:2", timeout=60)))
    error, seconds = await hasty
    assert isinstance(error, APITimeoutError)
    assert not error.may_have_cost
    assert seconds == pytest.approx(3, abs=0.01)
    result, seconds = await patient
    assert result.activations == 0
    assert seconds < 30
    assert len(transport.sent) == 2
