"""Connections that ended while they were idle and the loop busy: another one carries the request, which leaves once."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import trustme

from fullstory_async import FullStoryClient
from tests.faults.calls import EVERYTHING
from tests.wire.servers import Connection, ServerInThread, client_of, http, raw_server

AUTHORITY = trustme.CA()
ROUNDS = 1000 if EVERYTHING else 8


def reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def half_close(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").shutdown(socket.SHUT_WR)


def apologise(writer: asyncio.StreamWriter) -> None:
    """End as some proxies do with a connection that was idle for too long."""
    writer.write(http(b"", "408 Request Timeout", Connection="close"))
    writer.close()


def answer_unasked(writer: asyncio.StreamWriter) -> None:
    writer.write(http(b'{"events":[],"somebody":"else"}'))


def half_an_answer(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")


def close(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def respond(connection: Connection) -> None:
    is_context = connection.head.startswith(b"POST")
    await connection.send(http(b'{"context_data":{}}' if is_context else b'{"events":[]}'))


ENDINGS = (close, reset, half_close, apologise, answer_unasked, half_an_answer)


@asynccontextmanager
async def client_for(url: str, given: bool, **options: Any) -> AsyncIterator[FullStoryClient]:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        async with client_of(url, session=session if given else None, **options) as client:
            yield client


@pytest.mark.row(67)
@pytest.mark.parametrize("end", ENDINGS)
async def test_row_67_a_connection_that_ended_while_the_loop_was_busy(
    end: Callable[[asyncio.StreamWriter], None],
) -> None:
    for certificate, given in ((None, False), (None, True), (AUTHORITY.issue_cert("127.0.0.1"), True)):
        with ServerInThread(respond, certificate=certificate) as server:
            async with client_for(server.url, given) as client:
                for _ in range(ROUNDS if not given else 2):
                    await client.sessions.events("1:2")
                    server.end_connections(end)
                    assert (await client.sessions.events("1:2")).raw == b'{"events":[]}'
                    server.end_connections(end)
                    await client.sessions.context("1:2")
                assert len(server.requests) == client.stats.requests == client.stats.activations
                assert (client.stats.activations_at_risk, client.stats.retries) == (0, 0)


@pytest.mark.row(67)
async def test_row_67_all_connections_of_a_fan_out() -> None:
    ids = [f"1:{n}" for n in range(16)]
    with ServerInThread() as server:
        async with client_for(server.url, given=False) as client:
            for end in ENDINGS:
                async with client.sessions.events_many(ids, concurrency=8) as results:
                    assert all([outcome.error is None async for outcome in results])
                server.end_connections(end)
        assert len(server.requests) == client.stats.requests == len(ids) * len(ENDINGS)
        assert (client.stats.activations_at_risk, client.stats.retries) == (0, 0)


@pytest.mark.row(67)
async def test_row_67_a_connection_that_the_loop_saw_something_on() -> None:
    """Data for which nobody asked stays in aiohttp, and would be the response to the next request."""
    with ServerInThread() as server:
        async with client_for(server.url, given=False) as client:
            for end in ENDINGS:
                await client.sessions.events("1:2")
                server.end_connections(end)
                for _ in range(3):
                    await asyncio.sleep(0)
                assert (await client.sessions.events("1:2")).raw == b'{"events":[]}'
        assert len(server.requests) == 2 * len(ENDINGS)


@pytest.mark.row(67)
async def test_row_67_a_connection_that_somebody_else_used_last() -> None:
    with ServerInThread() as server:
        async with aiohttp.ClientSession() as session, client_of(server.url, session=session) as client:
            for end in (close, reset, half_close):
                async with session.get(server.url) as response:
                    await response.read()
                server.end_connections(end)
                await client.sessions.events("1:2")
        assert client.stats.activations == 3


@pytest.mark.row(67)
async def test_row_67_a_connection_through_a_proxy() -> None:
    with ServerInThread() as proxy:
        async with client_of("http://api.test", allow_http=True, proxy=proxy.url) as client:
            await client.sessions.events("1:2")
            proxy.end_connections(close)
            await client.sessions.events("1:2")
        assert [head.split(b" ")[1] for head in proxy.requests] == [
            b"http://api.test/v2/sessions/1%3A2/events"
        ] * 2


async def test_a_server_that_closes_each_new_connection_is_not_asked_for_ever() -> None:
    connections = 0

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with aiohttp.ClientSession() as session, client_of(url, session=session) as client:
            with pytest.raises(Exception, match="connection") as caught:
                await client.sessions.events("1:2")
    assert caught.type.__name__ in ("ConnectError", "ProtocolError")
    assert connections <= 11


async def test_a_connection_that_is_fine_is_used_again() -> None:
    peers = []

    async def answer(connection: Connection) -> None:
        peers.append(connection.writer.get_extra_info("peername"))
        await connection.send(http())

    async with raw_server(answer) as server, client_of(server.url) as client:
        for _ in range(5):
            await client.sessions.events("1:2")
    assert len(set(peers)) == 1
