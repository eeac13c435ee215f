"""The fault catalogue: each fault on the wire, its effect on the client, and the sandbox's counts."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import inspect
import json
import re
import time
from collections.abc import Callable
from typing import Any, Literal, cast

import attrs
import pytest
from aiohttp import web

from fullstory_async import (
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    DecodeError,
    ErrorInSuccess,
    FullStoryError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitedError,
    ResponseTooLarge,
    RetryPolicy,
    ServerError,
    UnexpectedRedirect,
    UnexpectedResponseError,
)
from fullstory_async.sandbox import Fault, Sandbox
from fullstory_async.sandbox.faults import CallNext, catalogue, read_fault
from tests.limits import SECONDS
from tests.wire.servers import connected

MIB = 2**20
TWICE = RetryPolicy(attempts=2, wait_initial=0.01, wait_jitter=0)
IMPATIENT: dict[str, Any] = {"retry": TWICE, "read_timeout": 0.2, "max_response_bytes": MIB, "max_wait": 0.5}


@attrs.frozen
class Row:
    """A fault of an events call, and its effects."""

    fault: Fault
    error: type[FullStoryError] | None
    """Error that the caller gets; ``None`` for events."""
    charged: int
    """Activations that the sandbox counted."""
    status: int | None
    """Recorded status; ``None`` if the response was incomplete."""
    retry_after: float | None = None

    def __str__(self) -> str:
        return self.fault.name


REFUSED = [
    Row(Fault.status(400), BadRequestError, 0, 400),
    Row(Fault.status(401), AuthenticationError, 0, 401),
    Row(Fault.status(403), PermissionDeniedError, 0, 403),
    Row(Fault.status(404), NotFoundError, 0, 404),
    Row(Fault.status(408), APIStatusError, 0, 408),
    Row(Fault.status(409), ConflictError, 0, 409),
    Row(Fault.status(425), APIStatusError, 0, 425),
    *(Row(Fault.status(code), ServerError, 0, code) for code in (500, 501, 502, 503, 504, 505)),
    Row(Fault.status(500, charged=True), ServerError, 1, 500),
    Row(Fault.no_retry(), ServerError, 0, 503),
    Row(Fault.retry_after(None), RateLimitedError, 0, 429, None),
    Row(Fault.retry_after(3), RateLimitedError, 0, 429, 3.0),
    Row(Fault.retry_after(86400), RateLimitedError, 0, 429, 86400.0),
    *(
        Row(Fault.retry_after(text), RateLimitedError, 0, 429, None)
        for text in ("garbage", "-5", "nan", "٣", "1e3")
    ),
    Row(Fault.retry_after(7, code=503), ServerError, 0, 503, 7.0),
    Row(Fault.retry_after_date(7), RateLimitedError, 0, 429, 7.0),
    Row(Fault.retry_after_date(7, form="rfc850"), RateLimitedError, 0, 429, 7.0),
    Row(Fault.retry_after_date(7, form="asctime"), RateLimitedError, 0, 429, 7.0),
    Row(Fault.retry_after_date(-30), RateLimitedError, 0, 429, 0.0),
    Row(Fault.retry_after_date(7, clock_skew=-3600), RateLimitedError, 0, 429, 7.0),
    Row(Fault.redirect_to("http://127.0.0.1:9/elsewhere"), UnexpectedRedirect, 0, 302),
    Row(Fault.redirect_to("/me", code=307), UnexpectedRedirect, 0, 307),
    Row(Fault.redirect_loop(), UnexpectedRedirect, 0, 302),
    Row(Fault.html_error_page(), ServerError, 0, 502),
    Row(Fault.html_error_page(200), UnexpectedResponseError, 0, 200),
    *(Row(Fault.sign_in_page(code), UnexpectedResponseError, 0, code) for code in (200, 401, 403, 404, 511)),
    Row(Fault.sign_in_page(charged=True), UnexpectedResponseError, 1, 200),
    Row(Fault.foreign_json(), UnexpectedResponseError, 0, 200),
    Row(Fault.error_in_success(), ErrorInSuccess, 0, 200),
    Row(Fault.error_in_success("error"), ErrorInSuccess, 0, 200),
    Row(Fault.html_503(), ServerError, 0, 503),
    Row(Fault.html_503(None), ServerError, 0, 503),
]  # fmt: skip
BROKEN = [
    Row(Fault.drop(), ProtocolError, 1, None),
    Row(Fault.drop(charged=False), ProtocolError, 0, None),
    Row(Fault.reset(), ProtocolError, 1, None),
    Row(Fault.reset(charged=False), ProtocolError, 0, None),
    Row(Fault.garbage_status_line(), ProtocolError, 1, None),
    Row(Fault.huge_header(), ProtocolError, 1, 200),
    Row(Fault.stall(), APITimeoutError, 1, None),
    Row(Fault.stall(0.01), None, 1, 200),
    Row(Fault.stale_connection(), None, 1, 200),
    Row(Fault.stale_connection("after answer"), None, 1, 200),
    Row(Fault.truncate_body(), ProtocolError, 1, None),
    Row(Fault.truncate_body(framing="chunked"), ProtocolError, 1, None),
    Row(Fault.truncate_body(framing="close"), ProtocolError, 1, None),
    Row(Fault.stall_body(), APITimeoutError, 1, None),
    Row(Fault.slow_loris(interval=0.05), APITimeoutError, 1, None),
    Row(Fault.huge_body(64 * MIB + 1), ResponseTooLarge, 1, None),
    Row(Fault.gzip_bomb(64 * MIB), ResponseTooLarge, 1, 200),
    Row(Fault.bad_gzip(), ProtocolError, 1, 200),
    Row(Fault.unknown_encoding(), DecodeError, 1, 200),
]
SPOILED = [
    Row(Fault.empty_body(), UnexpectedResponseError, 1, 200),
    Row(Fault.empty_body(204), None, 1, 204),
    Row(Fault.invalid_json(), DecodeError, 1, 200),
    Row(Fault.invalid_utf8(), DecodeError, 1, 200),
    Row(Fault.lone_surrogate(), None, 1, 200),
    Row(Fault.byte_order_mark(), None, 1, 200),
    Row(Fault.not_a_number(), None, 1, 200),
    Row(Fault.huge_integer(), None, 1, 200),  # decoded only when the event's data are read
    Row(Fault.deep_json(), DecodeError, 1, 200),
    Row(Fault.wrong_shape(), UnexpectedResponseError, 1, 200),
    Row(Fault.wrong_shape("null"), UnexpectedResponseError, 1, 200),
    Row(Fault.wrong_shape("missing keys"), None, 1, 200),
    Row(Fault.wrong_shape("wrong types"), DecodeError, 1, 200),
    Row(Fault.unknown_keys(), None, 1, 200),
    Row(Fault.wrong_content_type(), None, 1, 200),
    Row(Fault.legacy_profiles(), None, 1, 200),
    Row(Fault.empty_lists_omitted(), None, 1, 200),
]
UNTYPED: Any = Fault
"""For arguments that its makers refuse."""
TABLE = [*REFUSED, *BROKEN, *SPOILED]


def small() -> Sandbox:
    return Sandbox(users=1, sessions=2, mean_events=10)


def test_the_table_has_every_fault() -> None:
    assert {row.fault.name.partition("(")[0] for row in TABLE} == {entry.name for entry in catalogue()}


@pytest.mark.parametrize("row", TABLE, ids=str)
async def test_a_metered_call_under_each_fault(row: Row) -> None:
    sandbox = small()
    patience = dict(IMPATIENT)
    if row.error is ResponseTooLarge:  # which takes CPU time
        patience["read_timeout"] = SECONDS
    async with connected(sandbox, **patience) as client:
        session_id = sandbox.session_ids[0]
        rule = sandbox.inject(row.fault, operation="events", session_id=session_id, times=None)
        if row.error is None:
            await client.sessions.events(session_id)
        else:
            with pytest.raises(row.error) as caught:
                await client.sessions.events(session_id)
            error = caught.value
            assert (type(error), error.attempts, error.retry_after) == (row.error, 1, row.retry_after)
            assert error.may_have_cost or not row.charged, "a charge that the error does not report"
    (record,) = sandbox.requests  # a paid call is sent once, whatever happens
    assert (record.activations, record.status) == (row.charged, row.status)
    assert (sandbox.activations, rule.hits) == (row.charged, 1)
    stats = sandbox.stats()
    assert stats["by_session"] == {session_id: {"requests": 1, "activations": row.charged}}
    assert stats["by_status"] == {"dropped" if row.status is None else str(row.status): 1}


@pytest.mark.parametrize("row", BROKEN[:6] + BROKEN[10:13] + [REFUSED[7]], ids=str)
async def test_a_free_call_is_repeated_and_then_works(row: Row) -> None:
    sandbox = small()
    async with connected(sandbox, **IMPATIENT) as client:
        sandbox.inject(row.fault, operation="list")
        assert len(await client.sessions.list(uid="u-1")) == 2
    assert [request.status for request in sandbox.requests] == [row.status, 200]


async def test_a_stale_connection_is_reset_when_the_next_request_has_come() -> None:
    sandbox = small()
    async with connected(sandbox, **IMPATIENT) as client:
        a, b = sandbox.session_ids
        sandbox.inject(Fault.stale_connection(), session_id=a)
        await client.sessions.events(a)
        with pytest.raises(ProtocolError) as caught:
            await client.sessions.events(b)
        assert caught.value.attempts == 1
        sandbox.inject(Fault.stale_connection(), operation="whoami")
        await client.whoami()
        assert (await client.whoami()).email
    assert [(r.status, r.activations) for r in sandbox.requests] == [
        (200, 1), (None, 0), (200, 0), (None, 0), (200, 0),
    ]  # fmt: skip


async def test_another_host_sees_nothing_of_a_redirect() -> None:
    async with Sandbox(users=1, sessions=1) as elsewhere:
        sandbox = small()
        async with connected(sandbox) as client:
            sandbox.inject(Fault.redirect_to(f"{elsewhere.url}/me"), times=None)
            for call in (client.whoami(), client.sessions.events(sandbox.session_ids[0])):
                with pytest.raises(UnexpectedRedirect):
                    await call
    assert elsewhere.requests == []


# On the wire


@attrs.frozen
class Received:
    """Data received over a connection."""

    data: bytes
    end: str
    """``fin``, ``rst``, or ``open`` if the connection stayed open."""

    @property
    def head(self) -> str:
        return self.data.partition(b"\r\n\r\n")[0].decode()

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    def without_chunks(self) -> bytes:
        found, rest = b"", self.body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            found, rest = found + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return found

    def header(self, name: str) -> str | None:
        found = re.search(rf"^{name}: (.*)$", self.head, re.MULTILINE | re.IGNORECASE)
        return found and found[1].rstrip("\r")


async def received(sandbox: Sandbox, *, idle_timeout: float = 0.1, most: int = 8 * MIB) -> Received:
    """Request a session's events over a socket, and read until nothing more arrives."""
    port = int(sandbox.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    path = f"/v2/sessions/{sandbox.session_ids[0].replace(':', '%3A')}/events"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {sandbox.api_key}\r\n\r\n".encode())
    data, end = b"", "open"
    try:
        async with asyncio.timeout(None) as timer:
            while len(data) < most:
                timer.reschedule(asyncio.get_running_loop().time() + idle_timeout)
                if not (piece := await reader.read(MIB)):
                    end = "fin"
                    break
                data += piece
    except TimeoutError:
        pass
    except ConnectionResetError:
        end = "rst"
    writer.close()
    return Received(data, end)


async def under(fault: Fault | None, **options: Any) -> Received:
    async with small() as sandbox:
        if fault is not None:
            sandbox.inject(fault)
        found = await received(sandbox, **options)
    (record,) = sandbox.requests
    if record.status is not None:
        assert record.bytes_sent == len(found.data)
    return found


def name_of(value: object) -> str:
    return value.name if isinstance(value, Fault) else ""


async def normal_body() -> bytes:
    return (await under(None)).body


@pytest.mark.parametrize(
    ("fault", "end", "expected"),
    [
        (Fault.drop(), "fin", rb""),
        (Fault.reset(), "rst", rb""),
        (Fault.stall(), "open", rb""),
        (Fault.garbage_status_line("220 smtp ready"), "fin", rb"220 smtp ready\r\n\r\n"),
        (Fault.huge_header(), "open", rb"HTTP/1.1 200 OK\r\n.*X-Sandbox: x{100000}\r\n.*"),
        (Fault.stale_connection("after answer"), "fin", rb"HTTP/1.1 200 OK\r\n(?!.*Connection: close).*"),
        (Fault.retry_after("٣"), "open", rb"HTTP/1.1 429 .*\r\nRetry-After: \xd9\xa3\r\n.*"),
        (Fault.retry_after(None), "open", rb"HTTP/1.1 429 (?!.*Retry-After).*"),
        (Fault.no_retry(), "open", rb"HTTP/1.1 503 .*\r\nx-should-retry: false\r\n.*"),
        (Fault.redirect_loop(), "open",
         rb"HTTP/1.1 302 .*\r\nLocation: /v2/sessions/[0-9]+%3A[0-9]+/events\r\n.*"),
        (Fault.html_error_page(200), "open",
         rb"HTTP/1.1 200 .*\r\nContent-Type: text/html\r\n.*<!DOCTYPE html>.*"),
        (Fault.empty_body(204), "open", rb"HTTP/1.1 204 No Content\r\n(?!.*Content-Length).*\r\n\r\n"),
        (Fault.empty_body(), "open", rb"HTTP/1.1 200 OK\r\n.*Content-Length: 0\r\n.*\r\n\r\n"),
        (Fault.wrong_content_type(), "open",
         rb"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n.*\r\n\r\n\{.*"),
        (Fault.byte_order_mark(), "open", rb".*\r\n\r\n\xef\xbb\xbf\{.*"),
        (Fault.invalid_utf8(), "open", rb'.*"injected": "\xff\xfe".*'),
        (Fault.lone_surrogate(), "open", rb'.*"injected": "\\ud800".*'),
        (Fault.not_a_number(), "open", rb'.*"injected": NaN.*'),
        (Fault.huge_integer(), "open", rb'.*"injected": 9{5000}[^9].*'),
        (Fault.deep_json(), "open", rb'.*"injected": \[{100000}\]{100000}.*'),
        (Fault.wrong_shape(), "open", rb'.*\r\n\r\n\[\{"events": .*\]'),
        (Fault.wrong_shape("null"), "open", rb".*\r\n\r\nnull"),
        (Fault.wrong_shape("missing keys"), "open", rb".*\r\n\r\n\{\}"),
        (Fault.wrong_shape("wrong types"), "open", rb'.*\r\n\r\n\{"events": 5\}'),
        (Fault.invalid_json(), "open", rb'.*\r\n\r\n\{oops "events":.*\}'),
    ],
    ids=name_of,
)  # fmt: skip
async def test_on_the_wire(fault: Fault, end: str, expected: bytes) -> None:
    found = await under(fault)
    assert re.fullmatch(expected, found.data, re.DOTALL)
    assert found.end == end


async def test_bodies_that_break_off() -> None:
    complete = await normal_body()
    half = complete[: len(complete) // 2]
    by_length = await under(Fault.truncate_body())
    assert (by_length.header("Content-Length"), by_length.body, by_length.end) == (
        str(len(complete)),
        half,
        "fin",
    )
    chunked = await under(Fault.truncate_body(framing="chunked"))
    assert chunked.header("Transfer-Encoding") == "chunked"
    assert (chunked.body, chunked.end) == (b"%x\r\n%b\r\n" % (len(half), half), "fin")  # and no last chunk
    closed = await under(Fault.truncate_body(0.25, framing="close"))
    assert (closed.header("Content-Length"), closed.header("Transfer-Encoding")) == (None, None)
    assert (closed.body, closed.end) == (complete[: len(complete) // 4], "fin")


@pytest.mark.parametrize(
    "fault", [Fault.reset(), Fault.garbage_status_line(), Fault.truncate_body(framing="close")], ids=name_of
)
def test_uvloop_s_transports_do_the_same_as_asyncio_s(fault: Fault) -> None:
    """`nox -s uvloop` runs all tests over real HTTP on uvloop; these faults write past the HTTP server."""
    uvloop = pytest.importorskip("uvloop", reason="pip install uvloop (not for Windows) to run it")
    ends = []
    for loop_factory in (asyncio.SelectorEventLoop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            ends.append(runner.run(under(fault)))
    assert ends[0] == ends[1]


async def test_bodies_that_take_their_time() -> None:
    complete = await normal_body()
    stalled = await under(Fault.stall_body(share=0.1))
    assert (stalled.body, stalled.end) == (complete[: len(complete) // 10], "open")
    late = await under(Fault.stall_body(0.15), idle_timeout=0.4)
    assert late.body == complete
    started = time.monotonic()
    loris = await under(Fault.slow_loris(2, interval=0.02), idle_timeout=0.3, most=180)
    assert loris.header("Content-Length") == str(len(complete))
    assert complete.startswith(loris.body)
    assert time.monotonic() - started > 0.02 * (len(loris.body) // 2 - 1) > 0.1


async def test_bodies_that_are_too_large() -> None:
    complete = await normal_body()
    huge = await under(Fault.huge_body(2 * MIB))
    assert (huge.header("Content-Length"), len(huge.body)) == (str(2 * MIB), 2 * MIB)
    assert huge.body == complete + b" " * (2 * MIB - len(complete))
    bomb = await under(Fault.gzip_bomb(3 * MIB))
    assert bomb.header("Content-Encoding") == "gzip"
    assert len(bomb.body) < 8_000
    assert gzip.decompress(bomb.without_chunks()) == complete + b" " * 3 * MIB
    bad = await under(Fault.bad_gzip())
    assert (bad.header("Content-Encoding"), bad.body) == ("gzip", complete)
    unknown = await under(Fault.unknown_encoding("zz"))
    assert (unknown.header("Content-Encoding"), bytes(255 - b for b in unknown.body)) == ("zz", complete)


async def test_known_keys_stay_right_among_unknown_ones() -> None:
    complete, widened = json.loads(await normal_body()), json.loads((await under(Fault.unknown_keys())).body)
    assert widened.pop("x_injected")
    for right, wide in zip(complete["events"], widened["events"], strict=True):
        assert wide.pop("x_injected")
        assert wide.keys() == right.keys()


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ("imf-fixdate", r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"),
        ("rfc850", r"[A-Z][a-z]+day, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d GMT"),
        ("asctime", r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}"),
    ],
)
async def test_the_three_forms_of_a_date(
    form: Literal["imf-fixdate", "rfc850", "asctime"], pattern: str
) -> None:
    found = await under(Fault.retry_after_date(60, form=form))
    assert re.fullmatch(pattern, found.header("Retry-After") or "")
    assert re.fullmatch(
        r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", found.header("Date") or ""
    )


# Rules


async def test_each_rule_draws_for_itself_by_its_seed() -> None:
    async def spoiled(seed: int, *, other: bool) -> list[int | None]:
        sandbox = small()
        async with connected(sandbox, retry=RetryPolicy(attempts=1)) as client:
            if other:
                sandbox.inject(Fault.status(500), operation="list", times=None, share=0.5, seed="other")
            sandbox.inject(Fault.status(404), operation="whoami", times=None, share=0.3, seed=seed)
            for _ in range(30):
                for call in (client.sessions.list(uid="u-1")._first(), client.whoami()):
                    with contextlib.suppress(FullStoryError):
                        await call
        return [r.status for r in sandbox.requests if r.operation == "whoami"]

    alone = await spoiled(1, other=False)
    assert alone == await spoiled(1, other=True)
    assert alone != await spoiled(2, other=False)
    assert 2 <= alone.count(404) <= 18


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"operation": "event"}, "no operation 'event'; there are"), ({"times": 0}, "times"),
        ({"skip": -1}, "skip"),
        ({"share": 1.5}, "share"), ({"share": "half"}, "share"),
    ],
)  # fmt: skip
def test_invalid_conditions_are_refused(conditions: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        small().inject(Fault.drop(), **conditions)


def test_only_faults_can_be_injected() -> None:
    with pytest.raises(ConfigurationError, match="must be a Fault"):
        small().inject(cast("Any", lambda exchange, call_next: call_next()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Fault.status(99), lambda: UNTYPED.status("503"), lambda: UNTYPED.status(503, headers=["x"]),
        lambda: Fault.status(503, headers={"X": "a\r\nB: c"}), lambda: UNTYPED.status(200, body=5),
        lambda: Fault.retry_after("1\r\nX: y"), lambda: UNTYPED.retry_after_date(1, form="iso"),
        lambda: UNTYPED.redirect_to(None), lambda: Fault.redirect_to("/", code=200), lambda: Fault.stall(-1),
        lambda: Fault.truncate_body(2), lambda: UNTYPED.truncate_body(framing="morse"),
        lambda: Fault.slow_loris(0),
        lambda: Fault.gzip_bomb(-1), lambda: UNTYPED.wrong_shape("round"),
        lambda: UNTYPED.stale_connection("never"),
        lambda: Fault.deep_json(0), lambda: UNTYPED.unknown_encoding(7),
        lambda: Fault.garbage_status_line("a\nb"),
    ],
)  # fmt: skip
def test_invalid_parameters_are_refused(make: Callable[[], Fault]) -> None:
    with pytest.raises(ConfigurationError):
        make()


def test_a_fault_has_a_name_and_a_description() -> None:
    fault = Fault.drop(charged=False)
    said = "Close the connection with FIN, without a byte of a response."
    assert repr(fault) == f"Fault(name='drop(charged=False)', description='{said}')"
    assert fault == Fault.drop(charged=False) != Fault.drop()


def test_makers_have_the_parameters_of_their_handlers() -> None:
    assert str(inspect.signature(Fault.drop)) == "(*, charged: 'bool' = True) -> 'Fault'"
    assert list(inspect.signature(Fault.status).parameters) == ["code", "headers", "body", "charged"]
    assert Fault.status.__doc__ is not None
    assert Fault.status.__doc__.startswith("Respond with a status")
    assert {name for name in vars(Fault.__mro__[1]) if not name.startswith("_")} <= set(dir(Fault))
    with pytest.raises(TypeError, match="unexpected keyword argument 'charged'"):
        UNTYPED.stall(charged=False)


async def test_old_names_still_work_and_name_the_new_ones() -> None:
    with pytest.warns(DeprecationWarning, match=r"Fault\.veto is now called Fault\.no_retry"):
        assert Fault.veto(500, charged=True) == Fault.no_retry(500, charged=True)
    with pytest.warns(DeprecationWarning, match="the fault 'veto' is now called 'no_retry'"):
        assert read_fault("veto(500)") == (Fault.no_retry(500), {"times": None})
    fault = Fault.drop()
    with pytest.warns(DeprecationWarning, match=r"Fault\.behaviour is now called handler"):
        assert fault.behaviour is fault.handler

    async def old(exchange: Any, call_next: CallNext) -> web.StreamResponse:
        with pytest.warns(DeprecationWarning, match=r"Exchange\.silence is now called stall"):
            await exchange.silence(0)
        with pytest.warns(DeprecationWarning, match=r"Exchange\.spoil_next is now called on_next_request"):
            exchange.spoil_next(Fault.status(503))
        return await call_next()

    sandbox = small()
    async with connected(sandbox, retry=RetryPolicy(attempts=1)) as client:
        sandbox.inject(Fault("old", "Use the old names.", old))
        await client.whoami()
        with pytest.raises(ServerError):
            await client.whoami()


# Faults as text


@pytest.mark.parametrize(
    ("text", "fault", "conditions"),
    [
        ("drop", Fault.drop(), {"times": None}),
        ("status(503) operation=events share=0.05", Fault.status(503),
         {"operation": "events", "share": 0.05, "times": None}),
        ('retry_after("garbage") times=2 skip=1', Fault.retry_after("garbage"), {"times": 2, "skip": 1}),
        ("stall (0.5)session_id=1:2 times=always", Fault.stall(0.5), {"session_id": "1:2", "times": None}),
        ('status(429, headers={"Retry-After": "1"}) operation="create profile" seed=7',
         Fault.status(429, headers={"Retry-After": "1"}),
         {"operation": "create profile", "seed": "7", "times": None}),
        ('redirect_to("http://127.0.0.1:9/a(b)=c")', Fault.redirect_to("http://127.0.0.1:9/a(b)=c"),
         {"times": None}),
    ],
)  # fmt: skip
def test_a_fault_as_text(text: str, fault: Fault, conditions: dict[str, Any]) -> None:
    assert read_fault(text) == (fault, conditions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a fault; write one like"),
        ("truncate", "did you mean 'truncate_body'"),
        ("zzz", "there are status, retry_after"),
        ("status", r"status\(\) can't be read; it is written status\(code"),
        ("status(503", r"'\(503' is not a condition|can't be read"),
        ("status(503)(4)", "can't be read"),
        ("status(5 + 5)", "can't be read"),
        ("status(print(1))", "can't be read"),
        ("status(*[503])", "can't be read"),
        ("status(503, nonsense=1)", "can't be read"),
        ("status(99)", "a fault's code must be a whole number from 200 to 599"),
        ("drop share=often", "share must be a number, not 'often'"),
        ("drop colour=red", "write operation, session_id, times"),
        ("drop operation", "'operation' is not a condition"),
        ("drop 'operation=x", "not a condition"),
    ],
)
def test_an_invalid_text_names_the_right_form(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_fault(text)


def test_the_catalogue_names_parameters_and_costs() -> None:
    entries = {entry.name: entry for entry in catalogue()}
    assert entries["truncate_body"].call == "truncate_body(share=0.5, *, framing='length')"
    assert {name for name, entry in entries.items() if not entry.charged} == {
        "status", "retry_after", "retry_after_date", "no_retry", "redirect_to", "redirect_loop",
        "html_error_page", "sign_in_page", "foreign_json", "error_in_success", "html_503",
    }  # fmt: skip
    assert all(entry.description.endswith(".") for entry in entries.values())
