"""SharedRateLimiter: a `RateLimiter` whose bucket is in a server, so that all processes keep to one limit.

Within a process nothing else changes. Waiting calls queue locally, priority and pauses count there, and one
call at a time asks on behalf of all. So each process waits for one slot at most, or for one lease, which
gives all processes an equal chance.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from fullstory_async import validators
from fullstory_async.cluster.bucket import SharedBucket
from fullstory_async.cluster.slots import SlotStore
from fullstory_async.config import ClientConfig
from fullstory_async.errors import ConfigurationError
from fullstory_async.privacy import hide_arguments
from fullstory_async.ratelimit.bucket import usable_burst
from fullstory_async.ratelimit.limiter import RateLimiter
from fullstory_async.secret import Secret

__all__ = ["SharedRateLimiter", "shared_name"]


class SharedRateLimiter(RateLimiter):
    """Admits the requests of all processes together; its subclasses say where the bucket is kept."""

    __slots__ = ("_shared_bucket",)

    @hide_arguments
    def __init__(self, config: ClientConfig, store: SlotStore, *, fallback: float | None) -> None:
        """Make a limiter with a store of slots; nothing is connected before the first request.

        Raises:
            ConfigurationError: the limit is adaptive.
        """
        limit = config.rate_limit
        burst = usable_burst(limit.rate, limit.burst)
        bucket = SharedBucket(store, rate=limit.rate, burst=burst, fallback=fallback)
        super().__init__(limit, max_wait=config.max_wait, bucket=bucket)
        self._shared_bucket = bucket

    async def aclose(self) -> None:
        """Close the connections to the server; the limiter may be used again.

        In another loop than that of the last request there is nothing to close: its connections ended with
        it.
        """
        await self._shared_bucket.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        if not hasattr(self, "_shared_bucket"):  # its making was refused, and a traceback shows it
            return f"{type(self).__name__}(not made)"
        return f"{type(self).__name__}({self.limit!r}, {self._shared_bucket!r})"


@hide_arguments
def shared_name(config: ClientConfig, name: str | None, *, fallback: float | None, timeout: float) -> str:
    """Return the name under which a limit is shared: the given one, or the host and the key's fingerprint.

    Raises:
        ConfigurationError: there is neither a key nor a name, or a value can't be used.
    """
    if not isinstance(config, ClientConfig):
        raise ConfigurationError(f"config must be a ClientConfig, not {type(config).__name__}")
    if name is None and config.api_key is None:
        raise ConfigurationError(
            "there is no API key to share a limit for: set it in config or FULLSTORY_API_KEY, or give a name"
        )
    if name is not None and not (isinstance(name, str) and name and Secret(name) != config.api_key):
        raise ConfigurationError("name must be a text, and not the API key")
    if fallback is not None and not (validators.is_number(fallback) and fallback > 0):
        raise ConfigurationError(f"fallback must be requests a second, above 0, not {fallback!r}")
    if not (validators.is_number(timeout) and timeout > 0):
        raise ConfigurationError(f"timeout must be a number of seconds, above 0, not {timeout!r}")
    return f"{urlsplit(config.base_url).netloc}:{config.key_fingerprint}" if name is None else name
