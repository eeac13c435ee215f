"""The sandbox as a server: the way of a request to the service and back.

In order: the key is checked (401), the body is read, the request is recorded, the token bucket is asked
(429), the latency passes, a fault may apply, and the service does the work.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, get_args

from aiohttp import web
from yarl import URL

from fullstory_async import validators
from fullstory_async.errors import ClientStateError, ConfigurationError
from fullstory_async.ratelimit.limiter import RateLimit
from fullstory_async.sandbox.faults.exchange import CallNext, Exchange, error_response
from fullstory_async.sandbox.faults.rules import Fault, FaultRule, FaultRules
from fullstory_async.sandbox.request_log import request_logger
from fullstory_async.sandbox.routes import OPERATIONS, Work, admin_routes, routes
from fullstory_async.sandbox.service import Service
from fullstory_async.sandbox.state import ApiError, RecordedRequest, Recorder, TokenBucket, Wire
from fullstory_async.sandbox.world import MOST_EVENTS, User, World
from fullstory_async.session_id import SessionId

__all__ = ["Sandbox"]

API_KEY = "na1.c2FuZGJveA/SANDBOX"
_GZIP_FROM = 1024
_LARGEST_BODY = 16 * 1024 * 1024
_SHOWN_PATH = 200
"""Characters of the path of a request that came without the key."""
_LINGER = 5.0
"""Seconds for the rest of a body that is not kept, until its connection is closed."""


class Sandbox:
    """A local FullStory: ``async with Sandbox() as sandbox:`` serves until the block ends."""

    requests: list[RecordedRequest]
    """Every request so far; beyond 100 000 the older half is dropped. `stats` counts all of them."""
    api_key: str
    """The only accepted API key."""

    def __init__(
        self,
        *,
        seed: int = 0,
        users: int = 20,
        sessions: int = 200,
        mean_events: int = 200,
        wire: Wire = "live",
        rate_limit: RateLimit | float | None = None,
        activation_quota: int | None = None,
        latency: float = 0.0,
        port: int = 0,
        public_url: str | None = None,
    ) -> None:
        """Make a sandbox; it listens only within ``async with``.

        Args:
            seed: determines users, sessions, events and faults.
            users: number of users; the first is ``ada@example.com``, uid ``u-1``.
            sessions: number of sessions of all users together.
            mean_events: mean number of events of a session, log-normally distributed, up to 20 000.
            wire: form of responses: the ``live`` service's as FullStory documents it, or ``spec``, that of a
                published third-party OpenAPI description. Only ``spec`` refuses unknown fields in bodies.
            rate_limit: a token bucket for all requests; a number is its rate, with a burst of one second's
                worth; ``None`` for no limit.
            activation_quota: number of activations until 429; ``None`` for no limit.
            latency: seconds that each response takes in addition to the work.
            port: port on 127.0.0.1; 0 takes a free one.
            public_url: base of the replay URLs in responses, such as ``https://sandbox.test``; by default
                `url`. The sandbox's pages are served to its host as well as to this machine's names.

        Raises:
            ConfigurationError: an invalid value.
        """
        for name, number, least, most in (
            ("users", users, 1, math.inf), ("sessions", sessions, 0, math.inf),
            ("mean_events", mean_events, 1, MOST_EVENTS), ("latency", latency, 0, math.inf),
            ("port", port, 0, 65535), ("activation_quota", activation_quota or 0, 0, math.inf),
        ):  # fmt: skip
            if not (validators.is_number(number) and least <= number <= most):
                wanted = f"{least} or more" if most == math.inf else f"from {least} to {most}"
                raise ConfigurationError(f"the sandbox's {name} must be {wanted}, not {number!r}")
        if wire not in get_args(Wire):
            raise ConfigurationError(f"the sandbox's wire must be 'live' or 'spec', not {wire!r}")
        if isinstance(rate_limit, RateLimit) and rate_limit.ceiling is not None:
            raise ConfigurationError(
                "the sandbox's rate_limit must be a fixed one: an adaptive limit is the client's"
            )
        self.api_key = API_KEY
        self._recorder = Recorder()
        self.requests = self._recorder.requests
        world = World(seed, users, sessions, mean_events)
        public_url = _checked_public_url(public_url)
        self._public_host = None if public_url is None else URL(public_url).host
        self._service = Service(world, wire, activation_quota, public_url)
        limit = rate_limit if isinstance(rate_limit, RateLimit | None) else RateLimit(rate_limit)
        self._bucket = None if limit is None else TokenBucket(limit)
        self._latency = latency
        self._port = port
        self._seed = seed
        self._rules = FaultRules()
        self._tasks: set[asyncio.Task[Any] | None] = set()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Base URL, for ``ClientConfig(base_url=…)``. Raises `ClientStateError` unless running."""
        if self._runner is None:
            raise ClientStateError("the sandbox is not running: use 'async with Sandbox() as sandbox:'")
        return self._service.base_url

    @property
    def session_ids(self) -> list[SessionId]:
        """Ids of all sessions, oldest session first."""
        return list(self._service.world.sessions)

    @property
    def event_counts(self) -> dict[SessionId, int]:
        """Number of events of each session."""
        return {each.id: each.event_count for each in self._service.world.sessions.values()}

    @property
    def users(self) -> tuple[User, ...]:
        """All users, with ``uid`` and ``email``."""
        return self._service.world.users

    @property
    def activations(self) -> int:
        """Number of activations charged so far."""
        return self._service.meter.total

    def inject(
        self,
        fault: Fault,
        *,
        operation: str | None = None,
        session_id: str | None = None,
        times: int | None = 1,
        skip: int = 0,
        share: float = 1.0,
        seed: int | str | None = None,
    ) -> FaultRule:
        """Apply a fault to requests from now on; the first matching rule acts.

        Args:
            fault: `Fault.status(503)`, or any other of its makers.
            operation: only this operation, named as in `RecordedRequest`.
            session_id: only this session.
            times: maximum number of times; ``None`` for no maximum.
            skip: number of matching requests to let through first; ``skip=n - 1, times=1`` selects the
                n-th alone.
            share: probability, from 0 to 1, that the fault applies to a matching request.
            seed: determines to which requests it applies; by default it follows from the sandbox's seed and
                the number of earlier rules.

        Raises:
            ConfigurationError: an invalid condition.
        """
        if operation is not None and operation not in OPERATIONS:
            known = ", ".join(OPERATIONS)
            raise ConfigurationError(f"there is no operation {operation!r}; there are {known}")
        # by number, so that a rule draws the same numbers in every run, whatever other rules do
        own_seed = f"{self._seed}/faults/{len(self._rules)}" if seed is None else seed
        rule = FaultRule(
            fault=fault, operation=operation, session_id=session_id, times=times, skip=skip, share=share,
            seed=own_seed
        )  # fmt: skip
        self._rules.append(rule)
        return rule

    def replay_page(self, session_id: SessionId) -> bytes:
        """Return the HTML behind a session's replay URL. Raises `ConfigurationError` if unknown."""
        try:
            return self._service.replay(session_id)
        except ApiError:
            raise ConfigurationError(f"the sandbox has no session {session_id}") from None

    def stats(self) -> dict[str, Any]:
        """Return all counts since the start, as ``/_sandbox/stats`` serves them."""
        return self._recorder.stats(self._service.meter)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.add_routes(admin_routes(self._service, self._recorder, self._public_host))
        for method, path, operation, work in routes(self._service.wire):
            app.router.add_route(method, path, partial(self._serve, operation=operation, work=work))
        try:
            listener = socket.create_server(("127.0.0.1", self._port), backlog=1024)
        except OSError as error:
            raise ConfigurationError(
                f"the sandbox can't listen on port {self._port}: {error.strerror}"
            ) from None
        self._port = listener.getsockname()[1]
        self._service.base_url = f"http://127.0.0.1:{self._port}"
        self._runner = web.AppRunner(app, access_log=None, logger=request_logger(), shutdown_timeout=1.0)
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            # a fault that closed its connection, such as a stall, may still be running
            left = [task for task in self._tasks if task is not None]
            for each in left:
                each.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _serve(self, request: web.Request, *, operation: str, work: Work) -> web.StreamResponse:
        """Take one request through the stages in the module's docstring."""
        # what comes without the key is not kept, because anybody may send it
        has_key = request.headers.get("Authorization") == f"Basic {self.api_key}"
        record = _record_of(request, operation, await request.read() if has_key else None)
        self._recorder.begin(record)
        exchange = Exchange(request, record, self._service.wire, self._rules.next_handlers)

        async def call_next() -> web.Response:
            return self._work(exchange, work)

        with self._tracked(exchange):
            try:
                response = await self._respond(exchange, call_next, has_key=has_key)
                # a fault may have sent the response itself, and closed the connection
                if exchange.is_open:
                    await exchange.finish(response)
                if not has_key:
                    await _discard_body(exchange)
            except ConnectionError:
                # the client has disconnected, as the record shows; aiohttp wants a response nevertheless
                return web.Response()
            return response

    async def _respond(self, exchange: Exchange, call_next: CallNext, *, has_key: bool) -> web.StreamResponse:
        try:
            self._admit(has_key=has_key)
        except ApiError as error:
            return self._refuse(error)
        # refusals come at once; only admitted requests take time
        if self._latency:
            await asyncio.sleep(self._latency)
        handler = self._rules.handler_for(exchange)
        return await (call_next() if handler is None else handler(exchange, call_next))

    @contextmanager
    def _tracked(self, exchange: Exchange) -> Iterator[None]:
        """Count a response however it ends; it may outlive its connection, but not the sandbox."""
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)
            self._recorder.end(exchange.record, exchange.request.writer.output_size)

    def _admit(self, *, has_key: bool) -> None:
        if not has_key:
            raise ApiError(401, "unauthorized", "the API key is missing or wrong")
        if self._bucket is not None:
            self._bucket.acquire()

    def _work(self, exchange: Exchange, work: Work) -> web.Response:
        """Do an operation's work, and note in the record what it was charged."""
        request, record, meter = exchange.request, exchange.record, self._service.meter
        before = meter.total
        try:
            body = work(self._service, request, record.body)
        except ApiError as error:
            return self._refuse(error)
        finally:
            # the difference, because the work runs without a pause in which others could be charged
            record.activations += meter.total - before
        response = web.Response(body=body, content_type="application/json", charset="utf-8")
        if len(body) >= _GZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
            response.enable_compression(web.ContentCoding.gzip)
        return response

    def _refuse(self, error: ApiError) -> web.Response:
        response = error_response(self._service.wire, error.status, error.code, error.message)
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(error.retry_after)
        if error.allow:
            response.headers["Allow"] = ", ".join(error.allow)
        return response


