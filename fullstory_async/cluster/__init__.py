"""A rate limiter that processes and machines share through Redis or Valkey; needs the extra ``redis``.

::

    config = ClientConfig(rate_limit=RateLimit(rate=20, burst=40))
    async with (
        RedisRateLimiter("redis://cache:6379", config) as limiter,
        FullStoryClient(config=config, limiter=limiter) as client,
    ):
        ...

All of them together keep to that one limit. What happens while Redis fails is a setting, and never that there is no limit.
"""

from fullstory_async.cluster.limiter import RedisRateLimiter

__all__ = ["RedisRateLimiter"]
