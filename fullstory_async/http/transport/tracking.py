"""TimedAttempt: one attempt, how far it came and its deadline.

aiohttp silently sends a GET again when a kept-alive connection drops, which would cost a second activation.
Two of its exceptions trigger that. So a middleware here turns both into one of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from multidict import CIMultiDict

from fullstory_async.http.call import Attempt
from fullstory_async.http.transport.aiohttp_errors import ConnectionDropped
from fullstory_async.http.transport.deadlines import Deadline, Deadlines
from fullstory_async.secret import Secret

__all__ = ["TimedAttempt", "TrackedRequest", "UsedConnections"]

UsedConnections = WeakSet[ResponseHandler]
"""Connections that a request was sent over, while they live."""


class TimedAttempt(Deadline):
    """The deadline of an attempt: the connect timeout at first, then the read timeout."""

    __slots__ = ("_latest", "_login", "_read", "_used", "attempt", "key")

    def __init__(
        self,
        deadlines: Deadlines,
        latest: float,
        used: UsedConnections,
        attempt: Attempt,
        *,
        connect: float,
        read: float,
        key: Mapping[str, Secret],
        login: Mapping[str, Secret],
    ) -> None:
        """Start now, and end at loop time ``latest`` at the latest.

        If ``attempt.sent`` is set, nothing will report when the request has a connection: then both timeouts
        are added up. ``key`` are the headers that hold secrets, ``login`` those of a proxy that is asked for
        connections.
        """
        self.key, self._login = key, login
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
        is_tracked = isinstance(request, TrackedRequest)
        if isinstance(request, TrackedRequest):
            request.timed = self
        else:  # of a given session: it sends itself
            put_secrets(self.key, request.headers)
        asking = request.proxy_headers
        if isinstance(asking, CIMultiDict):
            put_secrets(self._login, asking)
        try:
            response = await handler(request)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise  # no connection: aiohttp does not retry these
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            reason = str(error) or type(error).__name__
        else:
            self.attempt.sent = True
            return response
        finally:
            if not is_tracked:
                remove_secrets(self.key, request.headers)
            if isinstance(asking, CIMultiDict):
                remove_secrets(self._login, asking)
        raise ConnectionDropped(reason)


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

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send it over a connection."""
        timed, headers = self.timed, self.headers
        timed.mark_sent(conn)
        put_secrets(timed.key, headers)
        try:
            return await super().send(conn)  # writes the headers
        finally:
            remove_secrets(timed.key, headers)
