"""The transport: a Request goes in, a Response comes out, one request on the wire for each.

The only module that imports aiohttp's client. What it does that aiohttp alone would not:

* One call is one request. aiohttp silently sends a GET again when a kept-alive connection drops, which
  would cost a second activation; a client middleware turns the two exceptions that trigger it into ours.
* The whole body is read, or the connection closed, before anything else happens; no caller ever waits
  with a connection in hand.
* A deadline covers request *and* body. aiohttp's ``total`` timeout is not used: it also counts the time
  that a request waits for a pooled connection.
* Redirects are never followed, so the key reaches only the configured origin.
* The body is counted while it is decompressed, so a small bomb can't fill the memory.
* Every aiohttp exception becomes one of ours, without the original attached: the repr of some holds
  the request's headers and so the key.
"""

from __future__ import annotations

import asyncio
import enum
from types import SimpleNamespace

import aiohttp
from yarl import URL

from fullstory_async.config import ClientConfig
from fullstory_async.errors import (
    APITimeoutError,
    ClientStateError,
    ConfigurationError,
    ConnectError,
    ProtocolError,
    ResponseTooLarge,
    TransportError,
)
from fullstory_async.http.messages import Request, Response

__all__ = ["Transport"]

_NEVER_SENT = (
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


class State(enum.Enum):
    """Where a client is in its life; the value completes "the client …"."""

    UNOPENED = "is not open yet: use 'async with FullStoryClient(…) as client:'"
    OPEN = "is open already"
    CLOSED = "is closed: make a new one"


class Transport:
    """Sends requests through an aiohttp session of its own, or through one that it was given."""

    __slots__ = ("_base", "_config", "_loop", "_owned", "_session", "state")

    state: State
    """Unopened, open or closed."""

    def __init__(self, config: ClientConfig, session: aiohttp.ClientSession | None = None) -> None:
        """Prepare to send; no session is made before `open`."""
        self.state = State.UNOPENED
        self._config = config
        self._base = str(URL(config.base_url)).rstrip("/")
        self._session = session
        self._owned = session is None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        """Make the session, unless one was given.

        Raises:
            ClientStateError: it has been opened before.
            ConfigurationError: the given session can't be used.
        """
        if self.state is not State.UNOPENED:
            raise ClientStateError(f"the client {self.state.value}")
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_note_sent)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # the limiter and the workers bound it
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[trace],
            )
        elif self._session.auth is not None:
            raise ConfigurationError(
                "the given aiohttp session has auth=…, which would replace the API key; make it without"
            )
        self._loop = asyncio.get_running_loop()
        self.state = State.OPEN

    async def close(self) -> None:
        """Close, and with it the session if it is our own."""
        self.state = State.CLOSED
        if self._owned and self._session is not None:
            await self._session.close()

    def check(self) -> aiohttp.ClientSession:
        """Return the session if requests can be sent here and now. Raises `ClientStateError`."""
        if self.state is not State.OPEN or self._session is None:
            raise ClientStateError(f"the client {self.state.value}")
        if self._session.closed:
            raise ClientStateError("the aiohttp session that this client was given is closed")
        if asyncio.get_running_loop() is not self._loop:
            raise ClientStateError("this client was opened in another event loop; make one for this loop")
        return self._session

    async def send(self, request: Request, *, deadline: float) -> Response:
        """Send one request once and read its answer.

        Args:
            request: what to send.
            deadline: the loop time by which the call has to be over, this attempt included.

        Raises:
            TransportError: no whole HTTP answer came; ``sent`` says whether the server may have worked.
            ClientStateError: as `check` does.
        """
        session = self.check()
        loop = asyncio.get_running_loop()
        config = self._config
        started = loop.time()
        read_timeout = config.summary_read_timeout if request.slow else config.read_timeout
        until = min(deadline, started + config.connect_timeout + read_timeout)
        progress = SimpleNamespace(sent=not self._owned)  # a given session does not tell: assume the worse
        try:
            async with asyncio.timeout_at(until):
                async with session.request(
                    request.method,
                    self._url(request),
                    headers=self._headers(request),
                    allow_redirects=False,
                    raise_for_status=False,
                    auto_decompress=True,
                    proxy=config.proxy,
                    timeout=aiohttp.ClientTimeout(
                        total=None, sock_connect=config.connect_timeout, sock_read=read_timeout
                    ),
                    middlewares=(_send_once,),
                    trace_request_ctx=progress,
                ) as answer:
                    body = await self._read(answer, request)
                    headers = {name.lower(): value for name, value in answer.headers.items()}
                    status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, _Dropped) as raised:
            error = _translated(raised, request, sent=progress.sent)
        else:
            return Response(status=status, headers=headers, body=body, elapsed=loop.time() - started)
        raise error  # outside the handler: no aiohttp exception stays attached

    def _url(self, request: Request) -> URL:
        url = URL(self._base + request.path, encoded=True)
        return url.with_query(request.query) if request.query else url

    def _headers(self, request: Request) -> dict[str, str]:
        config = self._config
        ours = {"Accept": "application/json", "User-Agent": config.user_agent}
        if config.integration_source is not None:
            ours["Integration-Source"] = config.integration_source
        return {**ours, **request.headers, "Authorization": f"Basic {config.api_key}"}

    async def _read(self, answer: aiohttp.ClientResponse, request: Request) -> bytes:
        limit = self._config.max_response_bytes
        chunks, size = [], 0
        async for chunk in answer.content.iter_any():
            size += len(chunk)
            if size > limit:
                answer.close()
                raise ResponseTooLarge(
                    f"the answer is larger than max_response_bytes ({limit}); the rest was not read",
                    request=request,
                    permanent=True,
                )
            chunks.append(chunk)
        body = b"".join(chunks)
        if answer.ok and _looks_cut_off(answer, body):
            raise ProtocolError("the connection broke in the middle of the answer", request=request)
        return body


