"""Fan-out: one outcome for each id, lazily, in order of completion, and nothing left running."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from fullstory_async import (
    ActivationBudgetError,
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
    Failure,
    FullStoryError,
    InvalidSessionId,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimit,
    RateLimitedError,
    RateLimiter,
    Scope,
    Session,
    SessionId,
    Success,
    fanout,
)
from fullstory_async.messages import Request, Response
from fullstory_async.models import SessionRef, session_id_of
from fullstory_async.stop_rule import StopRule
from fullstory_async.testing import FakeTransport, json_response
from tests.fakes import make_sessions
from tests.virtual_time import now

pytestmark = pytest.mark.virtual_time

T = TypeVar("T")
EMPTY = json_response({"events": []})


AtRisk = Callable[[int], None]
Fetch = Callable[[str, AtRisk], Awaitable[Any]]
"""Makes a call for an id; returns its value and the number of attempts."""


class Work:
    """A call that is made by a function, which says what it may have cost."""

    gave_up, attempts, at_risk = False, 0, 0

    def __init__(self, fetch: Fetch, ref: SessionRef) -> None:
        self.session_id, self._fetch = session_id_of(ref), fetch

    @property
    def droppable(self) -> bool:
        return not self.at_risk

    def stop(self) -> None:
        pass

    async def run(self, host: object = None) -> Any:
        value, self.attempts = await self._fetch(self.session_id, self._set_at_risk)
        return value

    def _set_at_risk(self, activations: int) -> None:
        self.at_risk = activations


def fan_out(given: Any, fetch: Fetch, **options: Any) -> fanout.FanOut[Any]:
    return fanout.FanOut(given, lambda ref: Work(fetch, ref), **options)


def ids(count: int) -> Iterator[str]:
    return (f"1:{n}" for n in range(count))


def id_of(request: Request) -> str:
    assert request.session_id is not None
    return request.session_id


async def collect(results: fanout.FanOut[T]) -> list[Outcome[T]]:
    async with results:
        return [outcome async for outcome in results]


def echo(seconds: float = 0.0) -> Fetch:
    async def fetch(session_id: str, at_risk: AtRisk) -> tuple[object, int]:
        at_risk(1)
        await asyncio.sleep(seconds)
        return f"v-{session_id}", 1

    return fetch


async def test_one_outcome_for_each_id() -> None:
    outcomes = await collect(fan_out(ids(50), echo(), concurrency=7))
    assert {o.session_id: o.value for o in outcomes} == {f"1:{n}": f"v-1:{n}" for n in range(50)}
    assert all((o.error, o.attempts) == (None, 1) for o in outcomes)
    assert all(isinstance(o.session_id, SessionId) for o in outcomes)


async def test_outcomes_come_in_order_of_completion_and_say_how_long_they_took() -> None:
    async def fetch(session_id: str, at_risk: AtRisk) -> tuple[object, int]:
        await asyncio.sleep(float(session_id.split(":")[1]))
        return None, 1

    outcomes = await collect(fan_out(["1:3", "1:1", "1:2"], fetch, concurrency=3))
    assert [o.session_id for o in outcomes] == ["1:1", "1:2", "1:3"]
    assert [round(o.elapsed, 2) for o in outcomes] == [1, 2, 3]


@pytest.mark.parametrize("concurrency", [1, 2, 5])
@pytest.mark.parametrize("consumers", [1, 2, 3, 8])
@pytest.mark.parametrize("pause", [0.0, 0.3])
async def test_several_may_take_outcomes_and_all_of_them_come_to_the_end(
    concurrency: int, consumers: int, pause: float
) -> None:
    async def consume(results: fanout.FanOut[Any]) -> list[str]:
        taken = []
        async for outcome in results:
            taken.append(outcome.session_id)
            await asyncio.sleep(pause)
        return taken

    async with fan_out(ids(9), echo(0.1), concurrency=concurrency) as results:
        async with asyncio.timeout(60):
            taken = await asyncio.gather(*(consume(results) for _ in range(consumers)))
        assert sorted(each for some in taken for each in some) == sorted(ids(9))
        with pytest.raises(StopAsyncIteration):
            await anext(results)


async def test_as_many_at_once_as_said() -> None:
    under_way = most = 0

    async def fetch(_: str, at_risk: AtRisk) -> tuple[object, int]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1)
        under_way -= 1
        return None, 1

    start = now()
    await collect(fan_out(ids(20), fetch, concurrency=5))
    assert most == 5
    assert now() - start == pytest.approx(4, abs=0.01)


async def test_ids_may_be_of_any_kind_and_bad_ones_cost_nothing() -> None:
    transport = FakeTransport(respond=lambda _: EMPTY)
    given: list[Any] = [
        SessionId("1:1"), Session(user_id="1", session_id="2"), "1!3", "https://app.fullstory.com/ui/O/session/1:4",
        "", "a/b", None, 5, Session(), Session(session_id=".."),
    ]  # fmt: skip
    outcomes = await collect(make_sessions(transport).events_many(given))
    good = {o.session_id for o in outcomes if o.error is None}
    bad = [o for o in outcomes if o.error is not None]
    assert good == {"1:1", "1:2", "1:3", "1:4"}
    assert len(transport.sent) == 4
    assert {o.session_id for o in bad} == {"", "a/b", "None", "5", ".."}
    assert all(isinstance(o.error, InvalidSessionId) and o.attempts == 0 and o.value is None for o in bad)


async def test_ids_may_come_asynchronously_and_from_a_pager() -> None:
    async def arriving() -> AsyncIterator[str]:
        for n in range(5):
            await asyncio.sleep(1)
            yield f"1:{n}"

    assert len(await collect(fan_out(arriving(), echo(), concurrency=3))) == 5

    transport = FakeTransport(
        respond=lambda r: (
            EMPTY
            if r.operation == "events"
            else json_response({"sessions": [{"userId": "1", "sessionId": "7"}]})
        )
    )
    sessions = make_sessions(transport)
    outcomes = await collect(sessions.events_many(sessions.list(uid="u")))
    assert [o.session_id for o in outcomes] == ["1:7"]


async def test_ids_are_taken_only_as_workers_and_the_consumer_get_on() -> None:
    taken = 0

    def source() -> Iterator[str]:
        nonlocal taken
        for session_id in ids(1000):
            taken += 1
            yield session_id

    async with fan_out(source(), echo(), concurrency=4) as results:
        assert taken == 0
        await asyncio.sleep(1)
        assert taken <= 4 * 3
        await anext(results)
        await asyncio.sleep(1)
        assert taken <= 4 * 3 + 1


async def test_an_outcome_unwraps_to_its_value_or_its_error() -> None:
    async def fetch(session_id: str, at_risk: AtRisk) -> tuple[object, int]:
        if session_id == "1:1":
            raise NotFoundError("no such session")
        return "v", 1

    good, bad, unusable = await collect(fan_out(["1:0", "1:1", "a b"], fetch, concurrency=1))
    assert isinstance(good, Success)
    assert good.unwrap() == "v"
    for failed, error in ((bad, NotFoundError), (unusable, InvalidSessionId)):
        assert isinstance(failed, Failure)
        for _ in range(2):
            with pytest.raises(error) as caught:
                failed.unwrap()
            assert caught.value is failed.error
            assert len(caught.traceback) == 2  # of this call alone
    match good:
        case Success(value=value):
            assert value == "v"
        case Failure():
            pytest.fail("a success is no failure")


@pytest.mark.row(24)
async def test_a_failed_call_is_an_outcome() -> None:
    def answer(request: Request) -> Response:
        return json_response({"message": "gone"}, 404) if request.session_id == "1:3" else EMPTY

    outcomes = await collect(make_sessions(FakeTransport(respond=answer)).events_many(ids(6)))
    (failed,) = [o for o in outcomes if o.error is not None]
    assert failed.session_id == "1:3"
    assert isinstance(failed.error, NotFoundError)
    assert failed.attempts == 1


async def test_two_thousand_ids_at_a_fifth_of_the_clients_rate_lose_none() -> None:
    bucket = {"tokens": 20.0, "at": now()}

    def answer(_: Request) -> Response:
        bucket["tokens"] = min(20.0, bucket["tokens"] + (now() - bucket["at"]) * 10)
        bucket["at"] = now()
        if bucket["tokens"] < 1:
            return json_response({"code": "too_many_requests"}, 429, retry_after="1")
        bucket["tokens"] -= 1
        return EMPTY

    transport = FakeTransport(respond=answer, seconds=0.05)
    sessions = make_sessions(transport, RateLimiter(RateLimit(50, 50)))
    outcomes = await collect(sessions.events_many(ids(2000), concurrency=50))
    assert len(outcomes) == 2000
    assert not [o for o in outcomes if o.error is not None]


@pytest.mark.row(22)
async def test_a_rejected_key_stops_the_work_after_the_calls_on_their_way() -> None:
    def answer(request: Request) -> Response:
        return json_response(status=401) if request.session_id == "1:2" else EMPTY

    transport = FakeTransport(respond=answer, seconds=1)
    outcomes = []
    with pytest.raises(AuthenticationError):
        async with make_sessions(transport).events_many(ids(1000), concurrency=4) as results:
            async for outcome in results:
                outcomes.append(outcome)
    assert len(transport.sent) == len(outcomes) <= 8
    assert [o.session_id for o in outcomes if o.error is not None] == ["1:2"]


@pytest.mark.row(23)
async def test_three_denials_in_a_row_stop_the_work_but_single_ones_do_not() -> None:
    denied = FakeTransport(respond=lambda _: json_response(status=403))
    with pytest.raises(PermissionDeniedError):
        await collect(make_sessions(denied).events_many(ids(1000), concurrency=1))
    assert len(denied.sent) == 3

    def some(request: Request) -> Response:
        return json_response(status=403) if int(id_of(request)[2:]) % 3 == 0 else EMPTY

    mixed = FakeTransport(respond=some)
    assert len(await collect(make_sessions(mixed).events_many(ids(30), concurrency=1))) == 30


def test_the_rule_counts_403s_between_successes_and_a_shared_one_once() -> None:
    denied = [PermissionDeniedError("no", response=Response(status=403)) for _ in range(3)]
    shared = PermissionDeniedError("no", response=denied[0].response)  # the same, for another caller
    rule = StopRule()
    assert [rule.after(error) for error in (denied[0], denied[0], shared, denied[1], None)] == [None] * 5
    assert [rule.after(error) for error in (denied[0], NotFoundError("gone"), denied[1])] == [None] * 3
    assert rule.after(denied[2]) is rule.ended_by is denied[2]
    assert rule.after(None) is denied[2]  # what ended the work stays


@pytest.mark.parametrize(
    ("error", "ends_jobs_only"),
    [(AuthenticationError("x"), False), (ActivationBudgetError("x"), False), (RateLimitedError("x"), True)],
)
def test_the_rule_ends_the_work_at_the_scopes_that_it_is_given(
    error: FullStoryError, ends_jobs_only: bool
) -> None:
    assert (StopRule().after(error) is None) is ends_jobs_only
    assert StopRule(frozenset({Scope.RATE, error.scope})).after(error) is error


@pytest.mark.row(30)
async def test_a_limit_that_is_closed_for_a_day_fails_the_rest_without_a_request() -> None:
    transport = FakeTransport(respond=lambda _: json_response(status=429, retry_after="86400"))
    outcomes = await collect(make_sessions(transport).events_many(ids(500), concurrency=10))
    assert len(outcomes) == 500
    assert all(
        isinstance(o.error, RateLimitedError) and (o.error.retry_after or 0) > 86_000 for o in outcomes
    )
    assert len(transport.sent) <= 10


async def test_an_error_of_the_id_source_is_raised_after_what_was_paid_for() -> None:
    def source() -> Iterator[str]:
        yield from ids(5)
        raise OSError("the file is gone")

    outcomes = []
    with pytest.raises(OSError, match="gone"):
        async with fan_out(source(), echo(1), concurrency=8) as results:
            async for outcome in results:
                outcomes.append(outcome)
    assert len(outcomes) == 5


async def test_a_programming_error_is_raised_not_reported() -> None:
    async def fetch(session_id: str, at_risk: AtRisk) -> tuple[object, int]:
        if session_id == "1:3":
            raise ZeroDivisionError
        await asyncio.sleep(1)
        return None, 1

    with pytest.raises(ZeroDivisionError):
        await collect(fan_out(ids(100), fetch, concurrency=5))


async def test_a_client_that_is_not_open_is_a_programming_error() -> None:
    async def fetch(_: str, at_risk: AtRisk) -> None:
        raise ClientStateError("not open")

    with pytest.raises(ClientStateError):
        await collect(fan_out(ids(100), fetch, concurrency=5))


async def test_leaving_early_leaves_nothing_running() -> None:
    cancelled = 0

    async def fetch(_: str, at_risk: AtRisk) -> None:
        nonlocal cancelled
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled += 1
            raise

    async with fan_out(ids(100), fetch, concurrency=6):
        await asyncio.sleep(1)
    assert cancelled == 6


async def test_breaking_off_and_errors_in_the_block_leave_nothing_running() -> None:
    with pytest.raises(ValueError, match="mine"):
        async with fan_out(ids(100), echo(1), concurrency=6) as results:
            async for _ in results:
                raise ValueError("mine")


async def test_stop_delivers_what_is_on_its_way() -> None:
    outcomes = []
    async with fan_out(ids(100), echo(1), concurrency=5) as results:
        async for outcome in results:
            outcomes.append(outcome)
            results.stop()
    assert {o.session_id for o in outcomes} == {
        f"1:{n}" for n in range(10)
    }  # five had been taken anew by then


async def test_stop_does_not_wait_for_a_source_that_gives_nothing() -> None:
    async def source() -> AsyncIterator[str]:
        yield "1:1"
        await asyncio.sleep(10_000)
        yield "1:2"

    start = now()
    async with fan_out(source(), echo(1), concurrency=3) as results:
        async for _ in results:
            results.stop()
    assert now() - start < 2


async def test_stop_drops_calls_that_were_not_sent_yet() -> None:
    """They have cost nothing, and sending them would."""
    transport = FakeTransport(respond=lambda _: EMPTY, seconds=0.5)
    sessions = make_sessions(transport, RateLimiter(RateLimit(2, 1)))
    outcomes = []
    sent = -1
    async with sessions.events_many(ids(1000), concurrency=32) as results:
        async for outcome in results:
            outcomes.append(outcome)
            if len(outcomes) == 1:
                sent = len(transport.sent)
                results.stop()
    assert len(transport.sent) == sent == len(outcomes) <= 2


async def test_stop_does_not_wait_out_a_pause() -> None:
    transport = FakeTransport(
        [json_response({"events": []})], respond=lambda _: json_response(status=429, retry_after="500")
    )
    start = now()
    async with make_sessions(transport).events_many(ids(100), concurrency=8) as results:
        asyncio.get_running_loop().call_later(5, results.stop)
        assert len([o async for o in results]) == 1
    assert now() - start < 6


async def test_a_rejected_key_sends_nothing_more() -> None:
    transport = FakeTransport(respond=lambda _: json_response(status=401), seconds=0.1)
    start = now()
    with pytest.raises(AuthenticationError):
        await collect(
            make_sessions(transport, RateLimiter(RateLimit(8, 8))).events_many(ids(10_000), concurrency=1000)
        )
    assert len(transport.sent) <= 9
    assert now() - start < 1


async def test_a_slow_consumer_gets_every_outcome_of_what_was_sent() -> None:
    transport = FakeTransport(
        respond=lambda r: json_response(status=401 if int(id_of(r)[2:]) >= 20 else 200), seconds=0.1
    )
    outcomes = []
    with pytest.raises(AuthenticationError):
        async with make_sessions(transport).events_many(ids(1000), concurrency=4) as results:
            async for outcome in results:
                outcomes.append(outcome)
                await asyncio.sleep(5)
    assert {o.session_id for o in outcomes} == {r.session_id for _, r in transport.sent}
    assert any(o.error is not None for o in outcomes)


@pytest.mark.parametrize("status", [401, 404, 429, 500])
async def test_stopping_at_any_moment_delivers_every_call_that_may_have_cost(status: int) -> None:
    for moment in range(0, 30, 3):
        transport = FakeTransport(
            respond=lambda r: json_response(status=status if int(id_of(r)[2:]) % 2 else 200, retry_after="1"),
            seconds=0.15,
        )
        sessions = make_sessions(transport, RateLimiter(RateLimit(20, 5)))
        outcomes = []
        async with sessions.events_many(ids(60), concurrency=8) as results:
            asyncio.get_running_loop().call_later(moment / 10, results.stop)
            try:
                async for outcome in results:
                    outcomes.append(outcome)
            except AuthenticationError:
                assert status == 401
        sent = {id_of(r) for _, r in transport.sent}
        may_have_cost = {i for i in sent if status in (404, 500) or int(i[2:]) % 2 == 0}
        assert may_have_cost <= {o.session_id for o in outcomes} <= sent
        assert len({o.session_id for o in outcomes}) == len(outcomes)


async def test_a_call_cancelled_from_outside_is_not_lost_silently() -> None:
    async def fetch(session_id: str, at_risk: AtRisk) -> tuple[object, int]:
        if session_id == "1:3":
            raise asyncio.CancelledError
        return None, 1

    with pytest.raises(RuntimeError, match="cancelled by something other"):
        await collect(fan_out(ids(10), fetch, concurrency=2))

    async def source() -> AsyncIterator[str]:
        yield "1:1"
        inner = asyncio.get_running_loop().create_future()
        inner.cancel()
        await inner

    with pytest.raises(RuntimeError, match="cancelled by something other"):
        await collect(fan_out(source(), echo(), concurrency=2))


async def test_a_bug_is_raised_although_the_consumer_leaves_early() -> None:
    async def fetch(session_id: str, at_risk: AtRisk) -> tuple[object, int]:
        if session_id == "1:1":
            raise ZeroDivisionError
        return None, 1

    with pytest.raises(ZeroDivisionError):
        async with fan_out(ids(2), fetch, concurrency=2) as results:
            await anext(results)
            await asyncio.sleep(1)


async def test_leaving_waits_for_the_workers_even_when_cancelled_again() -> None:
    ended = 0

    async def fetch(_: str, at_risk: AtRisk) -> None:
        nonlocal ended
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(2)
            ended += 1

    async def work() -> None:
        async with fan_out(ids(4), fetch, concurrency=4):
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    for _ in range(3):
        await asyncio.sleep(0.5)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == 4


async def test_an_iterator_made_here_is_closed_here_and_a_given_one_is_not() -> None:
    closed = []

    class Source:
        async def __aiter__(self) -> AsyncIterator[str]:
            try:
                for session_id in ids(100):
                    yield session_id
            finally:
                closed.append("made here")

    async with fan_out(Source(), echo(), concurrency=2) as results:
        await anext(results)
    assert closed == ["made here"]

    async def given() -> AsyncGenerator[str, None]:
        try:
            for session_id in ids(100):
                yield session_id
        finally:
            closed.append("given")

    source = given()
    async with fan_out(source, echo(), concurrency=2) as results:
        await anext(results)
    assert closed == ["made here"]
    await source.aclose()


async def test_old_style_sequences_and_iterators_are_iterables() -> None:
    class Sequence:
        def __getitem__(self, index: int) -> str:
            return ["1:1", "1:2"][index]

    class Iterator:
        def __init__(self) -> None:
            self.left = ["1:1", "1:2"]

        def __next__(self) -> str:
            if not self.left:
                raise StopIteration
            return self.left.pop()

    class Source:
        def __iter__(self) -> object:
            return Iterator()

    for source in (Sequence(), Source()):
        assert len(await collect(fan_out(source, echo(), concurrency=2))) == 2


async def test_asynchronous_iterators_need_no_aiter_of_their_own() -> None:
    class Iterator:
        def __init__(self) -> None:
            self.left = ["1:1", "1:2"]

        async def __anext__(self) -> str:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop()

    class Source:
        def __aiter__(self) -> object:
            return Iterator()

    assert len(await collect(fan_out(Source(), echo(), concurrency=2))) == 2


async def test_a_source_that_stops_the_work_sends_nothing_more() -> None:
    called = []

    async def fetch(session_id: str, at_risk: AtRisk) -> tuple[object, int]:
        called.append(session_id)
        return None, 1

    def source() -> Iterator[str]:
        yield "1:1"
        results.stop()
        yield "1:2"

    async with fan_out(source(), fetch, concurrency=1) as results:
        assert len([o async for o in results]) == 1
    assert called == ["1:1"]


async def test_waiting_for_our_own_limiter_is_no_failure_in_bulk() -> None:
    """At one a second, the last of these waits longer than any call may take once it has begun."""
    transport = FakeTransport(respond=lambda _: EMPTY)
    sessions = make_sessions(transport, RateLimiter(RateLimit(1, 1)), timeout=60.0)
    outcomes = await collect(sessions.events_many(ids(500), concurrency=300))
    assert not [o.error for o in outcomes if o.error is not None]


async def test_a_pause_within_the_deadline_is_waited_out_in_bulk() -> None:
    transport = FakeTransport([json_response(status=429, retry_after="150")], respond=lambda _: EMPTY)
    outcomes = await collect(make_sessions(transport).events_many(ids(200), concurrency=14))
    assert not [o.error for o in outcomes if o.error is not None]
    assert len(transport.sent) == 201


async def test_no_ids_at_all() -> None:
    assert await collect(fan_out([], echo(), concurrency=3)) == []
    assert await collect(fan_out(iter(()), echo(), concurrency=3)) == []


async def test_iteration_stays_ended() -> None:
    async with fan_out(ids(1), echo(), concurrency=1) as results:
        assert len([o async for o in results]) == 1
        assert [o async for o in results] == []


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, True, None, "8"])
def test_concurrency_is_checked(concurrency: Any) -> None:
    with pytest.raises(ConfigurationError, match="concurrency"):
        make_sessions(FakeTransport()).events_many([], concurrency=concurrency)


@pytest.mark.parametrize("wrong", ["1:2", b"1:2", Session(session_id="1"), 5, None])
def test_ids_must_be_many(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="iterable of session ids"):
        make_sessions(FakeTransport()).events_many(wrong)


@pytest.mark.parametrize("profile", ["", 5])
def test_a_profile_must_be_an_id(profile: Any) -> None:
    with pytest.raises(ConfigurationError, match="config_profile_id"):
        make_sessions(FakeTransport()).summaries_many([], config_profile_id=profile)


async def test_wrong_use_says_what_to_write() -> None:
    results = fan_out(ids(1), echo(), concurrency=1)
    with pytest.raises(ClientStateError, match="async with"):
        aiter(results)
    with pytest.raises(ClientStateError, match="open the fan-out first: async with"):
        await anext(results)
    with pytest.raises(TypeError, match="async with"), results:
        pass
    await collect(results)
    with pytest.raises(ClientStateError, match="entered before"):
        await results.__aenter__()


@pytest.mark.row(39)
@pytest.mark.parametrize("seed", range(10))
async def test_cancelling_the_consumer_at_any_moment_leaves_nothing(seed: int) -> None:
    rng = random.Random(seed)
    limiter = RateLimiter(RateLimit(30, 5))
    transport = FakeTransport(respond=lambda _: EMPTY, seconds=0.1)
    task = asyncio.create_task(
        collect(make_sessions(transport, limiter).events_many(ids(1000), concurrency=16))
    )
    await asyncio.sleep(rng.uniform(0, 3))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(limiter.acquire(), 5)


async def test_twenty_thousand_ids_keep_the_memory_flat() -> None:
    transport = FakeTransport(respond=lambda _: EMPTY)
    forgetful = type("Forgetful", (list,), {"append": lambda *_: None})
    transport.sent = forgetful()
    sessions = make_sessions(transport, RateLimiter(RateLimit(1e6, 1e6)))
    tracemalloc.start()
    async with sessions.events_many(ids(20_000), concurrency=64) as results:
        done = 0
        async for _ in results:
            done += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert done == 20_000
    assert peak < 5_000_000
