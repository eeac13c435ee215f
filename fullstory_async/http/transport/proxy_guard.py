"""ProxyGuard: asks a proxy once before it asks many times.

With a wrong password, every connection of a program would be one more failed login, and companies lock an
account after a few. So the first request goes alone until the proxy has accepted it; the others wait. After a
refusal all requests fail at once for a minute, without asking the proxy.
"""

from __future__ import annotations

import asyncio

from fullstory_async.errors import APITimeoutError, ConnectError, ProxyError
from fullstory_async.http.call import Attempt, Transport
from fullstory_async.http.proxy_refusals import is_refusal_of_proxy, refused_by_proxy
from fullstory_async.messages import Request, Response
from fullstory_async.networks import Network

__all__ = ["ProxyGuard"]

_PAUSE = 60.0
"""Seconds after a refusal in which the proxy is not asked again."""


class ProxyGuard:
    """A `Transport` in front of the one that uses a proxy."""

    def __init__(self, transport: Transport, network: Network) -> None:
        """Guard a transport that goes through the network's proxy."""
        self._transport, self._reads_requests = transport, network.proxy_reads_requests
        self._is_accepted = False
        self._refusal: ProxyError | None = None
        self._refused_at = 0.0
        self._first: asyncio.Event | None = None
        """Set when the request that goes alone has a connection, or has ended."""

    @property
    def slots(self) -> asyncio.Semaphore | None:
        """One slot per available connection, where the number of connections is limited."""
        return self._transport.slots

    def check(self) -> object:
        """Raise `ClientStateError` if requests can't be sent here and now."""
        return self._transport.check()

    async def send(
        self, request: Request, deadline: float, attempt: Attempt, *, streamed: bool = False
    ) -> Response:
        """Send a request once, when the proxy has accepted an earlier one or no other request asks it.

        Raises:
            ProxyError: the proxy refused, this request or another less than a minute ago.
            TransportError: as the transport raises it.
        """
        first: asyncio.Event | None = None
        if not self._is_accepted:
            attempt.sent = False
            await self._wait_for_first(request, deadline)
        if not self._is_accepted:
            first = self._first = asyncio.Event()
            attempt.connected = None if self._reads_requests else first
        try:
            response = await self._transport.send(request, deadline, attempt, streamed=streamed)
            if is_refusal_of_proxy(response, proxied=self._reads_requests):
                self._record(refused_by_proxy(response.status, response.headers, request))
            elif first is not None:  # another may have used a tunnel that is older than a refusal
                self._is_accepted = True
        except ConnectError as error:
            self._record(error)
            raise
        finally:
            if first is not None:
                self._is_accepted = self._is_accepted or first.is_set()
                self._first = None
                first.set()
        return response

    async def _wait_for_first(self, request: Request, deadline: float) -> None:
        """Wait while another request goes alone."""
        while self._first is not None and not self._first.is_set():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._first.wait()
            except TimeoutError:
                text = "the call's time was over while it waited for the proxy to accept another"
                raise APITimeoutError(text, request=request, sent=False) from None
        if self._first is not None:
            self._is_accepted = True
        elif self._refusal is not None:
            if asyncio.get_running_loop().time() - self._refused_at < _PAUSE:
                text = f"{self._refusal.message} (not asked again for {_PAUSE:.0f} s)"
                raise ProxyError(text, request=request, response=self._refusal.response, sent=False)
            self._refusal = None

    def _record(self, error: ConnectError) -> None:
        """Remember a refusal."""
        if isinstance(error, ProxyError):
            self._is_accepted, self._refusal = False, error
            self._refused_at = asyncio.get_running_loop().time()
