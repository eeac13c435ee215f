"""Redacted traces: a request is sent to another URL than the one that aiohttp's tracing shows."""

from __future__ import annotations

import aiohttp
from yarl import URL

from fullstory_async.http.transport.tracking import variant

__all__ = ["sent_to"]


class RedactedRequest(aiohttp.ClientRequest):
    """A request that tells its response, which traces get, the URL that it was made with."""

    @property
    def request_info(self) -> aiohttp.RequestInfo:
        """What the response says of its request."""
        info = super().request_info
        return aiohttp.RequestInfo(info.real_url, info.method, info.headers, info.real_url)


def sent_to(url: URL) -> aiohttp.ClientMiddlewareType:
    """Return a middleware that sends a request to a URL, whatever it was made with."""

    async def send(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.__class__ = variant(RedactedRequest, type(request))
        request.url = url
        return await handler(request)

    return send
