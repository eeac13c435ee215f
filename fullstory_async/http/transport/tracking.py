"""TimedAttempt: one attempt, how far it came and its deadline.

aiohttp silently sends a GET again when a kept-alive connection drops, which would cost a second activation.
Two of its exceptions trigger that. So a middleware here turns both into one of ours.

A connection may also have ended while the loop was busy or the process suspended. aiohttp notices only when
the loop reads the socket, which is after the request was written. So a connection that served before is
polled first, and dropped if there is anything to read: then another one carries the request. A new
connection on which the server has sent something carries none either.
"""

from __future__ import annotations

import asyncio
import functools
import select
from collections.abc import Callable
from typing import Any, cast
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from fullstory_async.http.call import Attempt
from fullstory_async.http.transport.aiohttp_errors import ConnectionDropped, raised_by_hook
from fullstory_async.http.transport.deadlines import Deadline, Deadlines

__all__ = ["TimedAttempt", "TrackedRequest", "UsedConnections"]

UsedConnections = WeakKeyDictionary[ResponseHandler, Callable[[], object]]
"""Connections that a request was sent over, while they live, and what polls each one's socket."""

_MOST_ENDED = 10
"""Connections that others used last, or nobody, and that one request finds ended and drops."""


class IdleConnectionEnded(Exception):
    """A pooled connection has ended, and nothing was written to it."""


class TimedAttempt(Deadline):
    """The deadline of an attempt: the connect timeout at first, then the read timeout."""

    __slots__ = ("_ended", "_latest", "_read", "_used", "attempt", "response")

    attempt: Attempt
    """The record of how far it came."""
    response: aiohttp.ClientResponse | None
    """The response, once its headers have arrived."""

    def __init__(
        self,
        deadlines: Deadlines,
        latest: float,
        used: UsedConnections,
        attempt: Attempt,
        *,
        connect: float,
        read: float,
    ) -> None:
        """Start now, and end at loop time ``latest`` at the latest.

        The request has ``connect`` seconds to get a connection, and ``read`` seconds from then on.
        """
        self._latest, self._read, self._used, self.attempt = latest, read, used, attempt
        self._ended, self.response = 0, None
        super().__init__(deadlines, min(latest, deadlines.clock() + connect))

    @property
    def received(self) -> int | None:
        """Bytes that have arrived so far; ``None`` before the request was sent."""
        if not self.attempt.sent:
            return None
        return 0 if self.response is None else 1 + self.response.content.total_bytes

    def mark_sent(self, connection: Connection, *, shared: bool) -> None:
        """Record that the request is about to be written, and start its read timeout.

        Args:
            connection: what it is written to.
            shared: whether others may have used the connection before.

        Raises:
            IdleConnectionEnded: the connection has ended or unread data, so nothing may be written.
            ConnectionDropped: it is new, and the server has sent data.
            TimeoutError: the time of the call is over.
        """
        if (protocol := connection.protocol) is not None:
            poll = self._used.get(protocol)
            self.attempt.reused, self.attempt.connection = poll is not None, protocol.transport
            if poll is None:
                self._used[protocol] = _poller(protocol.transport, _READABLE)
                is_unread = protocol.should_close or _has_unread(protocol.transport)
                if is_unread or (shared and _poller(protocol.transport, _ENDED)()):
                    if shared and self._ended < _MOST_ENDED:
                        self._ended += 1
                        raise IdleConnectionEnded
                    if is_unread:
                        raise ConnectionDropped("the server sent data before any request")
            # also a response that nobody asked for: it would be taken for this request's
            elif protocol.should_close or poll():
                raise IdleConnectionEnded
        now = self._deadlines.clock()
        if now >= self._latest:
            raise TimeoutError  # the timer has had no turn of the loop yet
        self.attempt.sent = True
        if (level := self.attempt.level) is not None:
            self.attempt.level = None
            level.leave(now)
        if self.attempt.connected is not None:
            self.attempt.connected.set()
        self.reschedule(min(self._latest, now + self._read))

    async def block_resend(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Stand as a middleware between aiohttp's own retries and the connection."""
        if not isinstance(request, TrackedRequest):
            # a given session makes requests of a class of its own
            request.__class__ = _shared(type(request))
        cast("TrackedRequest", request).timed = self
        if (level := self.attempt.level) is not None:
            level.unsent += 1
        try:
            while True:
                try:
                    response = await handler(request)
                except IdleConnectionEnded:
                    continue  # aiohttp has closed it, and takes another one
                except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                    raise  # no connection: aiohttp does not retry these
                except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                    raise ConnectionDropped(str(error) or type(error).__name__) from error
                self.attempt.sent = True
                return response
        finally:
            if self.attempt.level is not None:
                self.attempt.level.leave(self._deadlines.clock())


class TrackedRequest(aiohttp.ClientRequest):
    """A request that records when it has a connection, and so may reach the server."""

    timed: TimedAttempt
    is_shared = False
    """Whether others send requests over the same connections."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send it over a connection."""
        self.timed.mark_sent(conn, shared=self.is_shared)
        try:
            return await super().send(conn)
        except BaseException as error:
            # the hooks for the headers and the check of the connection come before the first byte
            unwritten = isinstance(error, asyncio.CancelledError | aiohttp.ClientConnectionResetError)
            self.timed.attempt.sent = not (unwritten or raised_by_hook(error) is not None)
            raise


_VARIANTS: dict[type[aiohttp.ClientRequest], type[TrackedRequest]] = {}


def _shared(cls: type[aiohttp.ClientRequest]) -> type[TrackedRequest]:
    """Return a tracked variant of a class of requests."""
    if cls not in _VARIANTS:
        _VARIANTS[cls] = type(cls.__name__, (TrackedRequest, cls), {"is_shared": True})
    return _VARIANTS[cls]


_READABLE = getattr(select, "POLLIN", 0)
_ENDED = getattr(select, "POLLRDHUP", 0)
"""What polls ask for; they report a connection that was reset or closed in any case."""


def _poller(transport: asyncio.Transport | None, events: int) -> Callable[[], object]:
    """Return a function that polls a connection's socket without waiting, and returns what it found."""
    # in the kernel: what asyncio knows is as old as the loop's last turn
    connection = None if transport is None else transport.get_extra_info("socket")
    if connection is None:
        return tuple
    if not hasattr(select, "poll"):  # Windows
        return functools.partial(_readable, connection)
    poll = select.poll()
    poll.register(connection, events)
    return functools.partial(poll.poll, 0)


def _has_unread(transport: asyncio.Transport | None) -> bool:
    """Return whether a connection without TLS has data to read and has not ended."""
    # after the handshake of TLS there is data that isn't part of any response
    if transport is None or transport.get_extra_info("sslcontext") is not None or not _ENDED:
        return False
    found = cast("list[tuple[int, int]]", _poller(transport, _READABLE | _ENDED)())
    return any(events == _READABLE for _, events in found)


def _readable(connection: Any) -> list[Any]:
    return select.select([connection], [], [], 0)[0]
