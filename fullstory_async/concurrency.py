"""Waiting: work that is finished even if its caller is cancelled, and pauses that double."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["Backoff", "shielded"]

T = TypeVar("T")

_CANCELLATIONS = 30
_PAUSE = 0.001
"""Seconds for which the loop stands still at each further cancellation."""


async def shielded(work: Awaitable[T]) -> T:
    """Wait for work that must not stop half way; raise a cancellation when it is over.

    anyio cancels a task again in each turn of the event loop, which would keep the loop busy. Such a caller
    leaves after ``_CANCELLATIONS``, and the work goes on.
    """
    task = asyncio.ensure_future(work)
    interrupted: asyncio.CancelledError | None = None
    count = 0
    while not task.done() and count < _CANCELLATIONS:
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as cancelled:
            if interrupted is not None:
                time.sleep(_PAUSE)  # noqa: ASYNC251  (any wait of the event loop's would be cancelled too)
            interrupted = cancelled
            count += 1
    if interrupted is None:
        return task.result()
    # retrieve its exception, or asyncio would log it: the caller gets the cancellation instead
    task.add_done_callback(_retrieve)
    raise interrupted


def _retrieve(task: asyncio.Future[T]) -> None:
    if not task.cancelled():
        task.exception()


class Backoff:
    """Pauses that double, from the first to the longest."""

    def __init__(self, first: float, longest: float) -> None:
        """Start with a pause of ``first`` seconds."""
        self._first, self._longest = first, longest
        self.pause = first
        """Seconds of the next pause."""

    def advance(self) -> float:
        """Return the seconds to pause now, and double the next pause."""
        pause, self.pause = self.pause, min(2 * self.pause, self._longest)
        return pause

    async def sleep(self) -> None:
        """Pause now."""
        await asyncio.sleep(self.advance())

    def reset(self) -> None:
        """Start again with the first pause."""
        self.pause = self._first
