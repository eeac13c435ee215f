"""TimedAttempt: one attempt, how far it came and its deadline.

aiohttp silently sends a GET again when a kept-alive connection drops, which would cost a second activation.
Two of its exceptions trigger that. So a middleware here turns both into one of ours.

A connection may also have ended while the loop was busy or the process suspended. aiohttp notices only when
the loop reads the socket, which is after the request was written. So a connection that served before is
polled first, and dropped if there is anything to read: then another one carries the request. A new
connection on which the server has sent something carries none either.

Some servers and gateways frame a response sloppily: its length stands there twice, a 204 has a body, other
bytes follow. aiohttp's parser refuses all of it, and a complete response would be lost that was paid for. So
the head of a response is tidied before it reaches the parser, and the rest is passed on after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from multidict import CIMultiDict

from fullstory_async.errors import ConfigurationError
from fullstory_async.http.call import Attempt
from fullstory_async.http.transport.aiohttp_errors import ConnectionDropped, raised_by_hook
from fullstory_async.http.transport.deadlines import Deadline, Deadlines
from fullstory_async.http.transport.framing import FRAMING, SHORTEST_HEAD, tidied
from fullstory_async.http.transport.polling import ENDED, READABLE, has_unread, poller
from fullstory_async.networks import is_loopback
from fullstory_async.secret import Secret

__all__ = ["TimedAttempt", "TrackedRequest", "variant"]

_MOST_ENDED = 10
"""Connections of other requests, or unused ones, that one request finds ended and drops."""


class IdleConnectionEnded(Exception):
    """A pooled connection has ended, and nothing was written to it."""


class TimedAttempt(Deadline):
    """The deadline of an attempt: the connect timeout at first, then the read timeout."""

    __slots__ = (
        "_ended", "_latest", "_local_only", "_login", "_phase_ends", "_read", "attempt", "key", "response",
    )  # fmt: skip

    attempt: Attempt
    """The record of how far it came."""
    response: aiohttp.ClientResponse | None
    """The response, once its headers have arrived."""

    def __init__(
        self,
        deadlines: Deadlines,
        latest: float,
        attempt: Attempt,
        *,
        connect: float,
        read: float,
        key: Mapping[str, Secret],
        login: Mapping[str, Secret],
        local_only: bool = False,
    ) -> None:
        """Start now, and end at loop time ``latest`` at the latest.

        The request has ``connect`` seconds to get a connection, and ``read`` seconds from then on. ``key``
        are the headers that hold secrets, ``login`` those of a proxy that is asked for connections. With
        ``local_only``, it is sent to this machine only.
        """
        self.key, self._login, self._local_only = key, login, local_only
        self._latest, self._read, self.attempt = latest, read, attempt
        self._ended, self.response = 0, None
        self._phase_ends = deadlines.clock() + connect
        super().__init__(deadlines, min(latest, self._phase_ends))

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
            ConfigurationError: it leads to another machine, without TLS, which ``allow_http`` does not allow.
            TimeoutError: the time of the call is over.
        """
        protocol = connection.protocol
        self.attempt.connection = None if protocol is None else protocol.transport
        if isinstance(protocol, TrackedConnection):
            self.attempt.reused = True
            # also an unsolicited response: it would be taken for this request's
            if protocol.should_close or protocol.poll():
                raise IdleConnectionEnded
            if self._local_only and not protocol.is_checked:  # another client of the session may send there
                _check_is_local(protocol.transport)
            protocol.expects_head = True
        elif protocol is not None:
            self.attempt.reused = False
            self._check_unused(protocol, shared=shared)
            if self._local_only:
                _check_is_local(protocol.transport)
            TrackedConnection.adopt(protocol, is_checked=self._local_only)
        now = self._deadlines.clock()
        if now >= max(self._latest, self.attempt.latest):
            raise TimeoutError  # the timer has had no turn of the loop yet
        self.attempt.sent = True
        if (level := self.attempt.level) is not None:
            self.attempt.level = None
            level.leave(now)
        if self.attempt.connected is not None:
            self.attempt.connected.set()
        self._phase_ends = now + self._read
        self.reschedule(min(self._latest, self._phase_ends))

    def expire(self) -> None:
        """End the attempt, unless a caller with more time has joined its call."""
        latest = min(self.attempt.latest, self._phase_ends)
        if latest > self.deadline:
            self.reschedule(latest)
        else:
            super().expire()

    async def block_resend(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Stand as a middleware between aiohttp's own retries and the connection."""
        if not isinstance(request, TrackedRequest):
            # a given session makes requests of a class of its own
            request.__class__ = variant(SharedRequest, type(request))
        cast("TrackedRequest", request).timed = self
        if (level := self.attempt.level) is not None:
            level.unsent += 1
        asking = request.proxy_headers
        try:
            while True:
                try:
                    if isinstance(asking, CIMultiDict):
                        put_secrets(self._login, asking)
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
            if isinstance(asking, CIMultiDict):
                remove_secrets(self._login, asking)
            if self.attempt.level is not None:
                self.attempt.level.leave(self._deadlines.clock())

    def _check_unused(self, protocol: ResponseHandler, *, shared: bool) -> None:
        """Raise if a connection that is new here has ended, or the server has sent something on it."""
        is_unread = protocol.should_close or has_unread(protocol.transport)
        if is_unread or (shared and poller(protocol.transport, ENDED)()):
            if shared and self._ended < _MOST_ENDED:
                self._ended += 1
                raise IdleConnectionEnded
            if is_unread:
                raise ConnectionDropped("the server sent data before any request")


def put_secrets(secrets: Mapping[str, Secret], headers: CIMultiDict[str]) -> None:
    """Put the headers that hold secrets on a request.

    As late as possible: what traces, other middlewares and reporters find in it until then shows none.
    """
    for name, secret in secrets.items():
        headers[name] = secret.reveal()


def remove_secrets(secrets: Mapping[str, Secret], headers: CIMultiDict[str]) -> None:
    """Take them off again: the response, and errors about it, refer to the headers of its request."""
    for name in secrets:
        headers.popall(name, None)


class TrackedRequest(aiohttp.ClientRequest):
    """A request that records when it has a connection, and so may reach the server."""

    timed: TimedAttempt
    is_shared = False
    """Whether others send requests over the same connections."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send it over a connection."""
        self.timed.mark_sent(conn, shared=self.is_shared)
        put_secrets(self.timed.key, self.headers)
        try:
            return await super().send(conn)  # writes the headers
        except BaseException as error:
            # the hooks for the headers and the check of the connection come before the first byte
            unwritten = isinstance(error, asyncio.CancelledError | aiohttp.ClientConnectionResetError)
            self.timed.attempt.sent = not (unwritten or raised_by_hook(error) is not None)
            raise
        finally:
            remove_secrets(self.timed.key, self.headers)


class SharedRequest(TrackedRequest):
    """A request of a given session."""

    is_shared = True


class TrackedConnection(ResponseHandler):
    """A connection that carried one of our requests, and tolerates sloppy framing of responses."""

    poll: Callable[[], object]
    """Returns something true if there is anything to read, without waiting."""
    is_checked: bool
    """Whether it is known to lead to this machine."""
    expects_head = False
    """Whether the next bytes are those of a response's head."""
    remaining: int | None = None
    """Bytes of the response that are still to come; ``None`` if its head did not say."""
    is_chunked = False
    """Whether the response comes in chunks, and has not ended."""
    latest = b""
    """The last bytes of such a response so far."""

    @staticmethod
    def adopt(protocol: ResponseHandler, *, is_checked: bool) -> None:
        """Make one of a connection that aiohttp has just made; its response comes next."""
        protocol.__class__ = variant(TrackedConnection, type(protocol))
        tracked = cast("TrackedConnection", protocol)
        tracked.is_checked = is_checked
        tracked.poll, tracked.expects_head = poller(protocol.transport, READABLE), True
        if protocol.transport is not None:
            protocol.transport.set_protocol(protocol)  # uvloop remembers the methods of the class before

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the parser; a head is tidied first if that may be necessary."""
        if self.expects_head:
            self.expects_head, self._payload, self.remaining, self.is_chunked = False, None, None, False
            body_at = data.find(b"\r\n\r\n") + 4
            framing = FRAMING.findall(data, 0, body_at)
            length = int(framing[0][:18]) if len(framing) == 1 and framing[0].isdigit() else -1
            # nearly every response: one length, no more bytes than that, and a status that may have a body
            is_usual = len(data) - body_at <= length and data[9:12] != b"204"
            if body_at >= SHORTEST_HEAD and not is_usual:
                self._receive_head(data[:body_at], framing)
                if body_at < len(data):
                    self.data_received(data[body_at:])
                return
            if is_usual:
                self.remaining = length - (len(data) - body_at)
        elif data:  # none where aiohttp reads on after a pause
            self._count(data)
        super().data_received(data)
        if self.is_chunked and self._payload is not None and self._payload.is_eof():
            self.is_chunked, self.remaining = False, 0
            if self.latest != _END_OF_CHUNKS:
                self.force_close()

    def _count(self, data: bytes) -> None:
        """Close the connection after bytes that don't belong to the response to a request.

        The parser forgets the beginning of a head when the next request is sent.
        """
        if self.remaining is not None:
            self.remaining -= len(data)
            if self.remaining < 0:
                self.force_close()
        elif self.is_chunked:
            self.latest = (self.latest + data[-len(_END_OF_CHUNKS) :])[-len(_END_OF_CHUNKS) :]
        elif self._payload is not None and self._payload.is_eof():
            self.force_close()

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Record a failure, also for who reads a body that the parser has given up on.

        aiohttp leaves such a reader waiting if the damage came after the head.
        """
        super().set_exception(exc, *(() if exc_cause is None else (exc_cause,)))
        if self._payload is not None and self._payload.exception() is None and not self._payload.is_eof():
            self._payload.set_exception(aiohttp.ClientPayloadError("the body's framing is damaged"))

    def _receive_head(self, head: bytes, framing: list[bytes]) -> None:
        status = head[9:12]
        self.expects_head = status[:1] == b"1"  # an interim response: another one follows
        tidy = tidied(head)
        if b"chunked" in map(bytes.lower, framing):
            self.is_chunked = True
        elif framing and framing[0].isdigit() and len(set(framing)) == 1:
            self.remaining = int(framing[0][:18])
        super().data_received(tidy)
        if tidy != head or (status == b"204" and framing not in ([], [b"0"])):
            self.force_close()  # the body of a 204 would be taken for the next response


_END_OF_CHUNKS = b"\r\n\r\n"
_VARIANTS: dict[tuple[type[Any], type[Any]], type[Any]] = {}


def variant(tracked: type[Any], cls: type[Any]) -> type[Any]:
    """Return a subclass of both classes, for an object that aiohttp has made."""
    if (tracked, cls) not in _VARIANTS:
        bases = (tracked,) if issubclass(tracked, cls) else (tracked, cls)
        _VARIANTS[tracked, cls] = type(cls.__name__, bases, {})
    return _VARIANTS[tracked, cls]


def _check_is_local(transport: asyncio.Transport | None) -> None:
    # a socket of the file system has a path instead of an address
    peer = None if transport is None else transport.get_extra_info("peername")
    if isinstance(peer, tuple) and not is_loopback(peer[0]):
        raise ConfigurationError(
            f"the connection leads to {peer[0]}, not to this machine, so the API key would cross the network "
            "unencrypted; use https:// (a program may pass allow_http=True, the command line --allow-http)"
        )
