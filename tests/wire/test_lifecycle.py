"""A client's life: closed twice, used after its end, in another loop, in another thread, left open; always one clear word."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import pydoc
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import aclosing
from typing import Any
from unittest.mock import Mock, create_autospec

import aiohttp
import pytest

from fullstory_async import (
    ClientStateError,
    ConfigurationError,
    FullStoryClient,
    FullStoryError,
    RateLimiter,
    TransportError,
)
from fullstory_async.jobs import Job
from fullstory_async.testing import FakeTransport
from tests.limits import SECONDS
from tests.wire.servers import FAST, Calls, Connection, Handler, client_of, http, raw_server
from tests.wire.test_transport import drip, hang

OPERATIONS: Calls = {
    "list": lambda client: client.sessions.list(uid="u-1")._first(),
    "pages": lambda client: anext(client.sessions.list(uid="u-1").pages()),
    "events": lambda client: client.sessions.events("1:2"),
    "stream": lambda client: anext(client.sessions.stream_events("1:2")),
    "summary": lambda client: client.sessions.summary("1:2"),
    "context": lambda client: client.sessions.context("1:2"),
    "profile": lambda client: client.profiles.get("p"),
    "whoami": lambda client: client.whoami(),
}


async def answer(connection: Connection) -> None:
    await connection.send(http())


def open_in_a_loop_of_its_own(url: str) -> FullStoryClient:
    async def opened() -> FullStoryClient:
        return await client_of(url).__aenter__()

    return asyncio.run(opened())


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_client_is_neither_pickled_nor_copied(duplicate: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="owns connections and can't be pickled or copied: pickle its config"):
        duplicate(FullStoryClient("na1.key"))


def test_without_asyncio_opening_says_so() -> None:
    for opening in (
        FullStoryClient("na1.key").open(),
        FullStoryClient("na1.key").__aenter__(),
        Job("job").__aenter__(),
    ):
        with pytest.raises(ClientStateError, match="no asyncio event loop is running.* with trio, "):
            opening.send(None)  # as another library would


def test_help_and_mocks_know_the_operations_of_a_client() -> None:
    text = pydoc.plain(pydoc.render_doc(FullStoryClient))
    assert re.search(r"\bsessions\b.*\n.*The operations on sessions", text)
    assert re.search(r"\bprofiles\b.*\n.*The operations on summary profiles", text)
    double = create_autospec(FullStoryClient, instance=True)
    assert double.sessions.events is not None
    with pytest.raises(AttributeError):
        _ = double.sessions.evnts


async def test_closing_twice_or_at_the_same_time_is_closing_once() -> None:
    async with raw_server(answer) as server:
        client = client_of(server.url)
        await client.close()  # of one that was never open
        async with client_of(server.url) as client:
            await client.sessions.events("1:2")
            await asyncio.gather(client.close(), client.close())
        await client.close()
        assert "closed" in repr(client)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_closed_client_sends_nothing(operation: str) -> None:
    async with raw_server(answer) as server:
        async with client_of(server.url) as client:
            pass
        with pytest.raises(ClientStateError, match="the client is closed: make a new one"):
            await OPERATIONS[operation](client)
    assert server.requests == []


@pytest.mark.parametrize("operation", ["list", "events", "stream", "summary"])
@pytest.mark.parametrize("handler", [hang, drip])
@pytest.mark.parametrize("whose", ["the client", "a given session"])
async def test_what_is_under_way_when_it_closes_ends_too(
    operation: str, handler: Handler, whose: str
) -> None:
    """At once, whoever closes it."""
    async with raw_server(handler) as server, aiohttp.ClientSession() as session:
        given = session if whose == "a given session" else None
        async with client_of(server.url, session=given) as client:
            call = asyncio.ensure_future(OPERATIONS[operation](client))
            await asyncio.sleep(0.1)
            await (session if given else client).close()
            with pytest.raises(FullStoryError) as caught:
                async with asyncio.timeout(SECONDS):
                    await call
            assert isinstance(caught.value, TransportError | ClientStateError)
            assert "was closed meanwhile" in str(caught.value)
            with pytest.raises(ClientStateError, match="is closed"):
                await client.sessions.events("1:2")
    assert len(server.requests) == 1


async def test_a_client_can_stay_open_without_a_block() -> None:
    async with raw_server(answer) as server:
        client = client_of(server.url)
        assert set(await asyncio.gather(client.open(), client.open())) == {client}
        assert len(await client.sessions.events("1:2")) == 0
        assert await client.open() is client  # a notebook's cell that runs again
        with pytest.raises(ClientStateError, match="is open already"):
            await client.__aenter__()
        await client.close()
        with pytest.raises(ClientStateError, match="is closed"):
            await client.open()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_client_whose_loop_has_ended_says_so(operation: str) -> None:
    client = open_in_a_loop_of_its_own("http://127.0.0.1:1")

    async def use() -> None:
        with pytest.raises(ClientStateError, match="opened in another event loop; make one for this loop"):
            await OPERATIONS[operation](client)
        with pytest.raises(ClientStateError, match="is open already"):
            await client.__aenter__()
        with pytest.raises(ClientStateError, match="opened in another event loop; make one for this loop"):
            await client.open()
        await client.close()

    asyncio.run(use())


def test_two_threads_with_a_loop_each_need_a_client_each() -> None:
    async def serve_two() -> tuple[list[str], int]:
        async with raw_server(answer) as server, client_of(server.url, limiter=RateLimiter(FAST)) as client:
            said = await asyncio.to_thread(in_another_loop, client, server.url)
            assert len(await client.sessions.events("1:2")) == 0
            return said, len(server.requests)

    def in_another_loop(client: FullStoryClient, url: str) -> list[str]:
        async def use() -> list[str]:
            said = []
            other = client_of(url, limiter=client.limiter)
            async with other:
                for each in (client, other):
                    try:
                        await each.sessions.events("1:2")
                    except ClientStateError as error:
                        said.append(str(error))
            return said

        return asyncio.run(use())

    said, requests = asyncio.run(serve_two())
    assert "opened in another event loop" in said[0]
    assert requests == 1 + (len(said) == 1)  # the shared limiter is not in use while nobody waits for it


async def test_a_session_of_another_loop_is_refused_when_the_client_opens() -> None:
    async def make() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    session = await asyncio.to_thread(asyncio.run, make())
    with pytest.raises(ClientStateError, match="given aiohttp session was made in another event loop"):
        await client_of("http://127.0.0.1:1", session=session).__aenter__()
    await session.close()


@pytest.mark.parametrize("used", [False, True])
async def test_a_client_that_is_left_open_is_one_warning_and_leaves_nothing(used: bool) -> None:
    async with raw_server(answer) as server:
        client = await client_of(server.url).__aenter__()
        if used:
            await client.sessions.events("1:2")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del client
            gc.collect()
            await asyncio.sleep(0.05)
        assert [str(each.message) for each in caught] == [
            "a FullStoryClient was left open; use 'async with', or await its close()"
        ]
        assert caught[0].category is ResourceWarning


async def test_a_stream_of_a_closed_client_ends_with_an_error() -> None:
    async def two(connection: Connection) -> None:
        await connection.send(http(b'{"events":[{"event_type":"a"},{"event_type":"b"}]}'))

    async with raw_server(two) as server, client_of(server.url) as client:
        async with aclosing(client.sessions.stream_events("1:2")) as events:
            assert (await anext(events)).type == "a"
            await client.close()
            with pytest.raises(TransportError, match="was closed meanwhile"):
                await anext(events)


SCRIPT = """
import asyncio
from fullstory_async import FullStoryClient, ClientConfig, ConnectError

client = FullStoryClient("key", config=ClientConfig(base_url="http://127.0.0.1:1"))

async def main():
    {body}

asyncio.run(main())
print("end")
"""
OPENS = (
    "await client.__aenter__()\n    try: await client.sessions.events('1:2')\n    except ConnectError: pass"
)


ENDS = [
    ("async with client: pass", 0),
    (f"{OPENS}\n    asyncio.create_task(client.sessions.list(uid='u')._first())", 1),
]


def test_the_interpreter_ends_with_the_client_open() -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-X", "dev", "-c", SCRIPT.format(body=body)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for body, _ in ENDS
    ]  # fmt: skip
    for process, (body, said) in zip(running, ENDS, strict=True):
        printed, warned = process.communicate(timeout=SECONDS)
        assert (process.returncode, printed) == (0, "end\n"), body
        assert warned.count("a FullStoryClient was left open") == warned.count("Warning") == said, warned


@pytest.mark.parametrize(
    "given", [object(), "https://api.fullstory.com", FakeTransport, aiohttp.TCPConnector, Mock()]
)
def test_a_transport_of_another_kind_is_refused_when_the_client_is_made(given: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^transport must be a transport such as testing\.FakeTransport, not "
    ):
        FullStoryClient("na1.key", transport=given)