def _looks_cut_off(answer: aiohttp.ClientResponse, body: bytes) -> bool:
    """Tell whether a body that only the connection's close delimits lacks the end of its JSON."""
    if answer.status == 204 or "Content-Length" in answer.headers or "Transfer-Encoding" in answer.headers:
        return False
    return not body.rstrip().endswith((b"}", b"]"))


class _Dropped(Exception):
    """A dropped connection, as an exception that aiohttp does not answer by sending again."""


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        reason = str(error) or type(error).__name__
    raise _Dropped(reason)


async def _note_sent(
    _: aiohttp.ClientSession, context: SimpleNamespace, __: aiohttp.TraceRequestHeadersSentParams
) -> None:
    context.trace_request_ctx.sent = True


def _translated(raised: BaseException, request: Request, *, sent: bool) -> TransportError:
    """Return our error for one of aiohttp's; each has exactly one. Pure."""
    permanent = isinstance(raised, _PERMANENT)
    if isinstance(raised, aiohttp.ConnectionTimeoutError):
        return APITimeoutError("no connection within connect_timeout", request=request, sent=False)
    if isinstance(raised, (aiohttp.ClientHttpProxyError, *_NEVER_SENT)):
        text = (
            f"the proxy refused: {raised.status}"
            if isinstance(raised, aiohttp.ClientHttpProxyError)
            else str(raised)
        )
        return ConnectError(f"no connection: {text}", request=request, sent=False, permanent=permanent)
    if isinstance(raised, TimeoutError):
        where = "before the whole answer was there" if sent else "before the request was sent"
        return APITimeoutError(f"timed out {where}", request=request, sent=sent)
    if isinstance(raised, aiohttp.ClientResponseError):  # a parser's verdict, not the server's status
        return ProtocolError(f"the answer is not HTTP: {raised.message}", request=request)
    if isinstance(raised, aiohttp.ClientPayloadError):
        return ProtocolError("the connection broke in the middle of the answer", request=request)
    return ProtocolError(f"the connection broke: {raised or type(raised).__name__}", request=request)
