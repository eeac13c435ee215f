"""The transport: a Request goes in, a Response comes out, one request on the wire for each.

The only module that imports aiohttp's client. What it does that aiohttp alone would not:

* One call is one request. aiohttp silently sends a GET again when a kept-alive connection drops, which
  would cost a second activation; a client middleware turns the two exceptions that trigger it into ours.
* The whole body is read, or the connection closed, before anything else happens; no caller ever waits
  with a connection in hand.
* A deadline covers request *and* body. aiohttp's ``total`` timeout is not used: it also counts the time
  that a request waits for a pooled connection. With a given session that wait is the pipeline's, for one of the `slots`.
* Redirects are never followed, so the key reaches only the configured origin.
* The body is counted while it is decompressed, so a small bomb can't fill the memory.
* Every aiohttp exception becomes one of ours. The pipeline detaches the original: the repr of some holds the request's headers.
"""

from __future__ import annotations

import asyncio
import enum
import math
import warnings
from collections.abc import Awaitable, Callable

import aiohttp
from yarl import URL

from fullstory_async.config import ClientConfig
from fullstory_async.errors import (
    ClientStateError,
    ConfigurationError,
    FullStoryError,
)
from fullstory_async.http.call import Attempt
from fullstory_async.http.transport.aiohttp_errors import (
    AIOHTTP_ERRORS,
    ConnectionDropped,
    from_aiohttp,
    is_success,
)
from fullstory_async.http.transport.deadlines import Deadlines
from fullstory_async.http.transport.response_reader import ResponseReader
from fullstory_async.http.transport.tracking import Timed, TrackedRequest, UsedConnections
from fullstory_async.messages import Request, Response
from fullstory_async.privacy import Redactor, Secret

__all__ = ["Transport"]

_Finish = Callable[[aiohttp.ClientResponse, Request, float], Awaitable[Response]]


class State(enum.Enum):
    """Where a client is in its life; the value completes "the client …"."""

    UNOPENED = "is not open yet: use 'async with FullStoryClient(…) as client:'"
    OPEN = "is open already"
    CLOSED = "is closed: make a new one"


