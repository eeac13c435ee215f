"""The compared clients: each fetches a session's events and reads them as a user would."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import attrs
import cattrs
import httpx
import orjson
import pydantic
from yarl import URL

from fullstory_async import ClientConfig, FullStoryClient, RateLimit, RetryPolicy

__all__ = ["CLIENTS", "UNLIMITED", "ours"]

Fetch = Callable[[str], Awaitable[object]]
"""Fetch one session."""
Walk = Callable[[Iterable[str], int], Awaitable[None]]
"""Fetch many sessions, with the given concurrency."""
Client = Callable[[str], AbstractAsyncContextManager[Walk]]
"""Create a `Walk` for a base URL."""
UNLIMITED = RateLimit(1e6, 1e6)
KEY = "na1.benchmark"


def ours(url: str, **settings: Any) -> FullStoryClient:
    """Return a client of this package."""
    given = {"rate_limit": UNLIMITED, "retry": RetryPolicy(attempts=1), **settings}
    return FullStoryClient(config=ClientConfig(api_key=KEY, base_url=url, **given))


@asynccontextmanager
async def typed(url: str) -> AsyncIterator[Fetch]:
    """Fetch with this package, and read the type of every event."""
    async with ours(url) as client:

        async def fetch(session: str) -> object:
            return [event.type for event in await client.sessions.events(session)]

        yield fetch


@asynccontextmanager
async def touched(url: str) -> AsyncIterator[Fetch]:
    """Fetch with this package, and read every payload of every event."""
    async with ours(url) as client:

        async def fetch(session: str) -> object:
            events = await client.sessions.events(session)
            for event in events:
                _ = event.data
                _ = event.source_properties
            return events  # they keep the decoded payloads, as dicts would

        yield fetch


@asynccontextmanager
async def streamed(url: str) -> AsyncIterator[Fetch]:
    """Stream with this package, and read the type of every event without keeping it."""
    async with ours(url) as client:

        async def fetch(session: str) -> object:
            return sum([1 async for event in client.sessions.stream_events(session) if event.type])

        yield fetch


@asynccontextmanager
async def first_event(url: str) -> AsyncIterator[Fetch]:
    """Stream with this package, and stop after the first event."""
    async with ours(url) as client:

        async def fetch(session: str) -> object:
            async with aclosing(client.sessions.stream_events(session)) as events:
                return (await anext(events)).type

        yield fetch


@asynccontextmanager
async def fan_out(url: str) -> AsyncIterator[Walk]:
    """Fetch with `events_many`, and read the type of every event."""
    async with ours(url) as client:

        async def walk(sessions: Iterable[str], concurrency: int) -> None:
            async with client.sessions.events_many(sessions, concurrency=concurrency) as results:
                async for outcome in results:
                    assert outcome.value is not None, outcome.error
                    _ = [event.type for event in outcome.value]

        yield walk


@asynccontextmanager
async def sockets(url: str) -> AsyncIterator[Walk]:
    """Read from bare sockets without parsing: the server's own ceiling."""
    parts = urlsplit(url)

    async def walk(sessions: Iterable[str], concurrency: int) -> None:
        left = iter(sessions)

        async def ask() -> None:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            for session in left:
                path = f"{parts.path}/v2/sessions/{session.replace(':', '%3A')}/events"
                writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.rpartition(b": ")[2]))
            writer.close()

        await asyncio.gather(*(ask() for _ in range(concurrency)))

    yield walk


def over_aiohttp(read: Callable[[bytes], object]) -> Callable[[str], AbstractAsyncContextManager[Fetch]]:
    """Return a client that passes each body that aiohttp received to ``read``."""

    @asynccontextmanager
    async def client(url: str) -> AsyncIterator[Fetch]:
        connector = aiohttp.TCPConnector(limit=0)
        headers = {"Authorization": f"Basic {KEY}", "Accept": "application/json"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

            async def fetch(session_id: str) -> object:
                path = f"v2/sessions/{session_id.replace(':', '%3A')}/events"
                async with session.get(URL(f"{url}/{path}", encoded=True)) as answer:
                    return read(await answer.read())

            yield fetch

    return client


@attrs.define
class PlainEvent:
    """An event as a first draft would model it, for a default cattrs converter."""

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
    """Decode with ``json`` and a default cattrs converter."""
    return _converter.structure(json.loads(body)["events"], list[PlainEvent])


class ModelEvent(pydantic.BaseModel):
    """The same event for pydantic, with the fields of both wire forms."""

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
    """A response for pydantic."""

    events: list[ModelEvent]


@asynccontextmanager
async def httpx_pydantic(url: str) -> AsyncIterator[Fetch]:
    """Fetch with httpx, and decode with pydantic."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(headers={"Authorization": f"Basic {KEY}"}, limits=limits) as client:

        async def fetch(session: str) -> object:
            answer = await client.get(f"{url}/v2/sessions/{session.replace(':', '%3A')}/events")
            return ModelEvents.model_validate_json(answer.content)

        yield fetch


@asynccontextmanager
async def generated(url: str) -> AsyncIterator[Fetch]:
    """Fetch with the client that openapi-python-client generated.

    Its package is in the working directory; the source is the published contract.
    """
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


def in_turns(client: Callable[[str], AbstractAsyncContextManager[Fetch]], *, keeps: bool = True) -> Client:
    """Return a `Client` whose workers share one iterator of sessions, as users write it.

    Args:
        client: fetches one session.
        keeps: whether a worker keeps a result until it has the next one, as a program that processes it
            would; otherwise the result is thrown away at once.
    """

    @asynccontextmanager
    async def made(url: str) -> AsyncIterator[Walk]:
        async with client(url) as fetch:

            async def walk(sessions: Iterable[str], concurrency: int) -> None:
                left = iter(sessions)

                async def work() -> None:
                    result = None
                    for session in left:
                        found = await fetch(session)
                        result = found if keeps else None
                        del found
                    del result

                await asyncio.gather(*(work() for _ in range(concurrency)))

            yield walk

    return made


THROWN = ", thrown away"
"""Follows the name of a client whose results are thrown away at once."""
FETCHES = {
    "aiohttp, bytes": over_aiohttp(lambda body: body), "aiohttp + orjson, dicts": over_aiohttp(orjson.loads),
    "aiohttp + json, dicts": over_aiohttp(json.loads), "aiohttp + json + cattrs": over_aiohttp(plain_cattrs),
    "httpx + pydantic": httpx_pydantic, "openapi-python-client": generated, "ours, typed": typed,
    "ours, all read": touched, "ours, streamed": streamed, "ours, first event": first_event,
}  # fmt: skip
CLIENTS: dict[str, Client] = {
    "sockets alone": sockets,
    **{name: in_turns(client) for name, client in FETCHES.items()},
    **{name + THROWN: in_turns(client, keeps=False) for name, client in FETCHES.items()},
    "ours, fan-out": fan_out,
}
