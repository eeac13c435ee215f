"""The rivals: each fetches the events of a session and does with them what its users do."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any

import aiohttp
import attrs
import cattrs
import httpx
import orjson
import pydantic

from fullstory_async import ClientConfig, FullStoryClient, RateLimit, RetryPolicy

__all__ = ["CLIENTS", "UNLIMITED", "Fetch", "ours"]

Fetch = Callable[[str], Awaitable[object]]
UNLIMITED = RateLimit(1e6, 1e6)
KEY = "na1.benchmark"


def ours(url: str, **settings: Any) -> FullStoryClient:
    """Return a client of this package."""
    given = {"rate_limit": UNLIMITED, "retry": RetryPolicy(attempts=1), **settings}
    return FullStoryClient(config=ClientConfig(api_key=KEY, base_url=url, **given))


@asynccontextmanager
async def typed(url: str) -> AsyncIterator[Fetch]:
    """Ours: every event is reached and its type read."""
    async with ours(url) as client:

        async def fetch(session: str) -> object:
            return [event.type for event in await client.sessions.events(session)]

        yield fetch


@asynccontextmanager
async def touched(url: str) -> AsyncIterator[Fetch]:
    """Ours: every payload of every event is read."""
    async with ours(url) as client:

        async def fetch(session: str) -> object:
            return [(each.data, each.source_properties) for each in await client.sessions.events(session)]

        yield fetch


@asynccontextmanager
async def streamed(url: str) -> AsyncIterator[Fetch]:
    """Ours, streamed: the type of every event is read, and no event is kept."""
    async with ours(url) as client:

        async def fetch(session: str) -> object:
            return sum([1 async for event in client.sessions.stream_events(session) if event.type])

        yield fetch


def over_aiohttp(read: Callable[[bytes], object]) -> Callable[[str], AbstractAsyncContextManager[Fetch]]:
    """Return a client that is aiohttp and a function of the body."""

    @asynccontextmanager
    async def client(url: str) -> AsyncIterator[Fetch]:
        connector = aiohttp.TCPConnector(limit=0)
        headers = {"Authorization": f"Basic {KEY}", "Accept": "application/json"}
        async with aiohttp.ClientSession(url + "/", connector=connector, headers=headers) as session:

            async def fetch(session_id: str) -> object:
                path = f"v2/sessions/{session_id.replace(':', '%3A')}/events"
                async with session.get(aiohttp.client.URL(url + "/" + path, encoded=True)) as answer:
                    return read(await answer.read())

            yield fetch

    return client


@attrs.define
class PlainEvent:
    """What one would write first: a class like the answer, and a default converter."""

    event_type: str | None = None
    event_time: datetime | None = None
    device_id: str | None = None
    session_id: str | None = None
    view_id: str | None = None
    event_properties: dict | None = None
    source_type: str | None = None
    source_properties: dict | None = None


_converter = cattrs.Converter()
_converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))


def plain_cattrs(body: bytes) -> object:
    """Read with ``json`` and a cattrs converter as it comes."""
    return _converter.structure(json.loads(body)["events"], list[PlainEvent])


class ModelEvent(pydantic.BaseModel):
    """The same for pydantic, in both wire forms."""

    event_type: str | None = None
    event_time: datetime | None = None
    device_id: str | None = None
    session_id: str | None = None
    view_id: str | None = None
    event_properties: dict[str, Any] | None = None
    source_type: str | None = None
    source_properties: dict[str, Any] | None = None
    type: str | None = None
    timestamp: datetime | None = None
    data: dict[str, Any] | None = None


class ModelEvents(pydantic.BaseModel):
    """An answer for pydantic."""

    events: list[ModelEvent]


@asynccontextmanager
async def httpx_pydantic(url: str) -> AsyncIterator[Fetch]:
    """The usual pair: httpx and pydantic."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(headers={"Authorization": f"Basic {KEY}"}, limits=limits) as client:

        async def fetch(session: str) -> object:
            answer = await client.get(f"{url}/v2/sessions/{session.replace(':', '%3A')}/events")
            return ModelEvents.model_validate_json(answer.content)

        yield fetch


@asynccontextmanager
async def generated(url: str) -> AsyncIterator[Fetch]:
    """A client that openapi-python-client made of the published contract; it lies in the working directory."""
    sys.path.insert(0, ".")
    package = importlib.import_module("generated_client")
    events = importlib.import_module("generated_client.api.session_events.get_session_events")
    client = package.AuthenticatedClient(base_url=url, token=KEY, prefix="Basic")
    async with client:

        async def fetch(session: str) -> object:
            found = await events.asyncio(session, client=client)
            assert found.events is not None
            return found

        yield fetch


CLIENTS: dict[str, Callable[[str], AbstractAsyncContextManager[Fetch]]] = {
    "aiohttp, bytes": over_aiohttp(lambda body: body),
    "aiohttp + orjson, dicts": over_aiohttp(orjson.loads),
    "aiohttp + json, dicts": over_aiohttp(json.loads),
    "aiohttp + json + cattrs": over_aiohttp(plain_cattrs),
    "httpx + pydantic": httpx_pydantic,
    "openapi-python-client": generated,
    "ours, typed": typed,
    "ours, all read": touched,
    "ours, streamed": streamed,
}
