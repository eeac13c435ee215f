"""IdSource: takes ids one at a time from an iterable or an async iterable, for any number of workers."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

__all__ = ["End", "IdSource"]


class End(enum.Enum):
    """The end of an id source; ``None`` could be one of its (bad) ids."""

    END = enum.auto()


class IdSource:
    """The ids of one fan-out, consumed lazily."""

    def __init__(self, ids: Iterable[Any] | AsyncIterable[Any]) -> None:
        """Begin to iterate, on the event loop."""
        self._ids = ids
        self._now: Iterator[Any] = iter(())
        self._later: AsyncIterator[Any] | None = None
        self._lock = asyncio.Lock()
        if isinstance(ids, AsyncIterable):
            self._later = aiter(ids)
        else:
            self._now = iter(ids)

    async def take(self) -> Any:
        """Return the next id, or `End.END`."""
        if self._later is None:
            return next(self._now, End.END)
        async with self._lock:
            # unlike `anext`, this accepts iterators without ``__aiter__``
            try:
                return await self._later.__anext__()
            except StopAsyncIteration:
                return End.END

    async def close(self) -> None:
        """Close an iterator that was made here; a generator that was given belongs to the caller."""
        if self._later is not self._ids and isinstance(self._later, AsyncGenerator):
            await self._later.aclose()
