"""The `Bucket` protocol, where a rate limiter takes its tokens, and `LocalBucket`, for one process.

A limiter keeps the queue, priority, ``max_wait`` and the pause; a bucket gives tokens, one at a time. It may
be kept anywhere: in this process, or in a server that several processes ask. It knows nothing of the calls
that wait.

On `aiolimiter` a limit of ``burst + rate·W`` requests in any window of W seconds is
``AsyncLimiter(burst, burst / rate)``; its ``AsyncLimiter(20, 1)``, read as "20 in a second", would admit 39.

A request granted now arrives a little later, and the delay varies: two grants 20 ms apart can arrive
together, which a server that counts as strictly as we do would refuse. So `MARGIN` seconds' worth of the
burst is not used, where the burst is large enough to give it. A burst of 1 leaves no room, and a strict
server then answers 429 now and then.

A new connection takes several round trips to open, and a token that drained meanwhile would be given twice in
the time of the server: to a request that still waits for its connection, and to one on a connection that is
open. So a token drains from the moment its request leaves, where the burst lasts for `HELD_BURST` seconds at
least. A smaller one would be used up by connections that open, and the rate not be reached.

The bucket keeps the level itself, so that a token at hand costs no more than a comparison. An `AsyncLimiter`
does the waiting. It is made from the level, and made again after another event loop, a new adaptive rate or a
token that was taken without waiting. Only the call that takes a token replaces it, so nothing ever waits in
an old one.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import attrs
from aiolimiter import AsyncLimiter

from fullstory_async.ratelimit.adaptive import AdaptiveRate

__all__ = ["HELD_BURST", "MARGIN", "Bucket", "Level", "LocalBucket", "usable_burst"]

MARGIN = 0.05
"""Seconds by which two requests may draw nearer between the grant and the server."""

HELD_BURST = 0.5
"""Seconds of the rate in a burst whose tokens don't drain before their requests leave."""

_ADAPTIVE_BURST_SECONDS = 0.05
"""Seconds' worth of requests that may leave at once at an adaptive rate, for a loop that wakes late."""

_UNSENT_POLL = 0.01
"""Seconds after which a bucket is looked at again whose tokens all belong to requests that have not left."""

_ROUNDING = 1e-3
"""Tokens by which two ways to compute a level may differ."""

_RATE_STEP = 0.005
"""The part by which an adaptive rate changes before the bucket follows it."""


class Bucket(Protocol):
    """Gives tokens to one `RateLimiter`.

    The limiter uses it in one event loop at a time, and awaits one `take` at a time. It sends nothing during
    a pause: a bucket only passes pauses on between processes.
    """

    @property
    def ask_timeout(self) -> float | None:
        """Seconds within which a bucket outside of this process answers or fails.

        ``None`` if no other process takes tokens, so that `estimate_wait` is exact.
        """
        ...

    def enter_loop(self) -> None:
        """Prepare for the running event loop; called before its first use there."""
        ...

    def try_take(self, now: float) -> bool:
        """Take a token if that needs no waiting; return whether it was taken."""
        ...

    async def take(self, *, max_wait: float, wanted: int) -> float:
        """Wait for the next token and take it, or return the length of a pause.

        Args:
            max_wait: the wait in seconds up to which a token is taken; may be infinite.
            wanted: calls that wait for a token, this one included.

        Returns:
            0.0 with a token. Otherwise another process began a pause of this many seconds: no token is taken,
            and the next `take` is due when the pause is over.

        Raises:
            RateLimitedError: the token would come later than that.
            LimiterUnavailable: a bucket outside of this process can't be asked.
        """
        ...

    def estimate_wait(self, ahead: int, *, pause: float) -> float:
        """Return the seconds until a call gets its token; never an overestimate.

        Args:
            ahead: calls that take a token earlier.
            pause: seconds during which no token is taken.
        """
        ...

    def publish_pause(self, seconds: float) -> None:
        """Pass a pause that begins now on to the other processes."""
        ...


def usable_burst(rate: float, burst: float) -> float:
    """Return the requests that may leave at once: burst less margin, at least 1."""
    return max(1.0, burst - rate * MARGIN)


