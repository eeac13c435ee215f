"""Broken connections: the work is done and charged by default; its response is lost or late."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web

from fullstory_async.sandbox.faults.exchange import CallNext, Exchange
from fullstory_async.sandbox.faults.registry import OneLine, Range, fault

__all__ = ["ConnectionFaults"]


class ConnectionFaults:
    """Makers of broken connections."""

    __slots__ = ()

    @fault
    @staticmethod
    async def drop(exchange: Exchange, call_next: CallNext, *, charged: bool = True) -> web.StreamResponse:
        """Close the connection with FIN, without a byte of a response.

        Args:
            charged: whether the work is done first, and its activation charged.
        """
        exchange.close()
        return web.Response()

    @fault
    @staticmethod
    async def reset(exchange: Exchange, call_next: CallNext, *, charged: bool = True) -> web.StreamResponse:
        """Reset the connection with RST, without a byte of a response.

        Args:
            charged: whether the work is done first, and its activation charged.
        """
        return await _reset(exchange, call_next)

    @fault
    @staticmethod
    async def stall(
        exchange: Exchange, call_next: CallNext, seconds: Annotated[float, Range(0, 1e6)] = 3600
    ) -> web.StreamResponse:
        """Do the work, send nothing for a long time, then respond.

        Args:
            seconds: how long; ends early if the client disconnects.
        """
        response = await call_next()
        await exchange.stall(seconds)
        return response

    @fault
    @staticmethod
    async def stale_connection(
        exchange: Exchange,
        call_next: CallNext,
        closed: Literal["after answer", "on next request"] = "on next request",
    ) -> web.StreamResponse:
        """Promise to keep the connection, and close it 'after answer' or 'on next request'.

        Args:
            closed: ``after answer`` closes it (FIN) right after the response; ``on next request`` resets it
                (RST) when the next request has arrived on it, which is recorded, not answered, and not
                charged.
        """
        response = await call_next()
        if closed == "on next request":
            # only the server knows that the connection is dead; the client finds out with its next request
            exchange.on_next_request(_reset)
            return response
        # sent here, because the server would not send it after the close
        await exchange.finish(response)
        exchange.close()
        return response

    @fault
    @staticmethod
    async def garbage_status_line(
        exchange: Exchange,
        call_next: CallNext,
        line: Annotated[str, OneLine()] = "SSH-2.0-OpenSSH_9.6",
        *,
        charged: bool = True,
    ) -> web.StreamResponse:
        """Send something that is not HTTP, and close the connection.

        Args:
            line: sent instead of the status line.
            charged: whether the work is done first, and its activation charged.
        """
        await exchange.send_raw(line.encode() + b"\r\n\r\n")
        exchange.close()
        return web.Response()

    @fault
    @staticmethod
    async def huge_header(
        exchange: Exchange, call_next: CallNext, size: Annotated[int, Range(0, 2**30)] = 100_000
    ) -> web.StreamResponse:
        """Send the normal response with one header of this size.

        Args:
            size: bytes of the header's value.
        """
        response = await call_next()
        response.headers["X-Sandbox"] = "x" * int(size)
        return response


async def _reset(exchange: Exchange, _: CallNext) -> web.StreamResponse:
    exchange.reset()
    return web.Response()
