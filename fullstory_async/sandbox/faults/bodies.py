"""Broken bodies of a paid response: truncated, endless, or too slow."""

from __future__ import annotations

import zlib
from typing import Annotated, Literal

from aiohttp import web

from fullstory_async.sandbox.faults.exchange import CallNext, Exchange
from fullstory_async.sandbox.faults.registry import OneLine, Range, Size, fault

__all__ = ["BodyFaults", "body_of"]

_MIB = 2**20
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LEVEL = 9
_INVERTED = bytes(255 - byte for byte in range(256))

_Share = Annotated[float, Range(0, 1)]
_Seconds = Annotated[float, Range(0, 1e6)]


class BodyFaults:
    """Makers of broken bodies."""

    __slots__ = ()

    @fault
    @staticmethod
    async def truncate_body(
        exchange: Exchange,
        call_next: CallNext,
        share: _Share = 0.5,
        *,
        framing: Literal["length", "chunked", "close"] = "length",
    ) -> web.StreamResponse:
        """Send the first part of a body whose end is marked by 'length', 'chunked' or 'close', then FIN.

        Args:
            share: the part of the body that is sent, from 0 to 1.
            framing: what would have marked its end: its ``length``, the last of its ``chunked`` pieces, or
                the connection's ``close``, with which HTTP gives the client no sign that anything is missing.
        """
        response = await call_next()
        body = body_of(response)
        part = body[: int(len(body) * share)]
        if framing == "close":
            # the HTTP server always states a length or chunks, so this head is written past it
            head = (
                f"HTTP/1.1 {response.status} {response.reason}\r\n"
                "Content-Type: application/json\r\nConnection: close\r\n\r\n"
            )
            await exchange.send_raw(head.encode() + part)
            exchange.close()
            return response
        started = await _start(exchange, response, len(body) if framing == "length" else None)
        await started.write(part)
        exchange.close()
        return started

    @fault
    @staticmethod
    async def stall_body(
        exchange: Exchange, call_next: CallNext, seconds: _Seconds = 3600, *, share: _Share = 0.5
    ) -> web.StreamResponse:
        """Send the first part of the body, nothing for a long time, then the rest.

        Args:
            seconds: how long; ends early if the client disconnects.
            share: the part of the body that is sent at once, from 0 to 1.
        """
        response = await call_next()
        body = body_of(response)
        cut = int(len(body) * share)
        started = await _start(exchange, response, len(body))
        await started.write(body[:cut])
        await exchange.stall(seconds)
        await started.write(body[cut:])
        return started

    @fault
    @staticmethod
    async def slow_loris(
        exchange: Exchange,
        call_next: CallNext,
        size: Annotated[int, Range(1, 2**40)] = 1,
        *,
        interval: _Seconds = 0.3,
    ) -> web.StreamResponse:
        """Send the body a few bytes at a time, so that a read timeout never expires.

        Args:
            size: bytes at a time.
            interval: seconds between pieces.
        """
        response = await call_next()
        body = body_of(response)
        started = await _start(exchange, response, len(body))
        for start in range(0, len(body), int(size)):
            await started.write(body[start : start + int(size)])
            await exchange.stall(interval)
        return started

    @fault
    @staticmethod
    async def huge_body(
        exchange: Exchange, call_next: CallNext, size: Size = 64 * _MIB + 1
    ) -> web.StreamResponse:
        """Send the normal body, padded with white space to this size.

        Args:
            size: bytes of the body; the default is one more than the client's own default limit.
        """
        response = await call_next()
        body = body_of(response)
        started = await _start(exchange, response, max(int(size), len(body)))
        await started.write(body)
        blank, left = b" " * (_MIB // 4), int(size) - len(body)
        while left > 0:
            await started.write(blank[:left])
            left -= len(blank)
        return started

    @fault
    @staticmethod
    async def gzip_bomb(
        exchange: Exchange, call_next: CallNext, size: Size = 400 * _MIB
    ) -> web.StreamResponse:
        """Send the normal body and white space, compressed to about a thousandth of this size.

        Args:
            size: bytes of the decompressed body, rounded up to whole MiB.
        """
        response = await call_next()
        body, blank = body_of(response), b" " * _MIB
        # fully flushed blocks can follow each other unchanged, so one MiB is compressed only once
        block = _deflate(blank)
        bomb = web.StreamResponse(status=response.status, headers={"Content-Type": "application/json"})
        bomb.headers["Content-Encoding"] = "gzip"
        await bomb.prepare(exchange.request)
        await bomb.write(_GZIP_HEAD + _deflate(body))
        check, length = zlib.crc32(body), len(body)
        while length < size:
            await bomb.write(block)
            check, length = zlib.crc32(blank, check), length + _MIB
        tail = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS).flush()
        await bomb.write(tail + check.to_bytes(4, "little") + (length % 2**32).to_bytes(4, "little"))
        return bomb

    @fault
    @staticmethod
    async def bad_gzip(exchange: Exchange, call_next: CallNext) -> web.StreamResponse:
        """Declare the body as gzip, and send it uncompressed."""
        response = await call_next()
        return _declare_encoding(response, "gzip", body_of(response))

    @fault
    @staticmethod
    async def unknown_encoding(
        exchange: Exchange, call_next: CallNext, encoding: Annotated[str, OneLine()] = "x-sandbox"
    ) -> web.StreamResponse:
        """Send an unreadable body in an unknown encoding.

        Args:
            encoding: the ``Content-Encoding``.
        """
        response = await call_next()
        return _declare_encoding(response, encoding, body_of(response).translate(_INVERTED))


def body_of(response: web.Response) -> bytes:
    """Return a response's body; empty if it has none."""
    return response.body if isinstance(response.body, bytes) else b""


async def _start(exchange: Exchange, response: web.Response, length: int | None) -> web.StreamResponse:
    """Send a response's head: with this length, or else in chunks."""
    started = web.StreamResponse(status=response.status, headers={"Content-Type": "application/json"})
    if length is None:
        started.enable_chunked_encoding()
    else:
        started.content_length = length
    await started.prepare(exchange.request)
    return started


def _deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH)


def _declare_encoding(response: web.Response, encoding: str, body: bytes) -> web.Response:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    return web.Response(status=response.status, body=body, headers=headers)
