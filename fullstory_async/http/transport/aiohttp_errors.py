"""What aiohttp raises, as one of our errors; each has exactly one. And what it ought to raise and takes for an answer."""

from __future__ import annotations

import re

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from fullstory_async.errors import APITimeoutError, ConnectError, ProtocolError, TransportError
from fullstory_async.messages import Request

__all__ = ["AIOHTTP_ERRORS", "ConnectionDropped", "from_aiohttp", "is_success", "is_truncated"]

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
    """A dropped connection, as an exception that aiohttp does not answer by sending again."""


AIOHTTP_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ConnectionDropped)


def from_aiohttp(
    raised: BaseException, request: Request, *, sent: bool, reused: bool = False
) -> TransportError:
    """Return our error for one of aiohttp's; each has exactly one. Pure."""
    if not sent or isinstance(raised, _NEVER_SENT):
        return _unsent(raised, request)
    if isinstance(raised, TimeoutError):
        return APITimeoutError("timed out before the whole answer was there", request=request)
    if isinstance(raised, aiohttp.ClientResponseError):  # a parser's verdict, not the server's status
        said = re.split("[:\n'\"]", raised.message.strip())[0].strip()  # the rest quotes the answer
        return ProtocolError(f"the answer is not HTTP: {said}", request=request, garbled=True)
    if isinstance(raised.__cause__, ContentEncodingError):
        return ProtocolError("the answer can't be decompressed", request=request, garbled=True)
    if isinstance(raised, aiohttp.ClientPayloadError):
        return ProtocolError("the connection broke in the middle of the answer", request=request)
    stale = reused and isinstance(raised, ConnectionDropped)
    return ProtocolError(
        f"the connection broke: {raised or type(raised).__name__}", request=request, stale=stale
    )


def _unsent(raised: BaseException, request: Request) -> TransportError:
    if isinstance(raised, TimeoutError):
        return APITimeoutError("no connection in time; nothing was sent", request=request, sent=False)
    if isinstance(raised, aiohttp.ClientHttpProxyError):
        return ConnectError(f"the proxy refused: {raised.status}", request=request, sent=False)
    permanent = isinstance(raised, _PERMANENT)
    text = raised.message if isinstance(raised, aiohttp.ClientResponseError) else str(raised)
    return ConnectError(f"no connection: {text}", request=request, sent=False, permanent=permanent)


def is_success(answer: aiohttp.ClientResponse) -> bool:
    """Tell whether the status is 2xx."""
    return 200 <= answer.status < 300


def is_truncated(answer: aiohttp.ClientResponse, body: bytes) -> bool:
    """Tell whether a body that only the connection's close delimits begins as JSON and lacks its end."""
    if body[-1:] == b"}" or "Content-Length" in answer.headers or "Transfer-Encoding" in answer.headers:
        return False
    return body.lstrip().startswith((b"{", b"[")) and not body.rstrip().endswith((b"}", b"]"))
