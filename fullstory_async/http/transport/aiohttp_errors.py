"""Maps each aiohttp exception to exactly one of our errors."""

from __future__ import annotations

import re

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from fullstory_async.errors import APITimeoutError, ConnectError, ProtocolError, TransportError
from fullstory_async.http.proxy_refusals import refused_by_proxy
from fullstory_async.http.transport.tls_errors import describe_tls_failure, refuses_certificate
from fullstory_async.messages import Request

__all__ = ["AIOHTTP_ERRORS", "ConnectionDropped", "from_aiohttp", "raised_by_hook"]

_NEVER_SENT = (
    aiohttp.ClientHttpProxyError,
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)
_PERMANENT = (
    aiohttp.ClientSSLError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)


class ConnectionDropped(Exception):
    """A dropped connection, as an exception that does not make aiohttp send the request again."""


AIOHTTP_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ConnectionDropped)


def from_aiohttp(
    raised: BaseException, request: Request, *, sent: bool, reused: bool = False
) -> TransportError:
    """Return our error for one of aiohttp's exceptions. Pure."""
    # with TLS 1.3 a server may judge the client's certificate after the request was sent
    if not sent or isinstance(raised, _NEVER_SENT) or refuses_certificate(raised):
        return _unsent(raised, request)
    if isinstance(raised, TimeoutError):
        return APITimeoutError("timed out before the response was complete", request=request)
    if isinstance(raised, aiohttp.ClientResponseError):
        # its parser's complaint, not the server's status; everything after the first words quotes the
        # response
        complaint = re.split("[:\n'\"]", raised.message.strip())[0].strip()
        return ProtocolError(f"the response is not HTTP: {complaint}", request=request, garbled=True)
    if isinstance(raised.__cause__, ContentEncodingError):
        return ProtocolError("the response can't be decompressed", request=request, garbled=True)
    if isinstance(raised, aiohttp.ClientPayloadError):
        return ProtocolError("the connection broke in the middle of the response", request=request)
    stale = reused and isinstance(raised, ConnectionDropped)
    return ProtocolError(
        f"the connection broke: {raised or type(raised).__name__}", request=request, stale=stale
    )


def _unsent(raised: BaseException, request: Request) -> TransportError:
    if isinstance(raised, TimeoutError):
        return APITimeoutError("no connection in time; nothing was sent", request=request, sent=False)
    if isinstance(raised, aiohttp.ClientHttpProxyError):
        return refused_by_proxy(raised.status, raised.headers or {}, request)
    permanent = isinstance(raised, _PERMANENT) or refuses_certificate(raised)
    where = " to the proxy" if isinstance(raised, aiohttp.ClientProxyConnectionError) else ""
    text = f"no connection{where}: {describe_tls_failure(raised)}"
    return ConnectError(text, request=request, sent=False, permanent=permanent)


def raised_by_hook(raised: BaseException) -> BaseException | None:
    """Return the exception of a given session's trace hook, if it or its consequence is this one."""
    for each in (raised.__cause__, raised):
        trace = None if each is None else each.__traceback__
        while trace is not None:
            if trace.tb_frame.f_globals.get("__name__") == aiohttp.tracing.__name__:
                return each
            trace = trace.tb_next
    return None
