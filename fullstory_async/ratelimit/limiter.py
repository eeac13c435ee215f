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

One of those who wait does this for all, as `WaitQueue` says: it waits out the pause and asks the bucket, and a call with priority that
came meanwhile takes the token. So a call with priority waits for one refill, 1/rate seconds, behind any number of others.

Where the numbers are not known, `RateLimit.adaptive` lets `AdaptiveRate` find the rate. A new rate is a new bucket
that begins at the level of the old one; it is exchanged by who asks it, so nobody is ever waiting in an old one.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Self

import attrs
from aiolimiter import AsyncLimiter

from fullstory_async import validators
from fullstory_async.errors import ClientStateError, ConfigurationError, RateLimitedError
from fullstory_async.ratelimit.adaptive import LOWEST, AdaptiveRate
from fullstory_async.ratelimit.wait_queue import Ticket, WaitQueue

__all__ = ["DEFAULT_MAX_WAIT", "MARGIN", "RateLimit", "RateLimiter"]

MARGIN = 0.05
"""Seconds by which two requests may draw nearer between the grant and the server."""

DEFAULT_MAX_WAIT = 120.0
"""Seconds of pause that a call waits out rather than fail."""

_LONGEST_PAUSE = 86_400.0
"""Seconds that one pause lasts at most: what a server asks beyond a day is asked of it anew."""

_NOTABLE_WAIT = 5.0
"""Seconds from which a wait is logged at INFO."""

_EVENLY = 0.05
"""Seconds' worth of requests that an adaptive limiter lets leave at once: enough for a loop that wakes a little late."""

_STEP = 0.005
"""The part by which an adaptive rate changes before the bucket does."""

_MOMENT = 0.5
"""Seconds by which a pause may grow before those who wait are asked again whether that is too long for them."""

_logger = logging.getLogger("fullstory_async.ratelimit")


def _one_second(limit: RateLimit) -> float:
    return max(1.0, limit.rate) if validators.is_number(limit.rate) else 1.0


@attrs.frozen(repr=False)
class RateLimit:
    """At most ``burst + rate·W`` requests in any window of W seconds; or, made by `adaptive`, what the server lets through."""

    rate: float = attrs.field(default=8.0, validator=validators.number(above=0))
    """Requests a second in the long run; where it is adaptive, in the beginning."""

    burst: float = attrs.field(
        default=attrs.Factory(_one_second, takes_self=True), validator=validators.number(at_least=1)
    )
    """Requests that may leave at once after a rest; one second's worth unless given."""

    ceiling: float | None = attrs.field(
        default=None, kw_only=True, validator=validators.number(above=0, optional=True)
    )
    """The highest rate that an adaptive limit tries; ``None`` where the rate is fixed."""

    @classmethod
    def adaptive(cls, start: float = 2.0, ceiling: float = 1000.0) -> Self:
        """Find out how fast the server lets us go, for a limit that is not known.

        The rate doubles every few seconds until a request is refused, falls a little and comes back carefully. That a request is refused
        now and then is how it learns. Requests are spread evenly; there is no burst.

        Args:
            start: requests a second in the beginning.
            ceiling: the highest rate that is tried.

        Raises:
            ConfigurationError: they are no such numbers, or ``start`` is below 0.2 or above ``ceiling``.
        """
        limit = cls(start, 1.0, ceiling=ceiling)
        if limit.ceiling is None or not LOWEST <= start <= limit.ceiling:
            raise ConfigurationError(
                f"start must be between {LOWEST} and the ceiling, a number, not {start!r}"
            )
        return limit

    def __repr__(self) -> str:
        if self.ceiling is not None:
            return f"RateLimit.adaptive(start={self.rate!r}, ceiling={self.ceiling!r})"
        return f"RateLimit(rate={self.rate!r}, burst={self.burst!r})"


