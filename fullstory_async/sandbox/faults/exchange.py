"""One request that the sandbox is about to answer, and what a fault may do with its connection."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

import attrs
from aiohttp import web

from fullstory_async import validators
from fullstory_async.errors import ConfigurationError
from fullstory_async.sandbox.records import RecordedRequest

__all__ = ["Behaviour", "Exchange", "Proceed", "status_within", "texts", "within"]

_LOOK_EVERY = 0.02
_LINGER_FOR_NO_TIME = struct.pack("ii", 1, 0)
"""What makes the operating system close with RST instead of FIN."""


@attrs.frozen
class Exchange:
    """One request that the sandbox is about to answer."""

    request: web.Request
    record: RecordedRequest
    """What the sandbox will remember of it: operation, session id, body, …"""
    error: Callable[[int, str, str], web.Response]
    """Makes an error answer in the sandbox's wire form: status, code, message."""
    spoil_next: Callable[[Behaviour], None]
    """Makes a behaviour answer the next request that comes in on this connection."""

    @property
    def is_open(self) -> bool:
        """Whether the client's connection is still there."""
        transport = self.request.transport
        return transport is not None and not transport.is_closing()

    async def finish(self, answer: web.StreamResponse) -> None:
        """Send what is not sent of an answer yet. Raises `ConnectionResetError` when the client has left."""
        await answer.prepare(self.request)
        await answer.write_eof()
        self.record.status = answer.status

    async def silence(self, seconds: float) -> None:
        """Say nothing for so long, or until the client goes away."""
        now = asyncio.get_running_loop().time
        end = now() + seconds
        while self.is_open and (left := end - now()) > 0:  # noqa: ASYNC110  (a handler is not told of a client's leaving)
            await asyncio.sleep(min(left, _LOOK_EVERY))

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, past the HTTP server. Raises `ConnectionResetError` when the client has left."""
        transport, writer = self.request.transport, self.request.writer
        if not isinstance(transport, asyncio.WriteTransport) or transport.is_closing():
            raise ConnectionResetError("the client has left")
        transport.write(data)
        writer.output_size += len(data)
        await writer.drain()

    def close(self) -> None:
        """Send what is written, then FIN."""
        if self.request.transport is not None:
            self.request.transport.close()

    def reset(self) -> None:
        """Send RST, at once."""
        transport = self.request.transport
        if isinstance(transport, asyncio.WriteTransport):
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_FOR_NO_TIME)
            transport.abort()


Proceed = Callable[[], Awaitable[web.Response]]
"""Does the normal work, charges it, and returns the right answer."""

Behaviour = Callable[[Exchange, Proceed], Awaitable[web.StreamResponse]]
"""Answers an exchange, with or without the normal work.

What it returns is sent, unless the connection is closed by then.
"""


def within(name: str, value: object, least: float, most: float) -> None:
    """Raise `ConfigurationError` for a fault's parameter that is no number from ``least`` to ``most``."""
    if not (validators.is_number(value) and least <= value <= most):  # type: ignore[operator]  # a number by then
        raise ConfigurationError(
            f"a fault's {name} must be a number from {least:g} to {most:g}, not {value!r}"
        )


def status_within(code: object, least: int, most: int) -> None:
    """Raise `ConfigurationError` for a fault's parameter that is no HTTP status from ``least`` to ``most``."""
    if isinstance(code, bool) or not (isinstance(code, int) and least <= code <= most):
        raise ConfigurationError(
            f"a fault's code must be a whole number from {least} to {most}, not {code!r}"
        )


def texts(**values: object) -> None:
    """Raise `ConfigurationError` for a fault's parameter that is no text, or none that an HTTP header can hold."""
    for name, value in values.items():
        if not isinstance(value, str) or not value.isprintable():
            raise ConfigurationError(f"a fault's {name} must be a text in one line, not {value!r}")
