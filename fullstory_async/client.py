"""FullStoryClient: opens, owns and closes what calls share, and offers the operations.

A client has three states. It starts *unopened* and touches neither network nor event loop; ``async with`` or
`FullStoryClient.open` opens it; leaving the block or `FullStoryClient.close` closes it, and it can't be
opened again. It closes what it made (the aiohttp session) and never what it was given (a session, a limiter).
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

import attrs

from fullstory_async.api import (
    ApiContext,
    ListEndpoints,
    ProfilesAPI,
    ResponseStore,
    SessionsAPI,
    call_once,
)
from fullstory_async.codec import decode_key_owner
from fullstory_async.config import ClientConfig
from fullstory_async.declared import Declared
from fullstory_async.deprecation import warn_renamed
from fullstory_async.errors import ConfigurationError, StorageError
from fullstory_async.files.ledger import ActivationLedger, LedgerAccount
from fullstory_async.http import call, endpoints
from fullstory_async.http.contact import Contact
from fullstory_async.http.hooks import Hooks, Stats
from fullstory_async.http.metering import Meter
from fullstory_async.http.options import CallOptions, ExtraQuery
from fullstory_async.http.pipeline import Pipeline
from fullstory_async.http.transport.proxy_guard import ProxyGuard
from fullstory_async.http.transport.unopened import ClientTransport, State, UnopenedTransport
from fullstory_async.models import KeyOwner
from fullstory_async.networks import Network
from fullstory_async.privacy import Redactor, hide_arguments
from fullstory_async.ratelimit.limiter import RateLimiter
from fullstory_async.ratelimit.unshared import OPEN_CLIENTS
from fullstory_async.secret import Secret
from fullstory_async.threads import WorkerThread, running_loop
from fullstory_async.validators import shown

if TYPE_CHECKING:
    import aiohttp

    from fullstory_async.http.transport.session import Transport

__all__ = ["FullStoryClient"]

_TRANSPORT = "fullstory_async.http.transport.session"
"""Imports aiohttp, which takes a third of a second, and which a program may never need."""


class FullStoryClient:
    """An asynchronous client for the FullStory Sessions API.

    Use it in ``async with``, or call `open` and `close`. Make one for the whole program: its calls share
    connections, one rate limiter and the requests of equal calls.

    Attributes:
        sessions: the operations on sessions, a `SessionsAPI`: ``list``, ``events``, ``stream_events``,
            ``context``, ``summary``, and for many ids ``events_many``, ``contexts_many``, ``summaries_many``.
        profiles: the operations on summary profiles, a `ProfilesAPI`: ``list``, ``get``, ``create``,
            ``update``, ``delete``.
        config: the settings, a `ClientConfig`, including those from the environment.
        limiter: the `RateLimiter`; pass it to other clients that use the same key.
    """

    sessions = Declared(SessionsAPI)
    """The operations on sessions."""
    profiles = Declared(ProfilesAPI)
    """The operations on summary profiles."""
    config = Declared(ClientConfig)
    """The settings, including those from the environment."""
    limiter = Declared(RateLimiter)
    """The rate limiter; pass it to other clients that use the same key."""
    api = Declared(ApiContext)
    """What the operations share; for other parts of this package, such as jobs."""

    @hide_arguments
    def __init__(
        self,
        api_key: str | Secret | None = None,
        *,
        config: ClientConfig | None = None,
        session: aiohttp.ClientSession | None = None,
        limiter: RateLimiter | None = None,
        cache: ResponseStore | None = None,
        summary_cache: ResponseStore | None = None,
        ledger: ActivationLedger | Meter | None = None,
        hooks: Hooks | Sequence[Hooks] | None = None,
        transport: ClientTransport | None = None,
    ) -> None:
        """Create a client; nothing is opened before ``async with`` or `open`.

        Args:
            api_key: the API key; read from ``FULLSTORY_API_KEY``, or the file that ``FULLSTORY_API_KEY_FILE``
                names, if neither it nor ``config`` is given.
            config: all settings; ``api_key``, if also given, replaces the key in it.
            session: an aiohttp session to use. It is not closed, and its own middlewares are not called.
            limiter: a rate limiter to share with other clients of the same key, instead of
                ``config.rate_limit``.
            cache: a `ResponseCache`, a file that keeps responses so that the same one is not paid for twice,
                or a `JobReader`, whose folder has responses already; by default nothing is kept.
            summary_cache: the former name of ``cache``.
            ledger: an `ActivationLedger`, a file that counts what the key spends per month, over all clients
                and jobs that share it; or any other `Meter`, such as `cluster.PostgresLedger`.
            hooks: functions to call on each request, response, retry and 429; several such as
                ``(tracing(), metering())`` are called in this order.
            transport: what sends requests in place of the network, such as `testing.FakeTransport`.

        Raises:
            ConfigurationError: no key, or an unusable setting.
        """
        if isinstance(api_key, str):
            api_key = Secret(api_key)  # so that the locals of no frame show it
        if summary_cache is not None:
            warn_renamed("FullStoryClient(summary_cache=…)", "cache", stacklevel=4)
            cache = summary_cache if cache is None else cache
        hooks = () if hooks is None else (hooks,) if isinstance(hooks, Hooks) else hooks
        _check_types(config, limiter, cache, ledger, hooks)
        _check_transport(transport)
        if config is None:
            config = ClientConfig(api_key=api_key)
        elif api_key is not None:
            config = attrs.evolve(config, api_key=api_key)  # the default base URL follows the key
        if config.api_key is None:
            raise ConfigurationError(
                "no API key: pass api_key, or set FULLSTORY_API_KEY or FULLSTORY_API_KEY_FILE; "
                "to try the client without a key, run 'fullstory-async demo', or run "
                "'fullstory-async sandbox' and set the variables that it prints"
            )
        self.config = config
        self.limiter = limiter or RateLimiter(config.rate_limit, max_wait=config.max_wait)
        self._transport: ClientTransport = UnopenedTransport() if transport is None else transport
        network = config.network
        if session is not None:
            if transport is not None:
                raise ConfigurationError("give either a session or a transport: a transport needs no session")
            self._transport = opened = _transport_class()(config, session)
            network = opened.network
        self._ledger = ledger
        redactor = Redactor(config.api_key, network.secrets)
        self._pipeline = Pipeline(
            _guarded(self._transport, network), self.limiter, config.retry, timeout=config.overall_timeout,
            contact=Contact(config.base_url, redactor, network.proxy_reads_requests),
            ledger=_meter(ledger, config.key_fingerprint), hooks=hooks,
        )  # fmt: skip
        name = f"{config.base_url} {config.key_fingerprint}"
        self.api = ApiContext(self._pipeline, name, cache, lists=ListEndpoints(config.list_api))
        self.sessions = SessionsAPI(self.api)
        self.profiles = ProfilesAPI(self.api)

    @property
    def stats(self) -> Stats:
        """Counters of this client so far: requests, retries, 429s, waits, bytes, activations. A copy."""
        return attrs.evolve(self._pipeline.stats)

    @hide_arguments
    async def whoami(
        self,
        *,
        priority: bool = False,
        timeout: float | None = None,
        extra_query: ExtraQuery | None = None,
        extra_headers: Mapping[str, str] | None = None,
    ) -> KeyOwner:
        """Get the owner of the key: organisation, e-mail address and role. Not metered.

        ``priority``, ``timeout``, ``extra_query`` and ``extra_headers`` are those of `SessionsAPI`.

        Raises:
            AuthenticationError: the key is wrong or revoked.
            FullStoryError: as for every call.
        """
        options = CallOptions.from_arguments(timeout, extra_query, extra_headers, priority=priority)
        request = options.apply(endpoints.me())
        return await call_once(self.api, request, decode_key_owner, options.timeout)

    async def open(self) -> Self:
        """Open the client until `close`, for the cells of a notebook for example.

        ``async with`` does both, and closes it whatever happens. Opening an open client does nothing.

        Raises:
            ClientStateError: it was closed, or opened in another event loop, or asyncio doesn't run.
        """
        await self._prepare()
        if self._transport.state is State.OPEN:
            self._transport.check()
        else:
            await self._open()
        return self

    async def __aenter__(self) -> Self:
        await self._prepare()
        await self._open()
        return self

    async def _prepare(self) -> None:
        running_loop()
        if isinstance(self._transport, UnopenedTransport):
            await _import_transport()

    async def _open(self) -> None:
        if isinstance(self._transport, UnopenedTransport) and self._transport.state is State.UNOPENED:
            self._transport = _transport_class()(self.config)
            self._pipeline.use(_guarded(self._transport, self.config.network))
        OPEN_CLIENTS.check(self.api.name, self.limiter)
        await self._transport.open()
        OPEN_CLIENTS.add(self, self.api.name, self.limiter)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the client and the session that it made. Closing again does nothing.

        It waits, 30 seconds at most, until responses that were paid for are cached and activations that were
        not spent are released in the ledger.
        """
        try:
            await self.api.finish()
        finally:
            await self._transport.close()
            OPEN_CLIENTS.remove(self)
        finish = getattr(self._ledger, "finish", None)
        if finish is not None:
            await finish()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a FullStoryClient owns connections and can't be pickled or copied: pickle its config, and make "
            "a client from it in each process (the key is not pickled, but read from that environment)"
        )

    def __enter__(self) -> None:
        raise TypeError("FullStoryClient is asynchronous: use 'async with'")

    def __exit__(self, *_: object) -> None: ...

    def __repr__(self) -> str:
        if "sessions" not in vars(self):  # its construction failed, and a traceback shows it
            return "FullStoryClient(not made)"
        return f"FullStoryClient({self.config.base_url!r}, {self._transport.state.name.lower()})"