class RateLimiter:
    """Admits requests within a `RateLimit`; shared by passing it to several clients.

    One limiter belongs to one API key. It may be used in one event loop after another (several
    ``asyncio.run``), its level carried over, but not in two running loops at once.
    """

    __slots__ = (
        "_adaptive", "_bucket", "_capacity", "_level", "_level_at", "_limit", "_line", "_loop", "_max_wait", "_not_before",
        "_pause_logged", "_pause_told", "_queue_logged", "_rate",
    )  # fmt: skip

    def __init__(self, limit: RateLimit | None = None, *, max_wait: float = DEFAULT_MAX_WAIT) -> None:
        """Make a limiter with a full bucket. Raises `ConfigurationError` for values of a wrong kind."""
        if limit is not None and not isinstance(limit, RateLimit):
            raise ConfigurationError(f"limit must be a RateLimit, not {limit!r}")
        if not (validators.is_number(max_wait) and max_wait >= 0):
            raise ConfigurationError(f"max_wait must be a number of seconds, 0 or more, not {max_wait!r}")
        self._limit = limit = RateLimit() if limit is None else limit
        self._adaptive = None if limit.ceiling is None else AdaptiveRate(limit.rate, limit.ceiling)
        self._max_wait = float(max_wait)
        self._set_rate(limit.rate)
        self._not_before = 0.0
        self._line = WaitQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bucket: AsyncLimiter
        self._level = 0.0
        self._level_at = 0.0
        self._pause_logged = self._pause_told = 0.0
        self._queue_logged = False

    @property
    def limit(self) -> RateLimit:
        """The contract that is kept."""
        return self._limit

    @property
    def rate(self) -> float:
        """Requests a second that are allowed in the long run now; it changes where the limit is adaptive."""
        return self._limit.rate if self._adaptive is None else self._adaptive.rate

    @property
    def max_wait(self) -> float:
        """Seconds of waiting beyond which `acquire` raises instead."""
        return self._max_wait

    @property
    def paused_for(self) -> float:
        """Seconds until the present pause ends; 0.0 when there is none."""
        return max(0.0, self._not_before - self._now())

    async def acquire(self, *, max_pause: float | None = None, priority: bool = False) -> None:
        """Wait until one request may be sent.

        Args:
            longest_pause: wait out a pause of so many seconds, and a queue of any length, instead of
                ``max_wait`` for both; for bulk work, which expects to wait.
            priority: take the next token of all, before everybody who waits without priority. Of ten
                tokens in a row one is left to them, so that they are not stopped.

        Raises:
            RateLimitedError: the wait would be longer than that; ``retry_after`` says how long.
            ClientStateError: another event loop is using this limiter now.
        """
        if await self.try_acquire():
            return
        line, place = self._line, Ticket(priority, self._now(), max_pause)
        while True:
            if (error := self._too_long(place, line.before(place))) is not None:
                raise error
            if not await line.wait(place):
                break
            if self._now() >= self._not_before:
                return  # with a token that was handed over
        try:
            await self._ask(place, line)
        finally:
            line.pass_turn()
            self._queue_logged = self._queue_logged and line.taken

    async def _ask(self, place: Ticket, line: WaitQueue) -> None:
        """Ask the bucket, on behalf of everybody, until there is a token for this one."""
        while True:
            await self._pass_gate(place)
            await self._take(place)
            if self._now() < self._not_before:
                continue
            if place.priority or not line.hand_over():
                return

    async def _take(self, place: Ticket) -> None:  # noqa: ARG002  (a shared bucket looks at it)
        """Wait for the next token, on behalf of everybody, and count it."""
        bucket = self._bucket if self._adaptive is None else await self._bucket_at_present_rate()
        await bucket.acquire()
        self._count(self._now())

    async def try_acquire(self) -> bool:
        """Take a token if one is there and nobody waits for it; tell whether that was so. Does not wait.

        Raises:
            ClientStateError: as for `acquire`.
        """
        loop = asyncio.get_running_loop()
        bucket = self._bucket if loop is self._loop else await self._bucket_here()
        now = loop.time()
        if self._line.taken or now < self._not_before:
            return False
        if self._adaptive is not None:
            bucket = await self._bucket_at_present_rate()
        level = self._level - (now - self._level_at) * self._rate  # the bucket's own, asked only once
        if level + 1.0 > self._capacity:
            return False
        await bucket.acquire()
        self._count(now)
        return True

    def pause(self, seconds: float) -> None:
        """Admit nothing for so many seconds from now, a day at most. A pause is only ever lengthened."""
        until = self._now() + min(max(0.0, seconds), _LONGEST_PAUSE)
        self._not_before = max(self._not_before, until)
        if until - self._pause_told >= _MOMENT:
            self._pause_told = until
            self._line.refuse(self._too_long)

    def answered(self, *, waited: bool) -> None:
        """Take note of an answer that is no 429: an adaptive limit may rise, where its request ``waited`` to be admitted."""
        if self._adaptive is not None:
            self._adaptive.answered(self._now(), limited=waited)

    def throttled(self, seconds: float, *, admitted: float) -> None:
        """Pause for a 429, and go slower from then on where the limit is adaptive.

        Args:
            seconds: how long to pause.
            admitted: the loop time at which the refused request was let through.
        """
        if self._adaptive is not None and self._adaptive.throttled(self._now(), admitted=admitted):
            _logger.info("rate limit: a request was refused, going on at %.3g/s", self._adaptive.rate)
        self.pause(seconds)

    async def _pass_gate(self, place: Ticket) -> None:
        until = self._now() + self._patience(place)
        while (wait := self.paused_for) > 0:
            if wait > until - self._now():
                raise self._paused_too_long(wait, until - self._now())
            self._log_pause(wait)
            await asyncio.sleep(wait)

    def _patience(self, place: Ticket) -> float:
        """Return the seconds of pause that a call would still wait out."""
        if place.max_pause is not None:
            return place.max_pause
        return self._max_wait - (self._now() - place.started)

    def _too_long(self, place: Ticket, ahead: int) -> RateLimitedError | None:
        """Return why a call that waits behind so many others need not: it would be too long."""
        pause, patience = self.paused_for, self._patience(place)
        if pause > patience:
            return self._paused_too_long(pause, patience)
        level = max(0.0, self._drained() - pause * self._rate)
        wait = pause + max(0.0, level + ahead + 1 - self._capacity) / self._rate
        if place.max_pause is None and wait > max(0.0, patience):
            return RateLimitedError(
                f"{ahead} calls wait for the rate limit of {self._rate:.3g}/s, this one for "
                f"{wait:.0f} s, longer than max_wait ({self._max_wait:.0f} s); a fan-out waits for any time",
                retry_after=wait,
            )
        if wait - pause >= _NOTABLE_WAIT and not self._queue_logged:
            self._queue_logged = True  # until nobody waits any more
            _logger.info("rate limit: %d calls wait before this one, %.1f s", ahead, wait - pause)
        return None

    @staticmethod
    def _paused_too_long(wait: float, longest: float) -> RateLimitedError:
        return RateLimitedError(
            f"the rate limit is closed for another {wait:.0f} s, and this call waits for {max(0.0, longest):.0f} s "
            "more at most (max_wait, or what is left of its time)",
            retry_after=wait,
        )

    def _log_pause(self, wait: float) -> None:
        """Make a long pause visible, once: not for each who waits, nor for what other 429s of the moment add to it."""
        if wait >= _NOTABLE_WAIT and self._not_before - self._pause_logged >= _NOTABLE_WAIT:
            self._pause_logged = self._not_before
            _logger.info("rate limit pause: waiting %.1f s", wait)

    async def _bucket_here(self) -> AsyncLimiter:
        """Return the bucket of the running loop: an AsyncLimiter belongs to the loop that it first ran in."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None and self._loop.is_running():
                raise ClientStateError("this RateLimiter is in use by another running event loop")
            self._loop, self._line, self._queue_logged = loop, WaitQueue(), False
            await self._exchange_bucket()
        return self._bucket

    async def _bucket_at_present_rate(self) -> AsyncLimiter:
        """Return the bucket for one more request; only for who has the turn, or where nobody has it."""
        if self._adaptive is not None and abs(self._adaptive.rate - self._rate) >= _STEP * self._rate:
            await self._exchange_bucket()
        return self._bucket

    async def _exchange_bucket(self) -> None:
        """Go on with a new bucket for the present loop and rate, as full as the old one is."""
        spent = self._drained()
        self._level, self._level_at = spent, self._now()
        self._set_rate(self.rate)
        self._bucket = AsyncLimiter(self._capacity, self._capacity / self._rate)
        if spent := min(self._capacity, spent):
            await self._bucket.acquire(spent)  # at once: the new bucket is empty

    def _set_rate(self, rate: float) -> None:
        self._rate = rate
        evenly = self._adaptive is not None
        self._capacity = max(1.0, rate * _EVENLY if evenly else self._limit.burst - rate * MARGIN)

    def _count(self, now: float) -> None:
        """Keep count of the bucket's level, which it tells nobody."""
        self._level = max(0.0, self._level - (now - self._level_at) * self._rate) + 1.0
        self._level_at = now

    def _drained(self) -> float:
        return max(0.0, self._level - (self._now() - self._level_at) * self._rate)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def __repr__(self) -> str:
        return f"RateLimiter({self._limit!r}, max_wait={self._max_wait!r})"
