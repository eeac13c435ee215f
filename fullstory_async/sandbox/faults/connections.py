"""Broken connections: the work is done and charged, unless ``charged=False`` says so, and its answer is lost or late."""

from __future__ import annotations

from typing import Literal

from aiohttp import web

from fullstory_async.errors import ConfigurationError
from fullstory_async.sandbox.faults.exchange import Behaviour, Exchange, Proceed, texts, within

__all__ = ["drop", "garbage_status_line", "huge_header", "reset", "stale_connection", "stall"]

LONGEST = 1e6
_NOTHING = web.Response


def drop(*, charged: bool = True) -> Behaviour:
    """Close the connection with FIN, without a byte of an answer.

    Args:
        charged: whether the work is done first, and its activation charged.
    """

    async def behave(exchange: Exchange, proceed: Proceed) -> web.Response:
        if charged:
            await proceed()
        exchange.close()
        return _NOTHING()

    return behave


def reset(*, charged: bool = True) -> Behaviour:
    """Reset the connection with RST, without a byte of an answer.

    Args:
        charged: whether the work is done first, and its activation charged.
    """

    async def behave(exchange: Exchange, proceed: Proceed) -> web.Response:
        if charged:
            await proceed()
        exchange.reset()
        return _NOTHING()

    return behave


def stall(seconds: float = 3600) -> Behaviour:
    """Do the work, say nothing for a long time, then answer.

    Args:
        seconds: how long; it ends when the client goes away.
    """
    within("seconds", seconds, 0, LONGEST)

    async def behave(exchange: Exchange, proceed: Proceed) -> web.Response:
        answer = await proceed()
        await exchange.silence(seconds)
        return answer

    return behave


def stale_connection(closed: Literal["after answer", "on next request"] = "on next request") -> Behaviour:
    """Promise to keep the connection, and close it 'after answer' or 'on next request'.

    Args:
        closed: ``after answer`` closes it (FIN) right behind the answer; ``on next request`` resets it (RST) when
            the next request has come in on it, which is recorded, unanswered and not charged.
    """
    if closed not in ("after answer", "on next request"):
        raise ConfigurationError(f"closed must be 'after answer' or 'on next request', not {closed!r}")

    async def behave(exchange: Exchange, proceed: Proceed) -> web.Response:
        answer = await proceed()
        if closed == "on next request":
            exchange.spoil_next(reset(charged=False))
            return answer
        await exchange.finish(answer)
        exchange.close()
        return answer

    return behave


def garbage_status_line(line: str = "SSH-2.0-OpenSSH_9.6", *, charged: bool = True) -> Behaviour:
    """Answer with something that is not HTTP, and close the connection.

    Args:
        line: what stands in the place of the status line.
        charged: whether the work is done first, and its activation charged.
    """
    texts(line=line)

    async def behave(exchange: Exchange, proceed: Proceed) -> web.Response:
        if charged:
            await proceed()
        await exchange.send_raw(line.encode() + b"\r\n\r\n")
        exchange.close()
        return _NOTHING()

    return behave


def huge_header(size: int = 100_000) -> Behaviour:
    """Answer rightly, but with one header of this size.

    Args:
        size: bytes of the header's value.
    """
    within("size", size, 0, 2**30)

    async def behave(_: Exchange, proceed: Proceed) -> web.Response:
        answer = await proceed()
        answer.headers["X-Sandbox"] = "x" * int(size)
        return answer

    return behave
