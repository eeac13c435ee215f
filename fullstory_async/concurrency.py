"""Waiting: work that is finished even if its caller is cancelled, late timers, and pauses that double."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["Alarm", "Backoff", "StoragePatience", "shielded"]

T = TypeVar("T")

_CANCELLATIONS = 30
_PAUSE = 0.001
"""Seconds for which the loop stands still at each further cancellation."""
_LATE = 0.5
"""Seconds after which a timer that was held up is late."""
_CATCH_UP = 1.0
"""Seconds in which others read what has arrived, and save it."""
_STORAGE_SECONDS = 10.0
"""Seconds for which a single call waits for a local file; jobs wait longer."""


async def shielded(work: Awaitable[T]) -> T:
    """Wait for work that must not stop half way; raise a cancellation when it is over.

    anyio cancels a task again in each turn of the event loop, which would keep the loop busy. Such a caller
    leaves after ``_CANCELLATIONS``, and the work continues.
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


class Alarm:
    """A timer of the running event loop; if it is late, it lets others catch up first.

    It is late after a suspension of the process, or a busy loop. Then responses that have arrived meanwhile
    lie in their sockets, and would be lost to what the alarm ends.
    """

    def __init__(self, when: float, call: Callable[[], object]) -> None:
        """Call back at a loop time."""
        self._loop, self._when, self._call = asyncio.get_running_loop(), when, call
        self._timer = self._loop.call_at(when, self._fire)

    def cancel(self) -> None:
        """Don't call back."""
        self._timer.cancel()

    def _fire(self) -> None:
        if self._loop.time() - self._when > _LATE:
            self._timer = self._loop.call_later(_CATCH_UP, self._call)
        else:
            self._call()


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


class StoragePatience:
    """How long one call waits for a ledger or cache that can't be used; begins with its first failure."""

    def __init__(self) -> None:
        """Begin to wait."""
        self._until = asyncio.get_running_loop().time() + _STORAGE_SECONDS
        self._backoff = Backoff(0.1, 2.0)

    async def pause(self, remaining: float) -> bool:
        """Pause before another try; return False at once if it would come too late.

        Args:
            remaining: seconds that the call has left.
        """
        left = min(remaining, self._until - asyncio.get_running_loop().time())
        if self._backoff.pause >= left:
            return False
        await self._backoff.sleep()
        return True
