"""EngineWorker: one client and one open store in a worker process of a data engine.

An engine calls synchronous code, often from several threads, and a client belongs to one event loop. So each
process has one loop in a thread of its own. A client for each batch would have a rate limiter and connections
for each batch; this one lives as long as the process.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import logging
import os
import threading
from collections.abc import Coroutine, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from fullstory_async.client import FullStoryClient
from fullstory_async.cluster.engine_options import StoreOptions
from fullstory_async.cluster.store import PostgresStore
from fullstory_async.errors import DecodeError, FullStoryError, Scope
from fullstory_async.fanout import FanOut
from fullstory_async.models.event_table import event_columns
from fullstory_async.outcome import Outcome
from fullstory_async.tables.arrow import arrow_schema, column_batch, import_pyarrow
from fullstory_async.tables.columns import TABLES, Column

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["EVENTS", "EngineWorker", "arrow_batches", "arrow_table", "events_schema", "worker_of_process"]

T = TypeVar("T")

EVENTS = tuple(Column(each.name, "text" if each.kind == "name" else each.kind) for each in TABLES["events"])
"""The columns of an export's events, as every engine takes them: all nullable, and no dictionaries."""
_BATCH_ROWS = 10_000
_OPENING = threading.Lock()
_logger = logging.getLogger("fullstory_async.cluster")


class EngineWorker:
    """One event loop in a thread, with an open store and client; any thread may call it."""

    def __init__(self, options: StoreOptions) -> None:
        """Start the loop, and open store and client. Raises what they raise."""
        self._concurrency = options.concurrency
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fullstory-engine", daemon=True)
        self._thread.start()
        self._store = options.store()
        try:
            self._client = self._wait(_opened_client(self._store, options))
        except BaseException:
            self._end()
            raise

    def bodies(self, ids: Iterable[Any]) -> Generator[tuple[str, bytes], None, None]:
        """Yield the id and the raw response of each session, in the order of completion.

        A session that fails permanently is left out and logged; the store keeps its failure.

        Raises:
            FullStoryError: the work has to end, or other sessions failed. When the engine repeats the task,
                responses in the store cost nothing.
        """
        results = self._store.raw_many(self._client, ids, concurrency=self._concurrency)
        self._wait(results.__aenter__())
        failure: FullStoryError | None = None
        try:
            while (outcome := self._wait(_next(results))) is not None:
                if outcome.error is None:
                    yield outcome.session_id, outcome.value
                elif outcome.error.scope is Scope.SESSION and outcome.error.permanent:
                    _log_missing(outcome.error)
                else:
                    failure = outcome.error
        finally:
            self._wait(results.__aexit__(None, None, None))
        if failure is not None:
            raise failure.with_traceback(None)

    def close(self) -> None:
        """Close client and store, and end the thread; nothing is done a second time."""
        if self._loop.is_closed():
            return
        self._wait(_close(self._client, self._store))
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _opened_client(store: PostgresStore, options: StoreOptions) -> FullStoryClient:
    await store.open()
    try:
        client = FullStoryClient(config=options.config, limiter=store.limiter, ledger=store.ledger)
        await client.open()
    except BaseException:
        await store.close()
        raise
    return client


async def _close(client: FullStoryClient, store: PostgresStore) -> None:
    await client.close()
    await store.close()


async def _next(results: FanOut[bytes]) -> Outcome[bytes] | None:
    async for outcome in results:
        return outcome
    return None


def _log_missing(error: FullStoryError) -> None:
    _logger.warning("the events of a session are missing: %s", type(error).__name__)


def worker_of_process(options: StoreOptions) -> EngineWorker:
    """Return the one worker that this process has for these options; opened by the first caller."""
    with _OPENING:
        return _worker(options, os.getpid())


@functools.cache
def _worker(options: StoreOptions, pid: int) -> EngineWorker:  # noqa: ARG001  (a forked process has its own)
    worker = EngineWorker(options)
    atexit.register(worker.close)
    return worker


def events_schema() -> pa.Schema:
    """Return the Arrow schema of what workers yield. Raises `ConfigurationError` without pyarrow."""
    return arrow_schema(EVENTS)


def arrow_batches(worker: EngineWorker, ids: Iterable[Any]) -> Iterator[pa.RecordBatch]:
    """Yield the events of sessions; those of one session are in one batch."""
    chunks: list[Sequence[Sequence[Any]]] = []
    count = 0
    for session_id, body in worker.bodies(ids):
        try:
            rows = event_columns(session_id, (), body).rows(EVENTS)
        except DecodeError as error:  # one malformed response must not end the work on all others
            _log_missing(error)
            continue
        if len(rows):
            chunks.append(rows.columns)
            count += len(rows)
        if count >= _BATCH_ROWS:
            yield column_batch(EVENTS, chunks)
            chunks, count = [], 0
    if chunks:
        yield column_batch(EVENTS, chunks)


def arrow_table(worker: EngineWorker, ids: Iterable[Any]) -> pa.Table:
    """Return the events of sessions in one table."""
    return import_pyarrow().Table.from_batches(list(arrow_batches(worker, ids)), events_schema())