def _checked_public_url(value: str | None) -> str | None:
    """Return a base URL without the slash at its end."""
    if value is None:
        return None
    # a path is fine; credentials, a query or a fragment would end up in every replay URL
    plain = (
        isinstance(value, str) and value.isascii() and value.isprintable() and not set("@?# ") & set(value)
    )
    try:
        url = URL(value) if plain else URL()
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(
            f"the sandbox's public_url must be like 'https://sandbox.test', with no query, not {value!r}"
        )
    return value.rstrip("/")


async def _discard_body(exchange: Exchange) -> None:
    """Read the rest of a body without keeping it; many clients read no response before they have sent it."""
    content = exchange.request.content
    try:
        async with asyncio.timeout(_LINGER):
            while not content.at_eof():
                await content.readany()
    except TimeoutError:
        exchange.close()


def _record_of(request: web.Request, operation: str, body: bytes | None) -> RecordedRequest:
    """Return the record of a request; of one without a body, which came without the key, only the path."""
    is_kept = body is not None
    headers = request.headers if is_kept else {}
    return RecordedRequest(
        operation=operation,
        method=request.method,
        raw_path=request.raw_path if is_kept else request.rel_url.raw_path[:_SHOWN_PATH],
        query=dict(request.query) if is_kept else {},
        headers={k.lower(): v for k, v in headers.items() if k.lower() != "authorization"},
        session_id=request.match_info.get("session_id") if is_kept else None,
        body=body or b"",
        at=time.monotonic(),
    )
