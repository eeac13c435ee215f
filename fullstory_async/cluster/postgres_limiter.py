"""PostgresRateLimiter: a `SharedRateLimiter` whose bucket is in Postgres."""

from __future__ import annotations

from fullstory_async.cluster.limiter import SharedRateLimiter, shared_name
from fullstory_async.cluster.postgres import Postgres
from fullstory_async.cluster.postgres_slots import PostgresSlots
from fullstory_async.config import ClientConfig
from fullstory_async.privacy import hide_arguments
from fullstory_async.secret import Secret

__all__ = ["PostgresRateLimiter"]

_CONNECTIONS = 2
"""Connections of a process: one for slots, one to publish a pause meanwhile."""


class PostgresRateLimiter(SharedRateLimiter):
    """Admits the requests of all processes together within ``config.rate_limit``, through Postgres.

    Use it wherever a `RateLimiter` is used. Priority counts among the calls of one process; among processes,
    slots are given in the order in which they ask. `paused_for` is what this process knows.
    """

    __slots__ = ()

    @hide_arguments
    def __init__(
        self,
        database: str | Secret | Postgres,
        config: ClientConfig,
        *,
        name: str | None = None,
        fallback: float | None = None,
        timeout: float = 1.0,
    ) -> None:
        """Make a limiter; nothing is connected before the first request.

        Args:
            database: the DSN of a database, whose tables the first request makes if they are missing; or a
                `Postgres` of your own, which is neither upgraded nor closed.
            config: its ``rate_limit`` is the limit of all processes together, so it must be the same
                everywhere; and its ``max_wait``.
            name: processes with the same name share one limit. Default: a fingerprint of the API key and the
                host. Never an API key itself.
            fallback: requests a second that this process sends on its own while Postgres can't be asked, for
                example your rate divided by the number of processes. By default calls then fail with
                `LimiterUnavailable`.
            timeout: seconds that Postgres has to answer.

        Raises:
            ConfigurationError: the limit is adaptive, there is neither a key nor a name, or a value can't be
                used.
        """
        if isinstance(database, str):
            database = Secret(database)  # it may hold a password, and tracebacks show variables
        own = shared_name(config, name, fallback=fallback, timeout=timeout)
        if isinstance(database, Postgres):
            store = PostgresSlots(database, own, timeout=timeout, owns=False)
        else:
            opened = Postgres(database, connections=_CONNECTIONS)
            store = PostgresSlots(opened, own, timeout=timeout, owns=True)
        super().__init__(config, store, fallback=fallback)