def _check_types(config: object, limiter: object, cache: object, ledger: object, hooks: object) -> None:
    if config is not None and not isinstance(config, ClientConfig):
        raise ConfigurationError(f"config must be a ClientConfig, not {type(config).__name__}")
    if limiter is not None and not isinstance(limiter, RateLimiter):
        raise ConfigurationError(f"limiter must be a RateLimiter, not {type(limiter).__name__}")
    if cache is not None and not isinstance(cache, ResponseStore):
        raise ConfigurationError(f"cache must be a ResponseCache or a JobReader, not {shown(cache)}")
    if ledger is not None and (isinstance(ledger, type) or not isinstance(ledger, Meter)):
        raise ConfigurationError(
            "ledger must be an ActivationLedger or another Meter, with a name and the methods reserve and "
            f"release, not {shown(ledger)}"
        )
    for each in hooks if isinstance(hooks, (tuple, list)) else (hooks,):
        if not isinstance(each, Hooks):
            raise ConfigurationError(f"hooks must be Hooks, or a list of them, not {type(each).__name__}")


def _meter(ledger: ActivationLedger | Meter | None, key_fingerprint: str) -> Meter | None:
    return LedgerAccount(ledger, key_fingerprint) if isinstance(ledger, ActivationLedger) else ledger


def _check_transport(transport: object) -> None:
    # the state too: a class has the same methods, and a mock any attribute
    is_one = isinstance(transport, ClientTransport) and isinstance(transport.state, State)
    if transport is not None and not is_one:
        raise ConfigurationError(
            f"transport must be a transport such as testing.FakeTransport, not {shown(transport)}"
        )


def _guarded(transport: ClientTransport, network: Network) -> call.Transport:
    return transport if network.proxy is None else ProxyGuard(transport, network)


def _transport_class() -> type[Transport]:
    transport: type[Transport] = importlib.import_module(_TRANSPORT).Transport
    return transport


async def _import_transport() -> None:
    """Import the transport in a thread: a running event loop must not stand still meanwhile."""
    if not hasattr(sys.modules.get(_TRANSPORT), "Transport"):  # also while another thread imports it
        # without a thread it is imported where it is needed
        with contextlib.suppress(StorageError):
            await WorkerThread("aiohttp").run(importlib.import_module, _TRANSPORT)
