"""The retry policy's decision as a table, the waits, the quota, and Retry-After."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullstory_async import (
    APITimeoutError,
    ConfigurationError,
    ConnectError,
    DecodeError,
    FullStoryError,
    ProtocolError,
    RateLimitedError,
    ResponseTooLarge,
    RetryPolicy,
    UnexpectedRedirect,
)
from fullstory_async.http.contact import Contact
from fullstory_async.http.status_errors import error_from_response
from fullstory_async.messages import Request, Response
from fullstory_async.retry import RetryQuota, retry_after

LIST = Request(operation="list", path="/sessions/v2")
EVENTS = Request(operation="events", path="/v2/sessions/1%3A2/events", session_id="1:2", metered=True)
CREATE = Request(operation="create", method="POST", path="/x", repeatable=False)


Failure = Callable[[Request], FullStoryError]


def error_of(request: Request, response: Response, retry_after: float | None = None) -> FullStoryError:
    error = error_from_response(request, response, Contact(), retry_after=retry_after)
    assert error is not None
    return error


def status(code: int) -> Failure:
    return lambda request: error_of(request, Response(status=code))


def failing(cls: type[FullStoryError], **how: Any) -> Failure:
    return lambda request: cls("failed", request=request, **how)


SAFE = [status(429), failing(ConnectError, sent=False), failing(APITimeoutError, sent=False)]
DOUBTFUL = [
    status(408), status(409), status(425), status(500), status(502), status(503), status(504),
    failing(APITimeoutError, sent=True), failing(ProtocolError),
]  # fmt: skip
NEVER = [
    *(status(code) for code in (400, 401, 402, 403, 404, 418, 422, 499, 501, 505, 599)),
    failing(ConnectError, sent=False, permanent=True), failing(UnexpectedRedirect), failing(ResponseTooLarge),
]  # fmt: skip


@pytest.mark.parametrize("failure", SAFE)
@pytest.mark.parametrize("request_", [LIST, EVENTS, CREATE])
def test_what_cost_nothing_is_always_repeated(failure: Failure, request_: Request) -> None:
    assert RetryPolicy().decide(request_, failure(request_), 1) is not None


@pytest.mark.parametrize("failure", DOUBTFUL)
def test_what_may_have_cost_is_repeated_only_for_unmetered_calls_or_by_the_policy(failure: Failure) -> None:
    policy, paying = RetryPolicy(), RetryPolicy(repeat_metered=True)
    assert policy.decide(LIST, failure(LIST), 1) is not None
    assert policy.decide(EVENTS, failure(EVENTS), 1) is None
    assert paying.decide(EVENTS, failure(EVENTS), 1) is not None
    assert paying.decide(CREATE, failure(CREATE), 1) is None


@pytest.mark.parametrize("failure", NEVER)
def test_answers_and_permanent_failures_are_never_repeated(failure: Failure) -> None:
    assert RetryPolicy(repeat_metered=True, attempts=99).decide(LIST, failure(LIST), 1) is None


@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize(("word", "final"), [("false", True), ("False", True), ("true", False), ("", False)])
def test_the_server_may_forbid_another_attempt_but_not_ask_for_one(code: int, word: str, final: bool) -> None:
    vetoed = error_of(LIST, Response(status=code, headers={"x-should-retry": word}))
    assert (RetryPolicy().decide(LIST, vetoed, 1, patient=True) is None) is final
    asked_for = error_of(EVENTS, Response(status=400, headers={"x-should-retry": "true"}))
    assert RetryPolicy(repeat_metered=True).decide(EVENTS, asked_for, 1) is None


def test_an_unreadable_answer_is_asked_for_once_more_where_it_was_free() -> None:
    policy, odd = RetryPolicy(attempts=9, repeat_metered=True), DecodeError("odd")
    assert policy.decide(LIST, odd, 1) is not None
    assert policy.decide(LIST, odd, 2) is not None
    assert policy.decide(LIST, odd, 2, unreadable_before=1) is None
    assert policy.decide(EVENTS, odd, 1) is None  # this answer was paid for, and is in the error
    assert policy.decide(CREATE, odd, 1) is None


def test_what_is_no_http_is_asked_for_once_more() -> None:
    policy, odd = RetryPolicy(attempts=9), failing(ProtocolError, garbled=True)
    assert policy.decide(LIST, odd(LIST), 1) is not None
    assert policy.decide(LIST, odd(LIST), 2) is not None
    assert policy.decide(LIST, odd(LIST), 2, unreadable_before=1) is None
    assert policy.decide(EVENTS, odd(EVENTS), 1) is None
    assert RetryPolicy(repeat_metered=True).decide(EVENTS, odd(EVENTS), 1) is not None


def test_a_connection_that_was_only_too_old_is_replaced_at_once() -> None:
    policy = RetryPolicy(wait_initial=0.5, wait_jitter=0)
    assert policy.wait(1, failing(ProtocolError, stale=True)(LIST)) == 0
    assert policy.wait(2, failing(ProtocolError, stale=True)(LIST)) == 1.0
    assert policy.wait(1, failing(ProtocolError)(LIST)) == 0.5


def test_attempts_end_it_unless_patience_covers_a_429() -> None:
    policy = RetryPolicy(attempts=2)
    limited, lost = status(429)(LIST), failing(ProtocolError)(LIST)
    assert policy.decide(LIST, limited, 1) is not None
    assert policy.decide(LIST, limited, 2) is None
    assert policy.decide(LIST, limited, 50, patient=True) is not None
    assert policy.decide(LIST, lost, 2, patient=True) is None


def test_a_timeout_ends_it() -> None:
    policy = RetryPolicy(timeout=10, wait_initial=4, wait_jitter=0)
    lost = failing(ProtocolError)(LIST)
    assert policy.decide(LIST, lost, 1, elapsed=5.9) is not None
    assert policy.decide(LIST, lost, 1, elapsed=6.1) is None


def test_waits_grow_to_the_maximum_with_jitter_added() -> None:
    policy = RetryPolicy(wait_initial=0.5, wait_max=8, wait_jitter=0.5, wait_exp_base=2)
    lost = failing(ProtocolError)(LIST)
    assert [policy.wait(n, lost, rng=lambda: 0) for n in range(1, 8)] == [0.5, 1, 2, 4, 8, 8, 8]
    assert [policy.wait(n, lost, rng=lambda: 1) for n in range(1, 7)] == [1, 1.5, 2.5, 4.5, 8, 8]
    assert policy.wait(100_000, lost) == 8


def test_retry_after_is_a_floor_and_a_429_without_it_waits_a_second() -> None:
    policy = RetryPolicy(wait_initial=0.1, wait_jitter=0)
    asked = error_of(LIST, Response(status=429), retry_after=30.0)
    assert policy.wait(1, asked) == 30.0
    assert policy.wait(1, status(429)(LIST)) == 1.0
    assert policy.wait(1, error_of(LIST, Response(status=429), retry_after=0.0)) == 1.0
    busy = error_of(LIST, Response(status=503), retry_after=7.0)
    assert policy.wait(1, busy) == 7.0
    assert policy.wait(1, error_of(LIST, Response(status=503), retry_after=0.0)) == 0.1


def test_costs() -> None:
    policy = RetryPolicy()
    limited = policy.decide(LIST, RateLimitedError("x"), 1)
    lost = policy.decide(LIST, failing(ProtocolError)(LIST), 1)
    assert limited is not None
    assert lost is not None
    assert (limited.cost, lost.cost) == (5, 14)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("attempts", 0), ("attempts", 1.5), ("attempts", True), ("timeout", -1), ("wait_initial", math.inf),
        ("wait_max", math.nan), ("wait_jitter", "1"), ("wait_exp_base", -2),
    ],
)  # fmt: skip
def test_bad_settings_are_refused_by_name(setting: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=setting):
        RetryPolicy(**{setting: value})


def test_repeat_metered_is_a_bool() -> None:
    wrong: Any = "no"
    with pytest.raises(ConfigurationError, match="repeat_metered"):
        RetryPolicy(repeat_metered=wrong)


def test_the_quota_runs_dry_and_refills() -> None:
    quota = RetryQuota()
    acquired = sum(quota.acquire(14) for _ in range(100))
    assert acquired == 500 // 14
    assert not quota.acquire(14)
    quota.release(0)
    assert quota.tokens == 500 % 14 + 1
    quota.release(14)
    assert quota.acquire(14)
    for _ in range(100):
        quota.release(14)
    assert quota.tokens == 500


def test_the_old_name_of_max_charges_per_call_still_works() -> None:
    with pytest.warns(
        DeprecationWarning, match="RetryPolicy.charges_at_most is now called max_charges_per_call"
    ):
        assert RetryPolicy(repeat_metered=True, attempts=4).charges_at_most == 4


NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=90)


@pytest.mark.row(27)
@pytest.mark.row(29)
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("1.5", 1.5),
        (" 7 ", 7.0),
        (format_datetime(LATER, usegmt=True), 90.0),
        (LATER.strftime("%A, %d-%b-%y %H:%M:%S GMT"), 90.0),
        (LATER.strftime("%a %b %d %H:%M:%S %Y"), 90.0),
        (format_datetime(NOW - timedelta(hours=1), usegmt=True), 0.0),
        ("", None), ("-5", None), ("+5", None), ("nan", None), ("inf", None), ("1e9", None), ("1_0", None),
        ("٣", None), ("soon", None), ("9" * 400, None), ("Mon, 99 Foo 2026", None),
    ],
)  # fmt: skip
def test_retry_after(text: str, seconds: float | None) -> None:
    headers = {"retry-after": text, "date": format_datetime(NOW, usegmt=True)}
    assert retry_after(Response(status=429, headers=headers)) == seconds


def test_retry_after_date_counts_from_this_clock_only_without_a_date_header() -> None:
    asked = {"retry-after": format_datetime(LATER, usegmt=True)}
    clock = NOW.timestamp() + 30
    assert retry_after(Response(status=429, headers=asked), clock=lambda: clock) == 60.0
    assert retry_after(Response(status=429)) is None


@given(st.text())
def test_retry_after_never_fails_and_never_is_negative(text: str) -> None:
    seconds = retry_after(Response(status=429, headers={"retry-after": text}))
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))
