"""Admission: how many calls are set aside while they wait for the rate limit.

What a call may cost is on the disk before its request leaves. If every worker did that first and then waited its turn at the
limiter, a process that is killed there would have counted calls of which the service never heard, one for each worker, and an
outage that begins would find them all past its gate. So no more calls come that far than leave in the next `_SECONDS`, of all processes
where they share the limit. In that time a disk has to commit twice; the limiter is kept waiting by slower ones only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Admission", "Place"]

_SECONDS = 0.1
_FEWEST = 2
"""Calls that are let in however slow the rate is: one that waits for the limiter, one for the disk."""


class Admission:
    """The places of one run between its queue of calls and the rate limiter."""

    def __init__(self, rate: Callable[[], float], concurrency: int) -> None:
        """Follow a rate, in calls a second, which may change; ``concurrency`` is the number of all workers."""
        self._rate = rate
        self._concurrency = concurrency
        self._size = self._wanted()
        self._free = asyncio.Semaphore(self._size)

    async def enter(self) -> Place:
        """Wait for a place, and take it."""
        await self._free.acquire()
        return Place(self)

    def give_back(self) -> None:
        """Let the next one in; or more or fewer, where the rate has changed."""
        self._size -= 1
        for _ in range(self._wanted() - self._size):
            self._size += 1
            self._free.release()

    def _wanted(self) -> int:
        return max(_FEWEST, int(min(self._concurrency, self._rate() * _SECONDS)))


class Place:
    """One call's place."""

    __slots__ = ("_admission",)

    def __init__(self, admission: Admission) -> None:
        self._admission: Admission | None = admission

    def leave(self) -> None:
        """Give it to another call; nothing happens if that was done before."""
        if self._admission is not None:
            self._admission.give_back()
            self._admission = None
