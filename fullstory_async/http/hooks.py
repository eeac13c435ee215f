"""What a client tells of its work: counters, and hooks that are called as it happens.

Hooks are given values of their own, with nothing in them that names a person: no address, query, header or body. They are called
in the task of the call, in between two of its steps, so they should be quick. One that fails is logged and otherwise ignored,
since the answer that the call is waiting for has been paid for.
"""

from __future__ import annotations

import inspect
import itertools
import logging
from collections.abc import Callable
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
    """What a client has done since it was made."""

    requests: int = 0
    """Requests handed to the network, retries included."""
    retries: int = 0
    """Requests that were sent again after a failure, 429s included."""
    throttled: int = 0
    """Answers 429."""
    activations: int = 0
    """Activations that were spent: metered calls that the service answered with success."""
    activations_at_risk: int = 0
    """Metered requests that failed, or were cancelled, in a way that may have been charged all the same."""
    waited: float = 0.0
    """Seconds that calls have waited for the rate limiter and before another attempt, added up over all of them."""
    received_bytes: int = 0
    """Bytes of bodies that were read, counted after decompression."""


@attrs.frozen(kw_only=True)
class RequestSent:
    """A request is handed to the network."""

    call: int
    """Tells calls of one client apart: all that is told of one call has the same number."""
    operation: str
    """``list``, ``events``, ``summary``, …"""
    method: str
    """The HTTP method."""
    metered: bool
    """Whether it costs an activation."""
    attempt: int
    """Which attempt of the call it is, counted from 1."""


@attrs.frozen(kw_only=True)
class ResponseReceived(RequestSent):
    """A request is over. A streamed answer is over here when its headers are there."""

    status: int | None = None
    """The HTTP status; ``None`` where no answer came."""
    error: str | None = None
    """What went wrong: the name of an error's class, or ``CancelledError``; ``None`` where nothing did."""
    seconds: float = 0.0
    """From sending it to its end."""
    body_bytes: int = 0
    """The length of the answer's body, after decompression."""


@attrs.frozen(kw_only=True)
class RetryPlanned(RequestSent):
    """A request failed and will be sent again; ``attempt`` is the one that failed."""

    error: str
    """What went wrong: the name of an error's class."""
    delay: float
    """Seconds until the next attempt; it also has to pass the rate limiter."""


@attrs.frozen(kw_only=True)
class RequestThrottled(RequestSent):
    """The service answered 429, and every call of this limiter pauses."""

    pause: float
    """Seconds of the pause."""


def _hook(_: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    called = getattr(value, "__call__", None)  # noqa: B004  (what is called may be a method of its class)
    if value is not None and (
        called is None or inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(called)
    ):
        raise ConfigurationError(f"{attribute.name} must be a plain function, not {value!r}")


@attrs.frozen(kw_only=True)
class Hooks:
    """Functions that are told what a client does; each is optional, and none may be a coroutine function."""

    on_request: Callable[[RequestSent], object] | None = attrs.field(default=None, validator=_hook)
    """A request is about to be sent, each attempt of a call."""

    on_response: Callable[[ResponseReceived], object] | None = attrs.field(default=None, validator=_hook)
    """It is over: answered, failed or cancelled. Each `on_request` is followed by exactly one of these."""

    on_retry: Callable[[RetryPlanned], object] | None = attrs.field(default=None, validator=_hook)
    """It failed and will be sent again."""

    on_throttle: Callable[[RequestThrottled], object] | None = attrs.field(default=None, validator=_hook)
    """It was answered 429."""


class Observer:
    """Counts, and calls the hooks."""

    __slots__ = ("_hooks", "_numbers", "stats")

    stats: Stats
    """The counters."""

    def __init__(self, hooks: Hooks | None = None) -> None:
        """Begin to count."""
        self.stats = Stats()
        self._hooks = Hooks() if hooks is None else hooks
        self._numbers = itertools.count(1)

    def next_number(self) -> int:
        """Return a number for a call."""
        return next(self._numbers)

    def sent(self, call: Call) -> None:
        """Take note that a request is handed to the network."""
        self.stats.requests += 1
        self.stats.retries += call.attempts > 1
        if (hook := self._hooks.on_request) is not None:
            _tell(hook, RequestSent(**_of(call)))

    def answered(self, call: Call, response: Response, error: FullStoryError | None) -> None:
        """Take note of an answer, and of the error that it stands for."""
        self.stats.received_bytes += len(response.body)
        self.stats.throttled += response.status == 429
        if (hook := self._hooks.on_response) is not None:
            answer = ResponseReceived(
                **_of(call), status=response.status, seconds=response.elapsed, body_bytes=len(response.body),
                error=None if error is None else type(error).__name__,
            )  # fmt: skip
            _tell(hook, answer)

    def lost(self, call: Call, error: BaseException, seconds: float) -> None:
        """Take note that no answer came: the network failed, or the call was cancelled."""
        if (hook := self._hooks.on_response) is not None:
            _tell(hook, ResponseReceived(**_of(call), error=type(error).__name__, seconds=seconds))

    def retrying(self, call: Call, error: FullStoryError, delay: float) -> None:
        """Take note that a request will be sent again."""
        if (hook := self._hooks.on_retry) is not None:
            _tell(hook, RetryPlanned(**_of(call), error=type(error).__name__, delay=delay))

    def throttled(self, call: Call, pause: float) -> None:
        """Take note that the limiter pauses for a 429."""
        if (hook := self._hooks.on_throttle) is not None:
            _tell(hook, RequestThrottled(**_of(call), pause=pause))


def _of(call: Call) -> dict[str, Any]:
    request = call.request
    return {
        "call": call.number, "operation": request.operation, "method": request.method, "metered": request.metered,
        "attempt": call.attempts,
    }  # fmt: skip


def _tell(hook: Callable[[Any], object], event: RequestSent) -> None:
    try:
        hook(event)
    except Exception:  # it is the user's, and may raise anything
        _logger.exception("the hook for %s failed", type(event).__name__)
