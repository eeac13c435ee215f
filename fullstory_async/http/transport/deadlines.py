"""Deadlines: one timer for all blocks of code that have to end in time.

`asyncio.timeout_at` sets a timer for each block and cancels it a few milliseconds later, because a response
usually comes long before the deadline. That is a twentieth of the whole cost of a small response. Here the
blocks are kept in a set, and one timer fires at the earliest deadline of all. Everything else works as in
asyncio: the task of a late block is cancelled, and only our own cancellation becomes a `TimeoutError`.

A process may be suspended, or its loop blocked, for longer than any timeout. Then a deadline has passed
while the response lies in the socket, paid for. So a block that waits for the peer ends only after a few
turns of the loop in which nothing more arrived.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

__all__ = ["Deadline", "Deadlines"]

_QUIET_TURNS = 5
"""Turns of the loop from bytes in a socket to the end of the block that waits for them, and one more."""


class Deadlines:
    """The blocks of one event loop that have to end in time."""

    __slots__ = ("_blocks", "_fires_at", "_loop", "_overdue", "_timer", "clock")

    clock: Callable[[], float]
    """Returns the loop's time, in seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start without any block."""
        self._loop, self.clock = loop, loop.time
        self._blocks: set[Deadline] = set()
        self._overdue: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = math.inf

    def add(self, block: Deadline) -> None:
        """End a block at its deadline; call it again when the deadline has changed."""
        self._blocks.add(block)
        # a later deadline needs no new timer: `_fire` sets the next one
        if block.deadline < self._fires_at:
            self._set_timer(block.deadline)

    def discard(self, block: Deadline) -> None:
        """Remove a block that has ended."""
        self._blocks.discard(block)
        if self._overdue:
            self._overdue.discard(block)

    def close(self) -> None:
        """Cancel the timer if no block is left."""
        if self._timer is not None and not self._blocks:
            self._timer.cancel()
            self._timer, self._fires_at = None, math.inf

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = when
        self._timer = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer, self._fires_at = None, math.inf
        now = self.clock()
        was_settling = bool(self._overdue)
        for block in [each for each in self._blocks if each.deadline <= now]:
            self._blocks.discard(block)
            if block.is_still():
                block.expire()
            else:
                self._overdue.add(block)
        if self._overdue and not was_settling:
            self._loop.call_soon(self._settle)
        # the others have a later deadline, or theirs was rescheduled since the timer was set
        if self._blocks:
            self._set_timer(min(block.deadline for block in self._blocks))

    def _settle(self) -> None:
        """Expire the overdue blocks that nothing arrives for; called once in each turn of the loop."""
        for block in [each for each in self._overdue if each.is_still()]:
            self._overdue.discard(block)
            block.expire()
        if self._overdue:
            self._loop.call_soon(self._settle)


class Deadline:
    """A ``with`` block of a task that raises `TimeoutError` at a loop time."""

    __slots__ = ("_cancelling", "_deadlines", "_quiet", "_seen", "_task", "deadline", "expired")

    deadline: float
    """Loop time at which the block ends."""
    expired: bool
    """Whether the deadline passed inside the block."""
    _seen: int | None
    _quiet: int

    def __init__(self, deadlines: Deadlines, deadline: float) -> None:
        """Prepare a block; its time counts from when it is entered."""
        self._deadlines, self.deadline, self.expired = deadlines, deadline, False
        self._task: asyncio.Task[Any] | None = None
        self._seen = -1

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("a deadline works only inside a task")
        self._cancelling = self._task.cancelling()
        self._deadlines.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.discard(self)
        task, self._task = self._task, None
        if self.expired and task is not None:
            # if the count stays above that at entry, other code cancelled the task too: leave it cancelled
            is_ours = task.uncancel() <= self._cancelling
            if is_ours and isinstance(error, asyncio.CancelledError):
                raise TimeoutError from error

    def reschedule(self, deadline: float) -> None:
        """Change the deadline; a block that has expired stays expired."""
        self.deadline = deadline
        if self._task is not None and not self.expired:
            self._deadlines.add(self)

    @property
    def received(self) -> int | None:
        """Bytes that have arrived so far; ``None`` if the block waits for nothing that may have arrived."""
        return 0

    def is_still(self) -> bool:
        """Return whether nothing more arrived since enough of the earlier calls, one in each turn."""
        received = self.received
        self._quiet = self._quiet + 1 if received == self._seen else 0
        self._seen = received
        return received is None or self._quiet >= _QUIET_TURNS

    def expire(self) -> None:
        """Cancel the block's task because its deadline has passed."""
        if self._task is not None:
            self.expired = True
            self._task.cancel()
