"""Rows 6 to 20, 35 and 36: answers that come late, broken, odd, or not from where they should."""

from __future__ import annotations

import asyncio
import re
import resource
from typing import Any, Literal

import pytest

from fullstory_async import (
    APITimeoutError,
    DecodeError,
    FullStoryError,
    ProtocolError,
    ResponseTooLarge,
    RetryPolicy,
    ServerError,
    SessionEvents,
    SessionId,
    UnexpectedRedirect,
    UnexpectedResponseError,
)
from fullstory_async.sandbox import Fault, Sandbox
from tests.faults.calls import (
    QUICK,
    REPEATING,
    ask,
    error_of,
    is_made_again_where_that_is_free,
    slow,
    spoiled,
)
from tests.virtual_time import now

SHORT: dict[str, Any] = {"connect_timeout": 0.3, "read_timeout": 0.3}


@pytest.mark.row(6)
async def test_row_06_no_answer() -> None:
    for error in await is_made_again_where_that_is_free(Fault.stall(), APITimeoutError, **SHORT):
        assert isinstance(error, APITimeoutError)
        assert error.sent
        assert 0.25 * error.attempts < error.elapsed < 0.3 * error.attempts + 1


@pytest.mark.row(7)
async def test_row_07_a_body_that_stops() -> None:
    for error in await is_made_again_where_that_is_free(Fault.stall_body(), APITimeoutError, **SHORT):
        assert 0.25 * error.attempts < error.elapsed < 0.3 * error.attempts + 1


@pytest.mark.row(8)
async def test_row_08_a_body_byte_by_byte() -> None:
    drip = Fault.slow_loris(1, interval=0.05)
    for error in await is_made_again_where_that_is_free(drip, APITimeoutError, **SHORT):
        assert 0.25 * error.attempts < error.elapsed < 0.3 * error.attempts + 1


@pytest.mark.row(9)
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_row_09_half_a_body(framing: Literal["length", "chunked"]) -> None:
    fault = Fault.truncate_body(framing=framing)
    for error in await is_made_again_where_that_is_free(fault, ProtocolError):
        assert "middle of the response" in error.message
        assert error.response is None


@pytest.mark.row(10)
async def test_row_10_half_a_body_up_to_the_close() -> None:
    for share in (0.5, 0.99):
        fault = Fault.truncate_body(share, framing="close")
        for error in await is_made_again_where_that_is_free(fault, ProtocolError):
            assert "middle of the response" in error.message


@pytest.mark.row(11)
@pytest.mark.parametrize("fault", [Fault.reset(), Fault.drop()], ids=str)
async def test_row_11_no_answer_and_no_connection(fault: Fault) -> None:
    for error in await is_made_again_where_that_is_free(fault, ProtocolError):
        assert "the connection broke" in error.message


@pytest.mark.row(11)
async def test_row_11_a_connection_that_was_kept_for_too_long() -> None:
    patient = RetryPolicy(wait_initial=30)  # which would be seen
    async with spoiled(Fault.stale_connection(), times=1, retry=patient) as (sandbox, client):
        assert len(await ask(sandbox, client, "list")) > 0
        started = now()
        assert len(await ask(sandbox, client, "list")) > 0
        assert now() - started < 1
        assert [request.status for request in sandbox.requests] == [200, None, 200]
    async with spoiled(Fault.stale_connection(), times=1, retry=patient) as (sandbox, client):
        await ask(sandbox, client)
        error = await error_of(ask(sandbox, client))
        assert (type(error), error.attempts, error.may_have_cost) == (ProtocolError, 1, True)
        assert len(sandbox.requests) == 2
    async with spoiled(Fault.stale_connection("after answer"), retry=patient) as (sandbox, client):
        for _ in range(5):
            await ask(sandbox, client)
            await asyncio.sleep(0.01)
        assert len(sandbox.requests) == sandbox.activations == 5


@pytest.mark.row(12)
@pytest.mark.parametrize(
    "fault", [Fault.garbage_status_line(), Fault.huge_header(), Fault.bad_gzip()], ids=str
)
async def test_row_12_no_http(fault: Fault) -> None:
    for operation, retry, requests in (("list", QUICK, 2), ("events", REPEATING, 2), ("events", QUICK, 1)):
        async with spoiled(fault, retry=retry) as (sandbox, client):
            error = await error_of(ask(sandbox, client, operation))
            assert (type(error), error.status, error.response) == (ProtocolError, None, None)
            assert error.may_have_cost is (operation == "events")
            assert error.attempts == len(sandbox.requests) == requests
    async with spoiled(fault, times=1) as (sandbox, client):
        assert len(await ask(sandbox, client, "list")) > 0


