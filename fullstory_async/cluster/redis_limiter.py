"""RedisRateLimiter: a `SharedRateLimiter` whose bucket is in Redis or Valkey."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fullstory_async.cluster.limiter import SharedRateLimiter, shared_name
from fullstory_async.cluster.redis_slots import RedisSlots
from fullstory_async.config import ClientConfig
from fullstory_async.privacy import hide_arguments
from fullstory_async.secret import Secret

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["RedisRateLimiter"]


class RedisRateLimiter(SharedRateLimiter):
    """Admits the requests of all processes together within ``config.rate_limit``, through Redis.

    Use it wherever a `RateLimiter` is used. Priority counts among the calls of one process; among processes,
    slots are given in the order in which they ask. `paused_for` is what this process knows.
    """

    __slots__ = ()

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
        own = shared_name(config, name, fallback=fallback, timeout=timeout)
        store = RedisSlots(redis, f"fullstory_async:rate:{own}", timeout=timeout)
        super().__init__(config, store, fallback=fallback)
