"""Metering: an activation is counted before its request is sent, by whoever keeps count.

A process that is killed then has counted too much, and never too little. To keep that small, no more calls reserve ahead of the rate limiter
than leave in the next `_SECONDS`: with every worker of a bulk job waiting there, a kill would count one activation for each. In that time a
disk has to commit twice; the limiter is kept waiting by slower ones only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

import attrs

from fullstory_async.errors import FullStoryError

__all__ = ["NO_RESERVATION", "Admission", "Meter", "Reservation"]

_logger = logging.getLogger("fullstory_async.http")

_SECONDS = 0.1
_FEWEST = 2
"""Calls that are let in however slow the rate is: one that waits for the limiter, one for the disk."""


class Meter(Protocol):
    """Counts activations before they are spent."""

    async def reserve(self) -> Any:
        """Count one; return what `release` takes. A cancelled reservation counts nothing. Raises `ActivationBudgetError` to forbid it."""
        ...

    async def release(self, reservation: Any, /) -> None:
        """Uncount one that was not spent."""
        ...


class Admission:
    """Lets as many calls at a time between their reservation and the rate limiter as the rate allows; an ``async with``."""

    def __init__(self, rate: Callable[[], float]) -> None:
        """Follow a rate, in calls a second, which may change."""
        self._rate = rate
        self._size = self._wanted()
        self._free = asyncio.Semaphore(self._size)

    async def __aenter__(self) -> None:
        await self._free.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._size -= 1
        while self._size < self._wanted():  # one more, or several or none where the rate has changed
            self._size += 1
            self._free.release()

    def _wanted(self) -> int:
        return max(_FEWEST, int(self._rate() * _SECONDS))


@attrs.define(eq=False)
class Reservation:
    """The activation that a call's next attempt may cost, with everybody who keeps count."""

    meters: tuple[Meter, ...] = ()
    _held: tuple[tuple[Meter, Any], ...] = attrs.field(default=(), init=False)

    @property
    def is_due(self) -> bool:
        """Whether it has to be made before the next attempt; one that an earlier attempt left unspent will do."""
        return bool(self.meters) and not self._held

    async def make(self) -> None:
        """Count it everywhere. Raises `ActivationBudgetError`, `StorageError`."""
        for meter in self.meters:
            self._held += ((meter, await meter.reserve()),)

    def spend(self) -> None:
        """Leave it counted."""
        self._held = ()

    async def release(self) -> None:
        """Uncount it where it is still held; where that fails, it stays counted."""
        held, self._held = self._held, ()
        for meter, reservation in held:
            try:
                await meter.release(reservation)
            except FullStoryError as error:
                _logger.warning("an activation stays counted that was not spent: %s", error)


NO_RESERVATION = Reservation()
"""That of a call which costs nothing, or which nobody counts."""
