"""One request and its connection, as a fault's handler gets them."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping

import attrs
from aiohttp import web

from fullstory_async.deprecation import Renamed
from fullstory_async.sandbox.state import RecordedRequest, Wire

__all__ = ["CallNext", "Exchange", "Handler", "error_response"]

_POLL_INTERVAL = 0.02
_LINGER_ZERO = struct.pack("ii", 1, 0)
"""Socket option value with which the operating system closes with RST instead of FIN."""

CallNext = Callable[[], Awaitable[web.Response]]
"""Does the normal work, charges it, and returns the normal response."""

Handler = Callable[["Exchange", CallNext], Awaitable[web.StreamResponse]]
"""Responds to an exchange, with or without the normal work.

The returned response is sent, unless the connection is closed by then.
"""


@attrs.frozen
class Exchange:
    """One request that waits for its response."""

    request: web.Request
    record: RecordedRequest
    """The sandbox's record of it: operation, session id, body, …"""
    wire: Wire
    """The sandbox's form of responses."""
    _next_handlers: MutableMapping[asyncio.BaseTransport, Handler]
    """Handlers of the next request on a connection."""

    @property
    def is_open(self) -> bool:
        """Whether the client is still connected."""
        transport = self.request.transport
        return transport is not None and not transport.is_closing()

    def error(self, status: int, code: str, message: str) -> web.Response:
        """Make an error response in the sandbox's wire form."""
        return error_response(self.wire, status, code, message)

    def on_next_request(self, handler: Handler) -> None:
        """Let a handler respond to the next request on this connection."""
        if self.request.transport is not None:
            self._next_handlers[self.request.transport] = handler

    async def finish(self, response: web.StreamResponse) -> None:
        """Send the rest of a response. Raises `ConnectionResetError` if the client has disconnected."""
        # first, because a client in another thread may read the record as soon as it has the last byte
        self.record.status = response.status
        try:
            await response.prepare(self.request)
            await response.write_eof()
        except BaseException:
            self.record.status = None
            raise

    async def stall(self, seconds: float) -> None:
        """Send nothing for this time, or until the client disconnects."""
        now = asyncio.get_running_loop().time
        end = now() + seconds
        while self.is_open and (left := end - now()) > 0:  # noqa: ASYNC110  (aiohttp signals no disconnect)
            await asyncio.sleep(min(left, _POLL_INTERVAL))

    async def send_raw(self, data: bytes) -> None:
        """Send bytes past the HTTP server. Raises `ConnectionResetError` if the client has disconnected."""
        transport, writer = self.request.transport, self.request.writer
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has disconnected")
        transport.write(data)
        # the record's bytes_sent is read off the writer, which these bytes did not pass
        writer.output_size += len(data)
        await writer.drain()

    def close(self) -> None:
        """Send what is buffered, then FIN."""
        if self.request.transport is not None:
            self.request.transport.close()

    def reset(self) -> None:
        """Send RST at once."""
        transport = self.request.transport
        if transport is not None:
            # closing with a linger time of 0 discards what is buffered and sends RST
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            transport.abort()

    silence = Renamed("stall")
    spoil_next = Renamed("on_next_request")


def error_response(wire: Wire, status: int, code: str, message: str) -> web.Response:
    """Make an error response: its code is a text in the live form, and the status in the published one."""
    shown: str | int = code if wire == "live" else status
    return web.json_response({"code": shown, "message": message}, status=status)