@attrs.define
class Level:
    """Tokens in use, which drain at a rate; ``capacity`` of them is an empty bucket."""

    rate: float
    capacity: float
    _tokens: float = attrs.field(default=0.0, init=False)
    _updated_at: float = attrs.field(default=0.0, init=False)
    unsent: int = attrs.field(default=0, init=False)
    """Tokens in use whose requests have not left; they don't drain."""

    def leave(self, now: float) -> None:
        """Let the token of a request drain from now on, because it left or never will."""
        level = self._tokens - (now - self._updated_at) * self.rate
        self._tokens, self._updated_at = max(float(self.unsent), level), now
        self.unsent = max(0, self.unsent - 1)

    def at(self, now: float) -> float:
        """Return the level at a loop time."""
        return max(float(self.unsent), self._tokens - (now - self._updated_at) * self.rate)

    def try_add(self, now: float) -> bool:
        """Count one token if it fits in; return whether it does."""
        level = self._tokens - (now - self._updated_at) * self.rate
        level = max(level, self.unsent)
        if level + 1.0 > self.capacity:
            return False
        self._tokens = level + 1.0
        self._updated_at = now
        return True

    def add(self, now: float) -> None:
        """Count one token."""
        self._tokens = self.at(now) + 1.0
        self._updated_at = now

    def move(self, now: float, *, rate: float, capacity: float) -> None:
        """Keep the level, and let it drain at another rate from now on."""
        self._tokens, self._updated_at = self.at(now), now
        self.rate, self.capacity = rate, capacity

    def wait(self, ahead: int, *, now: float, pause: float) -> float:
        """Return the seconds until one token more than ``ahead`` fits in."""
        level = max(0.0, self._tokens - (now + pause - self._updated_at) * self.rate)  # all may leave at once
        return pause + max(0.0, level + ahead + 1 - self.capacity) / self.rate


class LocalBucket:
    """The bucket of one process, at a fixed rate or that of an `AdaptiveRate`."""

    __slots__ = ("_adaptive", "_burst", "_limiter", "ask_timeout", "level")

    ask_timeout: float | None
    level: Level
    """The tokens in use."""

    def __init__(self, rate: float, burst: float, adaptive: AdaptiveRate | None = None) -> None:
        """Make a full bucket; one with ``adaptive`` follows it and has no burst."""
        self.ask_timeout = None
        self._burst = burst
        self._adaptive = adaptive
        self.level = Level(rate, self._capacity_at(rate))
        self._limiter: AsyncLimiter | None = None

    def enter_loop(self) -> None:
        """Keep the level, and drop the `AsyncLimiter`, which belongs to its loop."""
        self._limiter = None
        self.level.unsent = 0

    def try_take(self, now: float) -> bool:
        """Take a token if one is there; return whether it was."""
        if self._adaptive is not None:
            self._follow(self._adaptive, now)
        if not self.level.try_add(now):
            return False
        # The AsyncLimiter has not counted this token. Most calls need not wait, so it is made again only for
        # one that has to.
        self._limiter = None
        return True

    async def take(self, *, max_wait: float, wanted: int) -> float:  # noqa: ARG002
        """Wait for the next token and take it; return 0.0."""
        # `estimate_wait` is exact here: the limiter has already refused calls that would wait longer.
        if self._adaptive is not None:
            self._follow(self._adaptive, _now())
        while True:
            if self._limiter is None:
                self._limiter = await self._new_limiter()
            await self._limiter.acquire()
            # the AsyncLimiter doesn't know which requests have left
            if self.level.at(_now()) + 1.0 <= self.level.capacity + _ROUNDING:
                break
            self._limiter = None
            if self.level.unsent + 1.0 > self.level.capacity:
                await asyncio.sleep(_UNSENT_POLL)
        self.level.add(_now())
        return 0.0

    def estimate_wait(self, ahead: int, *, pause: float) -> float:
        """Return the seconds until a call with others ahead gets its token."""
        return self.level.wait(ahead, now=_now(), pause=pause)

    def publish_pause(self, seconds: float) -> None:
        """Do nothing: no other process takes tokens."""

    def _follow(self, adaptive: AdaptiveRate, now: float) -> None:
        """Go over to the current rate, if it has changed enough."""
        rate = adaptive.rate
        if abs(rate - self.level.rate) >= _RATE_STEP * self.level.rate:
            self.level.move(now, rate=rate, capacity=self._capacity_at(rate))
            self._limiter = None

    async def _new_limiter(self) -> AsyncLimiter:
        """Return an `AsyncLimiter` for the current loop, rate and level."""
        level = self.level
        limiter = AsyncLimiter(level.capacity, level.capacity / level.rate)
        # aiolimiter has no other way to set a level. The new one is empty, so this does not wait.
        if spent := min(level.capacity, level.at(_now())):
            await limiter.acquire(spent)
        return limiter

    def _capacity_at(self, rate: float) -> float:
        if self._adaptive is None:
            return usable_burst(rate, self._burst)
        return max(1.0, rate * _ADAPTIVE_BURST_SECONDS)


def _now() -> float:
    return asyncio.get_running_loop().time()
