"""Pass: one pass over a job's sessions, for asynchronous and for synchronous code."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import aclosing, closing
from typing import Generic, TypeVar

from fullstory_async.jobs.storage.reader import RecordReader
from fullstory_async.jobs.storage.records import Record
from fullstory_async.threads import WorkerThread

__all__ = ["Pass"]

T = TypeVar("T")

_BATCH = 50
_BATCH_BYTES = 1_000_000
"""A thread returns ``_BATCH`` records at a time, or fewer if their responses are larger than this."""


class Pass(AsyncIterator[T], Iterable[T], Generic[T]):
    """What a job holds, session by session, in the order in which the ids were added.

    ``async for`` reads the folder in a thread, so that the event loop continues. ``for`` reads it in the
    caller's thread and needs no event loop. Each ``for`` starts again; an ``async for`` continues where an
    earlier one was left.
    """

    def __init__(
        self, reader: RecordReader, values: Callable[[Record], Iterable[T]], *, with_bodies: bool = True
    ) -> None:
        """Prepare a pass; nothing is read before the first value.

        Args:
            reader: the job.
            values: returns what one record holds.
            with_bodies: whether the records need their responses.
        """
        self._reader, self._values, self._with_bodies = reader, values, with_bodies
        self._generator = _generate(reader, values, with_bodies)

    def __iter__(self) -> Generator[T, None, None]:
        with closing(self._reader.records(with_bodies=self._with_bodies)) as records:
            for record in records:
                yield from self._values(record)

    async def __anext__(self) -> T:
        return await anext(self._generator)

    async def aclose(self) -> None:
        """End an asynchronous pass early, and close the job's file."""
        await self._generator.aclose()


# no method: a generator that refers to the pass, which refers to it, would be closed late
async def _generate(
    reader: RecordReader, values: Callable[[Record], Iterable[T]], with_bodies: bool
) -> AsyncGenerator[T, None]:
    async with aclosing(_batches(reader, with_bodies)) as batches:
        async for records in batches:
            for record in records:
                for value in values(record):
                    yield value


async def _batches(reader: RecordReader, with_bodies: bool) -> AsyncGenerator[list[Record], None]:
    thread = WorkerThread(f"the job {reader.folder}")
    records = reader.records(with_bodies=with_bodies)
    try:
        while batch := await thread.run(_next_batch, records):
            yield batch
    finally:
        # behind a batch that is still being read: closing a database in use crashes the process
        thread.run_last(records.close)


def _next_batch(iterator: Iterator[Record]) -> list[Record]:
    """Return the next records; an empty list at the end."""
    batch: list[Record] = []
    size = 0
    for record in iterator:
        batch.append(record)
        size += sum(map(len, record.bodies.values()))
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            break
    return batch
