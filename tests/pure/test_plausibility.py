"""What can be FullStory's response: by content, the operation's shape and the status."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from fullstory_async import (
    AuthenticationError,
    ErrorInSuccess,
    FullStoryError,
    GatewayThrottledError,
    RateLimitedError,
    RetryPolicy,
    Secret,
    ServerError,
    UnexpectedRedirect,
    UnexpectedResponseError,
)
from fullstory_async.http.contact import Contact
from fullstory_async.http.plausibility import EXPECTED_START, Responder, assess, assess_head
from fullstory_async.http.status_errors import error_from_response
from fullstory_async.messages import Request, Response
from fullstory_async.privacy import Redactor
from fullstory_async.stop_rule import StopRule

EVENTS = Request(operation="events", path="/v2/sessions/1%3A2/events", session_id="1:2", metered=True)
LIST = Request(operation="list", path="/sessions/v2", query=(("email", "ada@example.com"),))
KEY = "na1.c2VjcmV0LWtleQ/SECRET"
BASE = "https://api.example.test"

PAGES = {
    "a portal": b"<!DOCTYPE html><html><title>Guest Wi-Fi</title><form><input type=password></form>",
    "upper case": b"\xef\xbb\xbf\n <HTML><BODY>Please log in</BODY></HTML>",
    "only a script": b"<script>location='https://sso.test/login'</script>",
    "a meta refresh": b'<meta http-equiv="refresh" content="0;url=https://captive.test">',
    "a comment first": b"<!-- captive portal --><html></html>",
    "XHTML": b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">sign in</html>',
    "UTF-16": "<html>sign in</html>".encode("utf-16"),
}


def of(status: int, body: bytes | object = b"", **headers: str) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers=named, body=raw)


@pytest.mark.parametrize("status", [200, 201, 400, 401, 403, 404, 407, 410, 418, 421, 451, 511])
@pytest.mark.parametrize("label", ["text/html", "application/json", ""])
def test_a_page_is_nobody_elses_answer(status: int, label: str) -> None:
    for name, page in PAGES.items():
        assert assess(EVENTS, of(status, page, content_type=label)).responder is not None, name


@pytest.mark.parametrize("status", [405, 408, 409, 425, 429, 500, 502, 503, 504])
def test_other_statuses_go_by_the_status(status: int) -> None:
    for body in (*PAGES.values(), b"busy", b""):
        assert assess(EVENTS, of(status, body)).responder is None


@pytest.mark.parametrize("status", [401, 403, 404, 418, 500])
def test_a_text_or_nothing_goes_by_the_status(status: int) -> None:
    for body in (b"", b"Forbidden", b"404 page not found\n", b'{"detail": "no"}'):
        assert assess(EVENTS, of(status, body, content_type="text/html")).responder is None


FOREIGN: tuple[Any, ...] = (
    {"hello": "world"}, {"status": "ok", "data": []}, {"message": "Forbidden"}, {"code": 0, "message": "ok", "data": {}},
    {"error": "invalid_token"}, [{"id": 1}], [], None, 17, "text", True, b"OK", b"Please wait", b"a,b\n1,2\n",
)  # fmt: skip


@pytest.mark.parametrize("operation", ["events", "summary", "context", "whoami", "profile", "profiles"])
def test_json_of_another_shape_and_texts_are_another_partys(operation: str) -> None:
    request = Request(operation=operation, path="/x")
    for body in FOREIGN:
        assert assess(request, of(200, body)).responder is not None, body


@pytest.mark.parametrize("operation", ["events", "summary", "context", "whoami", "profiles", "list"])
@pytest.mark.parametrize("status", [200, 202, 206])
def test_a_success_without_a_body_is_nobodys(operation: str, status: int) -> None:
    for body in (b"", b" \r\n", b"\xef\xbb\xbf", b"\0\0\0\0"):
        found = assess(Request(operation=operation, path="/x"), of(status, body, content_type="text/html"))
        assert found.responder is Responder.WEB_SERVER


@pytest.mark.parametrize(
    "body",
    [{"sessionId": "abc", "authenticated": False}, {"session_id": "x", "status": "login"}, {"userId": "9", "ok": True}],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("operation", ["events", "summary"])
def test_a_session_id_alone_may_be_another_services(operation: str, body: Any) -> None:
    request = Request(operation=operation, path="/x", session_id="1:2")
    assert assess(request, of(200, body)).responder is Responder.OTHER_API


GOOD: tuple[tuple[str, Any], ...] = (
    ("events", {"events": []}), ("events", {"events": 5}), ("events", {}), ("events", b'{"ev'),
    ("events", {"x": {"y": 1}, "events": []}), ("events", b'\xef\xbb\xbf {"events": [NaN]}'), ("events", {"session_id": "2"}), ("events", {"session_id": "2", "x": 1}),
    ("events", {"error": {"code": "x"}, "events": [{}]}),
    ("events", '{"events": []}'.encode("utf-16")), ("events", {"code": 1, "message": "m", "events": []}),
    ("summary", {"summary": ""}), ("summary", {"sessionId": "2"}), ("summary", {"response": {"error": {}}}),
    ("context", {"context_data": {}}), ("context", {"pages": []}), ("profile", {"name": "n"}), ("profiles", {"profiles": [None]}),
    ("whoami", {"orgId": "o"}), ("whoami", {}), ("delete profile", {}), ("delete profile", b""), ("list", []), ("list", {"sessions": []}),
    ("list", {}), ("list", {"total": 0}), ("list", {"results": []}),
)  # fmt: skip


@pytest.mark.parametrize(("operation", "body"), GOOD, ids=repr)
def test_what_the_service_may_send_is_plausible(operation: str, body: Any) -> None:
    found = assess(Request(operation=operation, path="/x", session_id="1:2"), of(200, body))
    assert (found.responder, found.service_error) == (None, None)
    assert assess(Request(operation=operation, path="/x"), of(204)).responder is None


@pytest.mark.parametrize(
    "operation", ["events", "summary", "context", "whoami", "profile", "profiles", "list"]
)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"code": "internal", "message": "m"}, "internal"), ({"code": 13, "message": "m", "details": []}, 13),
        ({"error": {"code": "internal", "message": "m"}}, "internal"), ({"error": {}}, None), ({"error": {"status": "x"}, "data": None}, None),
        ({"error": {"code": "internal"}, "events": [], "summary": "", "pages": [], "profiles": None}, "internal"),
    ],
    ids=repr,
)  # fmt: skip
def test_an_error_in_a_success_is_the_services(operation: str, body: Any, code: str | int | None) -> None:
    request = Request(operation=operation, path="/x", metered=True)
    if operation == "list":  # other arrays are left to its decoder
        body = {name: value for name, value in body.items() if not isinstance(value, list)}
    error = error_from_response(request, of(200, body), Contact())
    assert isinstance(error, ErrorInSuccess)
    assert (error.code, error.status, error.may_have_cost, error.is_transient) == (code, 200, True, True)
    assert RetryPolicy().decide(request, error, 1) is None
    assert RetryPolicy(repeat_metered=True).decide(request, error, 1) is not None


def test_who_answered_is_a_guess_from_the_page() -> None:
    for status, body, server, expected in (
        (200, PAGES["a portal"], "", Responder.SIGN_IN_PAGE), (511, b"", "", Responder.SIGN_IN_PAGE),
        (407, b"", "", Responder.PROXY), (403, b"<html>Blocked</html>", "Zscaler/6.2", Responder.PROXY),
        (404, b"<html><h1>404</h1></html>", "nginx", Responder.WEB_SERVER), (200, b"It works!", "", Responder.WEB_SERVER),
        (200, b'{"hello": 1}', "", Responder.OTHER_API),
    ):  # fmt: skip
        assert assess(EVENTS, of(status, body, server=server)).responder is expected


def test_the_beginning_of_a_stream_decides_as_soon_as_it_can() -> None:
    undecided = (
        b"",
        b" \n",
        b"{",
        b'{"even',
        b'{"x": {"y": 1}, ',
        b'{"x": 1, "events":',
        b'{"hint": "events"',
    )
    for head in undecided:
        assert assess_head(EVENTS, of(200, head)) is None
    for head in (b'{"events": [{"a"', b' {"session_id": "2", "events":'):
        found = assess_head(EVENTS, of(200, head))
        assert found is not None
        assert found.responder is None
    for head in (b"<", b"\n<html", b"[", b"OK"):
        found = assess_head(EVENTS, of(200, head))
        assert found is not None
        assert found.responder is not None


def test_its_error_says_who_where_and_shows_no_word_of_it() -> None:
    contact = Contact(BASE, Redactor(Secret(KEY)))
    page = f"<html><p>Sign in, ada@example.com, with {KEY}</p></html>".encode()
    error = error_from_response(LIST, of(200, page, content_type="text/html; charset=utf-8"), contact)
    assert isinstance(error, UnexpectedResponseError)
    text = str(error)
    assert f"a sign-in page probably answered at {BASE} (status 200, text/html, " in text
    assert "<html><x>xxxx xx, [xxx xxxxx]" in text
    for secret in ("ada", "Sign", "SECRET", "c2V"):
        assert secret not in text + repr(vars(error)) + pickle.dumps(error).decode("latin-1")
    assert not error.permanent
    assert not error.may_have_cost


def test_only_a_redirect_and_a_511_prove_that_it_was_free() -> None:
    for status, body, cost in (
        (200, PAGES["a portal"], True), (401, PAGES["a portal"], True), (200, b'{"a": 1}', True),
        (302, b"", False), (307, PAGES["a portal"], False), (511, PAGES["a portal"], False), (511, b"", False),
    ):  # fmt: skip
        error = error_from_response(EVENTS, of(status, body), Contact())
        assert isinstance(error, UnexpectedResponseError)
        assert error.may_have_cost is cost
        assert RetryPolicy(repeat_metered=True).decide(EVENTS, error, 1) is None


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("https://user:pw@login.test/x?continue=ada@example.com#f", "a redirect to login.test, which"),
        ("//portal.test/ada@example.com", "a redirect to portal.test, which"), ("/login", "a redirect, which"),
        ("http://[broken", "a redirect, which"), ("", "a redirect, which"),
    ],
)  # fmt: skip
def test_a_redirect_names_the_host_and_nothing_else(location: str, said: str) -> None:
    error = error_from_response(LIST, of(302, location=location), Contact())
    assert isinstance(error, UnexpectedRedirect)
    assert said in error.message
    assert "ada" not in error.message
    assert "pw" not in error.message


def test_only_what_may_be_fullstorys_starts_as_expected() -> None:
    """A success that starts as expected is not assessed any further."""
    for operation, start in EXPECTED_START.items():
        for body in (*FOREIGN, *PAGES.values()):
            assert not start.match(of(200, body).body), (operation, body)
    for damaged in (b"", b'{"ev', b'\xef\xbb\xbf {"x": 1', '{"events": []}'.encode("utf-16"), b" " * 100_000):
        assert not EXPECTED_START["events"].match(damaged)
    assert EXPECTED_START["events"].match(b'\n{\t"session_id" : "x", "events": []}')
    assert not EXPECTED_START["events"].match(b" " * 100_000 + b'{"evil": 1}')


def test_a_503_page_is_a_throttle_only_between_good_responses() -> None:
    contact, page = Contact(BASE), of(503, b"<html>busy</html>", server="edge")
    assert type(error_from_response(EVENTS, page, contact)) is ServerError
    contact.record(of(200, server="fullstory"), None)
    for _ in range(10):
        told = error_from_response(EVENTS, page, contact)
        assert isinstance(told, GatewayThrottledError)
        assert not told.may_have_cost
        decision = RetryPolicy(wait_jitter=0).decide(EVENTS, told, 1)
        assert decision is not None
        assert (decision.throttled, decision.delay) == (True, 1.0)
        contact.record(page, told)
    assert type(error_from_response(EVENTS, page, contact)) is ServerError  # by now it is an outage
    contact.record(of(200, server="edge"), None)
    same = error_from_response(EVENTS, page, contact)
    assert isinstance(same, GatewayThrottledError)
    assert same.may_have_cost
    assert RetryPolicy().decide(EVENTS, same, 1) is None
    for other in (
        of(503, b"busy"),
        of(503, {"code": "x", "message": "m"}),
        of(502, b"<html>"),
        of(504, b"<html>"),
    ):
        assert type(error_from_response(EVENTS, other, contact)) is ServerError
    assert type(error_from_response(EVENTS, of(429, b"<html>"), contact)) is RateLimitedError


def errors(*kinds: type[FullStoryError]) -> list[FullStoryError]:
    return [kind("x") for kind in kinds]


@pytest.mark.parametrize(
    ("kinds", "ends"),
    [
        ([UnexpectedResponseError] * 4, False), ([UnexpectedResponseError] * 5, True), ([UnexpectedRedirect] * 2, False),
        ([UnexpectedRedirect] * 3, True), ([UnexpectedResponseError, ServerError] * 4 + [UnexpectedRedirect], True),
        ([UnexpectedRedirect, UnexpectedResponseError] * 2, False), ([AuthenticationError], True),
    ],
)  # fmt: skip
def test_the_rule_stops_at_five_in_a_row_and_at_three_redirects(
    kinds: list[type[FullStoryError]], ends: bool
) -> None:
    rule = StopRule()
    for error in errors(*kinds):
        rule.after(error)
    assert (rule.ended_by is not None) is ends


def test_statuses_that_the_service_does_not_send_end_the_work() -> None:
    def status_error(status: int, body: object = b"no") -> FullStoryError:
        error = error_from_response(EVENTS, of(status, body), Contact())
        assert error is not None
        return error

    rule = StopRule()
    for status in (405, 410, 418, 451):
        assert rule.after(status_error(status)) is None
    assert rule.after(status_error(402)) is not None
    rule = StopRule()
    for _ in range(9):  # the service's own code, and statuses that it sends, are about the session
        for error in (status_error(410, {"code": "session_expired", "message": "m"}), status_error(404)):
            assert rule.after(error) is None
    for _ in range(3):
        for _ in range(4):
            rule.after(status_error(418))
        assert rule.after(None) is None


def test_a_success_or_an_error_with_the_services_code_begins_the_row_again() -> None:
    refusal = error_from_response(EVENTS, of(404, {"code": "resource_not_found", "message": "m"}), Contact())
    for between in (None, refusal):
        rule = StopRule()
        for _ in range(3):
            for error in errors(*[UnexpectedResponseError] * 4):
                rule.after(error)
            rule.after(between)
        assert rule.ended_by is None
    rule, shared = StopRule(), UnexpectedResponseError("x")
    for _ in range(9):
        rule.after(shared)  # calls that share a request
    assert rule.ended_by is None
