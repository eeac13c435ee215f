"""One attempt: how far it has come, and until when it has time.

aiohttp silently sends a GET again when a kept-alive connection drops, which would cost a second activation. Two of its
exceptions trigger that, so its middleware here turns them into one of ours.
"""

from __future__ import annotations

from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

from fullstory_async.http.call import Attempt
from fullstory_async.http.transport.aiohttp_errors import ConnectionDropped
from fullstory_async.http.transport.deadlines import Deadline, Deadlines

__all__ = ["Timed", "TrackedRequest", "UsedConnections"]

UsedConnections = WeakSet[ResponseHandler]
"""Connections over which a request was sent, as long as they live."""


class Timed(Deadline):
    """Until when an attempt has time: first to connect, which aiohttp ends, then to be answered."""

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
        """Begin now, and end at ``latest``; ``attempt.sent`` if nothing will tell when the request has a connection."""
        self._latest, self._read, self._used, self.attempt = latest, read, used, attempt
        seconds = connect + read if attempt.sent else max(connect, read)
        super().__init__(deadlines, min(latest, deadlines.clock() + seconds))

    def mark_sent(self, connection: Connection) -> None:
        """Note that the request is about to be written: from now on the server has its time to answer."""
        self.attempt.sent = True
        if (protocol := connection.protocol) is not None:
            self.attempt.reused = protocol in self._used
            if not self.attempt.reused:
                self._used.add(protocol)
        self.move(min(self._latest, self._deadlines.clock() + self._read))

    async def block_resend(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Be aiohttp's middleware, which stands between its retries and the connection."""
        if isinstance(request, TrackedRequest):
            request.timed = self
        try:
            answer = await handler(request)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            reason = str(error) or type(error).__name__
        else:
            self.attempt.sent = True
            return answer
        raise ConnectionDropped(reason)


class TrackedRequest(aiohttp.ClientRequest):
    """A request that tells when it has a connection, and so may reach the server from now on."""

    timed: Timed

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send it over a connection."""
        self.timed.mark_sent(conn)
        return await super().send(conn)
