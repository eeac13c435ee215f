"""RedisRateLimiter: a `RateLimiter` whose tokens come from Redis, so that all processes with its name keep to one limit.

Within the process all is as it was: who waits stands in one `WaitQueue`, priority and pauses count there, and one call at a time asks on behalf of
everybody. Only what it asks is another bucket. So a process has one slot at most that it waits for, and with it an equal chance beside the others.

A call takes a slot and sleeps until then. What became of the slot meanwhile is looked at before it leaves: it asks for another where there was a
pause or Redis lost its memory, and where it woke so late that other processes' requests would be passed up by its own. A cancelled wait leaves one slot unused.

That is one question to Redis for a call that need not wait, and two for one that must.

Where Redis can't be asked there are two ways. Calls fail with `LimiterUnavailable`; or, with ``fallback``, the process goes on alone, evenly at that
rate and without a burst, the first of them 1/fallback after the failure. It asks Redis again every `_AGAIN` seconds, sending nothing until that is
answered or has failed, and when Redis is back makes the shared bucket begin empty, since what was sent meanwhile is not counted there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from fullstory_async import validators
from fullstory_async.cluster.bucket import SharedBucket
from fullstory_async.cluster.script import GUARD
from fullstory_async.config import ClientConfig
from fullstory_async.errors import ConfigurationError, LimiterUnavailable, RateLimitedError
from fullstory_async.privacy import Secret
from fullstory_async.ratelimit.limiter import MARGIN, RateLimiter
from fullstory_async.ratelimit.wait_queue import Ticket

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["RedisRateLimiter"]

_AGAIN = 1.0
"""Seconds after which a process that goes on alone asks Redis again."""

_TOO_LATE = 2
"""Slots in a row that are left unused because the process woke too late: a third is taken, or one that is always late would never send."""

_logger = logging.getLogger("fullstory_async.ratelimit")


class RedisRateLimiter(RateLimiter):
    """Admits requests of all processes together within ``config.rate_limit``.

    It goes wherever a `RateLimiter` does. Priority is among the calls of one process; among processes slots are given in the
    order in which they are asked for. `paused_for` is what this process knows of.
    """

    __slots__ = ("_alone", "_alone_next", "_ask_again", "_fallback", "_shared", "_teller", "_told")

    def __init__(
        self,
        redis: str | Redis,
        config: ClientConfig,
        *,
        name: str | None = None,
        fallback: float | None = None,
        timeout: float = 1.0,
    ) -> None:
        """Make a limiter; nothing is connected before the first request.

        Args:
            redis: where Redis or Valkey is: ``redis://``, ``rediss://`` or ``unix://``; or a `redis.asyncio.Redis` of your own
                (of a Sentinel, say), which is not closed.
            config: its ``rate_limit`` is kept by all together, so it must be the same everywhere; and its ``max_wait``.
            name: what is shared under this name; unless given, a fingerprint of the key and the host. A key never.
            fallback: requests a second that this process sends by itself while Redis can't be asked, say your rate divided by the number
                of processes. Unless given, calls fail then with `LimiterUnavailable`.
            timeout: seconds that Redis has for an answer.

        Raises:
            ConfigurationError: the limit is adaptive, there is neither key nor name, or a value can't be used.
        """
        if isinstance(redis, str):
            redis = Secret(redis)  # it may hold a password, and frames get printed
        if not isinstance(config, ClientConfig):
            raise ConfigurationError(f"config must be a ClientConfig, not {type(config).__name__}")
        if config.rate_limit.ceiling is not None:
            raise ConfigurationError("an adaptive limit is not shared: give config.rate_limit a rate")
        if name is None and config.api_key is None:
            raise ConfigurationError(
                "there is no API key to share a limit for: set it in config or FULLSTORY_API_KEY, or give a name"
            )
        if name is not None and not (isinstance(name, str) and name and name != config.api_key):
            raise ConfigurationError("name must be a text, and not the API key")
        if fallback is not None and not (validators.is_number(fallback) and fallback > 0):
            raise ConfigurationError(f"fallback must be requests a second, above 0, not {fallback!r}")
        if not (validators.is_number(timeout) and timeout > 0):
            raise ConfigurationError(f"timeout must be a number of seconds, above 0, not {timeout!r}")
        super().__init__(config.rate_limit, max_wait=config.max_wait)
        own = f"{urlsplit(config.base_url).netloc}:{config.key_fingerprint}"
        key = f"fullstory_async:rate:{own if name is None else name}"
        self._shared = SharedBucket(redis, key, rate=self._rate, burst=self._capacity, timeout=timeout)
        self._fallback = fallback
        self._alone = False
        self._alone_next = self._ask_again = self._told = 0.0
        self._teller: asyncio.Task[None] | None = None

    async def try_acquire(self) -> bool:
        """Tell that there is no token without waiting: Redis has to be asked, which `acquire` does.

        Raises:
            ClientStateError: another event loop is using this limiter now.
        """
        if asyncio.get_running_loop() is not self._loop:
            await self._bucket_here()
            self._shared.forget()
            self._teller = None
        return False

    async def acquire(self, *, max_pause: float | None = None, priority: bool = False) -> None:
        """Wait until one request may be sent, as `RateLimiter.acquire` does.

        Raises:
            RateLimitedError: as there. How long the queue is, other processes included, is known at its end only; so a call without
                ``max_pause`` may hear of it when ``max_wait`` is over.
            LimiterUnavailable: Redis can't be asked, and there is no ``fallback``.
            ClientStateError: another event loop is using this limiter now.
        """
        if max_pause is not None:
            await super().acquire(max_pause=max_pause, priority=priority)
            return
        longest = self._max_wait + self._shared.timeout
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest):
                await super().acquire(priority=priority)
                return
        raise RateLimitedError(f"it was not this call's turn within max_wait ({self._max_wait:.0f} s)")

    def pause(self, seconds: float) -> None:
        """Admit nothing for so many seconds from now, a day at most, in no process. A pause is only ever lengthened."""
        super().pause(seconds)
        if not self._alone and (self._teller is None or self._teller.done()):
            self._teller = asyncio.create_task(self._tell_pauses())

    async def _tell_pauses(self) -> None:
        """Tell Redis, and with it the others, until it knows the whole pause."""
        while (until := self._not_before) > self._told:
            self._told = until
            try:
                await self._shared.pause(until - self._now())
            except LimiterUnavailable as error:
                _logger.warning(
                    "other processes do not know of a pause of %.1f s: %s", until - self._now(), error
                )

    async def _take(self, place: Ticket) -> None:
        if not (self._alone and self._now() < self._ask_again):
            try:
                await self._take_shared(place)
            except LimiterUnavailable as error:
                if self._fallback is None:
                    text = f"{error.message}; nothing is sent until it can, unless a fallback rate is set"
                    self._line.refuse(lambda *_: LimiterUnavailable(text, sent=False))
                    raise LimiterUnavailable(text, sent=False) from None
                self._go_alone(error, self._fallback)
            else:
                return
        await self._take_alone(place)

    async def _take_shared(self, place: Ticket) -> None:
        """Wait for a slot of the shared bucket, and for another where that one is void or was missed."""
        missed = 0
        while True:
            patience = max(0.0, self._patience(place))
            longest = patience if place.max_pause is None else math.inf
            slot = await self._shared.take(longest=longest, max_pause=patience, anew=self._alone)
            answered = self._now()
            if self._alone:
                self._alone = False
                _logger.info("the rate limiter that is shared through %s answers again", self._shared.where)
            super().pause(slot.pause)
            if not slot.granted:
                raise self._beyond(slot.wait, slot.pause, patience)
            await asyncio.sleep(slot.wait)
            if self._now() - answered - slot.wait > MARGIN and missed < _TOO_LATE:
                missed += 1
            elif slot.wait <= GUARD or await self._shared.holds(slot):
                self._count(self._now())
                return

    def _go_alone(self, error: LimiterUnavailable, rate: float) -> None:
        now = self._now()
        self._ask_again = now + _AGAIN
        if not self._alone:
            self._alone, self._alone_next = True, now + 1 / rate
            _logger.warning("going on alone at %.3g/s: %s", rate, error)

    async def _take_alone(self, place: Ticket) -> None:
        wait, patience = max(0.0, self._alone_next - self._now()), self._patience(place)
        if place.max_pause is None and wait > patience:
            raise self._beyond(wait, 0.0, patience)
        await asyncio.sleep(wait)
        now = self._now()
        self._alone_next = now + 1 / (self._fallback or self._rate)
        self._count(now)

    def _beyond(self, wait: float, pause: float, patience: float) -> RateLimitedError:
        if pause > patience:
            return self._paused_too_long(pause, patience)
        return RateLimitedError(
            f"the shared rate limit of {self._rate:.3g}/s is taken for another {wait:.0f} s, and only "
            f"{max(0.0, patience):.0f} s more would be waited; try again then",
            retry_after=wait,
        )

    async def aclose(self) -> None:
        """Close the connections to Redis. The limiter may be used again afterwards, also in another event loop.

        In another loop than that of the last request there is nothing to close: its connections ended with it.
        """
        if self._loop not in (None, asyncio.get_running_loop()):
            return
        if self._teller is not None and not self._teller.done():
            await asyncio.wait([self._teller])
        await self._shared.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        if not hasattr(self, "_shared"):  # its making was refused, and a traceback shows it
            return "RedisRateLimiter(not made)"
        return f"RedisRateLimiter({self._limit!r}, {self._shared!r})"