@pytest.mark.row(13)
async def test_row_13_no_json() -> None:
    for operation, retry, requests in (("list", QUICK, 2), ("events", QUICK, 1), ("events", REPEATING, 1)):
        async with spoiled(Fault.invalid_json(), retry=retry) as (sandbox, client):
            error = await error_of(ask(sandbox, client, operation))
            assert type(error) is DecodeError
            assert error.attempts == len(sandbox.requests) == requests
            assert (error.may_have_cost, sandbox.activations) == (operation == "events", requests % 2)
            assert error.response is not None
            text, body = str(error), error.response.body
            assert f"status 200, application/json, {len(body)} bytes: " in text
            shown = text.partition("bytes: ")[2]
            assert re.match(r'\{xxxx "(events|sessions)":\[\{"[x0":,.{_ -]+', shown)
            assert not re.search(r"[1-9]", shown[:190])
            assert b"oops" in body
            assert len(text) < 600
    async with spoiled(Fault.invalid_json(), times=1) as (sandbox, client):
        assert len(await ask(sandbox, client, "list")) > 0


@pytest.mark.row(14)
@pytest.mark.parametrize(
    ("fault", "error_class"),
    [
        (Fault.not_a_number(), None), (Fault.lone_surrogate(), None), (Fault.byte_order_mark(), None),
        (Fault.invalid_utf8(), DecodeError), (Fault.deep_json(), DecodeError),
    ],
    ids=str,
)  # fmt: skip
async def test_row_14_hostile_json(fault: Fault, error_class: type[FullStoryError] | None) -> None:
    async with spoiled(fault, times=4) as (sandbox, client):
        async with client.sessions.events_many(sandbox.session_ids, concurrency=1) as results:
            outcomes = [outcome async for outcome in results]
        assert [type(each.error) for each in outcomes] == [error_class or type(None)] * 4
        assert sandbox.activations == len(sandbox.requests) == 4
        for outcome in outcomes:
            if outcome.value is not None:
                assert len(outcome.value.to_dicts()) == sandbox.event_counts[SessionId(outcome.session_id)]
        assert len(await ask(sandbox, client)) > 0


@pytest.mark.row(14)
async def test_row_14_a_number_that_nothing_can_hold() -> None:
    async with spoiled(Fault.huge_integer()) as (sandbox, client):
        events = await ask(sandbox, client)
        assert isinstance(events, SessionEvents)
        assert len(events.to_dicts()) == sandbox.event_counts[sandbox.session_ids[0]]  # it is infinite
        assert len(await ask(sandbox, client, "list")) == len(sandbox.session_ids)


@pytest.mark.row(15)
@pytest.mark.parametrize("operation", ["list", "events"])
async def test_row_15_another_content_type(operation: str, caplog: pytest.LogCaptureFixture) -> None:
    async with spoiled(Fault.wrong_content_type()) as (sandbox, client):
        for _ in range(3):
            assert len(await ask(sandbox, client, operation)) > 0
        assert len(sandbox.requests) == 3
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"a response ({operation}) is labelled 'text/" in said


@pytest.mark.row(16)
async def test_row_16_a_page() -> None:
    for operation, requests in (("list", 2), ("events", 1)):
        async with spoiled(Fault.html_error_page(200)) as (sandbox, client):
            error = await error_of(ask(sandbox, client, operation))
            assert type(error) is UnexpectedResponseError
            assert re.search(r"status 200, text/html, \d+ bytes: <!DOCTYPE html> <html>", str(error))
            assert error.attempts == len(sandbox.requests) == requests
    for error in await is_made_again_where_that_is_free(
        Fault.html_error_page(502), ServerError, charged=False
    ):
        assert (error.status, error.code) == (502, None)
        assert "<title>Bad Gateway</title>" in error.message


@pytest.mark.row(17)
async def test_row_17_nothing() -> None:
    async with spoiled(Fault.empty_body(), times=1) as (sandbox, client):
        error = await error_of(ask(sandbox, client))
        assert (type(error), error.may_have_cost) == (UnexpectedResponseError, True)
        assert (client.stats.activations, client.stats.activations_at_risk) == (0, 1)
        assert "a web server probably answered" in str(error)
    async with spoiled(Fault.empty_body(204)) as (sandbox, client):
        assert len(await ask(sandbox, client)) == len(await ask(sandbox, client, "list")) == 0
        assert [event async for event in client.sessions.stream_events(sandbox.session_ids[0])] == []
        assert (await client.sessions.summary(sandbox.session_ids[0])).text in (None, "")


