"""Never run, only type-checked: how users write against the public names, and what they get."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, assert_type

from fullstory_async import (
    ClientConfig,
    Failure,
    FullStoryClient,
    FullStoryError,
    Outcome,
    Page,
    RateLimit,
    RateLimiter,
    ResponseInfo,
    RetryPolicy,
    Session,
    SessionEvent,
    SessionEvents,
    SessionId,
    SessionSummary,
    Success,
)
from fullstory_async.api import ProfilesAPI, SessionsAPI
from fullstory_async.jobs import JobFailure, JobReader, JobResult, JobSession
from fullstory_async.sandbox import Fault, FaultRule, RecordedRequest, Sandbox, SandboxSession, SandboxUser
from fullstory_async.testing import FakeTransport, Request, json_response, running_sandbox, vcr_settings


async def singles(client: FullStoryClient) -> None:
    page = await client.sessions.list(email="ada@example.com")
    assert_type(page, Page[Session])
    assert_type(page[0].id, SessionId)
    assert_type(page[0].created, datetime | None)
    async for session in client.sessions.list(uid="u-1", limit=None):
        assert_type(session, Session)
    async for part in client.sessions.list(uid="u-1").pages(page.next_token):
        assert_type(part, Page[Session])
    events = await client.sessions.events("1:2", timeout=5)
    assert_type(events, SessionEvents)
    assert_type(await client.sessions.events("1:2", priority=True), SessionEvents)
    assert_type(events.response_info, ResponseInfo | None)
    stream = client.sessions.stream_events("1:2")
    assert_type(stream.response_info, ResponseInfo | None)
    async for event in stream:
        assert_type(event, SessionEvent)
    assert_type(events[0], SessionEvent)
    assert_type(events[1:], SessionEvents)
    assert_type(events[0].data, dict[str, Any])
    assert_type(await client.sessions.summary(page[0]), SessionSummary)


async def a_job(reader: JobReader) -> None:
    for result in reader.results():
        assert_type(result, JobResult)
    async for session in reader.sessions():
        assert_type(session, JobSession)
    async for failure in reader.failures():
        assert_type(failure, JobFailure)
    assert_type(SessionEvents.from_json(b"{}", "1:2"), SessionEvents)


async def a_notebook(client: FullStoryClient) -> None:
    assert_type(await client.open(), FullStoryClient)


async def many(client: FullStoryClient, ids: list[str], more: AsyncIterator[SessionId]) -> None:
    async with client.sessions.events_many(ids, concurrency=32, max_failures=20) as results:
        async for outcome in results:
            assert_type(outcome, Outcome[SessionEvents])
            assert_type(outcome.error, FullStoryError | None)
            assert_type(outcome.response_info, ResponseInfo | None)
            assert_type(outcome.value, SessionEvents | None)
            assert_type(outcome.session_id, str)
    async with client.sessions.summaries_many(more, config_profile_id="support") as summaries:
        async for other in summaries:
            assert_type(other.value, SessionSummary | None)


def narrow(outcome: Outcome[SessionEvents]) -> None:
    assert_type(outcome.unwrap(), SessionEvents)
    if outcome.error is None:
        assert_type(outcome, Success[SessionEvents])
        assert_type(outcome.value, SessionEvents)
    else:
        assert_type(outcome, Failure)
        assert_type(outcome.error, FullStoryError)
    if outcome.value is not None:
        assert_type(outcome.value, SessionEvents)
    match outcome:
        case Success(value=value):
            assert_type(value, SessionEvents)
        case Failure(error=error):
            assert_type(error, FullStoryError)
    if isinstance(outcome, Failure):
        assert_type(outcome.error, FullStoryError)
    else:
        assert_type(outcome.value, SessionEvents)


async def tasks(client: FullStoryClient) -> None:
    task = asyncio.create_task(client.sessions.list(uid="u-1"))
    assert_type(await task, Page[Session])
    async with asyncio.TaskGroup() as group:
        assert_type(await group.create_task(client.sessions.list(uid="u-1")), Page[Session])


def as_json(events: SessionEvents, page: Page[Session]) -> None:
    assert_type(events.to_dict(), dict[str, Any])
    assert_type(page.to_dict(), dict[str, Any])


def settings() -> FullStoryClient:
    limiter = RateLimiter(RateLimit(rate=8, burst=8), max_wait=60)
    adaptive: RateLimit = RateLimit.adaptive(start=2, ceiling=100)
    assert_type(RateLimiter(adaptive).rate, float)
    config = ClientConfig(
        api_key="na1.key", retry=RetryPolicy(attempts=5), base_url="https://api.fullstory.com"
    )
    return FullStoryClient("na1.key", config=config, limiter=limiter)


def faults(sandbox: Sandbox) -> None:
    assert_type(Fault.drop(charged=False), Fault)
    assert_type(Fault.truncate_body(0.25, framing="close"), Fault)
    assert_type(sandbox.inject(Fault.status(503, headers={"X": "y"}), times=None), FaultRule)
    Fault.stall("long")  # type: ignore[arg-type]
    Fault.wrong_shape("round")  # type: ignore[arg-type]
    Fault.huge_header(charged=False)  # type: ignore[call-arg]


def testing(sandbox: Sandbox) -> None:
    with running_sandbox(sessions=[SandboxSession(user=SandboxUser(email="ada@example.com"))]) as running:
        assert_type(running, Sandbox)
    with running_sandbox(wire="dead"):  # type: ignore[arg-type]
        pass
    with running_sandbox(session=5):  # type: ignore[call-arg]
        pass
    assert_type(sandbox.requests.of("events", session_id="1:2"), list[RecordedRequest])
    assert_type(sandbox.add_session(SandboxSession(events=[{"event_type": "click"}])), SessionId)
    assert_type(sandbox.sessions_of(email="ada@example.com"), list[SessionId])
    sandbox.respond("summary", "1:2", "All went well.")
    sandbox.respond("list", "1:2", {})  # type: ignore[arg-type]
    assert_type(SandboxSession.from_response(b"", summary="x"), SandboxSession)
    assert_type(vcr_settings(), dict[str, Any])
    client = FullStoryClient("na1.test", transport=FakeTransport(respond=lambda _: json_response()))
    assert_type(client.sessions, SessionsAPI)
    assert_type(client.profiles, ProfilesAPI)
    assert_type(FakeTransport().requests, list[Request])
