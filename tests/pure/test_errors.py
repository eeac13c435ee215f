"""The error tree: one class for each status, everything known on the error, picklable, and no key in sight."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest

import fullstory_async
from fullstory_async import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ConnectError,
    DecodeError,
    FullStoryError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    ProxyError,
    RateLimitedError,
    RetryPolicy,
    ServerError,
    TransportError,
    UnexpectedRedirect,
    UnexpectedResponseError,
)
from fullstory_async import errors as errors_module
from fullstory_async.http.contact import Contact
from fullstory_async.http.status_errors import error_from_response
from fullstory_async.messages import Request, Response
from fullstory_async.testing import json_response

EVENTS = Request(operation="events", path="/v2/sessions/1%3A2/events", session_id="1:2", metered=True)
LIST = Request(operation="list", path="/sessions/v2", query=(("email", "ada@example.com"),))


def error_of(request: Request, response: Response, retry_after: float | None = None) -> FullStoryError:
    error = error_from_response(request, response, Contact(), retry_after=retry_after)
    assert error is not None
    return error


ERRORS = [
    value
    for name, value in vars(errors_module).items()
    if inspect.isclass(value) and issubclass(value, FullStoryError)
]
BY_STATUS = {
    400: BadRequestError, 401: AuthenticationError, 403: PermissionDeniedError, 404: NotFoundError,
    409: ConflictError, 429: RateLimitedError,
}  # fmt: skip


@pytest.mark.parametrize("hundred", range(100, 600, 100))
def test_each_status_is_success_or_one_class(hundred: int) -> None:
    for status in range(hundred, hundred + 100):
        error = error_from_response(EVENTS, Response(status=status, body=b"{}"), Contact())
        if 200 <= status < 300:
            assert error is None, status
        elif status < 200:
            assert type(error) is ProtocolError, status
        elif status < 400:
            assert type(error) is UnexpectedRedirect, status
        elif status == 407:
            assert type(error) is ProxyError, status
        elif status == 511:
            assert type(error) is UnexpectedResponseError, status
        else:
            cls = BY_STATUS.get(status, ServerError if status >= 500 else APIStatusError)
            assert type(error) is cls, status
            assert error is not None
            assert error.status == status


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"code":"resource_not_found","message":"no session"}', "resource_not_found", "no session"),
        (b'{"code":404,"message":"no session"}', 404, "no session"),
        (b'{"message":""}', None, "no message"),
        (b'{"code":{"a":1},"message":5}', None, "no message"),
        (b"<html>\n<h1>Bad  gateway</h1>\x1b[31m</html>", None, "<html> <h1>Bad  gateway</h1> [31m</html>"),
        (b"[1]", None, "[1]"),
        (b"", None, "no message"),
        (b"\xff\xfe", None, "\ufffd\ufffd"),
        (b"[" * 100_000, None, "[" * 200),
    ],
)
def test_both_error_bodies_and_any_other_are_read(body: bytes, code: Any, message: str) -> None:
    error = error_of(EVENTS, Response(status=502, body=body))
    assert (error.code, error.message) == (code, message)
    assert str(error).startswith("GET /v2/sessions/1:2/events: 502")


def test_a_404_for_an_id_that_is_no_pair_says_what_ids_look_like() -> None:
    hinted = Request(operation="events", path="/x", not_found_hint="ids are USER:SESSION pairs")
    assert "USER:SESSION" in error_of(hinted, json_response({"message": "gone"}, 404)).message
    assert "USER:SESSION" not in str(error_of(hinted, Response(status=400)))


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 500, 502, 503])
def test_a_metered_call_that_was_worked_on_may_have_cost(status: int) -> None:
    error = error_of(EVENTS, Response(status=status))
    assert error.may_have_cost
    assert "may have cost an activation" in str(error)
    assert not error_of(LIST, Response(status=status)).may_have_cost


@pytest.mark.parametrize("status", [401, 429])
def test_what_is_refused_before_any_work_has_not_cost(status: int) -> None:
    assert not error_of(EVENTS, Response(status=status)).may_have_cost


def test_transport_errors_may_have_cost_once_sent() -> None:
    assert TransportError("x", request=EVENTS, sent=True).may_have_cost
    assert not TransportError("x", request=EVENTS, sent=False).may_have_cost
    assert not TransportError("x", request=LIST, sent=True).may_have_cost


KINDS = {
    "FullStoryError": ("program", False), "ConfigurationError": ("program", True),
    "ClientStateError": ("program", False), "JobError": ("program", True),
    "NoSessionFoundError": ("program", True),
    "InvalidSessionId": ("session", True), "NotFoundError": ("session", True),
    "BadRequestError": ("session", True), "DecodeError": ("session", True),
    "ResponseTooLarge": ("session", True), "APIStatusError": ("session", False),
    "ConflictError": ("session", False),
    "AuthenticationError": ("key", False), "PermissionDeniedError": ("key", False),
    "ActivationBudgetError": ("budget", False),
    "RateLimitedError": ("rate", False),
    "ServerError": ("service", False), "PaginationError": ("service", False),
    "TransportError": ("network", False), "ConnectError": ("network", False),
    "ProxyError": ("network", True),
    "LimiterUnavailable": ("network", False), "APITimeoutError": ("network", False),
    "ProgramError": ("program", True),
    "ProtocolError": ("network", False), "UnexpectedRedirect": ("network", True),
    "UnexpectedResponseError": ("network", False), "GatewayThrottledError": ("network", False),
    "ErrorInSuccess": ("service", False),
    "StorageError": ("storage", False), "JobStorageError": ("storage", False),
    "JobLockedError": ("storage", False),
    "JobIncompleteError": ("storage", True),
}  # fmt: skip


def test_each_class_says_what_it_is_about_and_whether_it_is_permanent() -> None:
    assert {cls.__name__: (cls.scope.value, cls.permanent) for cls in ERRORS} == KINDS
    for cls in ERRORS:
        assert (cls("x").scope, cls("x").permanent) == (cls.scope, cls.permanent)


def test_an_error_may_be_permanent_where_its_class_is_not() -> None:
    refused, untrusted = ConnectError("x"), ConnectError("x", permanent=True)
    assert (refused.permanent, refused.is_transient) == (False, True)
    assert (untrusted.permanent, untrusted.is_transient) == (True, False)
    assert pickle.loads(pickle.dumps(untrusted)).permanent
    assert ConnectError.permanent is False


@pytest.mark.parametrize("hundred", [300, 400, 500])
def test_what_is_transient_is_what_the_policy_repeats(hundred: int) -> None:
    for status in sorted({*range(hundred, hundred + 100)} - {407, 511}):
        error = error_of(LIST, Response(status=status))
        assert error.is_transient is (status in {408, 409, 425, 429, 500, 502, 503, 504}), status
        assert error.is_transient is (RetryPolicy().decide(LIST, error, 1) is not None), status


@pytest.mark.parametrize("cls", ERRORS)
def test_every_error_pickles_with_all_it_knows(cls: type[FullStoryError]) -> None:
    error = cls("what happened", request=EVENTS, response=json_response({}, 503, retry_after="3"))
    error.attempts, error.elapsed, error.retry_after, error.code = 3, 1.25, 3.0, "busy"
    error.may_have_cost = True
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is cls
        assert vars(twin) == vars(error)
        assert str(twin) == str(error)
        assert (twin.method, twin.path, twin.session_id) == ("GET", EVENTS.path, "1:2")
        assert twin.response is not None
        assert (twin.status, twin.response.headers["retry-after"]) == (503, "3")


@pytest.mark.parametrize("cls", ERRORS)
def test_every_error_is_public_and_knows_little_when_made_bare(cls: type[FullStoryError]) -> None:
    assert getattr(fullstory_async, cls.__name__) is cls
    strip_traceback = cls("x")
    known = (
        strip_traceback.method,
        strip_traceback.path,
        strip_traceback.status,
        strip_traceback.code,
        strip_traceback.retry_after,
        strip_traceback.session_id,
    )
    assert known == (None,) * 6
    assert (strip_traceback.attempts, strip_traceback.elapsed, strip_traceback.may_have_cost) == (
        0,
        0.0,
        False,
    )
    assert str(strip_traceback) == "x"


def test_the_tree_is_drawn_in_full() -> None:
    for cls in ERRORS:
        assert f" {cls.__name__} " in (errors_module.__doc__ or "") or cls is FullStoryError


def test_an_unreadable_answer_shows_its_shape_and_nothing_that_it_says() -> None:
    body = '{"events": [{"user_email": "ada@example.com", "name": "Zoë", "n": 1234}], "message": "\x1b[2J" '.encode()
    answer = Response(status=200, headers={"content-type": "application/json; charset=utf-8"}, body=body)
    text = str(DecodeError("it ends early", request=LIST, response=answer))
    assert text == (
        f"GET /sessions/v2: it ends early; status 200, application/json, {len(body)} bytes: "
        '{"events": [{"xxxx_xxxxx": "xxx@xxxxxxx.xxx", "xxxx": "xxx", "x": 0000}], "message": " [0x"'
    )
    page = Response(status=200, headers={"content-type": "text/html"}, body=b"<html><b>Sign in, Ada</b>" * 99)
    text = str(DecodeError("no JSON", response=page))
    assert "status 200, text/html, 2475 bytes: <html><x>xxxx xx, xxx</x><html>" in text
    assert len(text) < 300
    assert (
        str(DecodeError("it is empty", response=Response(status=200))) == "it is empty; status 200, 0 bytes"
    )


def test_neither_query_nor_headers_nor_bodies_show() -> None:
    request = Request(
        operation="list", path="/p", query=(("email", "ada@example.com"),), headers={"X-Token": "t0p"}
    )
    error = error_of(request, Response(status=500, headers={"set-cookie": "c00kie"}, body=b"secret-body"))
    shown = repr(error.request) + repr(error.response) + str(error.request)
    for secret in ("ada@", "t0p", "c00kie", "secret-body"):
        assert secret not in shown


@pytest.mark.parametrize(
    ("status", "attempts", "seconds", "ending"),
    [
        (
            503,
            1,
            None,
            "[may have cost an activation, so it was not sent again: see RetryPolicy.repeat_metered]",
        ),
        (503, 2, None, "(after 2 attempts in 0.0 s) [may have cost an activation]"),
        (400, 1, None, "[may have cost an activation]"),
        (501, 1, None, "[may have cost an activation]"),  # not repeated whatever the policy says
        (429, 1, 119, "(try again in 119 s)"),
        (429, 1, 600, "(try again in 10 min)"),
        (429, 1, 30_000, "(try again in 8 h 20 min)"),
        (429, 1, 2_592_000, "(try again in 30 days)"),
    ],
)
def test_its_text_says_what_to_do_next(status: int, attempts: int, seconds: int | None, ending: str) -> None:
    error = error_of(EVENTS, Response(status=status, body=b"no"), retry_after=seconds)
    error.attempts = attempts
    assert str(error) == f"GET /v2/sessions/1:2/events: {status}: no {ending}"