@pytest.mark.row(18)
@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ("list", "another API probably answered"), ("null", "another API probably answered"), ("missing keys", None),
        ("wrong types", "expected a list, not int @ $.events"),
    ],
)  # fmt: skip
async def test_row_18_another_shape(
    shape: Literal["list", "null", "missing keys", "wrong types"], said: str | None
) -> None:
    async with spoiled(Fault.wrong_shape(shape)) as (sandbox, client):
        if said is None:
            assert len(await ask(sandbox, client)) == len(await ask(sandbox, client, "list")) == 0
        else:
            error = await error_of(ask(sandbox, client))
            expected = DecodeError if shape == "wrong types" else UnexpectedResponseError
            assert (type(error), error.attempts, sandbox.activations) == (expected, 1, 1)
            assert said in str(error)


@pytest.mark.row(18)
async def test_row_18_more_than_is_known() -> None:
    async with spoiled(Fault.unknown_keys()) as (sandbox, client):
        events, page = await ask(sandbox, client), await ask(sandbox, client, "list")
        assert len(events) == sandbox.event_counts[sandbox.session_ids[0]]
        assert len(page) == 4
        assert all(
            request.bytes_sent > len(answer.raw)
            for request, answer in zip(sandbox.requests, (events, page), strict=True)
        )


@pytest.mark.row(19)
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_row_19_a_redirect_to_another_host(code: int) -> None:
    async with Sandbox(users=1, sessions=1) as other:
        fault = Fault.redirect_to(f"{other.url}/v2/sessions/1%3A2/events", code=code)
        for operation in ("list", "events"):
            async with spoiled(fault, retry=REPEATING) as (sandbox, client):
                error = await error_of(ask(sandbox, client, operation))
                assert (type(error), error.status) == (UnexpectedRedirect, code)
                assert error.attempts == len(sandbox.requests) == 1
                assert f"the server responded {code}, a redirect" in str(error)
        assert other.requests == []


@pytest.mark.row(20)
@pytest.mark.parametrize(
    "fault",
    [Fault.redirect_loop(), Fault.redirect_to("/sessions/v2"), Fault.redirect_to("?again=1", code=307)],
    ids=str,
)
async def test_row_20_a_redirect_to_the_same_host(fault: Fault) -> None:
    async with spoiled(fault, retry=REPEATING) as (sandbox, client):
        error = await error_of(ask(sandbox, client, "list"))
        assert (type(error), error.attempts, len(sandbox.requests)) == (UnexpectedRedirect, 1, 1)


def memory() -> float:
    """Return the most memory that this process has had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.row(35)
async def test_row_35_a_huge_body() -> None:
    async with spoiled(Fault.huge_body(), times=2, max_response_bytes=2**20, retry=REPEATING) as (
        sandbox,
        client,
    ):
        before = memory()
        for operation in ("list", "events"):
            error = await error_of(ask(sandbox, client, operation))
            assert (type(error), error.attempts) == (ResponseTooLarge, 1)
            assert "max_response_bytes (1048576)" in str(error)
        assert memory() - before < 20
        assert len(await ask(sandbox, client)) > 0
        assert len(sandbox.requests) == 3
        assert all(request.bytes_sent < 16 * 2**20 for request in sandbox.requests)


@slow
@pytest.mark.row(35)
async def test_row_35_one_byte_more_than_the_default() -> None:
    async with spoiled(Fault.huge_body(), times=1) as (sandbox, client):
        assert type(await error_of(ask(sandbox, client))) is ResponseTooLarge
    async with spoiled(Fault.huge_body(64 * 2**20), times=1) as (sandbox, client):
        assert len(await ask(sandbox, client)) > 0


@pytest.mark.row(36)
async def test_row_36_a_gzip_bomb() -> None:
    async with spoiled(Fault.gzip_bomb(), times=1, max_response_bytes=5 * 2**20) as (sandbox, client):
        before, started = memory(), now()
        error = await error_of(ask(sandbox, client))
        assert now() - started < 1
        assert (type(error), error.attempts, sandbox.activations) == (ResponseTooLarge, 1, 1)
        assert memory() - before < 5 + 30
        assert len(await ask(sandbox, client)) > 0
