"""Counters and hooks: what a client reports about its work while it happens.

Hooks get values of their own that identify no user: no path, query or body, and only headers that are no
secrets. They run in the task of the call, between two of its steps, so they should be quick. A hook that
raises is logged and otherwise ignored, because the response that the call waits for has been paid for.
"""

from __future__ import annotations

import inspect
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import attrs

from fullstory_async.errors import ConfigurationError, FullStoryError
from fullstory_async.http.call import Call
from fullstory_async.http.options import checked_headers
from fullstory_async.json_ready import JsonReady
from fullstory_async.messages import Request, Response
from fullstory_async.response_info import REQUEST_ID_HEADERS

__all__ = [
    "Hooks",
    "Observer",
    "RequestJoined",
    "RequestSent",
    "RequestThrottled",
    "ResponseReceived",
    "RetryPlanned",
    "Stats",
]

_SHOWN_HEADERS = frozenset({*REQUEST_ID_HEADERS, "date", "retry-after", "x-should-retry", "server-timing"})
_SHOWN_PREFIXES = ("ratelimit", "x-ratelimit", "x-rate-limit")
"""All other headers stay hidden: they may hold cookies, addresses or what a gateway quotes."""

_logger = logging.getLogger("fullstory_async.hooks")


@attrs.define
class Stats(JsonReady):
    """What a client has done since it was created."""

    requests: int = 0
    """Requests handed to the network, retries included."""
    retries: int = 0
    """Requests that were sent again after a failure, 429s included."""
    throttled: int = 0
    """429 responses."""
    activations: int = 0
    """Activations charged for certain: metered calls that succeeded."""
    activations_at_risk: int = 0
    """Activations at risk: metered requests that failed or were cancelled, and were possibly charged."""
    waited: float = 0.0
    """Seconds that calls waited for the rate limiter and for retries, summed over all calls."""
    received_bytes: int = 0
    """Body bytes read, counted after decompression."""

    @property
    def spent(self) -> int:
        """Activations spent, those at risk included, as a job and the ledger count them."""
        return self.activations + self.activations_at_risk


@attrs.frozen(kw_only=True)
class RequestSent:
    """A request is handed to the network."""

    call: int
    """Number of the call within its client; all events of one call share it."""
    operation: str
    """Operation name: ``list``, ``events``, ``summary``, …"""
    method: str
    """HTTP method."""
    metered: bool
    """Whether the request costs an activation."""
    attempt: int
    """Number of the attempt within the call, counted from 1."""
    waited: float = 0.0
    """Seconds that the attempt waited before it was sent: for its retry, and for the rate limiter."""
    host: str = ""
    """The service's host."""
    port: int = 0
    """The service's port."""


@attrs.frozen(kw_only=True)
class ResponseReceived(RequestSent):
    """A request is over; a streamed one as soon as its headers are in."""

    status: int | None = None
    """HTTP status; ``None`` if there was no response."""
    error: str | None = None
    """Name of the error's class, or ``CancelledError``; ``None`` after a success."""
    seconds: float = 0.0
    """Seconds from sending the request to its end."""
    body_bytes: int = 0
    """Length of the body, after decompression."""
    may_have_cost: bool = False
    """Whether the attempt cost an activation: certainly after a success, possibly after an error."""
    headers: Mapping[str, str] = attrs.field(factory=dict, eq=False)
    """The response's headers that number the request or describe a rate limit; names are in lower case."""


@attrs.frozen(kw_only=True)
class RetryPlanned(RequestSent):
    """A request failed and will be retried; ``attempt`` is the failed one."""

    error: str
    """Name of the error's class."""
    delay: float
    """Seconds until the next attempt, which then also waits for the rate limiter."""


@attrs.frozen(kw_only=True)
class RequestThrottled(RequestSent):
    """The service responded 429, and every call of this limiter pauses."""

    pause: float
    """Length of the pause in seconds."""


@attrs.frozen(kw_only=True)
class RequestJoined(RequestSent):
    """A call waited for the request of another call instead of sending its own; the wait is over.

    ``call`` and ``attempt`` are the other call's.
    """

    seconds: float
    """Length of the wait in seconds."""
    error: str | None = None
    """Name of the error's class, or ``CancelledError``; ``None`` after a success."""
    request_headers: Mapping[str, str] = attrs.field(factory=dict, eq=False)
    """The headers that `Hooks.request_headers` gave the other call's attempt, such as its trace."""


