"""The transport: a Request goes in, a Response comes out, one request on the wire for each.

The only module that imports aiohttp's client. What it does that aiohttp alone would not:

* One call is one request. aiohttp silently sends a GET again when a kept-alive connection drops, which
  would cost a second activation; a client middleware turns the two exceptions that trigger it into ours.
* The whole body is read, or the connection closed, before anything else happens; no caller ever waits
  with a connection in hand.
* A deadline covers request *and* body. aiohttp's ``total`` timeout is not used: it also counts the time
  that a request waits for a pooled connection. With a given session that wait is done here, before the clock starts.
* Redirects are never followed, so the key reaches only the configured origin.
* The body is counted while it is decompressed, so a small bomb can't fill the memory.
* Every aiohttp exception becomes one of ours, without the original attached: the repr of some holds
  the request's headers and so the key.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from http import HTTPStatus
from types import SimpleNamespace

import aiohttp
from yarl import URL

from fullstory_async.config import ClientConfig
from fullstory_async.errors import (
    APITimeoutError,
    ClientStateError,
    ConfigurationError,
    ConnectError,
    FullStoryError,
    ProtocolError,
    ResponseTooLarge,
    TransportError,
)
from fullstory_async.http.messages import Request, Response

__all__ = ["Transport"]

_SHORTEST_KEY = 8
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


class State(enum.Enum):
    """Where a client is in its life; the value completes "the client …"."""

    UNOPENED = "is not open yet: use 'async with FullStoryClient(…) as client:'"
    OPEN = "is open already"
    CLOSED = "is closed: make a new one"


class Transport:
    """Sends requests through an aiohttp session of its own, or through one that it was given."""

    __slots__ = ("_base", "_config", "_loop", "_owned", "_places", "_session", "state")

    state: State
    """Unopened, open or closed."""

    def __init__(self, config: ClientConfig, session: aiohttp.ClientSession | None = None) -> None:
        """Prepare to send; no session is made before `open`. Raises `ConfigurationError` for another kind of session."""
        if session is not None and not isinstance(session, aiohttp.ClientSession):
            raise ConfigurationError(
                f"session must be an aiohttp.ClientSession, not {type(session).__name__}"
            )
        self.state = State.UNOPENED
        self._config = config
        self._base = str(URL(config.base_url)).rstrip("/")
        self._session = session
        self._owned = session is None
        self._places: asyncio.Semaphore | None = None
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
        else:
            connector = self._session.connector
            limits = [] if connector is None else [connector.limit, connector.limit_per_host]
            if any(limits):
                self._places = asyncio.Semaphore(min(filter(None, limits)))
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

    async def send(self, request: Request, *, deadline: float, begun: Callable[[], None]) -> Response:
        """Send one request once and read its answer.

        Args:
            request: what to send.
            deadline: the loop time by which the call has to be over, this attempt included.
            begun: called when the request no longer waits for its turn.

        Raises:
            TransportError: no whole HTTP answer came; ``sent`` says whether the server may have worked.
            ClientStateError: as `check` does.
        """
        if self._places is None:
            return await self._send(request, deadline, begun)
        try:
            async with asyncio.timeout_at(deadline):
                await self._places.acquire()
        except TimeoutError:
            text = "the call's time was over while it waited for a connection of the given session"
            raise APITimeoutError(text, request=request, sent=False) from None
        try:
            return await self._send(request, deadline, begun)
        finally:
            self._places.release()

    async def _send(self, request: Request, deadline: float, begun: Callable[[], None]) -> Response:
        session = self.check()
        begun()
        loop = asyncio.get_running_loop()
        config = self._config
        started = loop.time()
        read_timeout = config.summary_read_timeout if request.slow else config.read_timeout
        progress = _Progress(sent=not self._owned)  # a given session does not tell: assume the worse
        try:
            async with asyncio.timeout(None) as timer:
                progress.limit(timer, deadline, connect=config.connect_timeout, read=read_timeout)
                async with session.request(
                    request.method,
                    self._url(request),
                    headers=self._headers(request),
                    data=request.body,
                    allow_redirects=False,
                    raise_for_status=False,
                    auto_decompress=True,
                    proxy=config.proxy,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=config.connect_timeout),
                    middlewares=(_send_once,),
                    trace_request_ctx=progress,
                ) as answer:
                    body = await self._read(answer, request)
                    headers = {k.lower(): self._scrubbed(value) for k, value in answer.headers.items()}
                    status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, _Dropped) as raised:
            error: FullStoryError = _translated(raised, request, sent=progress.sent)
            error.message = self._scrubbed(error.message)
            error.args = (error.message,)
        except ValueError:  # aiohttp's, for a session with trust_env=True and a netrc entry for the host
            error = ConfigurationError(
                "the given aiohttp session adds credentials of its own", request=request
            )
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
        if request.body is not None:
            ours["Content-Type"] = "application/json"
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
        success = HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES
        if success and _looks_cut_off(answer, body):
            raise ProtocolError("the connection broke in the middle of the answer", request=request)
        return body if success else self._scrubbed(body.decode("latin-1")).encode("latin-1")

    def _scrubbed(self, text: str) -> str:
        """Take the key out of what a server or gateway said: some quote what they refuse."""
        key = self._config.api_key or ""
        if len(key) < _SHORTEST_KEY:  # no key of FullStory's, and perhaps a common word
            return text
        for form in (key, key.replace("/", "\\/")):  # as it is, and as JSON may write it
            text = text.replace(form, "[the API key]") if form else text
        return text


def _looks_cut_off(answer: aiohttp.ClientResponse, body: bytes) -> bool:
    """Tell whether a body that only the connection's close delimits begins as JSON and lacks its end."""
    if "Content-Length" in answer.headers or "Transfer-Encoding" in answer.headers:
        return False
    return body.lstrip().startswith((b"{", b"[")) and not body.rstrip().endswith((b"}", b"]"))


