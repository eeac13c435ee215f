"""Spoiled bodies of an answer for which the work was done and charged: cut off, endless, or too slow."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Literal

from aiohttp import web

from fullstory_async.errors import ConfigurationError
from fullstory_async.sandbox.faults.connections import LONGEST
from fullstory_async.sandbox.faults.exchange import Behaviour, Exchange, Proceed, texts, within

__all__ = [
    "bad_gzip",
    "gzip_bomb",
    "huge_body",
    "slow_loris",
    "stall_body",
    "truncate_body",
    "unknown_encoding",
]

Framing = Literal["length", "chunked", "close"]

_MIB = 2**20
_LARGEST = 2**40
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LEVEL = 9
_INVERTED = bytes(255 - byte for byte in range(256))


async def _begin(exchange: Exchange, answer: web.Response, length: int | None) -> web.StreamResponse:
    """Send an answer's head: with a length, or else in chunks."""
    begun = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
    if length is None:
        begun.enable_chunked_encoding()
    else:
        begun.content_length = length
    await begun.prepare(exchange.request)
    return begun


def _body(answer: web.Response) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else b""


def truncate_body(share: float = 0.5, *, framing: Framing = "length") -> Behaviour:
    """Send the first part of a body whose end is known by 'length', 'chunked' or 'close', then FIN.

    Args:
        share: which part of the body is sent, from 0 to 1.
        framing: how its end would have been known: by its ``length``, by the last of its ``chunked`` pieces, or by the
            connection's ``close``, so that the client can't tell by HTTP that anything is missing.
    """
    within("share", share, 0, 1)
    if framing not in ("length", "chunked", "close"):
        raise ConfigurationError(f"framing must be 'length', 'chunked' or 'close', not {framing!r}")

    async def behave(exchange: Exchange, proceed: Proceed) -> web.StreamResponse:
        answer = await proceed()
        body = _body(answer)
        part = body[: int(len(body) * share)]
        if framing == "close":
            head = f"HTTP/1.1 {answer.status} {answer.reason}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
            await exchange.send_raw(head.encode() + part)
            exchange.close()
            return answer
        begun = await _begin(exchange, answer, len(body) if framing == "length" else None)
        await begun.write(part)
        exchange.close()
        return begun

    return behave


def stall_body(seconds: float = 3600, *, share: float = 0.5) -> Behaviour:
    """Send the first part of the body, say nothing for a long time, then send the rest.

    Args:
        seconds: how long; it ends when the client goes away.
        share: which part of the body comes at once, from 0 to 1.
    """
    within("seconds", seconds, 0, LONGEST)
    within("share", share, 0, 1)

    async def behave(exchange: Exchange, proceed: Proceed) -> web.StreamResponse:
        answer = await proceed()
        body = _body(answer)
        cut = int(len(body) * share)
        begun = await _begin(exchange, answer, len(body))
        await begun.write(body[:cut])
        await exchange.silence(seconds)
        await begun.write(body[cut:])
        return begun

    return behave


def slow_loris(size: int = 1, *, interval: float = 0.3) -> Behaviour:
    """Send the body a few bytes at a time, so that a read timeout never passes.

    Args:
        size: bytes at a time.
        interval: seconds from one piece to the next.
    """
    within("size", size, 1, _LARGEST)
    within("interval", interval, 0, LONGEST)

    async def behave(exchange: Exchange, proceed: Proceed) -> web.StreamResponse:
        answer = await proceed()
        body = _body(answer)
        begun = await _begin(exchange, answer, len(body))
        for start in range(0, len(body), int(size)):
            await begun.write(body[start : start + int(size)])
            await exchange.silence(interval)
        return begun

    return behave


def huge_body(size: int = 64 * _MIB + 1) -> Behaviour:
    """Send the right answer followed by so much white space that the body has this size.

    Args:
        size: bytes of the body; the default is one more than the client's own default limit.
    """
    within("size", size, 0, _LARGEST)

    async def behave(exchange: Exchange, proceed: Proceed) -> web.StreamResponse:
        answer = await proceed()
        body = _body(answer)
        begun = await _begin(exchange, answer, max(int(size), len(body)))
        await begun.write(body)
        blank, left = b" " * (_MIB // 4), int(size) - len(body)
        while left > 0:
            await begun.write(blank[:left])
            left -= len(blank)
        return begun

    return behave


def gzip_bomb(size: int = 400 * _MIB) -> Behaviour:
    """Send the right answer followed by white space, compressed to about a thousandth of this size.

    Args:
        size: bytes of the body when it is decompressed, rounded up to whole MiB.
    """
    within("size", size, 0, _LARGEST)

    async def behave(exchange: Exchange, proceed: Proceed) -> web.StreamResponse:
        answer = await proceed()
        body, blank = _body(answer), b" " * _MIB
        # Blocks that are flushed in full follow one another as they are, so one MiB is compressed only once.
        block = _deflated(blank)
        bomb = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
        bomb.headers["Content-Encoding"] = "gzip"
        await bomb.prepare(exchange.request)
        await bomb.write(_GZIP_HEAD + _deflated(body))
        check, length = zlib.crc32(body), len(body)
        while length < size:
            await bomb.write(block)
            check, length = zlib.crc32(blank, check), length + _MIB
        tail = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS).flush()
        await bomb.write(tail + check.to_bytes(4, "little") + (length % 2**32).to_bytes(4, "little"))
        return bomb

    return behave


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)


def bad_gzip() -> Behaviour:
    """Say that the body is gzip, and send it as it is."""
    return _encoded_as("gzip", lambda body: body)


def unknown_encoding(encoding: str = "x-sandbox") -> Behaviour:
    """Send a body that nobody can decode, in an encoding that nobody knows.

    Args:
        encoding: the ``Content-Encoding``.
    """
    texts(encoding=encoding)
    return _encoded_as(encoding, lambda body: body.translate(_INVERTED))


def _encoded_as(encoding: str, encode: Callable[[bytes], bytes]) -> Behaviour:
    async def behave(_: Exchange, proceed: Proceed) -> web.Response:
        answer = await proceed()
        headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
        return web.Response(status=answer.status, body=encode(_body(answer)), headers=headers)

    return behave
