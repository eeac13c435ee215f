"""Counters and hooks: what a client reports about its work while it happens.

Hooks get values of their own that identify nobody: no address, query, header or body. They run in the task of
the call, between two of its steps, so they should be quick. A hook that raises is logged and otherwise
ignored, because the response that the call waits for has been paid for.
"""

from __future__ import annotations

import inspect
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from fullstory_async.errors import ConfigurationError, FullStoryError
from fullstory_async.http.call import Call
from fullstory_async.messages import Response

__all__ = [
    "Hooks",
    "Observer",
    "RequestSent",
    "RequestThrottled",
    "ResponseReceived",
    "RetryPlanned",
    "Stats",
]

_logger = logging.getLogger("fullstory_async.hooks")


@attrs.define
class Stats:
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


class Observer:
    """Counts, and calls the hooks."""

    __slots__ = ("_hooks", "numbers", "stats")

    stats: Stats
    """The counters."""
    numbers: Iterator[int]
    """Gives each call its number."""

    def __init__(self, hooks: Hooks | None = None) -> None:
        """Start with all counters at 0."""
        self.stats = Stats()
        self._hooks = Hooks() if hooks is None else hooks
        self.numbers = itertools.count(1)

    def request_sent(self, call: Call) -> None:
        """Record that a request is handed to the network."""
        self.stats.requests += 1
        self.stats.retries += call.attempts > 1
        if (hook := self._hooks.on_request) is not None:
            _emit(hook, RequestSent(**_common_fields(call)))

    def response_received(self, call: Call, response: Response, error: FullStoryError | None) -> None:
        """Record a response, and the error that it stands for."""
        self.stats.received_bytes += len(response.body)
        self.stats.throttled += response.status == 429
        if (hook := self._hooks.on_response) is not None:
            event = ResponseReceived(
                **_common_fields(call), status=response.status, seconds=response.elapsed,
                body_bytes=len(response.body), error=None if error is None else type(error).__name__,
            )  # fmt: skip
            _emit(hook, event)

    def request_failed(self, call: Call, error: BaseException, seconds: float) -> None:
        """Record that there was no response: the network failed, or the call was cancelled."""
        if (hook := self._hooks.on_response) is not None:
            _emit(hook, ResponseReceived(**_common_fields(call), error=type(error).__name__, seconds=seconds))

    def retry_planned(self, call: Call, error: FullStoryError, delay: float) -> None:
        """Record that a request will be retried."""
        if (hook := self._hooks.on_retry) is not None:
            _emit(hook, RetryPlanned(**_common_fields(call), error=type(error).__name__, delay=delay))

    def request_throttled(self, call: Call, pause: float) -> None:
        """Record that the limiter pauses for a 429."""
        if (hook := self._hooks.on_throttle) is not None:
            _emit(hook, RequestThrottled(**_common_fields(call), pause=pause))


def _common_fields(call: Call) -> dict[str, Any]:
    request = call.request
    return {
        "call": call.number, "operation": request.operation, "method": request.method,
        "metered": request.metered, "attempt": call.attempts,
    }  # fmt: skip


def _emit(hook: Callable[[Any], object], event: RequestSent) -> None:
    try:
        hook(event)
    except Exception:  # the user's function may raise anything
        _logger.exception("the hook for %s failed", type(event).__name__)
