"""What the sandbox enforces: a token bucket and an activation quota."""

from __future__ import annotations

import math
import time

from fullstory_async.ratelimit.limiter import RateLimit

__all__ = ["TokenBucket"]

_ROUNDING = 1e-9


class TokenBucket:
    """A token bucket: ``burst`` tokens, refilled at ``rate`` a second, one taken by each request."""

    def __init__(self, limit: RateLimit) -> None:
        """Begin with a full bucket."""
        self._limit = limit
        self._tokens = float(limit.burst)
        self._at = time.monotonic()

    def take(self) -> int:
        """Take a token and return 0, or return the whole seconds after which one will be there."""
        now = time.monotonic()
        self._tokens = min(self._limit.burst, self._tokens + (now - self._at) * self._limit.rate)
        self._at = now
        if self._tokens >= 1 - _ROUNDING:
            self._tokens -= 1
            return 0
        return max(1, math.ceil((1 - self._tokens) / self._limit.rate))
