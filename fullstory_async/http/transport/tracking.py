"""TimedAttempt: one attempt, how far it came and its deadline.

aiohttp silently sends a GET again when a kept-alive connection drops, which would cost a second activation.
Two of its exceptions trigger that. So a middleware here turns both into one of ours.
"""

from __future__ import annotations

from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from fullstory_async.http.call import Attempt
from fullstory_async.http.transport.aiohttp_errors import ConnectionDropped
from fullstory_async.http.transport.deadlines import Deadline, Deadlines

__all__ = ["TimedAttempt", "TrackedRequest", "UsedConnections"]

UsedConnections = WeakSet[ResponseHandler]
"""Connections that a request was sent over, while they live."""


class TimedAttempt(Deadline):
    """The deadline of an attempt: the connect timeout at first, then the read timeout."""

    __slots__ = ("_latest", "_read", "_used", "attempt")

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

        If ``attempt.sent`` is set, nothing will report when the request has a connection: then both timeouts
        are added up.
        """
        self._latest, self._read, self._used, self.attempt = latest, read, used, attempt
        # aiohttp itself ends the connect phase; this deadline only has to come later than that
        seconds = connect + read if attempt.sent else max(connect, read)
        super().__init__(deadlines, min(latest, deadlines.clock() + seconds))

    def mark_sent(self, connection: Connection) -> None:
        """Record that the request is about to be written, and start its read timeout."""
        self.attempt.sent = True
        if self.attempt.connected is not None:
            self.attempt.connected.set()
        if (protocol := connection.protocol) is not None:
            self.attempt.reused = protocol in self._used
            if not self.attempt.reused:
                self._used.add(protocol)
        self.reschedule(min(self._latest, self._deadlines.clock() + self._read))

    async def block_resend(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Stand as a middleware between aiohttp's own retries and the connection."""
        if isinstance(request, TrackedRequest):
            request.timed = self
        try:
            response = await handler(request)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise  # no connection: aiohttp does not retry these
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            reason = str(error) or type(error).__name__
        else:
            self.attempt.sent = True
            return response
        raise ConnectionDropped(reason)


class TrackedRequest(aiohttp.ClientRequest):
    """A request that records when it has a connection, and so may reach the server."""

    timed: TimedAttempt

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send it over a connection."""
        self.timed.mark_sent(conn)
        return await super().send(conn)
