"""The transport: takes a Request, returns a Response, and sends one request on the wire for each.

This folder is the only one that imports aiohttp's client. What it adds to aiohttp:

* One call is one request. aiohttp silently sends a GET again when a kept-alive connection drops, which would
  cost a second activation; a client middleware turns the two exceptions that trigger it into ours.
* The whole body is read, or the connection closed, before anything else happens; no caller waits while it
  holds a connection.
* A deadline covers request *and* body. aiohttp's ``total`` timeout is not used, because it also counts the
  time that a request waits for a pooled connection. That wait is the pipeline's, for one of the `slots`,
  where a given session or the process's file descriptors limit the connections.
* Redirects are never followed, so the key reaches the configured origin only.
* The body is counted while it is decompressed, so a small bomb can't fill the memory.
* Every aiohttp exception becomes one of ours, without its cause: the repr of some aiohttp exceptions holds
  the request's headers.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import warnings
from collections.abc import Callable, Mapping

import aiohttp
import attrs
from aiohttp.helpers import get_env_proxy_for_url
from yarl import URL

from fullstory_async.config import ClientConfig
from fullstory_async.errors import ClientStateError, ConfigurationError, FullStoryError
from fullstory_async.http.call import Attempt
from fullstory_async.http.foreign import RaisedByHook
from fullstory_async.http.transport.aiohttp_errors import AIOHTTP_ERRORS, ConnectionDropped, raised_by_hook
from fullstory_async.http.transport.certificate_probe import CertificateProbe
from fullstory_async.http.transport.deadlines import Deadlines
from fullstory_async.http.transport.descriptors import connection_limit
from fullstory_async.http.transport.name_lookup import new_resolver
from fullstory_async.http.transport.redacted_traces import sent_to
from fullstory_async.http.transport.response_reader import ResponseReader
from fullstory_async.http.transport.tracking import TimedAttempt, TrackedRequest
from fullstory_async.http.transport.unopened import State
from fullstory_async.messages import Request, Response
from fullstory_async.networks import Network
from fullstory_async.privacy import Redactor
from fullstory_async.secret import Secret

__all__ = ["Transport"]

_LARGE = 4 * 1024 * 1024
"""Bytes of a body after which the event loop has a turn before the body is decoded."""


class Transport:
    """Sends requests through an aiohttp session of its own, or through a given one."""

    __slots__ = (
        "_base", "_common", "_config", "_deadlines", "_key", "_local_only", "_loop", "_network", "_owned",
        "_prefix", "_probe", "_reader", "_session", "_timeout", "network", "slots", "state",
    )  # fmt: skip

    state: State
    """Unopened, open or closed."""
    network: Network
    """How requests reach the service; the proxy may be the given session's own."""

    def __init__(self, config: ClientConfig, session: aiohttp.ClientSession | None = None) -> None:
        """Prepare to send; no session is made before `open`.

        Raises:
            ConfigurationError: the session is not an aiohttp session.
        """
        if session is not None and not isinstance(session, aiohttp.ClientSession):
            raise ConfigurationError(
                f"session must be an aiohttp.ClientSession, not {type(session).__name__}"
            )
        self.state = State.UNOPENED
        self._config = config
        self._base = URL(config.base_url)
        self._prefix = self._base.raw_path.rstrip("/")
        self._common = {
            "Accept": "application/json", "Accept-Encoding": "gzip, deflate",
            "User-Agent": config.user_agent,
        }  # fmt: skip
        if config.integration_source is not None:
            self._common["Integration-Source"] = config.integration_source
        self._key = {"Authorization": (config.api_key or Secret("")).map("Basic {}".format)}
        self._network = config.network
        self.network = self._network if session is None else _network_of(session, self._network, self._base)
        self._probe = CertificateProbe(self._base, self._network)
        if config.network.proxy_reads_requests:
            self._key |= config.network.login
        self._session = session
        self._owned = session is None
        self._local_only = self._base.scheme == "http" and not config.allow_http
        # ``connect`` also counts the wait for a pooled connection, which may be long where a given session
        # serves other purposes too
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
            ClientStateError: it was opened before, or the given session belongs to another event loop.
            ConfigurationError: the given session can't be used.
        """
        if self.state is not State.UNOPENED:
            raise ClientStateError(f"the client {self.state.value}")
        loop = asyncio.get_running_loop()
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # a limit here would count as connecting
                connector=aiohttp.TCPConnector(limit=0, resolver=new_resolver()),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._common,
                request_class=TrackedRequest,
            )
            if (limit := connection_limit()) is not None:
                self.slots = asyncio.Semaphore(limit)
        else:
            self._adopt(self._session, loop)
        self._deadlines = Deadlines(loop)
        self._reader = ResponseReader(
            self._session, self._deadlines, Redactor(self._config.api_key, self._network.secrets),
            self._config.max_response_bytes, owned=self._owned,
        )  # fmt: skip
        self._loop = loop
        self.state = State.OPEN

    def _adopt(self, session: aiohttp.ClientSession, loop: asyncio.AbstractEventLoop) -> None:
        """Check a given session, and note how many connections it allows."""
        if session.auth is not None:
            raise ConfigurationError(
                "the given aiohttp session has auth=…, which would replace the API key; make it without"
            )
        # aiohttp offers no public way to ask, and its own error for a wrong loop does not name the cause
        if getattr(session, "_loop", loop) is not loop:
            raise ClientStateError(
                "the given aiohttp session was made in another event loop; make one in this"
            )
        connector = session.connector
        limits = [] if connector is None else [connector.limit, connector.limit_per_host]
        if any(limits):
            self.slots = asyncio.Semaphore(min(filter(None, limits)))

    async def close(self) -> None:
        """Close, and with it the session if it is our own. Calls in flight end with an error."""
        self.state = State.CLOSED
        if self._loop is not None:
            self._reader.abort()
            self._deadlines.close()
        if self._owned and self._session is not None:
            await self._session.close()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        """Warn once that the client was left open, instead of aiohttp and asyncio."""
        session = getattr(self, "_session", None)
        if session is None or not self._owned or session.closed:
            return
        connector = session.connector
        session.detach()
        connector._close()  # noqa: SLF001  (`close` would start a task, in a loop that may have ended)
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

    async def send(
        self, request: Request, deadline: float, attempt: Attempt, *, streamed: bool = False
    ) -> Response:
        """Send one request once and read its response.

        Args:
            request: what to send.
            deadline: loop time by which the call must be over, this attempt included; of a streamed success
                only its headers.
            attempt: where to record how far the request came.
            streamed: return a success as a `StreamedResponse` as soon as its headers are in; each piece of
                its body then has the read timeout.

        Raises:
            TransportError: no whole HTTP response arrived; ``sent`` says whether the server may have worked.
            ClientStateError: as `check` does.
        """
        session = self.check()
        attempt.sent = False
        url = self._url(request)
        read_timeout = self._config.summary_read_timeout if request.slow else self._config.read_timeout
        # aiohttp ends the connect phase, or the name look-up: this deadline only has to come later than that
        connect = self._config.connect_timeout + read_timeout
        timed = TimedAttempt(
            self._deadlines, deadline, attempt, connect=connect, read=read_timeout,
            key=self._key, login=self._network.login, local_only=self._local_only,
        )  # fmt: skip
        middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = (timed.block_resend,)
        if self._config.redact_traces and request.operation == "list":
            middlewares, url = (timed.block_resend, sent_to(url)), url.with_query(None)
        try:
            with timed:
                response = await session.request(
                    request.method, url, headers=self._headers(request), data=request.body,
                    allow_redirects=False, raise_for_status=False, auto_decompress=False,
                    proxy=self._network.proxy, ssl=self._network.tls, timeout=self._timeout,
                    middlewares=middlewares,
                )  # fmt: skip
                timed.response = response
                try:
                    if streamed and 200 <= response.status < 300:
                        return self._reader.stream(
                            response, request, attempt.started, read_timeout=read_timeout
                        )
                    received = await self._reader.read(response, request, attempt.started)
                except BaseException:
                    response.close()  # an unread body would block the next request on its connection
                    raise
        except (FullStoryError, *AIOHTTP_ERRORS) as raised:
            if (hooks_own := raised_by_hook(raised)) is not None:
                raise RaisedByHook(hooks_own) from None
            if isinstance(raised, FullStoryError):
                raise
            error = self._reader.error_from(raised, request, sent=attempt.sent, reused=attempt.reused)
            is_new = self._owned and not attempt.reused and self.state is State.OPEN
            if is_new and isinstance(raised, ConnectionDropped):
                error = await self._probe.explain(error, deadline)
            raise error from None
        if len(received.body) > _LARGE:
            # to join megabytes and to decode them are a step of the event loop each; no deadline counts here
            await asyncio.sleep(0)
        return received

    def _url(self, request: Request) -> URL:
        url = self._base.with_path(self._prefix + request.path, encoded=True)
        return url.with_query(request.query) if request.query else url

    def _headers(self, request: Request) -> Mapping[str, str]:
        """Return the headers that a request needs in addition to those of the session."""
        if self._owned and request.body is None:
            return request.headers  # the usual case
        body = {} if request.body is None else {"Content-Type": "application/json"}
        if self._owned:
            return {**body, **request.headers}
        return {**self._common, **body, **request.headers}


def _network_of(session: aiohttp.ClientSession, network: Network, base_url: URL) -> Network:
    """Return the network with the proxy that a given session uses for requests without one."""
    if network.proxy is not None:
        return network
    # aiohttp offers no public way to ask
    proxy = getattr(session, "_default_proxy", None)
    if proxy is None and session.trust_env:
        with contextlib.suppress(LookupError):
            proxy, _ = get_env_proxy_for_url(base_url)
    if proxy is None:
        return network
    proxy = URL(proxy).with_user(None)
    return attrs.evolve(network, proxy=proxy, proxy_reads_requests=base_url.scheme == "http")
