"""Rows 21 to 34: answers that are whole and say no."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Literal

import attrs
import pytest

from fullstory_async import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ClientConfig,
    ConflictError,
    FullStoryClient,
    FullStoryError,
    NotFoundError,
    PermissionDeniedError,
    RateLimit,
    RateLimitedError,
    RateLimiter,
    RetryPolicy,
    ServerError,
)
from fullstory_async.sandbox import Fault, Sandbox
from fullstory_async.sandbox.state import Wire
from fullstory_async.testing import FakeTransport, json_response
from tests.fakes import make_pipeline
from tests.faults.calls import (
    EVERYTHING,
    QUICK,
    REPEATING,
    ask,
    error_of,
    is_made_again_where_that_is_free,
    spoiled,
)
from tests.virtual.test_pipeline import EVENTS, OK
from tests.virtual_time import now
from tests.wire.servers import FAST, connected


async def assert_final(
    sandbox: Sandbox, client: FullStoryClient, error_class: type[FullStoryError], status: int
) -> FullStoryError:
    """Hold the promise of refusals: one request each, whatever may be repeated; return the last error."""
    errors = []
    for number, operation in enumerate(("list", "events"), start=1):
        error = await error_of(ask(sandbox, client, operation))
        assert (type(error), error.status, error.attempts) == (error_class, status, 1)
        assert len(sandbox.requests) == number
        errors.append(error)
    assert sandbox.activations == 0
    return errors[-1]


@pytest.mark.row(21)
@pytest.mark.parametrize(("wire", "code"), [("live", "invalid_field"), ("spec", 400)])
async def test_row_21_400(wire: Wire, code: int | str) -> None:
    sandbox = Sandbox(users=1, sessions=1, wire=wire)
    async with connected(sandbox, retry=REPEATING) as client:
        sandbox.inject(Fault.status(400), times=None)
        error = await assert_final(sandbox, client, BadRequestError, 400)
        assert (error.code, error.message) == (code, "injected by the sandbox")


@pytest.mark.row(22)
async def test_row_22_401() -> None:
    async with Sandbox(users=1, sessions=30, mean_events=2) as sandbox:
        config = ClientConfig(api_key="na1.revoked", base_url=sandbox.url, rate_limit=FAST, retry=REPEATING)
        async with FullStoryClient(config=config) as client:
            error = await assert_final(sandbox, client, AuthenticationError, 401)
            assert not error.may_have_cost
            with pytest.raises(AuthenticationError):
                async with client.sessions.events_many(sandbox.session_ids, concurrency=1) as results:
                    outcomes = [outcome async for outcome in results]
                    assert outcomes == []
            assert len(sandbox.requests) == 3


@pytest.mark.row(23)
async def test_row_23_403() -> None:
    async with spoiled(Fault.status(403), retry=REPEATING) as (sandbox, client):
        error = await assert_final(sandbox, client, PermissionDeniedError, 403)
        assert "whoami shows which one it has" in error.message
        with pytest.raises(PermissionDeniedError):
            async with client.sessions.events_many(sandbox.session_ids * 5, concurrency=1) as results:
                async for _ in results:
                    pass
        assert len(sandbox.requests) == 2 + 3


@pytest.mark.row(24)
async def test_row_24_404() -> None:
    async with connected(Sandbox(users=1, sessions=3, mean_events=2), retry=REPEATING) as client:
        error = await error_of(client.sessions.events("404:404"))
        assert (type(error), error.session_id, error.attempts) == (NotFoundError, "404:404", 1)
        ids = [session.id async for session in client.sessions.list(uid="u-1")]
        async with client.sessions.events_many([ids[0], "404:404", *ids[1:]], concurrency=1) as results:
            errors = [type(outcome.error) async for outcome in results]
        assert errors == [type(None), NotFoundError, type(None), type(None)]
        assert client.stats.requests == 6


@pytest.mark.row(25)
@pytest.mark.parametrize(
    ("status", "error_class"), [(408, APIStatusError), (409, ConflictError), (425, APIStatusError)]
)
async def test_row_25_not_now(status: int, error_class: type[FullStoryError]) -> None:
    for error in await is_made_again_where_that_is_free(Fault.status(status), error_class, charged=False):
        assert error.status == status


@pytest.mark.row(73)
async def test_row_73_a_gateway_that_announces_its_return() -> None:
    for status in (421, 520, 529):
        fault = Fault.status(status, headers={"Retry-After": "0"})
        for error in await is_made_again_where_that_is_free(fault, class_of(status), charged=False):
            assert (error.status, error.retry_after) == (status, 0)
        async with spoiled(fault, retry=REPEATING) as (sandbox, client):
            error = await error_of(client.profiles.delete("p-1"))
            assert (error.status, error.attempts, len(sandbox.requests)) == (status, 1, 1)
        async with spoiled(Fault.status(status), retry=REPEATING) as (sandbox, client):
            error = await error_of(ask(sandbox, client, "list"))  # it announces nothing
            assert (type(error), error.attempts) == (class_of(status), 1)


def class_of(status: int) -> type[FullStoryError]:
    return ServerError if status >= 500 else APIStatusError


@pytest.mark.row(25)
@pytest.mark.parametrize("status", [408, 409, 425])
async def test_row_25_what_writes_is_sent_once(status: int) -> None:
    async with spoiled(Fault.status(status), retry=REPEATING) as (sandbox, client):
        error = await error_of(client.profiles.delete("p-1"))
        assert (error.status, error.attempts, len(sandbox.requests)) == (status, 1, 1)


@pytest.mark.row(26)
async def test_row_26_429_with_seconds() -> None:
    sandbox = Sandbox(users=1, sessions=60, mean_events=2, latency=0.01)
    async with connected(
        sandbox, rate_limit=RateLimit(100, 10), retry=attrs.evolve(QUICK, attempts=1)
    ) as client:
        sandbox.inject(Fault.retry_after(1), skip=20)
        async with client.sessions.events_many(sandbox.session_ids, concurrency=8) as results:
            outcomes = [outcome async for outcome in results]
        refused = next(request for request in sandbox.requests if request.status == 429)
    assert [each.error for each in outcomes] == [None] * 60
    assert (len(sandbox.requests), sandbox.activations, client.stats.throttled) == (61, 60, 1)
    later = [request.at - refused.at for request in sandbox.requests if request.at > refused.at]
    on_their_way = [seconds for seconds in later if seconds < 0.5]
    assert len(on_their_way) < 8
    assert 0.99 <= min(set(later) - set(on_their_way)) < 1.5


Form = Literal["imf-fixdate", "rfc850", "asctime"]
FORMS: dict[Form, Callable[[datetime], str]] = {
    "imf-fixdate": lambda moment: format_datetime(moment, usegmt=True),
    "rfc850": lambda moment: moment.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
    "asctime": lambda moment: moment.strftime("%a %b %e %H:%M:%S %Y"),
}


@pytest.mark.row(27)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("skew", [-86_400, -3600, 0, 3600, 86_400])
@pytest.mark.parametrize(("seconds", "waited"), [(30, 30), (0, 1), (-600, 1)])
async def test_row_27_a_date_counts_from_the_servers_own_clock(
    form: Form, skew: int, seconds: int, waited: int
) -> None:
    async with spoiled(
        Fault.retry_after_date(seconds, form=form, clock_skew=skew), times=1, max_wait=0.5
    ) as (sandbox, client):
        error = await error_of(ask(sandbox, client))
        assert (type(error), error.attempts, error.may_have_cost) == (RateLimitedError, 1, False)
        assert error.retry_after == max(0, seconds)
        assert waited - 0.5 < client.limiter.paused_for <= waited


@pytest.mark.row(27)
@pytest.mark.virtual_time
@pytest.mark.parametrize("form", FORMS)
async def test_row_27_a_date_is_waited_for(form: Form) -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"  # by a clock that is decades behind
    until = FORMS[form](parsedate_to_datetime("Sun, 06 Nov 1994 08:50:07 GMT"))
    transport = FakeTransport([json_response(status=429, retry_after=until, date=date), OK])
    start = now()
    await make_pipeline(transport).fetch(EVENTS, lambda _: None)
    assert [round(at - start, 2) for at, _ in transport.sent] == [0, 30]


@pytest.mark.row(28)
@pytest.mark.virtual_time
async def test_row_28_429_without_a_time() -> None:
    transport = FakeTransport([*(json_response(status=429) for _ in range(6)), OK])
    limiter = RateLimiter(RateLimit(1000, 1000))
    start = now()
    policy = RetryPolicy(wait_initial=0.5, wait_jitter=0)
    await make_pipeline(transport, limiter, retry=policy).fetch(EVENTS, lambda _: None, patient=True)
    assert [round(at - start, 2) for at, _ in transport.sent] == [0, 1, 2, 4, 8, 16, 24]


UNREADABLE = ["garbage", "-5", "+5", "nan", "inf", "1e9", "1_0", "٣", "", "Mon, 99 Foo 2026"]


@pytest.mark.row(29)
@pytest.mark.virtual_time
@pytest.mark.parametrize("text", UNREADABLE)
async def test_row_29_429_with_an_unreadable_time(text: str) -> None:
    transport = FakeTransport([json_response(status=429, retry_after=text), OK])
    start = now()
    await make_pipeline(transport).fetch(EVENTS, lambda _: None)
    assert [round(at - start, 2) for at, _ in transport.sent] == [0, 1]


@pytest.mark.row(29)
async def test_row_29_on_the_wire() -> None:
    for text in UNREADABLE:
        async with spoiled(Fault.retry_after(text), times=1, max_wait=0.5) as (sandbox, client):
            error = await error_of(ask(sandbox, client))
            assert (type(error), error.retry_after, error.attempts) == (RateLimitedError, None, 1)
            assert 0.5 < client.limiter.paused_for <= 1
            assert (len(sandbox.requests), sandbox.activations) == (1, 0)


@pytest.mark.row(30)
async def test_row_30_429_with_a_huge_time() -> None:
    async with spoiled(Fault.retry_after(86_400)) as (sandbox, client):
        started = now()
        error = await error_of(ask(sandbox, client))
        assert (type(error), error.status, error.retry_after, error.attempts) == (
            RateLimitedError,
            429,
            86_400,
            1,
        )
        later = await error_of(ask(sandbox, client))  # the limiter knows it now
        assert (type(later), later.status, later.attempts) == (RateLimitedError, None, 0)
        assert later.retry_after == pytest.approx(86_400, abs=5)
        assert now() - started < 1
        assert (len(sandbox.requests), sandbox.activations) == (1, 0)


@pytest.mark.smoke
@pytest.mark.row(32)
@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_row_32_a_blip(status: int) -> None:
    for error in await is_made_again_where_that_is_free(Fault.status(status), ServerError, charged=False):
        assert error.status == status


@pytest.mark.row(33)
async def test_row_33_an_outage() -> None:
    calls = 10_000 if EVERYTHING else 400
    retry = RetryPolicy(wait_initial=0, wait_jitter=0)
    async with spoiled(Fault.status(503), retry=retry, rate_limit=RateLimit(1e6, 1e6)) as (sandbox, client):
        for _ in range(calls):
            assert type(await error_of(ask(sandbox, client, "list"))) is ServerError
        requests = sandbox.stats()["requests"]
        assert calls < requests <= calls + 36  # the budget, 500 tokens of which a retry takes 14
        assert client.stats.requests == requests
        started = now()
        assert (await error_of(ask(sandbox, client, "list"))).attempts == 1
        assert now() - started < 0.5


@pytest.mark.row(34)
@pytest.mark.parametrize(
    "fault",
    [
        Fault.no_retry(503),
        Fault.no_retry(500),
        Fault.no_retry(409),
        Fault.no_retry(429),
        Fault.status(501),
        Fault.status(505),
    ],
    ids=str,
)
async def test_row_34_a_veto(fault: Fault) -> None:
    for operation in ("list", "events"):
        async with spoiled(fault, retry=REPEATING) as (sandbox, client):
            error = await error_of(ask(sandbox, client, operation))
            assert isinstance(error, APIStatusError)
            assert error.attempts == len(sandbox.requests) == 1


@pytest.mark.row(34)
async def test_row_34_a_veto_ends_patience_too() -> None:
    async with spoiled(Fault.no_retry(429), times=1, rate_limit=RateLimit(1e6, 1e6)) as (sandbox, client):
        async with client.sessions.events_many(sandbox.session_ids[:1]) as results:
            (outcome,) = [each async for each in results]
        assert type(outcome.error) is RateLimitedError
        assert len(sandbox.requests) == 1
