"""CertificateProbe: finds out whether a server dropped a connection for want of a client certificate.

With TLS 1.3 a server judges the client's certificate after the handshake, when the request is already on its
way. If it refuses, its reason can get lost: some servers don't give one, and a reset overtakes others. Then a
paid call would count as at risk although it has never been read. A connection without a request shows the
reason, as nothing can overtake it there.
"""

from __future__ import annotations

import asyncio
import ssl

from yarl import URL

from fullstory_async.errors import ConnectError, FullStoryError
from fullstory_async.http.transport.tls_errors import certificate_alert
from fullstory_async.networks import Network

__all__ = ["CertificateProbe"]

_PATIENCE = 1.0
"""Seconds after which a server that has not closed the connection waits for a request."""
_CLOSED = (
    "; the server also ends connections without a request: it may require a client certificate (client_cert)"
)


class CertificateProbe:
    """Makes one connection, when a new connection was dropped for the first time, and keeps the finding."""

    __slots__ = ("_finding", "_lock", "_network", "_url")

    def __init__(self, url: URL, network: Network) -> None:
        """Prepare; nothing is sent before `explain`."""
        self._url, self._network, self._lock = url, network, asyncio.Lock()
        self._finding: str | None = None
        """A TLS alert, an empty text for a connection that was just closed, ``None`` before the probe."""

    async def explain(self, error: FullStoryError, deadline: float) -> FullStoryError:
        """Return the error for a dropped connection, after asking what happens to one without a request.

        Args:
            error: the error so far.
            deadline: loop time by which the call must be over.
        """
        if self._network.proxy is not None or self._url.scheme != "https":
            return error
        try:
            async with asyncio.timeout_at(deadline), self._lock:
                self._finding = await self._ask() if self._finding is None else self._finding
        except TimeoutError:
            return error
        if (reason := certificate_alert(self._finding)) is not None:
            return ConnectError(reason, request=error.request, sent=False, permanent=True)
        if not self._finding:
            error.message += _CLOSED
            error.args = (error.message,)
        return error

    async def _ask(self) -> str:
        """Connect and send nothing; return the error, an empty text if there is none, or "waits"."""
        context = self._network.tls
        if not isinstance(context, ssl.SSLContext):
            context = ssl.create_default_context()
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_connection(self._url.host, self._url.port, ssl=context)
                return "sends" if await reader.read(1) else ""
        except TimeoutError:
            return "waits"
        except OSError as error:
            return str(error) or "fails"
        finally:
            if writer is not None:
                writer.transport.abort()
