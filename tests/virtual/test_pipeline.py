"""The loop: what is sent again and when, what it costs, and that it ends in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fullstory_async import (
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ConnectError,
    DecodeError,
    GatewayThrottledError,
    Hooks,
    NotFoundError,
    ProtocolError,
    RateLimit,
    RateLimitedError,
    RateLimiter,
    ResponseReceived,
    RetryPolicy,
    ServerError,
)
from fullstory_async.http.call import Call
from fullstory_async.messages import Request, Response
from fullstory_async.testing import FakeTransport, Scripted, json_response
from tests.fakes import make_pipeline
from tests.virtual_time import now

pytestmark = pytest.mark.virtual_time

LIST = Request(operation="list", path="/sessions/v2")
EVENTS = Request(operation="events", path="/v2/sessions/1%3A2/events", session_id="1:2", metered=True)
OK = json_response({"events": []})


def lost() -> ProtocolError:
    return ProtocolError("lost", request=LIST)


def limited(retry_after: str | None = "2") -> Response:
    return json_response(
        {"code": "too_many_requests"}, 429, **({"retry_after": retry_after} if retry_after else {})
    )


def times(transport: FakeTransport, start: float) -> list[float]:
    return [round(at - start, 3) for at, _ in transport.sent]


async def test_success_takes_one_attempt() -> None:
    transport = FakeTransport([OK])
    pipeline = make_pipeline(transport)
    assert await pipeline.fetch(LIST, lambda response: response.status) == (200, 1)
    assert (pipeline.stats.requests, pipeline.stats.activations) == (1, 0)


async def test_every_success_says_which_gateway_is_in_use() -> None:
    """The first success is judged in full, later ones only by their start."""
    for server, is_elsewhere in (("new", False), ("old", True)):
        served = [Response(status=200, headers={"server": name}, body=OK.body) for name in ("old", "new")]
        page = Response(status=503, headers={"server": server}, body=b"<html>busy</html>")
        transport = FakeTransport([*served, page, OK])
        pipeline = make_pipeline(transport)
        for _ in served:
            await pipeline.fetch(EVENTS, lambda _: None)
        if is_elsewhere:  # refused before the service saw it, so it is free to send it again
            assert (await pipeline.fetch(EVENTS, lambda _: "value")) == ("value", 2)
            continue
        with pytest.raises(GatewayThrottledError) as caught:
            await pipeline.fetch(EVENTS, lambda _: None)
        assert (caught.value.may_have_cost, len(transport.sent)) == (True, 3)


async def test_an_unmetered_call_backs_off_and_succeeds() -> None:
    transport = FakeTransport([lost(), json_response(status=503), OK])
    pipeline = make_pipeline(transport)
    start = now()
    assert (await pipeline.fetch(LIST, lambda _: "value")) == ("value", 3)
    assert times(transport, start) == [0.0, 0.5, 1.5]
    assert pipeline.stats.retries == 2


async def test_the_last_error_is_raised_with_what_is_known() -> None:
    transport = FakeTransport([lost(), lost(), json_response({"code": "server_error", "message": "m"}, 500)])
    with pytest.raises(ServerError) as caught:
        await make_pipeline(transport).fetch(LIST, lambda _: None)
    error = caught.value
    assert (error.status, error.code, error.message, error.attempts) == (500, "server_error", "m", 3)
    assert error.elapsed == pytest.approx(1.5, abs=0.01)
    assert "after 3 attempts in 1.5 s" in str(error)
    assert not error.may_have_cost


@pytest.mark.parametrize(
    "failure", [lost, lambda: json_response(status=500), lambda: APITimeoutError("slow", request=EVENTS)]
)
async def test_a_metered_call_is_not_repeated_once_it_may_have_arrived(
    failure: Callable[[], Scripted],
) -> None:
    transport = FakeTransport([failure(), OK])
    pipeline = make_pipeline(transport)
    with pytest.raises((ProtocolError, ServerError, APITimeoutError)) as caught:
        await pipeline.fetch(EVENTS, lambda _: None)
    assert len(transport.sent) == 1
    assert caught.value.attempts == 1


async def test_a_metered_call_is_repeated_where_the_policy_says_so_and_the_risk_is_remembered() -> None:
    answers: list[Scripted] = [
        json_response(status=500),
        ConnectError("refused", request=EVENTS, sent=False),
        json_response(status=401),
    ]
    pipeline = make_pipeline(FakeTransport(answers), retry=RetryPolicy(repeat_metered=True, wait_jitter=0))
    with pytest.raises(AuthenticationError) as caught:
        await pipeline.fetch(EVENTS, lambda _: None)
    assert caught.value.may_have_cost
    assert pipeline.stats.activations_at_risk == 1


async def test_a_metered_call_that_never_left_is_repeated() -> None:
    transport = FakeTransport([ConnectError("refused", request=EVENTS, sent=False), OK])
    pipeline = make_pipeline(transport)
    assert (await pipeline.fetch(EVENTS, lambda _: 1)) == (1, 2)
    assert pipeline.stats.activations == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 501, 505])
async def test_refusals_are_final(status: int) -> None:
    transport = FakeTransport([json_response(status=status), OK])
    with pytest.raises(Exception, match=str(status)):
        await make_pipeline(transport).fetch(LIST, lambda _: None)
    assert len(transport.sent) == 1


@pytest.mark.row(26)
async def test_a_429_pauses_everybody() -> None:
    limiter = RateLimiter(RateLimit(100, 100))
    transport = FakeTransport([limited("3"), OK, OK], seconds=0.1)
    pipeline = make_pipeline(transport, limiter)
    start = now()

    async def later() -> object:
        await asyncio.sleep(1)
        return await pipeline.fetch(EVENTS, lambda _: "other")

    await asyncio.gather(pipeline.fetch(EVENTS, lambda _: "first"), later())
    assert times(transport, start)[0] == 0.0
    assert all(3.1 <= at < 3.2 for at in times(transport, start)[1:])
    assert pipeline.stats.throttled == 1


async def test_a_single_call_gives_up_after_its_attempts() -> None:
    transport = FakeTransport(respond=lambda _: limited("1"))
    with pytest.raises(RateLimitedError) as caught:
        await make_pipeline(transport).fetch(EVENTS, lambda _: None)
    assert (len(transport.sent), caught.value.attempts, caught.value.retry_after) == (3, 3, 1.0)
    assert not caught.value.may_have_cost


async def test_a_429_without_retry_after_backs_off_a_second_at_least() -> None:
    transport = FakeTransport([limited(None), limited(None), OK])
    start = now()
    await make_pipeline(transport, retry=RetryPolicy(wait_initial=0.1, wait_jitter=0)).fetch(
        EVENTS, lambda _: None
    )
    assert times(transport, start) == [0.0, 1.0, 2.0]


@pytest.mark.row(30)
async def test_a_retry_after_beyond_max_wait_raises_at_once_and_keeps_the_limiter_shut() -> None:
    limiter = RateLimiter(RateLimit(100, 100))
    transport = FakeTransport([limited("86400"), OK])
    pipeline = make_pipeline(transport, limiter)
    start = now()
    for patient in (False, True):
        with pytest.raises(RateLimitedError) as caught:
            await pipeline.fetch(EVENTS, lambda _: None, patient=patient)
        assert caught.value.retry_after == pytest.approx(86400, abs=1)
        assert caught.value.path == EVENTS.path
    assert now() - start < 0.01
    assert len(transport.sent) == 1


async def test_a_503_with_retry_after_waits_as_asked() -> None:
    transport = FakeTransport([json_response(status=503, retry_after="4"), OK])
    start = now()
    await make_pipeline(transport).fetch(LIST, lambda _: None)
    assert times(transport, start) == [0.0, 4.0]


@pytest.mark.row(26)
async def test_patience_outlasts_any_number_of_429s() -> None:
    transport = FakeTransport([*(limited("1") for _ in range(200)), OK])
    pipeline = make_pipeline(transport)
    assert await pipeline.fetch(EVENTS, lambda _: "v", patient=True) == ("v", 201)


async def test_patience_does_not_extend_to_other_failures() -> None:
    transport = FakeTransport([limited("1"), lost(), limited("1"), lost(), lost()])
    with pytest.raises(ProtocolError) as caught:
        await make_pipeline(transport).fetch(LIST, lambda _: None, patient=True)
    assert caught.value.attempts == 5


async def test_patience_ends_at_the_deadline() -> None:
    transport = FakeTransport(respond=lambda _: limited("7"))
    start = now()
    with pytest.raises(RateLimitedError):
        await make_pipeline(transport, timeout=60).fetch(EVENTS, lambda _: None, patient=True)
    assert 50 < now() - start <= 60


async def test_no_wait_begins_that_would_pass_the_deadline() -> None:
    transport = FakeTransport(respond=lambda _: json_response(status=503, retry_after="30"))
    start = now()
    with pytest.raises(ServerError):
        await make_pipeline(transport).fetch(LIST, lambda _: None, timeout=10)
    assert now() - start < 0.01


async def test_the_deadline_ends_a_wait_for_the_limiter() -> None:
    limiter = RateLimiter(RateLimit(0.01, 1))
    pipeline = make_pipeline(FakeTransport([OK, OK]), limiter)
    await pipeline.fetch(EVENTS, lambda _: None)
    start = now()
    with pytest.raises(APITimeoutError, match="rate limiter") as caught:
        await pipeline.fetch(EVENTS, lambda _: None, timeout=5)
    assert now() - start == pytest.approx(5, abs=0.05)
    assert (caught.value.sent, caught.value.may_have_cost, caught.value.attempts) == (False, False, 0)


@pytest.mark.row(26)
async def test_retry_after_zero_is_no_invitation_to_hammer() -> None:
    transport = FakeTransport(respond=lambda _: limited("0"))
    with pytest.raises(RateLimitedError):
        await make_pipeline(transport).fetch(EVENTS, lambda _: None, patient=True, timeout=60)
    assert len(transport.sent) <= 61


async def test_only_429_and_5xx_pause_the_limiter_5xx_briefly_and_429_for_a_day_at_most() -> None:
    for status, paused in ((404, 0), (400, 0), (503, 8), (429, 3600)):
        limiter = RateLimiter(RateLimit(100, 100))
        with pytest.raises(APIStatusError):
            await make_pipeline(
                FakeTransport([json_response(status=status, retry_after="3600")]), limiter
            ).fetch(LIST, lambda _: None)
        assert limiter.paused_for == pytest.approx(paused, abs=1)
    limiter.pause(1e300)
    assert limiter.paused_for == pytest.approx(86_400, abs=1)


async def test_a_cancelled_metered_call_is_at_risk() -> None:
    pipeline = make_pipeline(FakeTransport(respond=lambda _: OK, seconds=10))
    for request in (EVENTS, LIST):
        task = asyncio.create_task(pipeline.fetch(request, lambda _: None))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert pipeline.stats.activations_at_risk == 1


async def test_the_deadline_behind_a_failure_names_it_as_its_cause() -> None:
    limiter = RateLimiter(RateLimit(0.05, 1))
    transport = FakeTransport([json_response(status=503), OK])
    pipeline = make_pipeline(transport, limiter)
    with pytest.raises(APITimeoutError) as caught:
        await pipeline.fetch(LIST, lambda _: None, timeout=5)
    assert isinstance(caught.value.__cause__, ServerError)
    assert (pipeline.stats.requests, pipeline.stats.retries, caught.value.attempts) == (1, 0, 1)


async def test_a_queue_longer_than_max_wait_is_an_error_for_a_single_call() -> None:
    pipeline = make_pipeline(FakeTransport(respond=lambda _: OK), RateLimiter(RateLimit(1, 1), max_wait=10))
    ended = await asyncio.gather(
        *(pipeline.fetch(EVENTS, lambda _: None) for _ in range(30)), return_exceptions=True
    )
    refused = [e for e in ended if isinstance(e, RateLimitedError)]
    assert 15 <= len(refused) <= 20
    assert "a fan-out waits for any time" in str(refused[0])
    assert (refused[0].retry_after or 0) > 10


async def test_an_unreadable_list_cost_nothing_and_is_asked_for_once_more() -> None:
    def decode(response: Response) -> str:
        if response is OK:
            return "value"
        raise DecodeError("no")

    odd = json_response([])
    with pytest.raises(DecodeError) as caught:
        await make_pipeline(FakeTransport([odd, odd, OK])).fetch(LIST, decode)
    assert (caught.value.may_have_cost, caught.value.attempts, caught.value.response) == (False, 2, odd)
    assert await make_pipeline(FakeTransport([odd, OK])).fetch(LIST, decode) == ("value", 2)


async def test_a_service_that_is_never_readable_is_soon_asked_only_once() -> None:
    def decode(_: Response) -> None:
        raise DecodeError("no")

    transport = FakeTransport(respond=lambda _: OK)
    pipeline = make_pipeline(transport, RateLimiter(RateLimit(1e6, 1e6)))
    for _ in range(10_000):
        with pytest.raises(DecodeError):
            await pipeline.fetch(LIST, decode)
    assert len(transport.sent) <= 10_200


@pytest.mark.row(33)
async def test_an_outage_stays_within_two_percent_of_one_request_per_call() -> None:
    transport = FakeTransport(respond=lambda _: json_response(status=503))
    pipeline = make_pipeline(transport, RateLimiter(RateLimit(1e6, 1e6)))
    for _ in range(10_000):
        with pytest.raises(ServerError):
            await pipeline.fetch(LIST, lambda _: None)
    assert len(transport.sent) <= 10_200
    transport.script = [json_response(status=503), OK]
    transport.respond = lambda _: OK
    for _ in range(100):
        try:
            await pipeline.fetch(LIST, lambda _: None)
        except ServerError:
            continue
    transport.script = [lost(), OK]
    assert (await pipeline.fetch(LIST, lambda _: None))[1] == 2  # successes have refilled the budget


async def test_an_unreadable_answer_keeps_its_body_and_counts_as_paid() -> None:
    def decode(_: Response) -> None:
        raise DecodeError("no")

    transport = FakeTransport([json_response({"events": 5})])
    pipeline = make_pipeline(transport)
    with pytest.raises(DecodeError) as caught:
        await pipeline.fetch(EVENTS, decode)
    error = caught.value
    assert error.response is not None
    assert error.response.body == b'{"events": 5}'
    assert (error.attempts, error.may_have_cost, error.session_id) == (1, True, "1:2")
    assert (pipeline.stats.activations, pipeline.stats.activations_at_risk) == (1, 0)


async def test_logs_name_the_session_and_nothing_personal(caplog: pytest.LogCaptureFixture) -> None:
    request = Request(operation="list", path="/sessions/v2", query=(("email", "ada@example.com"),))
    failure = json_response({"message": "ada@example.com is unknown"}, 503)
    transport = FakeTransport([failure, OK, json_response({"message": "ada@example.com"}, 404)])
    pipeline = make_pipeline(transport)
    with caplog.at_level("DEBUG", "fullstory_async"):
        await pipeline.fetch(request, lambda _: None)
        with pytest.raises(NotFoundError):
            await pipeline.fetch(EVENTS, lambda _: None)
    assert "events 1:2: attempt 1, status 404" in caplog.text
    assert "next attempt in 0.50 s" in caplog.text
    assert "ada@" not in caplog.text


@pytest.mark.row(39)
@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.3, 0.6, 1.1, 2.5])
async def test_cancelling_at_any_wait_leaves_the_pipeline_usable(seconds: float) -> None:
    limiter = RateLimiter(RateLimit(2, 1))
    transport = FakeTransport([lost(), limited("2"), OK, OK], seconds=0.2)
    pipeline = make_pipeline(transport, limiter)
    task = asyncio.create_task(pipeline.fetch(LIST, lambda _: None))
    await asyncio.sleep(seconds)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    transport.script, transport.respond = [], lambda _: OK
    await asyncio.wait_for(pipeline.fetch(LIST, lambda _: None), 5)


async def test_an_attempt_that_never_began_puts_nothing_at_stake() -> None:
    limiter = RateLimiter(RateLimit(0.1, 1))
    transport = FakeTransport([limited("2")])
    call = Call(EVENTS, 5, patient=True)
    with pytest.raises(APITimeoutError) as caught:  # the second attempt is not let through in time
        await make_pipeline(transport, limiter).fetch(call, lambda response: response.status)
    assert not caught.value.sent
    assert (call.attempts, call.at_risk, call.droppable) == (1, 0, True)


@pytest.mark.parametrize("failure", [lost, lambda: limited("1")])
async def test_retries_that_are_never_made_use_no_budget_up(failure: Callable[[], Scripted]) -> None:
    transport = FakeTransport()
    pipeline = make_pipeline(transport)
    for _ in range(200):
        transport.script = [failure()]
        task = asyncio.create_task(pipeline.fetch(LIST, lambda _: None))
        await asyncio.sleep(0.1)  # it waits for its second attempt
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.sleep(1)
    transport.script = [failure(), OK]
    assert (await pipeline.fetch(LIST, lambda _: None))[1] == 2


async def test_retries_that_were_made_do_use_it_up_though_the_call_is_cancelled_then() -> None:
    pipeline = make_pipeline(FakeTransport([lost(), lost()] * 100))
    for _ in range(100):
        task = asyncio.create_task(pipeline.fetch(LIST, lambda _: None))
        await asyncio.sleep(0.6)  # it waits for its third attempt, if there is to be one
        task.cancel()
        await asyncio.wait([task])
    assert pipeline.stats.retries == pytest.approx(500 / 14, abs=2)


async def test_what_calls_wait_is_added_up() -> None:
    limiter = RateLimiter(RateLimit(1, 1))
    pipeline = make_pipeline(FakeTransport(respond=lambda _: OK), limiter)
    await asyncio.gather(*(pipeline.fetch(LIST, lambda _: None) for _ in range(4)))
    assert pipeline.stats.waited == pytest.approx(0 + 1 + 2 + 3, abs=0.01)  # for the rate
    pipeline = make_pipeline(FakeTransport([lost(), lost(), OK], seconds=5))
    await pipeline.fetch(LIST, lambda _: None)
    assert pipeline.stats.waited == pytest.approx(
        0.5 + 1, abs=0.01
    )  # before another attempt, and not for answers
    pipeline = make_pipeline(FakeTransport([limited("7"), OK], seconds=5))
    await pipeline.fetch(LIST, lambda _: None)
    assert pipeline.stats.waited == pytest.approx(7, abs=0.01)
    pipeline = make_pipeline(FakeTransport([limited("7")]))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3):
            await pipeline.fetch(LIST, lambda _: None)
    assert pipeline.stats.waited == pytest.approx(
        3, abs=0.01
    )  # nor is it forgotten when the call is cancelled


async def test_a_lost_request_is_told_of_with_its_own_seconds() -> None:
    told: list[ResponseReceived] = []
    transport = FakeTransport([lost(), lost(), OK], respond=lambda _: OK, seconds=4)
    pipeline = make_pipeline(transport, hooks=[Hooks(on_response=told.append)])
    await pipeline.fetch(LIST, lambda _: None)
    task = asyncio.create_task(pipeline.fetch(LIST, lambda _: None))
    await asyncio.sleep(1.5)
    task.cancel()
    await asyncio.wait([task])
    assert [(each.error, round(each.seconds, 2)) for each in told] == [
        ("ProtocolError", 4.0),
        ("ProtocolError", 4.0),
        (None, 0.0),
        ("CancelledError", 1.5),
    ]


@pytest.mark.parametrize("before", [lambda: json_response(status=503), lost])
@pytest.mark.parametrize("garbled", [True, False])
async def test_what_can_not_be_read_is_asked_for_once_more_whatever_failed_before(
    before: Callable[[], Scripted], garbled: bool
) -> None:
    odd = json_response([])

    def failure() -> Scripted:
        return ProtocolError("not HTTP", request=LIST, garbled=True) if garbled else odd

    def decode(response: Response) -> str:
        if response is OK:
            return "value"
        raise DecodeError("no")

    settings: dict[str, Any] = {"retry": RetryPolicy(attempts=9, wait_jitter=0)}
    transport = FakeTransport([before(), failure(), OK])
    assert await make_pipeline(transport, **settings).fetch(LIST, decode) == ("value", 3)
    transport = FakeTransport([before(), failure(), before(), failure(), OK])
    with pytest.raises(ProtocolError if garbled else DecodeError) as caught:
        await make_pipeline(transport, **settings).fetch(LIST, decode)
    assert (caught.value.attempts, len(transport.sent)) == (4, 4)
    transport = FakeTransport([limited("1"), limited("1"), failure(), OK])
    assert await make_pipeline(transport, **settings).fetch(LIST, decode, patient=True) == ("value", 4)
