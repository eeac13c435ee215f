"""Failures: what follows a failed attempt: it is recorded, pauses the rate limiter, and is retried or not."""

from __future__ import annotations

import asyncio
import logging

import attrs

from fullstory_async.concurrency import StoragePatience
from fullstory_async.errors import (
    APIStatusError,
    DecodeError,
    FullStoryError,
    GatewayThrottledError,
    LimiterUnavailable,
    RateLimitedError,
    ServerError,
    StorageError,
    TransportError,
)
from fullstory_async.http.call import Call
from fullstory_async.http.hooks import Observer
from fullstory_async.ratelimit.limiter import RateLimiter
from fullstory_async.retry import Retries, RetryDecision

__all__ = ["AttemptError", "FailureHandler"]

AttemptError = TransportError | APIStatusError | DecodeError
"""The errors of an attempt; any other ends the call."""

_logger = logging.getLogger("fullstory_async.http")


@attrs.frozen(eq=False)
class FailureHandler:
    """Handles the failed attempts of all calls of one client."""

    limiter: RateLimiter
    observer: Observer
    wait_max: float
    """Seconds of the longest pause for a ``Retry-After`` that may concern one node of the service only."""

    async def handle(self, call: Call, error: AttemptError, retries: Retries) -> None:
        """Record a failed attempt and wait for the next one; raise its error if there is none."""
        self._record(call, error)
        retry = self._decide(call, error, retries)
        if retry is None:
            raise error
        await self._wait(call, error, retry)

    def _record(self, call: Call, error: AttemptError) -> None:
        """Record a failed attempt in the call, the error and the counters."""
        if error.may_have_cost and not isinstance(error, DecodeError):  # a success was counted as spent
            self.observer.stats.activations_at_risk += 1
        call.charged += error.may_have_cost
        call.in_flight = False
        call.last_error = error
        call.describe(error)

    def _decide(self, call: Call, error: AttemptError, retries: Retries) -> RetryDecision | None:
        """Ask the policy, the deadline, the caller and the retry quota.

        Also pauses the limiter as the service asked.
        """
        if isinstance(error, LimiterUnavailable) or (
            isinstance(error, RateLimitedError) and error.response is None
        ):
            # no attempt was made; the limiter itself refused to wait that long
            return None
        retry = retries.after(call.request, error, attempts=call.attempts, elapsed=call.elapsed)
        if isinstance(error, RateLimitedError | GatewayThrottledError):
            # every 429 pauses all calls of this key, also where this call gives up
            pause = retry.delay if retry else retries.pause(error, attempts=call.attempts)
            self.limiter.on_throttled(pause, admitted_at=call.admitted)
            self.observer.request_throttled(call, pause)
        elif error.retry_after is not None and isinstance(error, ServerError):
            # it may concern one node of the service only, so the pause is short
            self.limiter.pause(min(error.retry_after, self.wait_max))
        max_delay = min(call.remaining, call.max_pause if call.patient else self.limiter.max_wait)
        if retry is None or retry.delay > max_delay or not call.wants_retry(error, retry.delay):
            return None
        if not retries.acquire(retry):
            _logger.info("%s: no retry, the retry quota is used up", call.request.operation)
            return None
        return retry

    async def _wait(self, call: Call, error: FullStoryError, retry: RetryDecision) -> None:
        """Wait before the next attempt; a throttled call waits in the paused limiter instead."""
        # the error's message is not logged: the service may quote an e-mail address in it
        _logger.info(
            "%s %s: %s, status %s; next attempt in %.2f s",
            call.request.operation, call.request.session_id or "", type(error).__name__, error.status,
            retry.delay,
        )  # fmt: skip
        self.observer.retry_planned(call, error, retry.delay)
        call.wait_seconds = 0.0
        if retry.throttled:
            return
        began = asyncio.get_running_loop().time()
        try:
            await asyncio.sleep(retry.delay)
        finally:
            call.wait_seconds = asyncio.get_running_loop().time() - began
            self.observer.stats.waited += call.wait_seconds

    async def wait_for_storage(self, call: Call, error: FullStoryError) -> bool:
        """Pause for a ledger that can't be used; return False if the call ends with its error."""
        # a job waits for its disk itself
        if not isinstance(error, StorageError) or error.permanent or call.meter is not None:
            return False
        call.patience = call.patience or StoragePatience()
        return await call.patience.pause(call.remaining)
