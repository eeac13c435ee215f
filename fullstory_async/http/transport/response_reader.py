"""Reading an answer: from aiohttp's to ours, whole or piece by piece, never more of it than is allowed.

What aiohttp raises meanwhile is left to the transport; only the pieces of a streamed answer are read after it has returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from weakref import WeakKeyDictionary, ref

import aiohttp
from aiohttp.client_proto import ResponseHandler

from fullstory_async.errors import FullStoryError, ProtocolError, ResponseTooLarge
from fullstory_async.http.transport.aiohttp_errors import AIOHTTP_ERRORS, is_success, is_truncated
from fullstory_async.http.transport.labels import Labels
from fullstory_async.messages import Request, Response, StreamedResponse
from fullstory_async.privacy import Redactor

__all__ = ["ResponseReader"]

_LABEL = "application/json"


class ResponseReader:
    """Reads the answers of one client."""

    __slots__ = ("_content_of", "_labels", "_most", "_redactor", "_translate", "_under_way")

    def __init__(
        self,
        redactor: Redactor,
        most: int,
        translate: Callable[[BaseException, Request], FullStoryError],
        *,
        owned: bool,
    ) -> None:
        """Read answers of ``most`` bytes at most.

        ``translate`` makes one of our errors of what aiohttp raises; ``owned`` if nobody but us, who call `end`, closes the session.
        """
        self._redactor = redactor
        self._most = most
        self._translate = translate
        self._labels = Labels()
        self._under_way: set[aiohttp.StreamReader] = set()
        # of a given session, by connection: ``None`` between two answers, since a reader would keep its connection alive
        self._content_of: WeakKeyDictionary[ResponseHandler, aiohttp.StreamReader | None] | None
        self._content_of = None if owned else WeakKeyDictionary()

    def end(self) -> None:
        """End whatever is being read with an error; when its session is closed, aiohttp would let it wait for ever."""
        for content in self._under_way:
            content.set_exception(aiohttp.ClientConnectionError())

    def _watch(self, answer: aiohttp.ClientResponse) -> ResponseHandler | None:
        """Begin to read; end that with an error when somebody else closes the session, of which aiohttp tells no reader."""
        self._under_way.add(answer.content)
        if self._content_of is None:
            return None
        connection = answer.connection  # None where the whole answer is there already
        if connection is None or (protocol := connection.protocol) is None:
            return None
        if protocol not in self._content_of and (closed := protocol.closed) is not None:
            closed.add_done_callback(partial(self._connection_closed, ref(protocol)))
        self._content_of[protocol] = answer.content
        return protocol

    def _unwatch(self, content: aiohttp.StreamReader, protocol: ResponseHandler | None) -> None:
        self._under_way.discard(content)
        if protocol is not None and self._content_of is not None:
            self._content_of[protocol] = None

    def _connection_closed(self, which: ref[ResponseHandler], closed: asyncio.Future[None]) -> None:
        if not closed.cancelled():
            closed.exception()  # looked at, or asyncio would complain of it
        protocol = which()
        content = None if protocol is None or self._content_of is None else self._content_of.get(protocol)
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientConnectionError())

    async def whole(self, answer: aiohttp.ClientResponse, request: Request, started: float) -> Response:
        """Read an answer, whose request was begun at that loop time, to its end."""
        pieces, size, content = [], 0, answer.content
        watched = self._watch(answer)
        try:
            while not content.at_eof():
                piece = await content.readany()
                size += len(piece)
                if size > self._most:
                    raise self._too_large(request)
                pieces.append(piece)
        finally:
            self._unwatch(content, watched)
        body, success = b"".join(pieces), is_success(answer)
        if success and is_truncated(answer, body):
            raise ProtocolError("the connection broke in the middle of the answer", request=request)
        return Response(
            status=answer.status,
            headers=self._headers(answer, request),
            body=body if success else self._redactor.body(body, request),
            elapsed=asyncio.get_running_loop().time() - started,
        )

    def opened(
        self,
        answer: aiohttp.ClientResponse,
        request: Request,
        started: float,
        *,
        read_timeout: float,
    ) -> StreamedResponse:
        """Leave the body of a successful answer to the caller, with so many seconds for each piece."""
        open_, size, content = True, 0, answer.content
        watched = self._watch(answer)

        async def read() -> bytes:
            nonlocal size
            try:
                async with asyncio.timeout(read_timeout):
                    piece = await content.readany()
            except AIOHTTP_ERRORS as raised:
                raise self._translate(raised, request) from None
            size += len(piece)
            if size > self._most:
                raise self._too_large(request)
            return piece

        def close() -> bool:
            nonlocal open_
            was_open, open_ = open_, False
            if was_open:
                self._unwatch(content, watched)
                answer.close()  # a connection whose answer was read to its end has gone back already
            return was_open

        elapsed = asyncio.get_running_loop().time() - started
        headers = self._headers(answer, request)
        return StreamedResponse(
            status=answer.status, headers=headers, elapsed=elapsed, read=read, close=close
        )

    def _too_large(self, request: Request) -> ResponseTooLarge:
        text = f"the answer is larger than max_response_bytes ({self._most}); the rest was not read"
        return ResponseTooLarge(text, request=request, permanent=True)

    def _headers(self, answer: aiohttp.ClientResponse, request: Request) -> dict[str, str]:
        found = {name.lower(): value for name, value in answer.headers.items()}
        text = "\n".join(found.values())
        if self._redactor.text(text, request) != text:
            found = {name: self._redactor.text(value, request) for name, value in found.items()}
        label = found.get("content-type", _LABEL)
        if label != _LABEL and is_success(answer):
            self._labels.look_at(label, request.operation)
        return found
