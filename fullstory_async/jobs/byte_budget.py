"""ByteBudget: how many bytes of responses the calls of a run may hold, sent for or not yet saved.

The number of calls says little about the memory and the disk that their responses take: they have 2 KB or
20 MB. So the sizes are learnt from the responses so far, and as many calls are sent as fit into the spare
room of the job's folder and into the memory. Both hold whatever the concurrency: a disk that becomes full has
room for every response in flight, and no number of workers fills the memory.
"""

from __future__ import annotations

import asyncio
import math

import attrs

__all__ = ["MAX_BYTES", "ByteBudget", "OpenCall", "SizeEstimate"]

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of responses that the calls of a run hold at most, except for a single one that is larger."""
_USABLE = 0.9
"""Share of the spare room that responses may take; SQLite needs the rest for its own pages."""
_FIRST_CALLS = 4
"""Calls before the first response; each response allows as many more, so that the sizes are known in time."""
_GROWTH = 10
"""Responses may suddenly be larger by this factor on average: the disk has to have room, free or spare."""
_MEMORY = 100
"""Responses after which an earlier one counts little."""
_DEVIATIONS = 3.0


@attrs.define
class SizeEstimate:
    """What is known of the sizes of responses: mean and variance of the latest ones, and the largest."""

    count: int = 0
    largest: int = 0
    mean: float = 0.0
    _variance: float = 0.0

    def record(self, size: int) -> None:
        """Record the size of a response, in bytes."""
        self.count += 1
        weight = 1 / min(self.count, _MEMORY)
        deviation = size - self.mean
        self.mean += weight * deviation
        self._variance = (1 - weight) * (self._variance + weight * deviation**2)
        self.largest = max(self.largest, size)

    def expected(self, calls: int) -> float:
        """Return the bytes that the responses of some calls hardly exceed together."""
        likely = calls * self.mean + _DEVIATIONS * math.sqrt(calls * self._variance)
        return min(likely, float(calls * self.largest))


@attrs.define(eq=False)
class ByteBudget:
    """The calls of one run: how many are open, and the bytes that wait to be saved."""

    sizes: SizeEstimate = attrs.field(factory=SizeEstimate, init=False)
    open_calls: int = attrs.field(default=0, init=False)
    """Calls that may be sent, and have no response yet."""
    held: int = attrs.field(default=0, init=False)
    """Bytes of responses that are not saved yet."""
    asked: float = attrs.field(default=0.0, init=False)
    """Bytes of spare room that were asked for."""
    changed: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    """Set when the next call ends."""

    @property
    def needed(self) -> float:
        """Bytes of spare room with which one more call could be sent."""
        return (self.held + self.sizes.expected(self.open_calls + 1)) / _USABLE

    @property
    def is_idle(self) -> bool:
        """Whether no other call is open or unsaved."""
        return self.open_calls == 0 and self.held == 0

    def allows(self, room: int, free: float = math.inf) -> bool:
        """Return whether one more call may be sent.

        Args:
            room: the spare room, in bytes.
            free: the free room of the disk, in bytes.
        """
        if self.is_idle:
            return True
        if self.open_calls >= _FIRST_CALLS * (1 + self.sizes.count):
            return False
        return self.needed <= min(room, MAX_BYTES) and self._most <= room + free

    @property
    def _most(self) -> float:
        """Bytes that the responses of all calls take at most, with one more; a large disk has that."""
        calls = self.open_calls + 1
        each = _GROWTH * self.sizes.mean if self.sizes.count else MAX_BYTES
        return self.held + calls * each

    def open(self) -> OpenCall:
        """Count one more call, until its end."""
        self.open_calls += 1
        return OpenCall(self)

    def notify(self) -> None:
        """Wake the calls that wait."""
        self.changed.set()
        self.changed = asyncio.Event()


@attrs.define(eq=False)
class OpenCall:
    """The place of one call in the budget."""

    _budget: ByteBudget
    _size: int | None = None

    def received(self, size: int) -> None:
        """Record the size of the call's response, which is held until `close`."""
        budget, self._size = self._budget, size
        budget.open_calls -= 1
        budget.held += size
        budget.sizes.record(size)
        budget.notify()

    def close(self) -> None:
        """Give the place back: the response is saved, or there is none."""
        if self._size is None:
            self._budget.open_calls -= 1
        else:
            self._budget.held -= self._size
        self._budget.notify()
