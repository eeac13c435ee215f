"""The rate limiter: a token bucket with a pause, shared by everything that uses one API key.

The contract is two numbers. ``RateLimit(rate, burst)`` admits at most ``burst + rate·W`` requests in
*any* window of W seconds, which is the limit that FullStory describes: so many a second, and an
allowance for bursts that recharges. On `aiolimiter` that is ``AsyncLimiter(burst, burst / rate)``; its
``AsyncLimiter(20, 1)``, read as "20 in a second", would admit 39.

A request granted now arrives a little later, and the delay varies: two grants 20 ms apart can arrive
together, which a server that counts as strictly as we do would refuse. So `MARGIN` seconds' worth of
the burst is not used, where the burst is large enough to give it: a burst of 1 leaves no room, and a strict
server then answers 429 now and then.

A 429 pauses the limiter. The pause is a timestamp, not an event or a task: nothing has to survive to
end it, so no cancellation can leave the limiter shut. A request passes a gate (no pause now), takes a
token, and looks again: if a pause began meanwhile it starts over. In the other order every waiter
would hold a token through the pause and all would leave at once when it ends.
"""

from __future__ import annotations

import asyncio
import logging
import math

import attrs
from aiolimiter import AsyncLimiter

from fullstory_async import checks
from fullstory_async.errors import ClientStateError, ConfigurationError, RateLimitedError

__all__ = ["DEFAULT_MAX_WAIT", "MARGIN", "RateLimit", "RateLimiter"]

MARGIN = 0.05
"""Seconds by which two requests may draw nearer between the grant and the server."""

DEFAULT_MAX_WAIT = 120.0
"""Seconds of pause that a call waits out rather than fail."""

_LONGEST_PAUSE = 86_400.0
"""Seconds that one pause lasts at most: what a server asks beyond a day is asked of it anew."""

_NOTABLE_WAIT = 5.0
"""Seconds from which a wait is logged at INFO."""

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

    __slots__ = (
        "_bucket", "_capacity", "_level", "_level_at", "_limit", "_loop", "_max_wait", "_not_before", "_queued", "_waiting",
    )  # fmt: skip

    def __init__(self, limit: RateLimit | None = None, *, max_wait: float = DEFAULT_MAX_WAIT) -> None:
        """Make a limiter with a full bucket. Raises `ConfigurationError` for values of a wrong kind."""
        if limit is not None and not isinstance(limit, RateLimit):
            raise ConfigurationError(f"limit must be a RateLimit, not {limit!r}")
        if not (checks.is_number(max_wait) and max_wait >= 0):
            raise ConfigurationError(f"max_wait must be a number of seconds, 0 or more, not {max_wait!r}")
        self._limit = RateLimit() if limit is None else limit
        self._max_wait = float(max_wait)
        self._capacity = max(1.0, self._limit.burst - self._limit.rate * MARGIN)
        self._queued = self._waiting = 0
        self._not_before = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bucket: AsyncLimiter
        self._level = 0.0
        self._level_at = 0.0

    @property
    def limit(self) -> RateLimit:
        """The contract that is kept."""
        return self._limit

    @property
    def max_wait(self) -> float:
        """Seconds of waiting beyond which `acquire` raises instead."""
        return self._max_wait

    @property
    def paused_for(self) -> float:
        """Seconds until the present pause ends; 0.0 when there is none."""
        return max(0.0, self._not_before - self._now())

    async def acquire(self, *, longest_pause: float | None = None) -> None:
        """Wait until one request may be sent.

        Args:
            longest_pause: wait out a pause of so many seconds, and a queue of any length, instead of
                ``max_wait`` for both; for bulk work, which expects to wait.

        Raises:
            RateLimitedError: the wait would be longer than that; ``retry_after`` says how long.
            ClientStateError: another event loop is using this limiter now.
        """
        if await self.acquire_now():
            return
        loop, self._waiting = self._loop, self._waiting + 1
        try:
            await self._wait_for_token(longest_pause)
        finally:
            if self._loop is loop:  # else it counts the calls of another
                self._waiting -= 1

    async def _wait_for_token(self, longest_pause: float | None) -> None:
        bucket = await self._bucket_here()
        started, loop = self._now(), self._loop
        while True:
            left = self._max_wait - (self._now() - started)
            await self._pass_gate(left if longest_pause is None else longest_pause)
            left = self._max_wait - (self._now() - started)
            self._look_at_queue(left if longest_pause is None else math.inf)
            self._queued += 1
            try:
                await bucket.acquire()
            finally:
                if self._loop is loop:
                    self._queued -= 1
            if self._now() >= self._not_before:
                self._count(self._now())
                return

    async def acquire_now(self) -> bool:
        """Take a token if one is there and nobody waits for it; tell whether that was so. Does not wait.

        Raises:
            ClientStateError: as for `acquire`.
        """
        bucket = await self._bucket_here()
        now = self._now()
        if self._waiting or now < self._not_before or not bucket.has_capacity():
            return False
        await bucket.acquire()
        self._count(now)
        return True

    def pause(self, seconds: float) -> None:
        """Admit nothing for so many seconds from now, a day at most. A pause is only ever lengthened."""
        self._not_before = max(self._not_before, self._now() + min(max(0.0, seconds), _LONGEST_PAUSE))

    async def _pass_gate(self, longest: float) -> None:
        until = self._now() + longest
        while (wait := self.paused_for) > 0:
            longest = until - self._now()
            if wait > longest:
                raise RateLimitedError(
                    f"the rate limit is closed for another {wait:.0f} s, and only {max(0.0, longest):.0f} s "
                    "more would be waited; try again then",
                    retry_after=wait,
                )
            if wait >= _NOTABLE_WAIT:
                _logger.info("rate limit pause: waiting %.1f s", wait)
            await asyncio.sleep(wait)

    def _look_at_queue(self, longest: float) -> None:
        """Make a long wait for a token visible: in the log, and beyond ``longest`` as an error."""
        wait = (self._drained() + self._queued + 1 - self._capacity) / self._limit.rate
        if wait > max(0.0, longest):
            raise RateLimitedError(
                f"{self._queued} calls wait for the rate limit of {self._limit.rate:g}/s, this one for "
                f"{wait:.0f} s, longer than max_wait ({self._max_wait:.0f} s); a fan-out waits for any time",
                retry_after=wait,
            )
        if wait >= _NOTABLE_WAIT:
            _logger.info("rate limit: %d calls wait before this one, %.1f s", self._queued, wait)

    async def _bucket_here(self) -> AsyncLimiter:
        """Return the bucket of the running loop: an AsyncLimiter belongs to the loop that it first ran in."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None and self._loop.is_running():
                raise ClientStateError("this RateLimiter is in use by another running event loop")
            self._bucket = AsyncLimiter(self._capacity, self._capacity / self._limit.rate)
            self._loop, self._queued, self._waiting = loop, 0, 0
            if spent := min(self._capacity, self._drained()):
                await self._bucket.acquire(spent)  # at once: the new bucket is empty
        return self._bucket

    def _count(self, now: float) -> None:
        """Keep a level of our own, to hand on when the loop changes."""
        self._level = max(0.0, self._level - (now - self._level_at) * self._limit.rate) + 1.0
        self._level_at = now

    def _drained(self) -> float:
        return max(0.0, self._level - (self._now() - self._level_at) * self._limit.rate)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def __repr__(self) -> str:
        return f"RateLimiter({self._limit!r}, max_wait={self._max_wait!r})"
