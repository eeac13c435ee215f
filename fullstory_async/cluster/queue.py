"""The queue of a cluster's work: procrastinate's, with its tables in the schema of the store.

A shard is a job without ids: the worker that runs it claims the next sessions from the store. So the queue
holds no personal data, a shard that is lost or run twice costs nothing, and losing the whole queue only means
to fill it again.

Procrastinate marks the jobs of a dead worker as stalled, by its heartbeats, but does not retry them. A
periodic task does. It has a queue of its own, so that it never waits behind a shard, and takes no lock: the
lock of a sweep that died would prevent every later one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

import psycopg
from procrastinate import App, PsycopgConnector, RetryStrategy
from procrastinate.exceptions import ConnectorException
from psycopg import sql

from fullstory_async.cluster.postgres_errors import failure_of
from fullstory_async.errors import StorageError
from fullstory_async.secret import Secret

__all__ = ["SHARD_SIZE", "ShardQueue", "ShardWork"]

SHARD_SIZE = 200
"""Sessions of a shard. A worker asks the queue once for each; a stop or a death gives up one at most."""

_SHARDS, _SWEEPS = "fullstory-shards", "fullstory-sweeps"
_SHARD_TASK, _SWEEP_TASK = "fullstory.shard", "fullstory.sweep"
_HEARTBEAT = 5.0
_STALLED = 20.0
"""Seconds without a heartbeat after which a worker counts as dead."""
_EVERY_TEN_SECONDS = "* * * * * */10"
_RECONNECT = 1.0
_LOST = 10.0
"""Seconds after which a cancellation that had no effect was lost; procrastinate takes up to 6 to end."""
_CREATION_LOCK = 0x66735F7175657565
"""Any number that is the same in all versions; the letters are "fs_queue"."""

_RETRY = RetryStrategy(wait=5)
"""For as long as it takes: a shard that failed costs nothing, and its sessions are pending again."""

_log = logging.getLogger(__name__)


class ShardWork(Protocol):
    """What a worker does for the queue."""

    async def run_shard(self) -> None:
        """Do the work of one shard."""
        ...

    async def count_unfinished(self) -> int:
        """Return for how many sessions there should be shards."""
        ...


@asynccontextmanager
async def _as_storage_errors() -> AsyncIterator[None]:
    """Raise errors of the queue as `StorageError`, whose text can't hold the DSN."""
    try:
        yield
    except (ConnectorException, psycopg.Error) as error:
        cause = error if isinstance(error, psycopg.Error) else error.__cause__
        failure = failure_of(cause if isinstance(cause, psycopg.Error) else psycopg.OperationalError())
    else:
        return
    # Raised here and not above: the cause may show more than it should.
    raised = StorageError(f"the queue in Postgres can't be used: {failure.text}")
    raised.permanent = failure.permanent
    raise raised


