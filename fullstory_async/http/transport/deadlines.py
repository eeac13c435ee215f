"""Deadlines: one timer for all the blocks of code that have to end in time.

`asyncio.timeout_at` sets a timer for each block, and takes it back a few milliseconds later, since an answer comes long before its time is
over. That is a twentieth of all that a small answer costs. Here a block is put into a set, and one timer rings at the earliest end of all.
The rest is as it is there: the task of a late block is cancelled, and that cancellation, but no other, leaves the block as a
`TimeoutError`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

__all__ = ["Deadline", "Deadlines"]


class Deadlines:
    """The blocks of one event loop that have to end in time."""

    __slots__ = ("_blocks", "_loop", "_rings_at", "_timer", "clock")

    clock: Callable[[], float]
    """Returns the loop's time, in seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch over nothing yet."""
        self._loop, self.clock = loop, loop.time
        self._blocks: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf

    def watch(self, block: Deadline) -> None:
        """End a block when its time is over; again if that has changed."""
        self._blocks.add(block)
        if block.due < self._rings_at:
            self._ring_at(block.due)

    def forget(self, block: Deadline) -> None:
        """Let a block be: it has ended."""
        self._blocks.discard(block)

    def close(self) -> None:
        """Leave no timer behind where nothing is watched."""
        if self._timer is not None and not self._blocks:
            self._timer.cancel()
            self._timer, self._rings_at = None, math.inf

    def _ring_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer, self._rings_at = None, math.inf
        now = self.clock()
        for block in [each for each in self._blocks if each.due <= now]:
            self._blocks.discard(block)
            block.end()
        if self._blocks:  # whose end was later, or was put off
            self._ring_at(min(block.due for block in self._blocks))


class Deadline:
    """A block of a task, entered by ``with``, that raises `TimeoutError` when the loop's time is ``due``."""

    __slots__ = ("_cancelling", "_deadlines", "_task", "due", "expired")

    due: float
    """Until when it has time, by the loop's clock."""
    expired: bool
    """Whether it was late."""

    def __init__(self, deadlines: Deadlines, due: float) -> None:
        """Have time until ``due``."""
        self._deadlines, self.due, self.expired = deadlines, due, False
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("only a task can be ended in time")
        self._cancelling = self._task.cancelling()
        self._deadlines.watch(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.forget(self)
        task, self._task = self._task, None
        if self.expired and task is not None:
            is_ours = task.uncancel() <= self._cancelling  # else somebody else wants it to end, too
            if is_ours and isinstance(error, asyncio.CancelledError):
                raise TimeoutError from error

    def move(self, due: float) -> None:
        """Have time until then instead; what is late already stays so."""
        self.due = due
        if self._task is not None and not self.expired:
            self._deadlines.watch(self)

    def end(self) -> None:
        """Be late."""
        if self._task is not None:
            self.expired = True
            self._task.cancel()