class Transport:
    """Sends requests through an aiohttp session of its own, or through one that it was given."""

    __slots__ = (
        "_base", "_common", "_config", "_deadlines", "_key", "_loop", "_owned", "_prefix", "_reader", "_redactor", "_session", "_timeout",
        "_used", "slots", "state",
    )  # fmt: skip

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
        self._base = URL(config.base_url)
        self._prefix = self._base.raw_path.rstrip("/")
        self._common = {"Accept": "application/json", "User-Agent": config.user_agent}
        if config.integration_source is not None:
            self._common["Integration-Source"] = config.integration_source
        key = config.api_key or ""
        self._key = {"Authorization": Secret(f"Basic {key}")}
        self._redactor = Redactor(key)
        self._session = session
        self._owned = session is None
        self._reader = ResponseReader(
            self._redactor, config.max_response_bytes, self._translated, owned=self._owned
        )
        self._used = UsedConnections()
        # that of a given session may be used for other things too, and ``connect`` counts the wait for one of its connections
        self._timeout = aiohttp.ClientTimeout(
            total=None,
            connect=config.connect_timeout if self._owned else None,
            sock_connect=config.connect_timeout,
            ceil_threshold=math.inf,
        )
        self.slots: asyncio.Semaphore | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        """Make the session, unless one was given.

        Raises:
            ClientStateError: it has been opened before, or the given session belongs to another event loop.
            ConfigurationError: the given session can't be used.
        """
        if self.state is not State.UNOPENED:
            raise ClientStateError(f"the client {self.state.value}")
        loop = asyncio.get_running_loop()
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # the limiter and the workers bound it
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={**self._common, **self._key},
                request_class=TrackedRequest,
            )
        elif self._session.auth is not None:
            raise ConfigurationError(
                "the given aiohttp session has auth=…, which would replace the API key; make it without"
            )
        elif (
            getattr(self._session, "_loop", loop) is not loop
        ):  # it tells nobody, and its own error is a riddle
            raise ClientStateError(
                "the given aiohttp session was made in another event loop; make one in this"
            )
        else:
            connector = self._session.connector
            limits = [] if connector is None else [connector.limit, connector.limit_per_host]
            if any(limits):
                self.slots = asyncio.Semaphore(min(filter(None, limits)))
        self._loop = loop
        self._deadlines = Deadlines(loop)
        self.state = State.OPEN

    async def close(self) -> None:
        """Close, and with it the session if it is our own. Calls that are under way end with an error."""
        self.state = State.CLOSED
        self._reader.end()
        if self._loop is not None:
            self._deadlines.close()
        if self._owned and self._session is not None:
            await self._session.close()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        """Say that the client was left open, once and in our words, where aiohttp and asyncio would each do it in theirs."""
        session = getattr(self, "_session", None)
        if session is None or not self._owned or session.closed:
            return
        connector = session.connector
        session.detach()
        connector._close()  # noqa: SLF001  (`close` would begin a task, in a loop that may have ended)
        _warn(
            "a FullStoryClient was left open; use 'async with', or await its close()",
            ResourceWarning,
            source=self,
        )

    def check(self) -> aiohttp.ClientSession:
        """Return the session if requests can be sent here and now. Raises `ClientStateError`."""
        if self.state is not State.OPEN or self._session is None:
            raise ClientStateError(f"the client {self.state.value}")
        if not self._owned and self._session.closed:
            raise ClientStateError("the aiohttp session that this client was given is closed")
        if asyncio.get_running_loop() is not self._loop:
            raise ClientStateError("this client was opened in another event loop; make one for this loop")
        return self._session

    def send(self, request: Request, deadline: float, attempt: Attempt, /) -> Awaitable[Response]:
        """Send one request once and read its answer.

        Args:
            request: what to send.
            deadline: the loop time by which the call has to be over, this attempt included.
            attempt: where it is noted how far it came.

        Raises:
            TransportError: no whole HTTP answer came; ``sent`` says whether the server may have worked.
            ClientStateError: as `check` does.
        """
        return self._send(request, deadline, attempt, self._reader.whole)

    def stream(self, request: Request, deadline: float, attempt: Attempt, /) -> Awaitable[Response]:
        """Send one request once; of a successful answer give a `StreamedResponse`, as soon as its headers are there.

        The deadline is that of the headers. From then on each piece of the body has the read timeout.
        """
        return self._send(request, deadline, attempt, self._opened)

    async def _send(self, request: Request, deadline: float, attempt: Attempt, finish: _Finish) -> Response:
        session = self.check()
        attempt.sent = (
            not self._owned
        )  # a given session does not tell when it has a connection: assume the worse
        timed = Timed(
            self._deadlines, deadline, self._used, attempt,
            connect=self._config.connect_timeout, read=self._read_timeout(request),
        )  # fmt: skip
        try:
            with timed:
                return await self._exchange(session, request, timed, finish)
        except AIOHTTP_ERRORS as raised:
            raise self._translated(raised, request, sent=attempt.sent, reused=attempt.reused) from None
        except ValueError:  # aiohttp's, for a session with trust_env=True and a netrc entry for the host
            text = "the given aiohttp session adds credentials of its own"
            raise ConfigurationError(text, request=request) from None

    async def _exchange(
        self,
        session: aiohttp.ClientSession,
        request: Request,
        timed: Timed,
        finish: _Finish,
    ) -> Response:
        """Send and read, in aiohttp's terms; an answer that is not read to its end is closed."""
        answer = await session.request(
            request.method,
            self._url(request),
            headers=self._headers(request),
            data=request.body,
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=True,
            proxy=self._config.proxy,
            timeout=self._timeout,
            middlewares=(timed.block_resend,),
        )
        try:
            return await finish(answer, request, timed.attempt.started)
        except BaseException:
            answer.close()
            raise

    def _read_timeout(self, request: Request) -> float:
        return self._config.summary_read_timeout if request.slow else self._config.read_timeout

    def _url(self, request: Request) -> URL:
        url = self._base.with_path(self._prefix + request.path, encoded=True)
        return url.with_query(request.query) if request.query else url

    def _headers(self, request: Request) -> dict[str, str]:
        """Return what a request needs beside what our own session adds to each."""
        body = {} if request.body is None else {"Content-Type": "application/json"}
        if self._owned:
            return {**body, **request.headers}
        return {**self._common, **body, **request.headers, **self._key}

    async def _opened(self, answer: aiohttp.ClientResponse, request: Request, started: float) -> Response:
        """Leave the body of a successful answer to the caller."""
        if not is_success(answer):
            return await self._reader.whole(answer, request, started)
        timeout = self._read_timeout(request)
        return self._reader.opened(answer, request, started, read_timeout=timeout)

    def _translated(
        self, raised: BaseException, request: Request, *, sent: bool = True, reused: bool = False
    ) -> FullStoryError:
        if self._session is not None and self._session.closed:
            raised = ConnectionDropped("the client, or the session that it was given, was closed meanwhile")
        error = from_aiohttp(raised, request, sent=sent, reused=reused)
        error.message = self._redactor.text(error.message, request)
        error.args = (error.message,)
        return error
