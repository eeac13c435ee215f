"""What a result knows of how it came: request id, attempts, elapsed time."""

from __future__ import annotations

import asyncio
import copy
import itertools
import logging
import pickle
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import web

from fullstory_async import (
    ClientConfig,
    EventStream,
    FullStoryClient,
    NotFoundError,
    ProfileConfiguration,
    ResponseCache,
    ResponseInfo,
    RetryPolicy,
    SessionSummary,
)
from fullstory_async.response_info import HasResponseInfo, find_request_id
from fullstory_async.sandbox import Fault, Sandbox
from fullstory_async.sandbox.faults import CallNext, Exchange

RETRY = RetryPolicy(wait_initial=0.01, wait_jitter=0)


@asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[tuple[Sandbox, FullStoryClient]]:
    """Open a sandbox that numbers its responses, as services do, and a client of it."""
    numbers = itertools.count(1)

    async def numbered(exchange: Exchange, call_next: CallNext) -> web.StreamResponse:
        response = await call_next()
        response.headers["X-Request-Id"] = f"r-{next(numbers)}"
        return response

    async with Sandbox(users=1, sessions=4, mean_events=3) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, retry=RETRY)
        async with FullStoryClient(config=config, **options) as client:
            await client.whoami()
            sandbox.inject(Fault.status(404, headers={"x-request-id": "r-404"}), session_id="9:9", times=None)
            sandbox.inject(Fault("numbered", "Number the responses.", numbered), times=None)
            yield sandbox, client


def checked(info: ResponseInfo | None, *, attempts: int = 1) -> str | None:
    assert info is not None
    assert info.attempts == attempts
    assert info.elapsed >= 0
    return info.request_id


async def test_every_result_of_the_service_knows_how_it_came() -> None:
    async with opened() as (sandbox, client):
        session_id = sandbox.session_ids[0]
        profile = await client.profiles.create("p", ProfileConfiguration())
        results: list[HasResponseInfo] = [
            profile,
            await client.profiles.list(),
            await client.sessions.list(uid="u-1", limit=2),
            await client.sessions.events(session_id),
            await client.sessions.context(session_id),
            await client.sessions.summary(session_id),
            await client.whoami(),
        ]
        pages = [page async for page in client.sessions.list(uid="u-1", limit=None).pages()]
    assert [checked(result.response_info) for result in results] == [f"r-{n}" for n in range(1, 8)]
    assert [checked(page.response_info) for page in pages] == [f"r-{8 + n}" for n in range(len(pages))]


async def test_a_result_counts_its_attempts() -> None:
    async with opened() as (sandbox, client):
        sandbox._rules.clear()
        sandbox.inject(Fault.status(503), operation="list")
        page = await client.sessions.list(uid="u-1")
    assert checked(page.response_info, attempts=2) is None  # no header had a number
    assert page.response_info is not None
    # the pause before the second attempt; uvloop's clock has whole milliseconds
    assert page.response_info.elapsed >= 0.009


async def test_streams_and_outcomes_know_it_too() -> None:
    async with opened() as (sandbox, client):
        ids = [*sandbox.session_ids[:2], "9:9", "no id"]
        stream = client.sessions.stream_events(ids[0])
        assert isinstance(stream, EventStream)
        assert stream.response_info is None
        async with aclosing(stream) as events:
            first = await anext(events)
            assert checked(stream.response_info) == "r-1"
            assert [first, *[event async for event in events]] == list(await client.sessions.events(ids[0]))
        async with client.sessions.events_many(ids, concurrency=1) as outcomes:
            found = {each.session_id: each async for each in outcomes}
        with pytest.raises(NotFoundError) as caught:
            await client.sessions.events("9:9")
    assert caught.value.request_id == "r-404"
    assert [checked(found[each].response_info) for each in ids[:3]] == ["r-3", "r-4", "r-404"]
    assert found["no id"].response_info == ResponseInfo()
    value = found[ids[0]].value
    assert value is not None
    assert checked(value.response_info) == "r-3"


async def test_who_shares_a_request_or_finds_a_summary_in_the_cache_knows_so(tmp_path: Path) -> None:
    async with opened(cache=ResponseCache(tmp_path / "cache")) as (sandbox, client):
        session_id = sandbox.session_ids[0]
        together = await asyncio.gather(*[client.sessions.summary(session_id) for _ in range(3)])
        cached = await client.sessions.summary(session_id)
    assert [checked(each.response_info) for each in together] == ["r-1"] * 3
    assert checked(cached.response_info, attempts=0) is None
    assert cached == together[0]


async def test_it_is_no_part_of_the_value() -> None:
    async with opened() as (sandbox, client):
        for operation in (client.sessions.events, client.sessions.summary, client.sessions.context):
            one, other = await operation(sandbox.session_ids[0]), await operation(sandbox.session_ids[0])
            assert one.response_info != other.response_info
            assert one == other
            assert "r-" not in repr(one).replace(repr(other), "")
            for copied in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
                assert (copied, copied.response_info) == (one, None)
            assert one.response_info is not None
        events = await client.sessions.events(sandbox.session_ids[0])
    assert events.of_type("click").response_info is None  # a selection is no response
    assert SessionSummary().response_info is None
    assert "response_info" not in "".join(attrs.asdict(SessionSummary(session_id="1:2")))


async def test_the_log_names_the_request(caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as (sandbox, client):
        with caplog.at_level(logging.DEBUG, "fullstory_async.http"):
            await client.sessions.events(sandbox.session_ids[0])
    assert caplog.messages[-1].endswith(", request id r-1")


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-request-id": "a", "cf-ray": "b"}, "a"),
        ({"cf-ray": "b", "x-cloud-trace-context": "c"}, "c"),
        ({"x-request-id": "", "cf-ray": "b"}, "b"),
        ({"set-cookie": "a"}, None),
    ],
)
def test_which_header_is_the_request_id(headers: dict[str, str], expected: str | None) -> None:
    assert find_request_id(headers) == expected
