"""A circuit breaker: while the service fails every call, only one call at a time probes it.

Each lost response may have been charged, so a job must not continue with all its workers while everything
fails. After `FAILURE_THRESHOLD` failures in a row the breaker opens. From then on one call at a time probes
the service, after pauses that double, and all others wait; the first response closes the breaker for all of
them. Few calls have passed the breaker without being sent by the time it opens: `Admission` limits those.
"""

from __future__ import annotations

import asyncio
import math

from fullstory_async.concurrency import Backoff

__all__ = ["FAILURE_THRESHOLD", "CircuitBreaker"]

FAILURE_THRESHOLD = 10
"""Number of failures in a row that open the breaker."""
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0


class CircuitBreaker:
    """The state of the service, as seen by one run."""

    def __init__(self, patience: float) -> None:
        """Wait ``patience`` seconds for the service to recover."""
        self._patience = patience
        self._failures = 0
        self._first_failure = math.inf
        self._last_failure = -math.inf
        self._backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        self._probe = asyncio.Lock()
        self._closed = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether the service is considered down."""
        return self._failures >= FAILURE_THRESHOLD

    @property
    def is_exhausted(self) -> bool:
        """Whether the service has been down for longer than the run waits for it."""
        return self.is_open and self._last_failure - self._first_failure >= self._patience

    def record_success(self) -> None:
        """Record that the service responded, whatever it said."""
        if self.is_open:
            self._closed.set()
        self._failures, self._first_failure = 0, math.inf
        self._backoff.reset()

    def record_failure(self, now: float) -> None:
        """Record that the service failed, or that its response was lost, at loop time ``now``."""
        self._failures += 1
        self._first_failure = min(self._first_failure, now)
        self._last_failure = now
        if self.is_open:
            self._closed.clear()

    async def acquire_probe(self) -> bool:
        """Wait until the service is back, or until this call may probe it.

        Returns whether this call is the probe; it then has to call `release_probe` when it is over.
        """
        await self._probe.acquire()
        try:
            if self.is_open:
                async with asyncio.timeout(self._backoff.advance()):
                    # the response of a call that is still in flight may close the breaker before the probe
                    await self._closed.wait()
        except TimeoutError:
            return True
        except asyncio.CancelledError:
            self._probe.release()
            raise
        self._probe.release()
        return False

    def release_probe(self) -> None:
        """Let another call probe, or all of them continue."""
        self._probe.release()
