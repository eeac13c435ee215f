"""Gatherer: many callers, one statement: what gathers while a group is being written is the next group.

So the cost of a transaction is shared, and no caller waits for more than two of them. While Postgres is away,
everything waits here, in memory, and is written when it is back.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from typing import Generic, TypeVar

import attrs

from fullstory_async.concurrency import Backoff
from fullstory_async.errors import ClientStateError, StorageError

__all__ = ["Gatherer"]

T = TypeVar("T")
R = TypeVar("R")

_logger = logging.getLogger("fullstory_async.cluster")


@attrs.define(eq=False)
class _Entry(Generic[T, R]):
    item: T
    future: asyncio.Future[R] | None
    """``None`` if no caller waits."""


class Gatherer(ABC, Generic[T, R]):
    """Writes items in groups. A subclass says how."""

    def __init__(self, name: str, *, most: int) -> None:
        """Prepare; nothing runs before the first item.

        Args:
            name: what is written, for messages.
            most: items of a group.
        """
        self.name = name
        self._most = most
        self._entries: deque[_Entry[T, R]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_waiting = False

    @abstractmethod
    async def write(self, items: list[T]) -> list[R | Exception]:
        """Write a group, or its first items; return a result or an error for each of them.

        Raises:
            StorageError: nothing was written. If time may help, it is tried again.
        """
        ...

    def left(self, result: R) -> None:
        """Undo what was written for a caller that has left, if it has to be undone."""

    async def submit(self, item: T) -> R:
        """Write an item, and return its result. A caller that is cancelled leaves at once."""
        written: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._add(_Entry(item, written))
        return await written

    def submit_later(self, item: T) -> None:
        """Write an item that no caller waits for."""
        self._add(_Entry(item, None))

    @property
    def is_waiting(self) -> bool:
        """Whether Postgres is away, as far as is known here."""
        return self._is_waiting

    async def finish(self, seconds: float) -> list[T]:
        """Wait until everything is written; end the work after some seconds, and return what is left."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=seconds)
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait([self._task])
        rest, self._entries = list(self._entries), deque()
        for entry in rest:
            if entry.future is not None and not entry.future.done():
                entry.future.set_exception(ClientStateError("the store was closed meanwhile"))
        return [entry.item for entry in rest]

    def _add(self, entry: _Entry[T, R]) -> None:
        self._entries.append(entry)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    def _take(self, most: int) -> list[_Entry[T, R]]:
        group: list[_Entry[T, R]] = []
        while self._entries and len(group) < most:
            entry = self._entries.popleft()
            if entry.future is None or not entry.future.cancelled() or self.keeps(entry.item):
                group.append(entry)
        return group

    def keeps(self, item: T) -> bool:  # noqa: ARG002
        """Return whether an item is written though its caller has left."""
        return False

    async def _run(self) -> None:
        backoff, alone = Backoff(0.1, 5.0), 0
        while group := self._take(1 if alone else self._most):
            alone = max(0, alone - 1)
            try:
                results = await self.write([entry.item for entry in group])
            except Exception as error:  # noqa: BLE001  (or the callers would wait for ever)
                if isinstance(error, StorageError) and not error.permanent:
                    self._entries.extendleft(reversed(group))
                    await self._wait(backoff, error)
                    continue
                if len(group) > 1:  # one by one: only some of them may be refused
                    self._entries.extendleft(reversed(group))
                    alone = len(group)
                    continue
                results = [error]
            except BaseException:
                self._entries.extendleft(reversed(group))
                raise
            self._end_wait(backoff)
            self._entries.extendleft(reversed(group[len(results) :]))
            for entry, result in zip(group, results, strict=False):
                self._resolve(entry, result)

    async def _wait(self, backoff: Backoff, error: StorageError) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            _logger.warning("%s: waiting, %d are left: %s", self.name, len(self._entries), error.message)
        await backoff.sleep()

    def _end_wait(self, backoff: Backoff) -> None:
        if self._is_waiting:
            self._is_waiting = False
            _logger.warning("%s: continuing", self.name)
            backoff.reset()

    def _resolve(self, entry: _Entry[T, R], result: R | Exception) -> None:
        if entry.future is None:
            if isinstance(result, Exception):
                _logger.error("%s: not written: %s", self.name, result)
        elif isinstance(result, Exception):
            if not entry.future.done():
                entry.future.set_exception(result)
        elif entry.future.done():
            self.left(result)
        else:
            entry.future.set_result(result)
