"""The options of the ``cluster`` commands, and the store and the queue that they open."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, Token

from fullstory_async.cli.exits import UsageError
from fullstory_async.config import ClientConfig
from fullstory_async.environment import variable
from fullstory_async.errors import ConfigurationError
from fullstory_async.secret import Secret

if TYPE_CHECKING:
    from fullstory_async.cluster import PostgresStore
    from fullstory_async.cluster.queue import ShardQueue

__all__ = ["Cluster"]

_DSN = "FULLSTORY_CLUSTER_DSN"


def _read_dsn(_: object, tokens: Sequence[Token]) -> Secret:
    """Keep the password out of every repr."""
    return Secret(tokens[0].value)


@Parameter(name="*")
@dataclass(frozen=True)
class Cluster:
    """Options of every ``cluster`` command."""

    dsn: Annotated[Secret | None, Parameter(converter=_read_dsn, accepts_keys=False, n_tokens=1)] = None
    """The Postgres that all workers share: postgresql://USER:PASSWORD@HOST/DATABASE. A password here is shown
    to every user of this machine; the variable and ~/.pgpass are not. [default: the variable
    FULLSTORY_CLUSTER_DSN]"""

    pg_schema: str = "fullstory"
    """Schema of all tables, those of the queue included."""

    budget: str = "default"
    """Name of the budget, and of the results that it paid for."""

    @asynccontextmanager
    async def store(
        self,
        config: ClientConfig | None = None,
        *,
        max_activations: int | None = None,
        monthly_cap: int | None = None,
    ) -> AsyncIterator[PostgresStore]:
        """Open the store.

        Args:
            config: the settings of the client that will use it; those of the environment if it makes no
                calls.
            max_activations: the limit of the budget; ``None`` for the one that it has.
            monthly_cap: the same for the key's month.

        Raises:
            UsageError: no DSN is given.
            ConfigurationError: a library is missing, or a value can't be used.
            StorageError: Postgres can't be used.
        """
        dsn = self._secret()
        from fullstory_async.cluster import PostgresStore  # noqa: PLC0415  (psycopg is slow to import)

        _silence_logs()
        store = PostgresStore(
            dsn, config or ClientConfig(), budget=self.budget, schema=self.pg_schema,
            max_activations=max_activations, monthly_cap=monthly_cap,
        )  # fmt: skip
        async with store:
            yield store

    @asynccontextmanager
    async def queue(self) -> AsyncIterator[ShardQueue]:
        """Open the queue, and create its tables if they are missing; the store is open.

        Raises:
            ConfigurationError: a library is missing.
            StorageError: Postgres can't be used.
        """
        try:
            from fullstory_async.cluster.queue import ShardQueue  # noqa: PLC0415  (as above)
        except ModuleNotFoundError as missing:
            raise ConfigurationError(
                f"{missing.name} is not installed: pip install 'fullstory-async[worker]'"
            ) from None
        async with ShardQueue(self._secret(), schema=self.pg_schema) as queue:
            await queue.create()
            yield queue

    def _secret(self) -> Secret:
        if self.dsn is not None:
            return self.dsn
        # not a local variable: tracebacks show them
        if variable(_DSN) is None:
            raise UsageError(f"no Postgres: set {_DSN}, or give --dsn")
        return Secret(variable(_DSN) or "")


def _silence_logs() -> None:
    """Leave it to our own messages to say that Postgres is away.

    Without a handler, Python prints the libraries' warnings to standard error.
    """
    for name in ("procrastinate", "psycopg"):
        logging.getLogger(name).addHandler(logging.NullHandler())