class _Progress:
    """How far an attempt has come, and until when it has time: first to connect, then to be answered."""

    __slots__ = ("_deadline", "_read", "_timer", "sent")

    def __init__(self, *, sent: bool) -> None:
        self.sent = sent

    def limit(self, timer: asyncio.Timeout, deadline: float, *, connect: float, read: float) -> None:
        self._timer, self._deadline, self._read = timer, deadline, read
        self._give(connect + read if self.sent else connect)

    def note_sent(self) -> None:
        self.sent = True
        self._give(self._read)

    def _give(self, seconds: float) -> None:
        if not self._timer.expired():
            self._timer.reschedule(min(self._deadline, asyncio.get_running_loop().time() + seconds))


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
    context.trace_request_ctx.note_sent()


def _translated(raised: BaseException, request: Request, *, sent: bool) -> TransportError:
    """Return our error for one of aiohttp's; each has exactly one. Pure."""
    if not sent or isinstance(raised, _NEVER_SENT):
        return _unsent(raised, request)
    if isinstance(raised, TimeoutError):
        return APITimeoutError("timed out before the whole answer was there", request=request)
    if isinstance(raised, aiohttp.ClientResponseError):  # a parser's verdict, not the server's status
        return ProtocolError(f"the answer is not HTTP: {raised.message}", request=request)
    if isinstance(raised, aiohttp.ClientPayloadError):
        return ProtocolError("the connection broke in the middle of the answer", request=request)
    return ProtocolError(f"the connection broke: {raised or type(raised).__name__}", request=request)


def _unsent(raised: BaseException, request: Request) -> TransportError:
    if isinstance(raised, TimeoutError):
        return APITimeoutError("no connection in time; nothing was sent", request=request, sent=False)
    if isinstance(raised, aiohttp.ClientHttpProxyError):
        return ConnectError(f"the proxy refused: {raised.status}", request=request, sent=False)
    permanent = isinstance(raised, _PERMANENT)
    text = raised.message if isinstance(raised, aiohttp.ClientResponseError) else str(raised)
    return ConnectError(f"no connection: {text}", request=request, sent=False, permanent=permanent)
