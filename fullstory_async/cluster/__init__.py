"""One rate limit, one budget and one set of answers for many processes and machines.

`RedisRateLimiter` needs the extra ``redis``, everything else the extra ``postgres``. A name is imported when
it is first used, so neither library is needed for the other.

::

    config = ClientConfig(rate_limit=RateLimit(rate=20, burst=40))
    async with (
        PostgresRateLimiter("postgresql://db/fullstory", config) as limiter,
        FullStoryClient(config=config, limiter=limiter) as client,
    ):
        ...

All processes together keep to that one limit. A setting decides what happens while the server fails; a limit
is always enforced.
"""

import importlib
import typing

from fullstory_async.errors import ConfigurationError

if typing.TYPE_CHECKING:
    from fullstory_async.cluster.engine_options import StoreOptions
    from fullstory_async.cluster.postgres import Postgres
    from fullstory_async.cluster.postgres_ledger import PostgresLedger
    from fullstory_async.cluster.postgres_limiter import PostgresRateLimiter
    from fullstory_async.cluster.redis_limiter import RedisRateLimiter
    from fullstory_async.cluster.store import PostgresStore
    from fullstory_async.cluster.stored import AddedSessions, StoreStatus

__all__ = [
    "AddedSessions", "Postgres", "PostgresLedger", "PostgresRateLimiter", "PostgresStore", "RedisRateLimiter",
    "StoreOptions", "StoreStatus",
]  # fmt: skip

_HOMES = {
    "AddedSessions": ("stored", "postgres"),
    "Postgres": ("postgres", "postgres"),
    "PostgresLedger": ("postgres_ledger", "postgres"),
    "PostgresRateLimiter": ("postgres_limiter", "postgres"),
    "PostgresStore": ("store", "postgres"),
    "RedisRateLimiter": ("redis_limiter", "redis"),
    "StoreOptions": ("engine_options", "postgres"),
    "StoreStatus": ("stored", "postgres"),
}
"""Public name → its module, and the extra that it needs."""
_LIBRARIES = {"postgres": ("psycopg",), "redis": ("redis",)}
"""Extra → what it installs."""


if not typing.TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name.

        Raises:
            ConfigurationError: its library is not installed.
        """
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, extra = _HOMES[name]
        try:
            value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in _LIBRARIES[extra]:
                raise
        else:
            globals()[name] = value
            return value
        raise ConfigurationError(f"{name} needs: pip install 'fullstory-async[{extra}]'")

    def __dir__() -> list[str]:
        """Return all names, those included that have not been imported yet."""
        return sorted({*globals(), *__all__})
