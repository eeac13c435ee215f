"""The rate limiter: a token bucket with a pause, shared by everything that uses one API key.

The contract is two numbers. ``RateLimit(rate, burst)`` admits at most ``burst + rate·W`` requests in
*any* window of W seconds, which is the limit that FullStory describes: so many a second, and an
allowance for bursts that recharges. On `aiolimiter` that is ``AsyncLimiter(burst, burst / rate)``; its
``AsyncLimiter(20, 1)``, read as "20 in a second", would admit 39.

A request granted now arrives a little later, and the delay varies: two grants 20 ms apart can arrive
together, which a server that counts as strictly as we do would refuse. So `MARGIN` seconds' worth of
the burst is never used.

A 429 pauses the limiter. The pause is a timestamp, not an event or a task: nothing has to survive to
end it, so no cancellation can leave the limiter shut. A request passes a gate (no pause now), takes a
token, and looks again: if a pause began meanwhile it starts over. In the other order every waiter
would hold a token through the pause and all would leave at once when it ends.
"""

from __future__ import annotations

import asyncio
import logging

import attrs
from aiolimiter import AsyncLimiter

from fullstory_async import checks
from fullstory_async.errors import ClientStateError, ConfigurationError, RateLimitedError

__all__ = ["DEFAULT_MAX_WAIT", "MARGIN", "RateLimit", "RateLimiter"]

MARGIN = 0.05
"""Seconds by which two requests may draw nearer between the grant and the server."""

DEFAULT_MAX_WAIT = 120.0
"""Seconds of pause that a call waits out rather than fail."""

_NOTABLE_WAIT = 5.0
"""Seconds of pause from which a wait is logged at INFO."""

_logger = logging.getLogger("fullstory_async.ratelimit")


def _one_second(limit: RateLimit) -> float:
    return max(1.0, limit.rate) if checks.is_number(limit.rate) else 1.0


@attrs.frozen
class RateLimit:
    """At most ``burst + rate·W`` requests in any window of W seconds."""

    rate: float = attrs.field(default=8.0, validator=checks.number(above=0))
    """Requests a second in the long run."""

    burst: float = attrs.field(
        default=attrs.Factory(_one_second, takes_self=True), validator=checks.number(at_least=1)
    )
    """Requests that may leave at once after a rest; one second's worth unless given."""


class RateLimiter:
    """Admits requests within a `RateLimit`; shared by passing it to several clients.

    One limiter belongs to one API key. It may be used in one event loop after another (several
    ``asyncio.run``), its level carried over, but not in two running loops at once.
    """

    __slots__ = ("_bucket", "_level", "_level_at", "_loop", "_not_before", "limit", "max_wait")

    limit: RateLimit
    """The contract that is kept."""
    max_wait: float
    """Seconds of pause beyond which `acquire` raises instead of waiting."""

    def __init__(self, limit: RateLimit | None = None, *, max_wait: float = DEFAULT_MAX_WAIT) -> None:
        """Make a limiter with a full bucket. Raises `ConfigurationError` for values of a wrong kind."""
        if limit is not None and not isinstance(limit, RateLimit):
            raise ConfigurationError(f"limit must be a RateLimit, not {limit!r}")
        if not (checks.is_number(max_wait) and max_wait >= 0):
            raise ConfigurationError(f"max_wait must be a number of seconds, 0 or more, not {max_wait!r}")
        self.limit = RateLimit() if limit is None else limit
        self.max_wait = float(max_wait)
        self._not_before = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bucket: AsyncLimiter
        self._level = 0.0
        self._level_at = 0.0

    @property
    def paused_for(self) -> float:
        """Seconds until the present pause ends; 0.0 when there is none."""
        return max(0.0, self._not_before - self._now())

    async def acquire(self) -> None:
        """Wait until one request may be sent.

        Raises:
            RateLimitedError: the pause lasts longer than ``max_wait``; ``retry_after`` says how long.
            ClientStateError: another event loop is using this limiter now.
        """
        while True:
            await self._pass_gate()
            bucket = await self._bucket_here()
            await bucket.acquire()
            if self._now() >= self._not_before:
                self._count()
                return

    def pause(self, seconds: float) -> None:
        """Admit nothing for so many seconds from now. A pause is only ever lengthened."""
        self._not_before = max(self._not_before, self._now() + max(0.0, seconds))

    async def _pass_gate(self) -> None:
        while (wait := self.paused_for) > 0:
            if wait > self.max_wait:
                raise RateLimitedError(
                    f"the rate limit is closed for another {wait:.0f} s, longer than max_wait "
                    f"({self.max_wait:.0f} s); try again then",
                    retry_after=wait,
                )
            if wait >= _NOTABLE_WAIT:
                _logger.info("rate limit pause: waiting %.1f s", wait)
            await asyncio.sleep(wait)

    async def _bucket_here(self) -> AsyncLimiter:
        """Return the bucket of the running loop: an AsyncLimiter belongs to the loop that it first ran in."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None and self._loop.is_running():
                raise ClientStateError("this RateLimiter is in use by another running event loop")
            limit = self.limit
            capacity = max(1.0, limit.burst - limit.rate * MARGIN)
            self._bucket = AsyncLimiter(capacity, capacity / limit.rate)
            self._loop = loop
            if spent := min(capacity, self._drained()):
                await self._bucket.acquire(spent)  # at once: the new bucket is empty
        return self._bucket

    def _count(self) -> None:
        """Keep a level of our own, to hand on when the loop changes."""
        self._level, self._level_at = self._drained() + 1.0, self._now()

    def _drained(self) -> float:
        return max(0.0, self._level - (self._now() - self._level_at) * self.limit.rate)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def __repr__(self) -> str:
        return f"RateLimiter({self.limit!r}, max_wait={self.max_wait!r})"
