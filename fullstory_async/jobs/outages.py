"""Outages: what a run knows of the network and the service, and for how long it waits for them."""

from __future__ import annotations

import asyncio
import math

import attrs

from fullstory_async.errors import FullStoryError, Scope, TransportError
from fullstory_async.jobs.circuit_breaker import CircuitBreaker

__all__ = ["Outages", "was_not_sent"]


def was_not_sent(error: FullStoryError) -> bool:
    """Return whether the request never left."""
    return isinstance(error, TransportError) and not error.sent


@attrs.define(eq=False)
class Outages:
    """The calls of one run or process write it."""

    patience: float
    """Seconds without any connection, or with a failing service, after which they are given up."""
    breaker: CircuitBreaker = attrs.field(init=False)
    offline_since: float = attrs.field(default=math.inf, init=False)
    """The loop time of the first failure to connect, if no connection was made since."""
    reason: str = attrs.field(default="", init=False)
    """The latest failure that calls wait out; empty if none do."""

    def __attrs_post_init__(self) -> None:
        self.breaker = CircuitBreaker(self.patience)

    def can_wait(self, error: FullStoryError) -> bool:
        """Return whether a call could not be sent, and the network may still recover in time."""
        # an earlier attempt of the call may have been charged: then it is settled, and made again later
        if not was_not_sent(error) or error.permanent or error.may_have_cost:
            return False
        now = asyncio.get_running_loop().time()
        self.offline_since = min(self.offline_since, now)
        self.report_waiting(error)
        return now - self.offline_since < self.patience

    def report_waiting(self, error: FullStoryError) -> None:
        """Record why calls wait, until the service responds."""
        self.reason = f"{type(error).__name__}: {error}"

    def record_response(self) -> None:
        """Record that the service responded as it should."""
        self.offline_since = math.inf
        self._record_success()

    def record_failure(self, error: FullStoryError) -> bool:
        """Record what a failure says about network and service; return whether one of them is given up."""
        if was_not_sent(error):
            return error.scope is Scope.NETWORK
        self.offline_since = math.inf
        if error.scope in {Scope.SERVICE, Scope.NETWORK}:
            self.breaker.record_failure(asyncio.get_running_loop().time())
            if self.breaker.is_open:
                self.report_waiting(error)
            return self.breaker.is_exhausted
        if error.attempts > 0:  # a call that was never sent says nothing about the service
            self._record_success()
        return False

    def _record_success(self) -> None:
        self.breaker.record_success()
        self.reason = ""
