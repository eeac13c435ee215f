"""RedisRateLimiter: a `RateLimiter` whose bucket is in Redis, so that all processes keep to one limit.

Within a process nothing else changes. Waiting calls queue locally, priority and pauses count there, and one
call at a time asks on behalf of all. So each process waits for one slot at most, which gives all processes an
equal chance.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from fullstory_async import validators
from fullstory_async.cluster.bucket import RedisBucket
from fullstory_async.cluster.redis_store import RedisStore
from fullstory_async.config import ClientConfig
from fullstory_async.errors import ConfigurationError
from fullstory_async.privacy import hide_arguments
from fullstory_async.ratelimit.bucket import usable_burst
from fullstory_async.ratelimit.limiter import RateLimiter
from fullstory_async.secret import Secret

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["RedisRateLimiter"]


class RedisRateLimiter(RateLimiter):
    """Admits the requests of all processes together within ``config.rate_limit``.

    Use it wherever a `RateLimiter` is used. Priority counts among the calls of one process; among processes,
    slots are given in the order in which they ask. `paused_for` is what this process knows.
    """

    __slots__ = ("_redis_bucket",)

    @hide_arguments
    def __init__(
        self,
        redis: str | Secret | Redis,
        config: ClientConfig,
        *,
        name: str | None = None,
        fallback: float | None = None,
        timeout: float = 1.0,
    ) -> None:
        """Make a limiter; nothing is connected before the first request.

        Args:
            redis: where Redis or Valkey is: ``redis://``, ``rediss://`` or ``unix://``; or a
                `redis.asyncio.Redis` of your own (for a Sentinel, say), which is not closed.
            config: its ``rate_limit`` is the limit of all processes together, so it must be the same
                everywhere; and its ``max_wait``.
            name: processes with the same name share one limit. Default: a fingerprint of the API key and the
                host. Never an API key itself.
            fallback: requests a second that this process sends on its own while Redis can't be asked, for
                example your rate divided by the number of processes. By default calls then fail with
                `LimiterUnavailable`.
            timeout: seconds that Redis has to answer.

        Raises:
            ConfigurationError: the limit is adaptive, there is neither a key nor a name, or a value can't be
                used.
        """
        if isinstance(redis, str):
            redis = Secret(redis)  # it may hold a password, and tracebacks show variables
        if not isinstance(config, ClientConfig):
            raise ConfigurationError(f"config must be a ClientConfig, not {type(config).__name__}")
        if name is None and config.api_key is None:
            raise ConfigurationError(
                "there is no API key to share a limit for: "
                "set it in config or FULLSTORY_API_KEY, or give a name"
            )
        if name is not None and not (isinstance(name, str) and name and Secret(name) != config.api_key):
            raise ConfigurationError("name must be a text, and not the API key")
        if fallback is not None and not (validators.is_number(fallback) and fallback > 0):
            raise ConfigurationError(f"fallback must be requests a second, above 0, not {fallback!r}")
        if not (validators.is_number(timeout) and timeout > 0):
            raise ConfigurationError(f"timeout must be a number of seconds, above 0, not {timeout!r}")
        own = f"{urlsplit(config.base_url).netloc}:{config.key_fingerprint}"
        key = f"fullstory_async:rate:{own if name is None else name}"
        rate = config.rate_limit.rate
        burst = usable_burst(rate, config.rate_limit.burst)
        store = RedisStore(redis, key, rate=rate, burst=burst, timeout=timeout)
        bucket = RedisBucket(store, rate=rate, burst=burst, fallback=fallback)
        super().__init__(config.rate_limit, max_wait=config.max_wait, bucket=bucket)
        self._redis_bucket = bucket

    async def aclose(self) -> None:
        """Close the connections to Redis; the limiter may be used again.

        In another loop than that of the last request there is nothing to close: its connections ended with
        it.
        """
        await self._redis_bucket.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        if not hasattr(self, "_redis_bucket"):  # its making was refused, and a traceback shows it
            return "RedisRateLimiter(not made)"
        return f"RedisRateLimiter({self.limit!r}, {self._redis_bucket!r})"
