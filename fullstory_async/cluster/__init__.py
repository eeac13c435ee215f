"""A rate limiter that processes share through Redis or Valkey.

It needs the extra ``redis``.

::

    config = ClientConfig(rate_limit=RateLimit(rate=20, burst=40))
    async with (
        RedisRateLimiter("redis://cache:6379", config) as limiter,
        FullStoryClient(config=config, limiter=limiter) as client,
    ):
        ...

All processes together keep to that one limit. A setting decides what happens while Redis fails; a limit is
always enforced.
"""

from fullstory_async.errors import ConfigurationError

try:
    from fullstory_async.cluster.redis_limiter import RedisRateLimiter
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] != "redis":
        raise
    raise ConfigurationError("RedisRateLimiter needs: pip install 'fullstory-async[redis]'") from None

__all__ = ["RedisRateLimiter"]
