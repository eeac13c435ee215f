"""Sloppy servers and gateways: a response that is complete is taken, however it is framed or followed."""

from __future__ import annotations

import asyncio
import gzip
import random
import zlib

import aiohttp
import pytest

from fullstory_async import ProtocolError
from fullstory_async.http.transport.inflating import InflateError, Inflater
from tests.wire.servers import Connection, client_of, http, raw_server

SMALL = b'{"events":[]}'
LARGE = (
    b'{"events":[{"event_type":"x","event_properties":{"n":"%s"}}]}'
    % random.Random(0).randbytes(120_000).hex().encode()
)
GZIP, DEFLATE = b"Content-Encoding: gzip\r\n", b"Content-Encoding: deflate\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def length(body: bytes, name: bytes = b"Content-Length") -> bytes:
    return b"%s: %d\r\n" % (name, len(body))


def chunks(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def raw(headers: bytes, body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n%s\r\n%s" % (status, headers, body)


def responses(body: bytes) -> dict[str, bytes]:
    packed, deflated = gzip.compress(body), zlib.compress(body)
    return {
        "two lengths": raw(length(body) + length(body), body),
        "two lengths, written in two ways": raw(length(body) + length(body, b"content-length"), body),
        "a list of lengths": raw(b"Content-Length: %d, %d\r\n" % (len(body), len(body)), body),
        "a length beside chunks": raw(length(body) + CHUNKED, chunks(body)),
        "bytes after the body": raw(length(body), body + b"garbage"),
        "bytes after the chunks": raw(CHUNKED, chunks(body) + b"garbage"),
        "an interim response": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + raw(length(body) * 2, body),
        "gzip, and zeros": raw(GZIP + length(packed + b"\0" * 9), packed + b"\0" * 9),
        "gzip, and garbage": raw(GZIP + length(packed + b"garbage"), packed + b"garbage"),
        "gzip, and half a start": raw(GZIP + length(packed + b"\x1f"), packed + b"\x1f"),
        "gzip in chunks, and a line end": raw(GZIP + CHUNKED, chunks(packed + b"\r\n")),
        "gzip without its end": raw(GZIP + length(packed[:-8]), packed[:-8]),
        "gzip in two members": raw(
            GZIP + CHUNKED, chunks(gzip.compress(body[:7]) + gzip.compress(body[7:]))
        ),
        "deflate, and garbage": raw(DEFLATE + length(deflated + b"garbage"), deflated + b"garbage"),
        "deflate without its header": raw(DEFLATE + length(deflated[2:-4]), deflated[2:-4]),
    }  # fmt: skip


@pytest.mark.row(72)
@pytest.mark.parametrize("size", ["small", "large"])
async def test_row_72_a_complete_response_is_taken(size: str) -> None:
    body = SMALL if size == "small" else LARGE
    answers = responses(body)

    async def respond(connection: Connection) -> None:
        await connection.send(answers[name])

    async with raw_server(respond) as server, aiohttp.ClientSession() as session:
        async with (
            client_of(server.url) as own,
            client_of(server.url, session=session, limiter=own.limiter) as given,
        ):
            for name in answers:
                for client in (own, given):
                    assert (await client.sessions.events("1:2")).raw == body, name
                streamed = [event async for event in own.sessions.stream_events("1:2")]
                assert len(streamed) == (size == "large"), name
            for client in (own, given):
                assert (client.stats.activations_at_risk, client.stats.retries) == (0, 0)
    assert len(server.requests) == 3 * len(answers)


@pytest.mark.row(72)
async def test_row_72_a_204_with_a_body() -> None:
    bodies = (raw(length(SMALL), SMALL, b"204 No Content"), raw(CHUNKED, chunks(SMALL), b"204 No Content"))
    for answer in (*bodies, raw(b"", SMALL, b"204 No Content"), raw(b"", b"", b"204 No Content")):

        async def respond(connection: Connection) -> None:
            await connection.send(answer)  # noqa: B023

        async with raw_server(respond) as server, client_of(server.url) as client:
            for _ in range(3):
                assert len(await client.sessions.events("1:2")) == 0
                assert [event async for event in client.sessions.stream_events("1:2")] == []
        assert len(server.requests) == client.stats.activations == 6


@pytest.mark.row(72)
async def test_row_72_what_is_not_clear_is_refused() -> None:
    """Two lengths that differ may be an attack; the parser says so."""
    packed = gzip.compress(LARGE)
    damaged = packed[:1000] + b"\0" * 50 + packed[1050:]
    answers = (raw(length(SMALL) + length(LARGE), SMALL), raw(GZIP + length(damaged), damaged))

    async def respond(connection: Connection) -> None:
        await connection.send(answers[(connection.number - 1) // 2])

    async with raw_server(respond) as server, client_of(server.url) as client:
        for complaint in ("not HTTP", "decompressed"):
            with pytest.raises(ProtocolError, match=complaint) as caught:
                await client.sessions.events("1:2")
            assert (caught.value.garbled, caught.value.may_have_cost) == (True, True)
            with pytest.raises(ProtocolError, match=complaint):
                _ = [event async for event in client.sessions.stream_events("1:2")]


async def test_a_usual_response_keeps_its_connection() -> None:
    peers, answers = set(), (http(), raw(CHUNKED, chunks(SMALL)), raw(b"", b"", b"204 No Content"))

    async def respond(connection: Connection) -> None:
        peers.add(connection.writer.get_extra_info("peername"))
        await connection.send(answers[connection.number % 3])

    async with raw_server(respond) as server, client_of(server.url) as client:
        for _ in range(9):
            await client.sessions.events("1:2")
    assert len(peers) == 1


async def test_a_body_of_countless_members_is_refused() -> None:
    content = aiohttp.StreamReader(aiohttp.base_protocol.BaseProtocol(None), 2**16)  # type: ignore[arg-type]
    content.feed_data(gzip.compress(b"") * 5000)
    content.feed_eof()
    with pytest.raises(InflateError):
        await Inflater("gzip").read(content)


@pytest.mark.parametrize("at_once", [True, False])
async def test_chunks_that_are_damaged_end_the_call_though_the_connection_stays_open(at_once: bool) -> None:
    """The reader of a body is told what the parser met, also after the head; aiohttp alone leaves it waiting."""

    async def handler(connection: Connection) -> None:
        head, damaged = raw(CHUNKED, b""), b"no number\r\n"
        await connection.send(head + damaged if at_once else head)
        if not at_once:
            await asyncio.sleep(0.05)  # so that it comes with another segment
            await connection.send(damaged)

    async with raw_server(handler) as server, client_of(server.url) as client:
        with pytest.raises(ProtocolError) as caught:
            await client.sessions.events("1:2")
    assert caught.value.may_have_cost
