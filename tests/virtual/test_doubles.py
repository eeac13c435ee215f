"""Doubles for programs that use this package: `FakeTransport` in a client, and mocks made of the client."""

from __future__ import annotations

from unittest.mock import AsyncMock, create_autospec

import pytest

from fullstory_async import (
    ClientStateError,
    ConfigurationError,
    ConnectError,
    FullStoryClient,
    NotFoundError,
    ProgramError,
    RateLimitedError,
)
from fullstory_async.api import SessionsAPI
from fullstory_async.http.transport.session import Transport
from fullstory_async.testing import FakeTransport, Request, Response, json_response
from tests.virtual_time import now

pytestmark = pytest.mark.virtual_time

EVENTS = json_response({"events": [{"event_type": "click"}]})


async def test_a_client_uses_the_fake_transport_in_virtual_time() -> None:
    refused = ConnectError("refused", sent=False)
    transport = FakeTransport([refused, json_response(status=429, retry_after="90"), EVENTS], seconds=2)
    async with FullStoryClient("na1.test", transport=transport) as client:
        with pytest.raises(RateLimitedError):
            await client.sessions.events("1:2", timeout=20)
        start = now()
        assert [each.type for each in await client.sessions.events("1:2")] == ["click"]
        assert 85 < now() - start < 95
    assert [request.operation for request in transport.requests] == ["events"] * 3
    assert transport.sent[1][0] - transport.sent[0][0] >= 2


async def test_it_responds_by_a_function_once_the_script_is_used_up() -> None:
    def respond(request: Request) -> Response:
        return EVENTS if request.session_id == "1:2" else json_response(status=404)

    async with FullStoryClient("na1.test", transport=FakeTransport([EVENTS], respond=respond)) as client:
        assert len(await client.sessions.events("1:3")) == 1
        assert len(await client.sessions.events("1:2")) == 1
        with pytest.raises(NotFoundError):
            await client.sessions.events("1:3")


async def test_streams_are_served_too() -> None:
    async with FullStoryClient("na1.test", transport=FakeTransport([EVENTS, EVENTS])) as client:
        assert [each.type async for each in client.sessions.stream_events("1:2")] == ["click"]
        stream = client.sessions.stream_events("1:2")
        await anext(stream)
        await stream.aclose()


async def test_it_is_opened_and_closed_with_its_client() -> None:
    transport = FakeTransport([EVENTS])
    client = FullStoryClient("na1.test", transport=transport)
    with pytest.raises(ClientStateError, match="is not open yet"):
        await client.sessions.events("1:2")
    async with client:
        await client.sessions.events("1:2")
        assert await client.open() is client
    with pytest.raises(ClientStateError, match="is closed"):
        await client.sessions.events("1:2")
    with pytest.raises(ClientStateError, match="is closed"):
        await client.open()
    assert "closed" in repr(client)


async def test_a_script_that_is_used_up_names_the_request() -> None:
    async with FullStoryClient("na1.test", transport=FakeTransport()) as client:
        with pytest.raises(ProgramError) as caught:
            await client.sessions.events("1:2")
    assert isinstance(caught.value.__cause__, AssertionError)
    assert "no response for request 1: GET /v2/sessions/1%3A2/events" in str(caught.value.__cause__)


def test_a_session_and_a_transport_exclude_each_other() -> None:
    with pytest.raises(ConfigurationError, match="either a session or a transport"):
        FullStoryClient("na1.test", session=object(), transport=FakeTransport())  # type: ignore[arg-type]


def test_it_has_what_the_real_transport_has() -> None:
    for name in ("check", "open", "close", "send"):
        assert callable(getattr(Transport, name))
        assert callable(getattr(FakeTransport, name))


@pytest.mark.parametrize("instance", [True, False])
async def test_autospecs_know_the_operations(instance: bool) -> None:
    client = create_autospec(FullStoryClient, instance=instance)
    for double in (client,) if instance else (client, client.return_value):
        double.sessions.events.return_value = 5
        assert await double.sessions.events("1:2") == 5
        double.sessions.events.assert_awaited_once_with("1:2")
        assert await double.profiles.get("support")
        assert await double.whoami()
        with pytest.raises(TypeError, match="session_id"):
            await double.sessions.events()
        with pytest.raises(AttributeError):
            _ = double.sessions.evnets
        for name in ("config", "limiter", "api", "stats"):
            assert hasattr(double, name)


async def test_async_mocks_know_the_groups_of_operations() -> None:
    double = AsyncMock(spec=FullStoryClient)
    double.sessions.events = AsyncMock(return_value=5)
    assert await double.sessions.events("1:2") == 5
    assert double.profiles.get
    assert await double.whoami()
    with pytest.raises(AttributeError):
        _ = double.session


def test_an_attribute_that_is_not_set_yet() -> None:
    client = FullStoryClient.__new__(FullStoryClient)
    assert not hasattr(client, "sessions")
    with pytest.raises(AttributeError, match="this FullStoryClient has no limiter yet"):
        _ = client.limiter
    assert repr(client) == "FullStoryClient(not made)"
    assert isinstance(FullStoryClient("na1.test").sessions, SessionsAPI)
