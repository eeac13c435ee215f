"""Slots: what a process asks of a bucket that is kept for all processes, and what it is given.

The algorithm is GCRA. A token bucket counts tokens; GCRA keeps one time, the *theoretical arrival time*, at
which the bucket would be full again. Each request moves it on by ``1/rate``, and a request may leave if it is
no more than ``(burst − 1)/rate`` ahead. A request may also ask early: it is given the time at which it may
leave, its *slot*, and waits by itself. So waiting costs the server nothing, and slots are given in the order
in which requests ask.

The bucket is three integers, in microseconds of the server's clock: *begin*, *arrival*, *seen*. Nothing
leaves before *begin*, and at that time the bucket is empty: a pause moves *begin* to its end, and no slot is
given during a pause. A bucket that is missing, lost or never written, starts with a *begin* of ``1/rate`` and
a guard from now. The empty bucket makes every loss harmless: the lost bucket may have let its whole burst go,
and the request after that would be due ``1/rate`` later.

Slots given before a pause or a loss are void. A process that waited for a slot checks whether *begin* is
still the same before it sends; one that waited for less than the guard does not, which is the purpose of the
guard.

*seen* is the time of the last change. A clock that reads less was set back, or belongs to another server:
then the bucket starts again too, and the rest of a pause counts from now on.
"""

from __future__ import annotations

import math
from typing import Protocol

import attrs

__all__ = ["GUARD", "Grant", "SlotStore", "arguments", "interval_of"]

GUARD = 0.05
"""Seconds for which a slot is valid without checking it again."""

_FOR_EVER = 1e9
"""Seconds, about thirty years: stands for infinity, since the server takes integers."""


@attrs.frozen
class Grant:
    """The slots that a request was given."""

    count: int
    """Number of slots, 1/rate apart; 0 during a pause, or if the first would be too far ahead."""
    offset: float
    """Seconds until the first slot, from the time of the server; below 0 as far as the burst covers it."""
    pause: float
    """Seconds until the pause ends, 0.0 without one; part of ``offset``."""
    begin: str
    """The bucket's beginning, as text; the slots are void once it has changed."""

    @property
    def wait(self) -> float:
        """Seconds until the first slot."""
        return max(0.0, self.offset)

    @classmethod
    def parse(cls, count: int, offset: int, pause: int, begin: bytes | str | int) -> Grant:
        """Read the server's integers."""
        text = begin.decode("ascii") if isinstance(begin, bytes) else str(begin)
        return cls(count, offset / 1e6, max(0, pause) / 1e6, text)


class SlotStore(Protocol):
    """A bucket in a server, asked within a bounded time; every failure is a `LimiterUnavailable`."""

    @property
    def timeout(self) -> float:
        """Seconds that one request takes at most."""
        ...

    @property
    def location(self) -> str:
        """The server, without user and password."""
        ...

    async def ask(self, values: list[int]) -> Grant:
        """Ask for slots or begin a pause; see `arguments`."""
        ...

    async def is_valid(self, grant: Grant) -> bool:
        """Return whether slots still hold: there was neither a pause nor a loss since."""
        ...

    async def close(self) -> None:
        """Close the connections that were made here; the next request makes new ones."""
        ...

    def detach(self) -> None:
        """Leave the connections of an event loop that has ended, or that runs in the parent process."""
        ...


def interval_of(rate: float) -> int:
    """Return the microseconds between two slots."""
    return math.ceil(1e6 / rate)


def arguments(
    rate: float,
    burst: float,
    *,
    count: int = 0,
    max_wait: float = -1.0,
    pause: float = 0.0,
    reset: bool = False,
) -> list[int]:
    """Return the integers that the server is asked with.

    Args:
        rate: requests a second.
        burst: requests that may leave at once.
        count: slots to take, all of them unless the first is too far ahead.
        max_wait: the wait in seconds up to which slots are taken; below 0, none are.
        pause: seconds from now for which nothing may leave.
        reset: start with an empty bucket.
    """
    interval = interval_of(rate)
    return [
        interval,
        math.floor((burst - 1) * interval),
        round(GUARD * 1e6),
        round(min(max_wait, _FOR_EVER) * 1e6),
        round(min(pause, _FOR_EVER) * 1e6),
        int(reset),
        count,
    ]
