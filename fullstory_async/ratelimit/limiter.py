"""RateLimiter: admits the requests of everything that uses one API key, within a `RateLimit`.

A `Bucket` gives the tokens, and so keeps the contract of the limit. The limiter keeps the queue in front of
it, ``max_wait`` and the pause.

A 429 pauses the limiter. The pause is a timestamp, not an event or a task: nothing has to survive to end it,
so no cancellation can leave the limiter closed. A request passes a gate (no pause now), takes a token, and
checks again: if a pause began meanwhile, it starts over. In the other order every waiter would hold a token
through the pause, and all would leave at once when it ends.

One waiter, the leader, does this on behalf of all (see `WaitQueue`): it waits out the pause and asks the
bucket, and a priority call that came meanwhile takes the token. So a priority call waits for one refill,
1/rate seconds, behind any number of other calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os

from fullstory_async import validators
from fullstory_async.deprecation import Renamed, warn_renamed
from fullstory_async.errors import ClientStateError, ConfigurationError, LimiterUnavailable, RateLimitedError
from fullstory_async.privacy import hide_arguments
from fullstory_async.ratelimit.adaptive import AdaptiveRate
from fullstory_async.ratelimit.bucket import HELD_BURST, Bucket, Level, LocalBucket
from fullstory_async.ratelimit.limit import RateLimit
from fullstory_async.ratelimit.wait_queue import Ticket, WaitQueue

__all__ = ["DEFAULT_MAX_WAIT", "RateLimit", "RateLimiter"]

DEFAULT_MAX_WAIT = 120.0
"""Seconds of pause that a call waits out rather than fail."""

_LONGEST_PAUSE = 86_400.0
"""Seconds that one pause lasts at most. A server that asks for more than a day is asked again after a day."""

_NOTABLE_WAIT = 5.0
"""Seconds from which a wait is logged at INFO."""

_PAUSE_NOTICE = 0.5
"""Seconds by which a pause may grow before the waiting calls are checked again."""

_logger = logging.getLogger("fullstory_async.ratelimit")


class RateLimiter:
    """Admits requests within a `RateLimit`; share it by passing it to several clients.

    One limiter belongs to one API key. It may be used in one event loop after another (several
    ``asyncio.run``), its level carried over, but not in two running loops at once, nor while calls wait for
    it in a loop that has stopped and isn't closed. A forked process has a copy of it, with a rate of its own;
    a `PostgresRateLimiter` or `RedisRateLimiter` keeps all processes together within one rate.
    """

    __slots__ = (
        "_adaptive", "_bucket", "_limit", "_loop", "_max_wait", "_not_before", "_pause_announced",
        "_pause_logged", "_pid", "_queue", "_queue_logged", "level",
    )  # fmt: skip

    level: Level | None
    """Where a token stays in use until its request leaves; ``None`` if it drains from when it is taken."""

    @hide_arguments
    def __init__(
        self,
        limit: RateLimit | None = None,
        *,
        max_wait: float = DEFAULT_MAX_WAIT,
        bucket: Bucket | None = None,
    ) -> None:
        """Make a limiter with a full bucket; nothing is sent or connected.

        Args:
            limit: how fast to go; 8 requests a second by default.
            max_wait: seconds that a call waits at most.
            bucket: where the tokens come from, if other processes take them too.

        Raises:
            ConfigurationError: a value is of the wrong type, or the limit is adaptive and the bucket shared.
        """
        if limit is not None and not isinstance(limit, RateLimit):
            raise ConfigurationError(f"limit must be a RateLimit, not {limit!r}")
        if not (validators.is_number(max_wait) and max_wait >= 0):
            raise ConfigurationError(f"max_wait must be a number of seconds, 0 or more, not {max_wait!r}")
        self._limit = limit = RateLimit() if limit is None else limit
        if bucket is not None and limit.ceiling is not None:
            raise ConfigurationError("an adaptive limit can't be shared: give rate_limit a rate")
        self._adaptive = None if limit.ceiling is None else AdaptiveRate(limit.rate, limit.ceiling)
        self._bucket = LocalBucket(limit.rate, limit.burst, self._adaptive) if bucket is None else bucket
        is_held = limit.ceiling is None and limit.burst >= limit.rate * HELD_BURST
        self.level = self._bucket.level if isinstance(self._bucket, LocalBucket) and is_held else None
        self._max_wait = float(max_wait)
        self._not_before = 0.0
        self._queue = WaitQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        """The process that used it last; it has another number after a fork."""
        self._pause_logged = self._pause_announced = 0.0
        self._queue_logged = False

    @property
    def limit(self) -> RateLimit:
        """The limit that is enforced."""
        return self._limit

    @property
    def rate(self) -> float:
        """Requests a second allowed now; it changes if the limit is adaptive."""
        return self._limit.rate if self._adaptive is None else self._adaptive.rate

    @property
    def is_shared(self) -> bool:
        """Whether its tokens come from a bucket that other processes use too."""
        return not isinstance(self._bucket, LocalBucket)

    @property
    def max_wait(self) -> float:
        """Seconds of waiting beyond which `acquire` raises instead."""
        return self._max_wait

    @property
    def paused_for(self) -> float:
        """Seconds until the current pause ends; 0.0 if there is none."""
        return max(0.0, self._not_before - _now())

    async def acquire(
        self, *, max_pause: float | None = None, priority: bool = False, longest_pause: float | None = None
    ) -> None:
        """Wait until one request may be sent.

        Args:
            max_pause: wait out pauses of up to this many seconds and a queue of any length, instead of
                ``max_wait`` for both; for bulk work, which expects to wait.
            priority: take the next token, ahead of every call that waits without priority. Of ten tokens in a
                row one is left to those calls, so that they are never stopped.
            longest_pause: the old name of ``max_pause``.

        Raises:
            RateLimitedError: the wait would be longer; ``retry_after`` is its length. A limiter that
                processes share may find out only when ``max_wait`` is over, since it can't see the queues of
                other processes.
            LimiterUnavailable: the limiter is shared, and its server can't be asked.
            ClientStateError: another event loop is using this limiter.
        """
        if longest_pause is not None:
            warn_renamed("RateLimiter.acquire(longest_pause=)", "acquire(max_pause=)")
            max_pause = longest_pause
        if await self.try_acquire():
            return
        ticket = Ticket(priority, _now(), max_pause)
        ask_timeout = self._bucket.ask_timeout
        if max_pause is not None or ask_timeout is None:
            await self._wait(ticket)
            return
        # The queues of other processes are not in the estimate that `_rejection` makes.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._max_wait + ask_timeout):
                await self._wait(ticket)
                return
        raise RateLimitedError(f"it was not this call's turn within max_wait ({self._max_wait:.0f} s)")

    async def try_acquire(self) -> bool:
        """Take a token if one is free, without waiting; return whether it was taken.

        None is free while a call waits for one. A limiter that processes share has one at hand only if it was
        given several at once: only `acquire` asks its server.

        Raises:
            ClientStateError: another event loop is using this limiter.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._enter_loop(loop)
        now = loop.time()
        if self._queue.has_leader or now < self._not_before:
            return False
        return self._bucket.try_take(now)

    def pause(self, seconds: float) -> None:
        """Admit nothing for this many seconds from now, a day at most.

        A pause never gets shorter. Processes that share the limiter pause too.
        """
        seconds = min(max(0.0, seconds), _LONGEST_PAUSE)
        self._extend_pause(seconds)
        self._bucket.publish_pause(seconds)

    def on_response(self, *, limited: bool) -> None:
        """Record a response other than 429; an adaptive limit may rise.

        Args:
            limited: whether the request had to wait for the limiter.
        """
        if self._adaptive is not None:
            self._adaptive.on_response(_now(), limited=limited)

    def on_throttled(self, seconds: float, *, admitted_at: float) -> None:
        """Pause after a 429; an adaptive limit drops.

        Args:
            seconds: the length of the pause.
            admitted_at: the loop time at which the refused request was admitted.
        """
        if self._adaptive is not None and self._adaptive.on_throttled(_now(), admitted_at=admitted_at):
            _logger.info("rate limit: a request was refused, continuing at %.3g/s", self._adaptive.rate)
        self.pause(seconds)

    acquire_now = Renamed("try_acquire")

    def answered(self, *, waited: bool) -> None:
        """Call `on_response`; the old name."""
        warn_renamed("RateLimiter.answered(waited=)", "on_response(limited=)")
        self.on_response(limited=waited)

    def throttled(self, seconds: float, *, admitted: float) -> None:
        """Call `on_throttled`; the old name."""
        warn_renamed("RateLimiter.throttled(admitted=)", "on_throttled(admitted_at=)")
        self.on_throttled(seconds, admitted_at=admitted)

    async def _wait(self, ticket: Ticket) -> None:
        """Wait in the queue for a token, or for the lead and then for the bucket."""
        queue = self._queue
        while True:
            if (error := self._rejection(ticket, queue.ahead_of(ticket))) is not None:
                raise error
            if not await queue.wait(ticket):
                break
            # With a token, given just before: a pause that began since makes it useless.
            if _now() >= self._not_before:
                return
        try:
            await self._lead(ticket, queue)
        finally:
            queue.pass_lead()
            self._queue_logged = self._queue_logged and queue.has_leader

    async def _lead(self, ticket: Ticket, queue: WaitQueue) -> None:
        """Ask the bucket on behalf of all, until a token is left for this call."""
        while True:
            await self._wait_out_pause(ticket)
            if (pause := await self._take(ticket)) > 0:
                self._extend_pause(min(pause, _LONGEST_PAUSE))
            # A pause that began since the gate makes the token useless: the request would be refused.
            elif _now() >= self._not_before and (ticket.priority or not queue.give_to_priority()):
                return

    async def _take(self, ticket: Ticket) -> float:
        """Wait for the next token, or return the pause of another process."""
        max_wait = max(0.0, self._wait_left(ticket)) if ticket.max_pause is None else math.inf
        try:
            return await self._bucket.take(max_wait=max_wait, wanted=len(self._queue) + 1)
        except LimiterUnavailable as error:
            # The others would fail one after the other, each after the bucket's timeout.
            for waiting, _ in self._queue.waiting():
                self._queue.reject(waiting, LimiterUnavailable(error.message, sent=False))
            raise

    async def _wait_out_pause(self, ticket: Ticket) -> None:
        until = _now() + self._wait_left(ticket)
        while (wait := self.paused_for) > 0:
            if wait > until - _now():
                raise _paused_too_long(wait, until - _now())
            self._log_pause(wait)
            await asyncio.sleep(wait)

    def _extend_pause(self, seconds: float) -> None:
        """Lengthen the pause, and reject the waiting calls for which it is too long."""
        until = _now() + seconds
        self._not_before = max(self._not_before, until)
        # Of many 429s in one moment only the first goes through the queue, which may be long.
        if until - self._pause_announced >= _PAUSE_NOTICE:
            self._pause_announced = until
            for ticket, ahead in self._queue.waiting():
                if (error := self._rejection(ticket, ahead)) is not None:
                    self._queue.reject(ticket, error)

    def _wait_left(self, ticket: Ticket) -> float:
        """Return the seconds of pause that a call would still wait out."""
        if ticket.max_pause is not None:
            return ticket.max_pause
        return self._max_wait - (_now() - ticket.started)

    def _rejection(self, ticket: Ticket, ahead: int) -> RateLimitedError | None:
        """Return an error if a call with others ahead would wait too long."""
        pause, left = self.paused_for, self._wait_left(ticket)
        if pause > left:
            return _paused_too_long(pause, left)
        wait = self._bucket.estimate_wait(ahead, pause=pause)
        if ticket.max_pause is None and wait > max(0.0, left):
            return RateLimitedError(
                f"{ahead} calls wait for the rate limit of {self.rate:.3g}/s, this one for "
                f"{wait:.0f} s, longer than max_wait ({self._max_wait:.0f} s); a fan-out waits for any time",
                retry_after=wait,
            )
        if wait - pause >= _NOTABLE_WAIT and not self._queue_logged:
            self._queue_logged = True  # until the queue is empty
            _logger.info("rate limit: %d calls wait before this one, %.1f s", ahead, wait - pause)
        return None

    def _log_pause(self, wait: float) -> None:
        """Log a long pause once, not for each call or each 429 that lengthens it a little."""
        if wait >= _NOTABLE_WAIT and self._not_before - self._pause_logged >= _NOTABLE_WAIT:
            self._pause_logged = self._not_before
            _logger.info("rate limit pause: waiting %.1f s", wait)

    def _enter_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go over to another event loop; calls that wait in a closed one are lost."""
        # in a forked process the loop that its parent runs looks as if it ran here too
        last = self._loop if self._pid == os.getpid() else None
        if last is not None and last.is_running():
            raise ClientStateError("this RateLimiter is in use by another running event loop")
        # they would take their tokens when that loop runs again, beside those of this one
        if last is not None and self._queue.has_leader and not last.is_closed():
            raise ClientStateError(
                "calls wait for this RateLimiter in another event loop, which has stopped: let that loop "
                "finish them, or close it"
            )
        self._loop, self._pid, self._queue, self._queue_logged = loop, os.getpid(), WaitQueue(), False
        self._bucket.enter_loop()

    def __repr__(self) -> str:
        return f"RateLimiter({self._limit!r}, max_wait={self._max_wait!r})"


def _paused_too_long(wait: float, left: float) -> RateLimitedError:
    return RateLimitedError(
        f"the rate limit is closed for another {wait:.0f} s, and this call waits for {max(0.0, left):.0f} s "
        "more at most (max_wait, or what is left of its time)",
        retry_after=wait,
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