class ShardQueue:
    """The queue of shards. ``async with`` connects it."""

    most: ClassVar[int] = 1000 * SHARD_SIZE
    """Sessions for which shards are queued at a time. The sweeps add more, so that the queue stays small."""

    def __init__(self, dsn: Secret, *, schema: str = "fullstory") -> None:
        """Prepare a queue; nothing connects yet."""
        self._schema = schema
        self._connector = PsycopgConnector(
            # a bound method, so that no repr shows the password
            conninfo=dsn.reveal, configure=self._configure, min_size=1, max_size=4, timeout=10.0,
            kwargs={"prepare_threshold": None, "connect_timeout": 10},
        )  # fmt: skip
        self._app = App(connector=self._connector)
        self._running_jobs = 0

    async def __aenter__(self) -> Self:
        async with _as_storage_errors():
            await self._app.open_async()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(
            ConnectorException, psycopg.Error
        ):  # it may be away; there is nothing to keep
            await self._app.close_async()

    async def create(self) -> None:
        """Create the tables of the queue, if they are missing. The schema must exist."""
        async with _as_storage_errors():
            if await self._app.check_connection_async():
                return
            async with self._connector.pool.connection() as connection:
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_CREATION_LOCK])
                # another process may have created them in the meantime
                if not await self._app.check_connection_async():
                    await connection.execute(self._app.schema_manager.get_schema())

    async def fill(self, unfinished: int) -> int:
        """Queue shards until there are enough for all unfinished sessions; return how many were added.

        Two processes that do so at a time may queue too many, which find nothing to do.
        """
        async with _as_storage_errors():
            rows = await self._app.job_manager.list_queues_async(queue=_SHARDS)
            queued = sum(int(row["todo"]) + int(row["doing"]) for row in rows)
            missing = math.ceil(min(unfinished, self.most) / SHARD_SIZE) - queued
            if missing > 0:
                task = self._app.configure_task(_SHARD_TASK, queue=_SHARDS, allow_unknown=True)
                await task.batch_defer_async(*({} for _ in range(missing)))
        return max(0, missing)

    async def sweep(self) -> int:
        """Queue the jobs of dead workers again; return how many."""
        manager, found = self._app.job_manager, 0
        async with _as_storage_errors():
            for job in await manager.get_stalled_jobs(seconds_since_heartbeat=_STALLED):
                try:
                    await manager.retry_job(job)
                except ConnectorException:
                    # another sweep was faster, or the worker came back and has finished the job
                    _log.debug("job %s is not stalled any more", job.id)
                else:
                    found += 1
        return found

    async def serve(self, work: ShardWork, *, name: str) -> None:
        """Run the queue's shards, one at a time, and its sweeps, until cancelled. Call it once.

        A cancellation lets a shard that runs end. A Postgres that is away is waited for.

        Args:
            work: what a shard does. If it raises an error, the shard is tried again later.
            name: the worker's name, for logs.
        """

        async def shard() -> None:
            with self._counted():
                await work.run_shard()

        async def sweep(timestamp: int) -> None:  # noqa: ARG001  (when it was due)
            with self._counted():
                await self.sweep()
                await self.fill(await work.count_unfinished())

        self._app.task(name=_SHARD_TASK, queue=_SHARDS, retry=_RETRY)(shard)
        task = self._app.task(name=_SWEEP_TASK, queue=_SWEEPS)(sweep)
        self._app.periodic(cron=_EVERY_TEN_SECONDS)(task)
        workers = [asyncio.create_task(self._keep_serving(queue, name)) for queue in (_SHARDS, _SWEEPS)]
        try:
            await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._end(workers)
        # they end by themselves only with an error
        for error in [each.exception() for each in workers if not each.cancelled()]:
            if error is not None:
                raise error

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._running_jobs += 1
        try:
            yield
        finally:
            self._running_jobs -= 1

    async def _end(self, workers: list[asyncio.Task[None]]) -> None:
        """Cancel the workers, and wait until they have ended.

        asyncio before Python 3.12 loses a cancellation that arrives as the result does that a task waits for.
        A worker that lost one would serve for ever, so it is cancelled again, unless a job was running: a
        second cancellation would end that, or what procrastinate saves of it.
        """
        pending = set(workers)
        while pending:
            for worker in pending:
                worker.cancel()
            was_busy = True
            while pending and was_busy:
                before = self._running_jobs
                _, pending = await asyncio.wait(pending, timeout=_LOST)
                was_busy = before + self._running_jobs > 0

    async def _keep_serving(self, queue: str, name: str) -> None:
        while True:
            try:
                await self._app.run_worker_async(
                    queues=[queue], name=name, concurrency=1, delete_jobs="always",
                    install_signal_handlers=False, update_heartbeat_interval=_HEARTBEAT,
                    stalled_worker_timeout=_STALLED,
                )  # fmt: skip
            except (ConnectorException, psycopg.Error) as error:
                _log.warning("the queue can't be reached, and is tried again: %s", type(error).__name__)
            await asyncio.sleep(_RECONNECT)

    async def _configure(self, connection: psycopg.AsyncConnection[Any]) -> None:
        # not as a start-up option, which a connection pooler would refuse
        await connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(self._schema)))
        await connection.commit()
