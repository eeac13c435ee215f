"""A worker on a store, in a process of its own: ``python -m tests.cluster.store_worker`` with `Settings` as JSON.

It fetches what is pending until nothing is left, and prints a line for each answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator

import attrs

from fullstory_async import ClientConfig, Failure, FullStoryClient, RateLimit
from fullstory_async.cluster import PostgresStore, claims
from fullstory_async.errors import ActivationBudgetError, StorageError

OUT_OF_BUDGET = 3


@attrs.frozen(kw_only=True)
class Settings:
    """What a worker is told."""

    dsn: str
    schema: str
    base_url: str
    api_key: str
    concurrency: int = 8
    cap: int | None = None
    wrong_by: float = 0.0
    """Seconds by which its clock is wrong."""
    lease: float = 2.0

    def command(self) -> list[str]:
        """Return the command that starts a worker."""
        return [sys.executable, "-m", "tests.cluster.store_worker", json.dumps(attrs.asdict(self))]

    def config(self) -> ClientConfig:
        """Return the configuration of its client."""
        limit = RateLimit(rate=1000, burst=1000)
        return ClientConfig(api_key=self.api_key, base_url=self.base_url, rate_limit=limit)

    def store(self) -> PostgresStore:
        """Return its store."""
        return PostgresStore(self.dsn, self.config(), schema=self.schema, max_activations=self.cap)


async def pending(opened: PostgresStore, concurrency: int) -> AsyncIterator[str]:
    """Yield what is pending, until no worker has anything left."""
    while True:
        try:
            claimed = await opened.claim(concurrency)
            status = None if claimed else await opened.status()
        except StorageError as error:
            if error.permanent:
                raise
            claimed, status = [], None
        for each in claimed:
            yield each
        if status is not None and status.done + status.failed == status.sessions:
            return
        if not claimed:
            await asyncio.sleep(0.1)


async def work(settings: Settings) -> None:
    clock = time.time
    time.time = lambda: clock() + settings.wrong_by
    claims.LEASE = settings.lease
    config, count = settings.config(), settings.concurrency
    while True:
        try:
            opened = await settings.store().open()
        except StorageError as error:
            if error.permanent:
                raise
            await asyncio.sleep(0.1)
        else:
            break
    async with opened, FullStoryClient(config=config, ledger=opened.ledger) as client:
        async with opened.raw_many(client, pending(opened, count), concurrency=count) as results:
            async for outcome in results:
                if isinstance(outcome, Failure):
                    os.write(2, f"{outcome.session_id}: {outcome.error!r}\n".encode())
                else:
                    os.write(1, f"{outcome.session_id}\n".encode())


if __name__ == "__main__":
    try:
        asyncio.run(work(Settings(**json.loads(sys.argv[1]))))
    except ActivationBudgetError as error:
        os.write(2, f"{error}\n".encode())
        sys.exit(OUT_OF_BUDGET)
