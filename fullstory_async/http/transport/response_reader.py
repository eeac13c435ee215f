"""ResponseReader: reads aiohttp's responses into ours, whole or piece by piece, up to a size limit.

While a response is read whole, aiohttp's exceptions are left to the transport. Only a streamed body is read
after the transport has returned, so its errors are mapped here.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from weakref import WeakKeyDictionary, ref

import aiohttp
from aiohttp.client_proto import ResponseHandler

from fullstory_async.errors import FullStoryError, ProtocolError, ResponseTooLarge
from fullstory_async.http.transport.aiohttp_errors import AIOHTTP_ERRORS, ConnectionDropped, from_aiohttp
from fullstory_async.http.transport.deadlines import Deadline, Deadlines
from fullstory_async.http.transport.inflating import ENCODINGS, InflateError, Inflater
from fullstory_async.messages import Request, Response, StreamedResponse
from fullstory_async.privacy import Redactor

__all__ = ["ResponseReader"]

_SHOWN_CONTENT_TYPE = 60

_logger = logging.getLogger("fullstory_async.http")


class ResponseReader:
    """Reads the responses of one client's session."""

    __slots__ = ("_content_of", "_deadlines", "_max_bytes", "_reading", "_redactor", "_session", "_warned")

    def __init__(
        self,
        session: aiohttp.ClientSession,
        deadlines: Deadlines,
        redactor: Redactor,
        max_bytes: int,
        *,
        owned: bool,
    ) -> None:
        """Read bodies of at most ``max_bytes``; ``owned`` if only we close the session."""
        self._session = session
        self._deadlines = deadlines
        self._redactor = redactor
        self._max_bytes = max_bytes
        self._warned = False
        self._reading: set[aiohttp.StreamReader] = set()
        # For a given session, what is being read over each connection. It is None between two responses:
        # holding the stream would keep its connection alive.
        self._content_of: WeakKeyDictionary[ResponseHandler, aiohttp.StreamReader | None] | None
        self._content_of = None if owned else WeakKeyDictionary()

    def abort(self) -> None:
        """Fail every read in progress; aiohttp would let it wait forever after its session closed."""
        for content in self._reading:
            content.set_exception(aiohttp.ClientConnectionError())

    def _track(self, response: aiohttp.ClientResponse) -> ResponseHandler | None:
        """Start reading, so that it fails when other code closes the session.

        aiohttp does not tell its readers.
        """
        self._reading.add(response.content)
        if self._content_of is None:
            return None
        connection = response.connection  # None if the whole response has arrived already
        if connection is None or (protocol := connection.protocol) is None:
            return None
        if protocol not in self._content_of and (closed := protocol.closed) is not None:
            closed.add_done_callback(partial(self._connection_closed, ref(protocol)))
        self._content_of[protocol] = response.content
        return protocol

    def _untrack(self, content: aiohttp.StreamReader, protocol: ResponseHandler | None) -> None:
        self._reading.discard(content)
        if protocol is not None and self._content_of is not None:
            self._content_of[protocol] = None

    def _connection_closed(self, which: ref[ResponseHandler], closed: asyncio.Future[None]) -> None:
        if not closed.cancelled():
            closed.exception()  # retrieve it, or asyncio reports it as never retrieved
        protocol = which()
        content = None if protocol is None or self._content_of is None else self._content_of.get(protocol)
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientConnectionError())

    async def read(self, response: aiohttp.ClientResponse, request: Request, started: float) -> Response:
        """Read a response to its end; ``started`` is the loop time at which its request began."""
        pieces, size, content = [], 0, response.content
        encoding = response.headers.get("Content-Encoding", "").lower()
        inflater = Inflater(encoding) if encoding in ENCODINGS else None
        tracked = self._track(response)
        try:
            while inflater is not None or not content.at_eof():
                if inflater is None:
                    piece = await content.readany()
                elif not (piece := await inflater.read(content)):
                    break
                size += len(piece)
                if size > self._max_bytes:
                    raise self._too_large(request)
                pieces.append(piece)
        except InflateError:
            raise self._not_inflated(request) from None
        finally:
            self._untrack(content, tracked)
        body, headers = b"".join(pieces), self._headers(response, request)
        if not 200 <= response.status < 300:
            body, headers = self._redactor.body(body, request), self._redactor.headers(headers, request)
        elif _is_truncated(response, body):
            raise ProtocolError("the connection broke in the middle of the response", request=request)
        return Response(
            status=response.status,
            headers=headers,
            body=body,
            elapsed=asyncio.get_running_loop().time() - started,
        )

    def stream(
        self, response: aiohttp.ClientResponse, request: Request, started: float, *, read_timeout: float
    ) -> StreamedResponse:
        """Leave the body of a success to the caller; each piece has ``read_timeout`` seconds."""
        is_open, size, content, deadlines = True, 0, response.content, self._deadlines
        encoding = response.headers.get("Content-Encoding", "").lower()
        inflater = Inflater(encoding) if encoding in ENCODINGS else None
        tracked = self._track(response)

        async def read() -> bytes:
            nonlocal size
            try:
                with Deadline(deadlines, deadlines.clock() + read_timeout):
                    if inflater is None:
                        piece = await content.readany()
                    else:
                        piece = await inflater.read(content)
            except InflateError:
                raise self._not_inflated(request) from None
            except AIOHTTP_ERRORS as raised:
                raise self.error_from(raised, request) from None
            size += len(piece)
            if size > self._max_bytes:
                raise self._too_large(request)
            return piece

        def close() -> bool:
            nonlocal is_open
            was_open, is_open = is_open, False
            if was_open:
                self._untrack(content, tracked)
                response.close()  # after a whole body the connection is back in the pool
            return was_open

        elapsed = asyncio.get_running_loop().time() - started
        headers = self._headers(response, request)
        return StreamedResponse(
            status=response.status, headers=headers, elapsed=elapsed, read=read, close=close
        )

    def error_from(
        self, raised: BaseException, request: Request, *, sent: bool = True, reused: bool = False
    ) -> FullStoryError:
        """Return our error for one of aiohttp's, without the key and the request's user."""
        if self._session.closed:
            raised = ConnectionDropped("the client, or the session it was given, was closed meanwhile")
        error = from_aiohttp(raised, request, sent=sent, reused=reused)
        error.message = self._redactor.text(error.message, request)
        error.args = (error.message,)
        return error

    def _too_large(self, request: Request) -> ResponseTooLarge:
        text = f"the response is larger than max_response_bytes ({self._max_bytes}); the rest was not read"
        return ResponseTooLarge(text, request=request, permanent=True)

    @staticmethod
    def _not_inflated(request: Request) -> ProtocolError:
        return ProtocolError("the response can't be decompressed", request=request, garbled=True)

    def _headers(self, response: aiohttp.ClientResponse, request: Request) -> dict[str, str]:
        found = {name.lower(): value for name, value in response.headers.items()}
        content_type = found.get("content-type")
        if content_type and not self._warned and "json" not in content_type.lower():
            self._warn_of_content_type(response.status, content_type, request)
        return found

    def _warn_of_content_type(self, status: int, content_type: str, request: Request) -> None:
        """Warn once per client of a success that isn't labelled as JSON; gateways mislabel them."""
        if not 200 <= status < 300:
            return
        self._warned = True
        _logger.warning(
            "a response (%s) is labelled %r instead of JSON; its content decides (logged once per client)",
            request.operation, self._redactor.text(content_type, request)[:_SHOWN_CONTENT_TYPE],
        )  # fmt: skip


def _is_truncated(response: aiohttp.ClientResponse, body: bytes) -> bool:
    """Return whether a body that ends where the connection closed starts as JSON and lacks its end.

    aiohttp takes such a body as complete, because nothing announced its length.
    """
    if body[-1:] == b"}" or "Content-Length" in response.headers or "Transfer-Encoding" in response.headers:
        return False
    return body.lstrip().startswith((b"{", b"[")) and not body.rstrip().endswith((b"}", b"]"))
