"""Waiting: work that is finished even if its caller is cancelled, and pauses that double.

`asyncio.to_thread` leaves its thread behind when it is cancelled, and closing a SQLite connection that a
thread still uses crashes the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

__all__ = ["Backoff", "run_in_thread", "shielded"]

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_thread(work: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> T:
    """Do the work in a thread; return only when it is over."""
    return await shielded(asyncio.to_thread(work, *arguments, **options))


async def shielded(work: Awaitable[T]) -> T:
    """Wait for work that must not stop half way; raise a cancellation when it is over."""
    task = asyncio.ensure_future(work)
    interrupted: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as cancelled:
            interrupted = cancelled
    if interrupted is None:
        return task.result()
    if not task.cancelled():
        # retrieve its exception, or asyncio would log it: the caller gets the cancellation instead
        task.exception()
    raise interrupted


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
