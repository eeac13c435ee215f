"""A worker: fetches what is pending in a store, shard by shard, until it is stopped.

What a shard fetches and pays is the store's business alone. The worker only claims sessions, waits for their
results, and decides when it ends: at a signal, when nothing is left, or at an error that every further call
would end with, such as an empty budget or a rejected key.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket

import attrs

from fullstory_async.client import FullStoryClient
from fullstory_async.cluster.queue import SHARD_SIZE, ShardQueue
from fullstory_async.cluster.store import PostgresStore
from fullstory_async.errors import FullStoryError, StorageError
from fullstory_async.fanout import FanOut
from fullstory_async.jobs.outages import Outages

__all__ = ["Worker", "WorkerCounts"]

_GRACE = 5.0
"""Seconds for calls in flight after a stop. They may be billed."""
_LOOK = 2.0
"""Seconds between two looks at whether anything is left."""


@attrs.define
class WorkerCounts:
    """What a worker has done so far."""

    done: int = 0
    """Sessions whose results are kept, those included that another worker had kept before."""
    failed: int = 0
    """Sessions whose calls failed."""


class Worker:
    """A worker of a cluster."""

    def __init__(
        self,
        store: PostgresStore,
        client: FullStoryClient,
        queue: ShardQueue,
        *,
        concurrency: int = 32,
        until_done: bool = False,
    ) -> None:
        """Prepare a worker.

        Args:
            store: the open store.
            client: an open client with the store's limiter and ledger.
            queue: the open queue.
            concurrency: the maximum number of calls in flight.
            until_done: end when every session is fetched or has failed, instead of waiting for new ones.
        """
        self.counts = WorkerCounts()
        self._store, self._client, self._queue = store, client, queue
        self._concurrency, self._until_done = concurrency, until_done
        self._results: FanOut[bytes] | None = None
        self._stopping, self._quitting = asyncio.Event(), asyncio.Event()
        # of all its shards, so that an outage is not found out again in each of them
        self._outages = Outages(math.inf)
        self._storage_failure = ""
        self._fatal: FullStoryError | None = None

    @property
    def waiting(self) -> str:
        """What it waits for, such as an outage; empty if nothing."""
        return self._storage_failure or self._outages.reason

    async def run(self) -> None:
        """Work until stopped, or until nothing is left.

        Raises:
            FullStoryError: every further call would fail as one did: the budget is used up, the key is
                rejected, or another service than FullStory responds.
        """
        await self._queue.fill(await self.count_unfinished())
        name = f"{socket.gethostname()}:{os.getpid()}"
        serving = asyncio.create_task(self._queue.serve(self, name=name))
        looking = asyncio.create_task(self._look()) if self._until_done else None
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            tasks = [each for each in (serving, looking, stopping) if each is not None]
            for task in tasks:
                task.cancel()
            # the shard that runs ends by itself, within the grace
            await asyncio.wait(tasks)
        if not serving.cancelled() and (error := serving.exception()) is not None:
            raise error
        if self._fatal is not None:
            raise self._fatal

    def stop(self, *, at_once: bool = False) -> None:
        """Make no new call, and end with the calls in flight, or after 5 s; ``at_once``, end now."""
        if not self._stopping.is_set():
            asyncio.get_running_loop().call_later(_GRACE, self._quitting.set)
        self._stopping.set()
        if self._results is not None:
            self._results.stop()
        if at_once:
            self._quitting.set()

    async def run_shard(self) -> None:
        """Fetch the next sessions. The queue calls this."""
        if self._stopping.is_set():
            return
        try:
            ids = await self._store.claim(SHARD_SIZE)
            self._storage_failure = ""
            if ids:
                await self._fetch(ids)
        except FullStoryError as error:
            if isinstance(error, StorageError) and not error.permanent:
                self._storage_failure = str(error)
                raise  # for the queue, which tries the shard again
            # the store's fan-out waits for what time heals, and ends where every further call would fail
            self._fatal = self._fatal or error
            self.stop()

    async def _fetch(self, ids: list[str]) -> None:
        """Fetch claimed sessions; others can have at once what a stop leaves."""
        fetching = self._store.fetch_claimed(
            self._client, ids, concurrency=self._concurrency, outages=self._outages
        )
        async with fetching as results:
            self._results = results
            counting = asyncio.create_task(self._count(results))
            quitting = asyncio.create_task(self._quitting.wait())
            try:
                await asyncio.wait([counting, quitting], return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._results = None
                counting.cancel()
                quitting.cancel()
                await asyncio.wait([counting, quitting])
        self._store.release(ids)
        if not counting.cancelled():
            counting.result()

    async def _count(self, results: FanOut[bytes]) -> None:
        async for outcome in results:
            if outcome.error is None:
                self.counts.done += 1
            else:
                self.counts.failed += 1

    async def _look(self) -> None:
        """Stop when nothing is left, here or at any other worker."""
        while True:
            # it is away, and shards wait for it as well
            with contextlib.suppress(StorageError):
                if self._results is None:
                    if not (left := await self.count_unfinished()):
                        self.stop()
                        return
                    # what a dead worker had claimed may be free by now: no need to wait for a sweep
                    await self._queue.fill(left)
            await asyncio.sleep(_LOOK)

    async def count_unfinished(self) -> int:
        """Return for how many sessions there should be shards. The queue calls this."""
        return await self._store.count_left(self._queue.most)
