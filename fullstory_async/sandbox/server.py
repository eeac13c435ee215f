"""Sandbox: a FullStory account on a local port, with what a test can set, add and ask."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self, get_args

from aiohttp import web
from yarl import URL

from fullstory_async import validators
from fullstory_async.errors import ClientStateError, ConfigurationError
from fullstory_async.ratelimit.limiter import RateLimit
from fullstory_async.sandbox.faults.rules import Fault, FaultRule, FaultRules
from fullstory_async.sandbox.own_data import Canned, SandboxSession, add_to_world, canned_body
from fullstory_async.sandbox.request_log import request_logger
from fullstory_async.sandbox.routes import admin_routes, routes
from fullstory_async.sandbox.service import Service
from fullstory_async.sandbox.serving import Serving
from fullstory_async.sandbox.state import (
    ApiError,
    RecordedRequests,
    Recorder,
    TokenBucket,
    Wire,
    check_operation,
)
from fullstory_async.sandbox.world import MOST_EVENTS, User, World
from fullstory_async.session_id import SessionId

__all__ = ["Sandbox"]

API_KEY = "na1.c2FuZGJveA/SANDBOX"
_LARGEST_BODY = 16 * 1024 * 1024


class Sandbox:
    """A local FullStory: ``async with Sandbox() as sandbox:`` serves until the block ends."""

    requests: RecordedRequests
    """Every request so far; beyond 100 000 the older half is dropped. `stats` counts all of them.
    ``requests.of("events", session_id=…)`` selects some."""

    def __init__(
        self,
        *,
        seed: int = 0,
        users: int = 20,
        sessions: int | Iterable[SandboxSession] = 200,
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
            sessions: number of sessions of all users together; or sessions of your own, in place of all
                generated users and sessions.
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
        own = None if isinstance(sessions, int) else _own_sessions(sessions)
        count = sessions if isinstance(sessions, int) else 0
        for name, number, least, most in (
            ("users", users, 1, math.inf), ("sessions", count, 0, math.inf),
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
        self._recorder = Recorder()
        self.requests = self._recorder.requests
        world = World(seed, users if own is None else 0, count, mean_events)
        add_to_world(world, own or ())
        public_url = _checked_public_url(public_url)
        self._public_host = None if public_url is None else URL(public_url).host
        self._service = Service(world, wire, activation_quota, public_url)
        limit = rate_limit if isinstance(rate_limit, RateLimit | None) else RateLimit(rate_limit)
        self._rules = FaultRules()
        bucket = None if limit is None else TokenBucket(limit)
        self._serving = Serving(API_KEY, self._service, self._recorder, self._rules, bucket, latency)
        self._port = port
        self._seed = seed
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Base URL, for ``ClientConfig(base_url=…)``. Raises `ClientStateError` unless running."""
        if self._runner is None:
            raise ClientStateError("the sandbox is not running: use 'async with Sandbox() as sandbox:'")
        return self._service.base_url

    @property
    def api_key(self) -> str:
        """The only accepted API key. It can be replaced at any time."""
        return self._serving.api_key

    @api_key.setter
    def api_key(self, key: str) -> None:
        self._serving.api_key = key

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

    def sessions_of(self, *, email: str | None = None, uid: str | None = None) -> list[SessionId]:
        """Return the ids of the sessions of the user with this ``email`` or ``uid``, oldest session first."""
        return [each.id for each in self._service.world.of_user(uid=uid, email=email)]

    def add_session(self, session: SandboxSession) -> SessionId:
        """Add a session of your own, and return its id.

        Raises:
            ConfigurationError: the sandbox has a session of this id already.
        """
        [session_id] = add_to_world(self._service.world, [session])
        return session_id

    def respond(self, operation: Canned, session_id: str, body: object) -> None:
        """Let an operation on a session respond with a given body from now on.

        The request is checked, recorded and charged as before. For failures, see `inject`.

        Args:
            operation: ``events``, ``summary`` or ``context``.
            session_id: full id of a session of the sandbox.
            body: the bytes of the body, an object to encode as JSON, or a result that was kept, such as a
                `SessionContext`; for ``summary`` also the text of the summary.

        Raises:
            ConfigurationError: no such operation or session, or a body that can't be sent.
        """
        content = canned_body(operation, session_id, body, self._service.wire)
        try:
            self._service.respond(operation, session_id, content)
        except ApiError:
            raise ConfigurationError(f"the sandbox has no session {session_id}") from None

    def assert_paid(self, activations: int) -> None:
        """Check how many activations were charged so far.

        Raises:
            AssertionError: another number; the message lists what was paid for.
        """
        if self.activations != activations:
            paid = [each for each in self.requests if each.activations]
            lines = [f"  {each.operation} {each.session_id}: {each.activations}" for each in paid]
            raise AssertionError(
                "\n".join([f"{activations} activations expected, {self.activations} charged:", *lines])
            )

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
        check_operation(operation)
        # by number, so that a rule draws the same numbers in every run, whatever other rules do
        own_seed = f"{self._seed}/faults/{len(self._rules)}" if seed is None else seed
        rule = FaultRule(
            fault=fault, operation=operation, session_id=session_id, times=times, skip=skip, share=share,
            seed=own_seed
        )  # fmt: skip
        self._rules.append(rule)
        return rule

    def replay_page(self, session_id: SessionId) -> bytes:
        """Return the HTML behind the replay URL of the session ``session_id``.

        Raises:
            ConfigurationError: the sandbox doesn't have it.
        """
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
            app.router.add_route(method, path, partial(self._serving.serve, operation=operation, work=work))
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
            await self._serving.cancel()


def _own_sessions(sessions: Iterable[SandboxSession]) -> tuple[SandboxSession, ...]:
    if isinstance(sessions, str) or not isinstance(sessions, Iterable):
        wanted = "a whole number or SandboxSession objects"
        raise ConfigurationError(f"the sandbox's sessions must be {wanted}, not {validators.shown(sessions)}")
    return tuple(sessions)


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