def _hook(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    called = getattr(value, "__call__", None)  # noqa: B004  (an object may define it as a coroutine method)
    if value is not None and (
        called is None or inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(called)
    ):
        raise ConfigurationError(f"{attribute.name} must be a plain function, not {value!r}")


@attrs.frozen(kw_only=True)
class Hooks:
    """Functions that a client calls as it works; each is optional, none may be a coroutine function."""

    on_request: Callable[[RequestSent], object] | None = attrs.field(default=None, validator=_hook)
    """A request is about to be sent; called for each attempt."""

    on_response: Callable[[ResponseReceived], object] | None = attrs.field(default=None, validator=_hook)
    """The request is over: response, failure or cancellation. Follows each `on_request` exactly once."""

    on_retry: Callable[[RetryPlanned], object] | None = attrs.field(default=None, validator=_hook)
    """The request failed and will be retried."""

    on_throttle: Callable[[RequestThrottled], object] | None = attrs.field(default=None, validator=_hook)
    """The service responded 429."""

    on_join: Callable[[RequestJoined], object] | None = attrs.field(default=None, validator=_hook)
    """A call that shared the request of an equal call is over."""

    request_headers: Callable[[RequestSent], Mapping[str, str]] | None = attrs.field(
        default=None, validator=_hook
    )
    """Return headers to add to the request, such as a trace's context; called after `on_request`."""


class Observer:
    """Counts, and calls the hooks."""

    __slots__ = ("_hooks", "_server", "numbers", "stats")

    stats: Stats
    """The counters."""
    numbers: Iterator[int]
    """Gives each call its number."""

    def __init__(self, hooks: Sequence[Hooks] = (), base_url: str = "") -> None:
        """Start with all counters at 0; ``base_url`` is the service's."""
        self.stats = Stats()
        self._hooks = tuple(hooks)
        url = urlsplit(base_url)
        self._server = {"host": url.hostname or "", "port": url.port or (80 if url.scheme == "http" else 443)}
        self.numbers = itertools.count(1)

    def request_sent(self, call: Call) -> Request:
        """Record that a request is handed to the network; return it with the hooks' headers."""
        self.stats.requests += 1
        self.stats.retries += call.attempts > 1
        if not self._hooks:
            return call.request
        event, added = RequestSent(**self._common_fields(call)), dict[str, str]()
        for hooks in self._hooks:
            if hooks.on_request is not None:
                _emit(hooks.on_request, event)
            if hooks.request_headers is not None:
                added |= _returned_headers(hooks.request_headers, event)
        own = call.request.headers
        for name in own:  # a caller's own header counts
            added.pop(name.lower(), None)
        call.added_headers = added
        return attrs.evolve(call.request, headers={**added, **own})

    def response_received(self, call: Call, response: Response, error: FullStoryError | None) -> None:
        """Record a response, and the error that it stands for."""
        self.stats.received_bytes += len(response.body)
        self.stats.throttled += response.status == 429
        if self._hooks:
            event = ResponseReceived(
                **self._common_fields(call), status=response.status, seconds=response.elapsed,
                body_bytes=len(response.body), error=None if error is None else type(error).__name__,
                may_have_cost=call.request.metered if error is None else error.may_have_cost,
                headers={
                    name: value for name, value in response.headers.items()
                    if name in _SHOWN_HEADERS or name.startswith(_SHOWN_PREFIXES)
                },
            )  # fmt: skip
            self._emit("on_response", event)

    def request_failed(self, call: Call, error: BaseException, seconds: float) -> None:
        """Record that there was no response: the network failed, or the call was cancelled."""
        if self._hooks:
            sent = call.request.metered and call.attempt is not None and call.attempt.sent
            event = ResponseReceived(
                **self._common_fields(call), error=type(error).__name__, seconds=seconds,
                may_have_cost=error.may_have_cost if isinstance(error, FullStoryError) else sent,
            )  # fmt: skip
            self._emit("on_response", event)

    def retry_planned(self, call: Call, error: FullStoryError, delay: float) -> None:
        """Record that a request will be retried."""
        if self._hooks:
            event = RetryPlanned(**self._common_fields(call), error=type(error).__name__, delay=delay)
            self._emit("on_retry", event)

    def request_throttled(self, call: Call, pause: float) -> None:
        """Record that the limiter pauses for a 429."""
        if self._hooks:
            self._emit("on_throttle", RequestThrottled(**self._common_fields(call), pause=pause))

    def request_joined(self, call: Call, error: str | None, seconds: float) -> None:
        """Record the end of a wait for a request of another call; ``error`` is a class's name."""
        if self._hooks and call.attempts:
            event = RequestJoined(
                **self._common_fields(call), seconds=seconds, request_headers=call.added_headers, error=error
            )  # fmt: skip
            self._emit("on_join", event)

    def _common_fields(self, call: Call) -> dict[str, Any]:
        request = call.request
        return {
            "call": call.number, "operation": request.operation, "method": request.method,
            "metered": request.metered, "attempt": call.attempts, "waited": call.wait_seconds, **self._server,
        }  # fmt: skip

    def _emit(self, name: str, event: RequestSent) -> None:
        for hooks in self._hooks:
            if (hook := getattr(hooks, name)) is not None:
                _emit(hook, event)


def _returned_headers(hook: Callable[[RequestSent], Mapping[str, str]], event: RequestSent) -> dict[str, str]:
    try:
        return {name.lower(): value for name, value in checked_headers(hook(event)).items()}
    except Exception:  # the user's function may raise anything, or return anything
        _logger.exception("the hook for the request's headers failed")
        return {}


def _emit(hook: Callable[[Any], object], event: RequestSent) -> None:
    try:
        hook(event)
    except Exception:  # the user's function may raise anything
        _logger.exception("the hook for %s failed", type(event).__name__)
