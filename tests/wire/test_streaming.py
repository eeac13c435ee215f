"""`stream_events` over real connections: early events, let-go connections, errors, cost, memory."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from contextlib import aclosing
from typing import Any, cast

import aiohttp
import pytest

from fullstory_async import (
    APITimeoutError,
    ConfigurationError,
    DecodeError,
    InvalidSessionId,
    NotFoundError,
    ProtocolError,
    ResponseTooLarge,
)
from fullstory_async.sandbox import Fault, Sandbox
from fullstory_async.sandbox.state import Wire
from tests.limits import SECONDS
from tests.wire.servers import Connection, client_of, connected, http, raw_server

EVENT = {
    "device_id": "1",
    "event_type": "click",
    "event_time": "2026-05-04T10:00:00Z",
    "event_properties": {"a": "b" * 900},
}
PIECE = json.dumps(EVENT).encode()


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.smoke
@pytest.mark.parametrize("form", ["live", "spec"])
async def test_a_stream_gives_the_events_of_a_session(form: Wire) -> None:
    sandbox = Sandbox(sessions=4, mean_events=300, wire=form)
    async with connected(sandbox) as client:
        for session_id in sandbox.session_ids:
            found = [event async for event in client.sessions.stream_events(session_id)]
            assert found == list(await client.sessions.events(session_id))
            assert len(found) == sandbox.event_counts[session_id]
        assert sandbox.activations == client.stats.activations == 8


async def test_the_first_events_are_there_before_the_answer_ends() -> None:
    last = asyncio.Event()

    async def handler(connection: Connection) -> None:
        await connection.send(HEAD + chunk(b'{"events":[' + PIECE + b"," + PIECE + b"," + PIECE[:20]))
        await last.wait()
        await connection.send(chunk(PIECE[20:] + b"]}") + b"0\r\n\r\n")

    async with raw_server(handler) as server, client_of(server.url) as client:
        events = client.sessions.stream_events("1:2")
        assert (await anext(events)).type == (await anext(events)).type == "click"
        last.set()
        assert len([event async for event in events]) == 1
        assert await client.sessions.events("1:2")
    assert len(set(server.requests)) == 1


async def test_leaving_early_lets_the_connection_go() -> None:
    closed = asyncio.Event()

    async def handler(connection: Connection) -> None:
        try:
            await connection.send(HEAD + chunk(b'{"events":[' + PIECE))
            while True:
                await connection.send(chunk(b"," + PIECE))
                await asyncio.sleep(0)
        except ConnectionError:
            closed.set()
            raise

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
    async with raw_server(handler) as server, session, client_of(server.url, session=session) as client:
        async with aclosing(client.sessions.stream_events("1:2")) as events:
            async for _ in events:
                break
        await asyncio.wait_for(closed.wait(), SECONDS)
        closed.clear()
        async for _ in client.sessions.stream_events(
            "1:2"
        ):  # also without closing, when nobody refers to it any more
            break
        gc.collect()
        await asyncio.wait_for(closed.wait(), SECONDS)
        await anext(client.sessions.stream_events("1:2"))  # the one place is free again


@pytest.mark.parametrize("end", ["reset", "close"])
async def test_a_connection_that_breaks_is_an_error_at_its_place(end: str) -> None:
    async def handler(connection: Connection) -> None:
        await connection.send(HEAD + chunk(b'{"events":[' + b",".join([PIECE] * 5)))
        await asyncio.sleep(0.05)
        connection.reset() if end == "reset" else connection.writer.close()

    async with raw_server(handler) as server, client_of(server.url) as client:
        found = []
        with pytest.raises(ProtocolError) as raised:
            async for event in client.sessions.stream_events("1:2"):
                found.append(event)
        assert len(found) == 4
        assert raised.value.may_have_cost
        assert raised.value.request is not None
        assert raised.value.request.session_id == "1:2"
        assert len(server.requests) == 1


async def test_a_stalled_answer_and_one_that_is_too_large_are_errors() -> None:
    async def handler(connection: Connection) -> None:
        await connection.send(HEAD + chunk(b'{"events":[' + b",".join([PIECE] * 20)))
        await asyncio.sleep(SECONDS)

    async with raw_server(handler) as server:
        async with client_of(server.url, read_timeout=0.1) as client:
            with pytest.raises(APITimeoutError):
                _ = [event async for event in client.sessions.stream_events("1:2")]
        async with client_of(server.url, max_response_bytes=10_000) as client:
            with pytest.raises(ResponseTooLarge):
                _ = [event async for event in client.sessions.stream_events("1:2")]


async def test_a_slow_reader_is_no_timeout() -> None:
    body = b'{"events":[' + b",".join([PIECE] * 600) + b"]}"

    async def handler(connection: Connection) -> None:
        await connection.send(http(body))

    async with raw_server(handler) as server:
        async with client_of(server.url, read_timeout=0.1, overall_timeout=0.2) as client:
            count = 0
            async for _ in client.sessions.stream_events("1:2"):
                count += 1
                if count % 200 == 0:
                    await asyncio.sleep(0.3)
            assert count == 600


async def test_what_fails_before_the_answer_is_as_for_every_call() -> None:
    sandbox = Sandbox(sessions=2)
    async with connected(sandbox) as client:
        with pytest.raises(NotFoundError):
            await anext(client.sessions.stream_events("9:9"))
        for wrong in ("", "a/b"):
            with pytest.raises(InvalidSessionId):
                client.sessions.stream_events(wrong)
        with pytest.raises(ConfigurationError):
            client.sessions.stream_events("1:2", enable_event_cache=cast("Any", 1))
        sandbox.inject(Fault.retry_after(0), operation="events")
        sandbox.inject(Fault.status(200, body=b'{"events":[{}, 5]}', charged=True), operation="events")
        with pytest.raises(DecodeError, match=r"\$\.events\[1\]") as raised:
            _ = [event async for event in client.sessions.stream_events(sandbox.session_ids[0])]
        assert raised.value.may_have_cost
        assert (client.stats.throttled, client.stats.activations, sandbox.activations) == (1, 1, 1)
        assert sandbox.requests[-1].status == 200


async def test_204_is_no_events() -> None:
    async def handler(connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with raw_server(handler) as server, client_of(server.url) as client:
        assert [event async for event in client.sessions.stream_events("1:2")] == []


@pytest.mark.row(35)
async def test_the_memory_is_flat() -> None:
    many = b"," + b",".join([PIECE] * 100)

    async def handler(connection: Connection) -> None:
        await connection.send(HEAD + chunk(b'{"events":[' + PIECE))
        for _ in range(150):
            await connection.send(chunk(many))
        await connection.send(chunk(b"]}") + b"0\r\n\r\n")

    async with raw_server(handler) as server, client_of(server.url) as client:
        gc.collect()
        tracemalloc.start()
        count = 0
        async for event in client.sessions.stream_events("1:2"):
            count += len(event.data) > 0
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count == 15_001  # of 15 MB
        assert peak < 3_000_000
