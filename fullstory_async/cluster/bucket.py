"""SharedBucket: asks Redis, in a bounded time, and turns every failure into `LimiterUnavailable`.

A question has half of its time on the connection that is there and the rest on a new one, should the old one be dead. An answer that is lost may
have taken a slot, which is then left unused. After a failure the connections are dropped: a server that was demoted to a replica would
answer "READONLY" over them for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from fullstory_async.cluster.script import SCRIPT, Slot, arguments, slot_of
from fullstory_async.errors import ConfigurationError, LimiterUnavailable
from fullstory_async.privacy import Secret

__all__ = ["SharedBucket"]

T = TypeVar("T")
_FAILURES = (RedisError, OSError)  # a TimeoutError is one


class SharedBucket:
    """The bucket that Redis keeps under one key."""

    __slots__ = ("_burst", "_given", "_key", "_rate", "_redis", "_url", "timeout", "where")

    timeout: float
    """Seconds that one question takes at most."""
    where: str
    """Which Redis it is, without user and password."""

    def __init__(self, redis: Secret | Redis, key: str, *, rate: float, burst: float, timeout: float) -> None:
        """Name the bucket; nothing is connected yet. Raises `ConfigurationError` for what is no URL and no Redis."""
        self._key = key
        if not isinstance(redis, (Secret, Redis)):
            raise ConfigurationError(
                f"redis must be a URL or a redis.asyncio.Redis, not {type(redis).__name__}"
            )
        self._url = redis if isinstance(redis, Secret) else None
        self._given = redis if isinstance(redis, Redis) else None
        self._redis: Redis | None = None
        self._rate = rate
        self._burst = burst
        self.timeout = timeout
        self.where = self._place()

    async def take(self, *, longest: float, max_pause: float, pause: float = 0.0, anew: bool = False) -> Slot:
        """Take the next slot, unless it or the pause's end is farther away than that; `arguments` says more."""
        values = arguments(
            self._rate, self._burst, longest=longest, max_pause=max_pause, pause=pause, anew=anew
        )

        async def question(redis: Redis) -> Any:
            try:
                # loads it where it is unknown
                return await redis.register_script(SCRIPT)(keys=[self._key], args=values)
            except NoScriptError:  # it was flushed right after that
                return await redis.eval(SCRIPT, 1, self._key, *map(str, values))

        return slot_of(await self._ask(question))

    async def pause(self, seconds: float) -> None:
        """Let nothing leave for so many seconds, anywhere."""
        await self.take(longest=-1.0, max_pause=-1.0, pause=seconds)

    async def holds(self, slot: Slot) -> bool:
        """Tell whether a slot is still good: there was no pause and no loss since."""

        def question(redis: Redis) -> Awaitable[bytes | str | None]:
            return redis.get(self._key)

        return not slot.is_void(await self._ask(question))

    async def _ask(self, question: Callable[[Redis], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self.timeout):
                return await question(self._connected())
        except TimeoutError:
            failure = f"no answer within {self.timeout:g} s"
        except _FAILURES as error:
            failure = f"{type(error).__name__}: {self._without_password(str(error))}"
        await self.close()
        raise self._unavailable(failure)

    def _unavailable(self, failure: str) -> LimiterUnavailable:
        """Return the error that says so."""
        text = f"the rate limiter that is shared through {self.where} can't be asked: {failure}"
        return LimiterUnavailable(text, sent=False)

    async def close(self) -> None:
        """Close the connections that were made here; the next question makes new ones."""
        redis, self._redis = self._redis, None
        if redis is not None:
            with contextlib.suppress(*_FAILURES):
                async with asyncio.timeout(self.timeout):
                    await redis.aclose()

    def forget(self) -> None:
        """Leave behind the connections of an event loop that is over."""
        self._redis = None

    def _connected(self) -> Redis:
        if self._given is not None:
            return self._given
        if self._redis is None:
            self._redis = self._made()
        return self._redis

    def _made(self) -> Redis:
        with contextlib.suppress(ValueError):  # its text may show the password
            return Redis.from_url(
                str(self._url),
                socket_timeout=self.timeout / 2,
                socket_connect_timeout=self.timeout / 2,
                retry=Retry(NoBackoff(), 1),
            )
        raise ConfigurationError(
            "redis is not a URL that it can be reached at: redis://host:port, rediss://… or unix://…"
        )

    def _settings(self) -> dict[str, object]:
        return (self._given or self._made()).connection_pool.connection_kwargs

    def _place(self) -> str:
        settings = self._settings()
        if "path" in settings:
            return f"Redis at {settings['path']}"
        return f"Redis at {settings['host']}:{settings['port']}" if "host" in settings else "Redis"

    def _without_password(self, text: str) -> str:
        password = self._settings().get("password")
        return text.replace(password, "…") if isinstance(password, str) and password else text

    def __repr__(self) -> str:
        return f"SharedBucket({getattr(self, 'where', 'not made')}, {self._key!r})"
