"""The sandbox as a server: what happens to a request on its way to the service and back.

In order: it is noted down, its key is checked (401), the token bucket is asked (429), the latency passes, a
fault may step in, and the service answers.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, get_args
from weakref import WeakKeyDictionary

from aiohttp import web

from fullstory_async import validators
from fullstory_async.errors import ClientStateError, ConfigurationError
from fullstory_async.ratelimit.limiter import RateLimit
from fullstory_async.sandbox.admin import admin_routes
from fullstory_async.sandbox.api_error import ApiError
from fullstory_async.sandbox.faults import Behaviour, Exchange, Fault, FaultRule, Proceed
from fullstory_async.sandbox.limits import TokenBucket
from fullstory_async.sandbox.records import RecordedRequest
from fullstory_async.sandbox.routes import OPERATIONS, ROUTES, Work
from fullstory_async.sandbox.service import Service, Wire
from fullstory_async.sandbox.world import MOST_EVENTS, User, World
from fullstory_async.session_id import SessionId

__all__ = ["Sandbox"]

API_KEY = "na1.c2FuZGJveA/SANDBOX"
_KEPT_REQUESTS = 100_000
_GZIP_FROM = 1024
_LARGEST_BODY = 16 * 1024 * 1024


class Sandbox:
    """A local FullStory: ``async with Sandbox() as sandbox:`` serves until the block ends."""

    requests: list[RecordedRequest]
    """Every request so far; beyond 100 000 the older half is dropped. The counts go on."""
    api_key: str
    """The one key that is accepted."""

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
    ) -> None:
        """Make a sandbox; nothing listens before ``async with``.

        Args:
            seed: determines users, sessions, events and faults.
            users: how many people there are; the first is ``ada@example.com``, uid ``u-1``.
            sessions: how many sessions they have in all.
            mean_events: events in a session on average, log-normal, up to 20 000.
            wire: the ``live`` service's form of answers, or the published contract's, ``spec``.
            rate_limit: a token bucket for all requests; a number is its rate, with a burst of one second's
                worth; ``None`` for no limit.
            activation_quota: how many activations there are; ``None`` for any number.
            latency: seconds that each answer takes besides the work.
            port: where to listen on 127.0.0.1; 0 takes a free one.

        Raises:
            ConfigurationError: a value that makes no sense.
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
                "the sandbox's rate_limit must be a fixed one: what it enforces is what a client adapts to"
            )
        self.api_key = API_KEY
        self.requests = []
        self._service = Service(World(seed, users, sessions, mean_events), wire, activation_quota)
        limit = rate_limit if isinstance(rate_limit, RateLimit | None) else RateLimit(rate_limit)
        self._bucket = None if limit is None else TokenBucket(limit)
        self._latency = latency
        self._port = port
        self._seed = seed
        self._rules: list[FaultRule] = []
        self._spoiled: WeakKeyDictionary[asyncio.BaseTransport, Behaviour] = WeakKeyDictionary()
        self._by_status: Counter[str] = Counter()
        self._by_operation: Counter[str] = Counter()
        self._by_session: Counter[str] = Counter()
        self._answering: set[asyncio.Task[Any] | None] = set()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The base URL, for ``ClientConfig(base_url=…)``. Raises `ClientStateError` before the start."""
        if self._runner is None:
            raise ClientStateError("the sandbox is not running: use 'async with Sandbox() as sandbox:'")
        return self._service.base_url

    @property
    def session_ids(self) -> list[SessionId]:
        """Every session's id, oldest session first."""
        return list(self._service.world.sessions)

    @property
    def event_counts(self) -> dict[SessionId, int]:
        """How many events each session has."""
        return {each.id: each.event_count for each in self._service.world.sessions.values()}

    @property
    def users(self) -> tuple[User, ...]:
        """The people, with ``uid`` and ``email``."""
        return self._service.world.users

    @property
    def activations(self) -> int:
        """Activations that were charged so far."""
        return self._service.activations

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
        """Spoil requests from now on; the first rule that fits acts.

        Args:
            fault: what happens: `Fault.status(503)`, or any other of its makers.
            operation: only this operation, called as in `RecordedRequest`.
            session_id: only this session.
            times: how often at most; ``None`` for always.
            skip: how many fitting requests are let through first; the n-th alone is ``skip=n - 1, times=1``.
            share: the probability, from 0 to 1, with which a fitting request is spoiled.
            seed: determines which; by default it follows from the sandbox's seed and the number of rules before.

        Raises:
            ConfigurationError: a condition that makes no sense.
        """
        if operation is not None and operation not in OPERATIONS:
            known = ", ".join(OPERATIONS)
            raise ConfigurationError(f"there is no operation {operation!r}; there are {known}")
        own_seed = f"{self._seed}/faults/{len(self._rules)}" if seed is None else seed
        rule = FaultRule(
            fault=fault, operation=operation, session_id=session_id, times=times, skip=skip, share=share, seed=own_seed
        )  # fmt: skip
        self._rules.append(rule)
        return rule

    def replay_page(self, session_id: SessionId) -> bytes:
        """Return the page that a session's replay URL opens, as HTML. Raises `ConfigurationError` for no session of ours."""
        try:
            return self._service.replay(session_id)
        except ApiError:
            raise ConfigurationError(f"the sandbox has no session {session_id}") from None

    def stats(self) -> dict[str, Any]:
        """Return what ``/_sandbox/stats`` serves: counts since the start, dropped requests included."""
        charged = self._service.activations_by_session
        return {
            "requests": self._by_operation.total(),
            "activations": self.activations,
            "by_status": dict(self._by_status),
            "by_operation": dict(self._by_operation),
            "by_session": {
                session_id: {"requests": count, "activations": charged[session_id]}
                for session_id, count in self._by_session.items()
            },
        }

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.add_routes(admin_routes(self._service, self.stats))
        for method, path, operation, work in ROUTES:
            app.router.add_route(method, path, partial(self._serve, operation=operation, work=work))
        try:
            listening = socket.create_server(("127.0.0.1", self._port), backlog=1024)
        except OSError as error:
            raise ConfigurationError(
                f"the sandbox can't listen on port {self._port}: {error.strerror}"
            ) from None
        self._port = listening.getsockname()[1]
        self._service.base_url = f"http://127.0.0.1:{self._port}"
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            left = [task for task in self._answering if task is not None]
            for each in left:
                each.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _serve(self, request: web.Request, *, operation: str, work: Work) -> web.StreamResponse:
        """Take one request through the stages that the module describes."""
        body = await request.read()
        record = self._note(request, operation, body)
        exchange = Exchange(request, record, self._error, partial(self._spoil_next, request))

        async def proceed() -> web.Response:
            before = self.activations
            answer = self._answer(request, partial(work, self._service, request, body))
            record.activations += self.activations - before
            return answer

        with self._counted(record, request):
            try:
                answer = await self._answered(exchange, proceed)
                if exchange.is_open:
                    await exchange.finish(answer)
            except ConnectionError:
                return web.Response()  # to nobody: the client has left, which the record says
            return answer

    async def _answered(self, exchange: Exchange, proceed: Proceed) -> web.StreamResponse:
        try:
            self._admit(exchange.request)
        except ApiError as refusal:
            return self._refused(refusal)
        if self._latency:
            await asyncio.sleep(self._latency)
        return await self._behaviour(exchange)(exchange, proceed)

    @contextmanager
    def _counted(self, record: RecordedRequest, request: web.Request) -> Iterator[None]:
        """Note what becomes of an answer, whatever that is; it may outlive its connection, but not the sandbox."""
        task = asyncio.current_task()
        self._answering.add(task)
        try:
            yield
        finally:
            self._answering.discard(task)
            record.bytes_sent = request.writer.output_size
            self._by_status["dropped" if record.status is None else str(record.status)] += 1

    def _behaviour(self, exchange: Exchange) -> Behaviour:
        """Return what answers a request: the first fault that applies, or the normal work."""
        transport = exchange.request.transport
        if transport is not None and (waiting := self._spoiled.pop(transport, None)):
            return waiting
        return next((rule.fault for rule in self._rules if rule.applies(exchange)), _work_normally)

    def _spoil_next(self, request: web.Request, behaviour: Behaviour) -> None:
        if request.transport is not None:
            self._spoiled[request.transport] = behaviour

    def _note(self, request: web.Request, operation: str, body: bytes) -> RecordedRequest:
        record = RecordedRequest(
            operation=operation,
            method=request.method,
            raw_path=request.raw_path,
            query=dict(request.query),
            headers={k.lower(): v for k, v in request.headers.items() if k.lower() != "authorization"},
            session_id=request.match_info.get("session_id"),
            body=body,
            at=time.monotonic(),
        )
        if len(self.requests) >= _KEPT_REQUESTS:
            del self.requests[: _KEPT_REQUESTS // 2]
        self.requests.append(record)
        self._by_operation[operation] += 1
        if record.session_id is not None:
            self._by_session[record.session_id] += 1
        return record

    def _admit(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Basic {self.api_key}":
            raise ApiError(401, "unauthorized", "the API key is missing or wrong")
        if self._bucket is not None and (wait := self._bucket.take()):
            text = "the rate limit of this endpoint is exceeded"
            raise ApiError(429, "too_many_requests", text, retry_after=wait)

    def _answer(self, request: web.Request, work: Callable[[], bytes]) -> web.Response:
        try:
            body = work()
        except ApiError as refusal:
            return self._refused(refusal)
        answer = web.Response(body=body, content_type="application/json", charset="utf-8")
        if len(body) >= _GZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
            answer.enable_compression(web.ContentCoding.gzip)
        return answer

    def _refused(self, refusal: ApiError) -> web.Response:
        answer = self._error(refusal.status, refusal.code, refusal.message)
        if refusal.retry_after is not None:
            answer.headers["Retry-After"] = str(refusal.retry_after)
        if refusal.allow:
            answer.headers["Allow"] = ", ".join(refusal.allow)
        return answer

    def _error(self, status: int, code: str, message: str) -> web.Response:
        shown: str | int = code if self._service.wire == "live" else status
        return web.json_response({"code": shown, "message": message}, status=status)


async def _work_normally(_: Exchange, proceed: Proceed) -> web.StreamResponse:
    return await proceed()
