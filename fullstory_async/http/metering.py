"""Metering: an activation is reserved before its request is sent.

Reserving first means that a process that is killed has counted too much, never too little. To keep the
surplus small, `Admission` lets only as many calls reserve ahead of the rate limiter as will leave within the
next `_LEAD_SECONDS`. Without it every worker of a bulk job would hold a reservation while it waits for the
limiter, and a kill would leave one phantom activation per worker. Two commits fit into that time on most
disks; only a slower disk keeps the limiter waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import attrs

__all__ = ["Admission", "Meter", "Reservation"]

_LEAD_SECONDS = 0.1
_MIN_ADMITTED = 2
"""Calls admitted however slow the rate is: one that waits for the limiter, one that waits for the disk."""


@runtime_checkable
class Meter(Protocol):
    """Counts activations before they are spent; ``FullStoryClient(ledger=…)`` takes any.

    A client reserves one activation per metered attempt. It keeps the reservation where the attempt may have
    been charged, and releases it where the request was not sent or was refused free of charge. If there is a
    coroutine method ``finish`` too, `FullStoryClient.close` awaits it: it waits for what is still being
    released.
    """

    @property
    def name(self) -> str:
        """Where it counts, for messages, such as a file with its path."""
        ...

    async def reserve(self) -> Any:
        """Reserve one activation and return what `release` takes.

        A call of this method that is cancelled must end at once, and leave nothing reserved: what can't be
        stopped continues in the background.

        Raises:
            ActivationBudgetError: the budget is used up; the request is not sent.
            StorageError: the reservation can't be recorded; the request is not sent.
        """
        ...

    def release(self, reservation: Any, /) -> None:
        """Return a reservation that was not spent, without waiting; log it if that fails."""
        ...


class Admission:
    """An ``async with`` that admits as many calls as leave the rate limiter within `_LEAD_SECONDS`.

    A pipeline has one for priority calls and one for the others, so that no priority call waits behind bulk
    calls for its reservation.
    """

    def __init__(self, rate: Callable[[], float]) -> None:
        """Follow a rate in calls per second, which may change."""
        self._rate = rate
        self._size = self._wanted()
        self._free = asyncio.Semaphore(self._size)

    async def __aenter__(self) -> None:
        await self._free.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._size -= 1
        # usually this admits one more; none or several where the rate has changed
        while self._size < self._wanted():
            self._size += 1
            self._free.release()

    def _wanted(self) -> int:
        return max(_MIN_ADMITTED, int(self._rate() * _LEAD_SECONDS))


@attrs.define(eq=False)
class Reservation:
    """The activation that a call's next attempt may cost, reserved with every meter."""

    meters: tuple[Meter, ...]
    _held: tuple[tuple[Meter, Any], ...] = attrs.field(default=(), init=False)

    @property
    def is_due(self) -> bool:
        """Whether the next attempt needs a reservation; an unspent one serves again."""
        return not self._held

    @property
    def names(self) -> str:
        """Where the activation is counted, for messages."""
        return " and ".join(meter.name for meter in self.meters)

    async def make(self) -> None:
        """Reserve with every meter. Raises `ActivationBudgetError`, `StorageError`."""
        for meter in self.meters:
            self._held += ((meter, await meter.reserve()),)

    def spend(self) -> None:
        """Keep it counted: the attempt may have been charged."""
        self._held = ()

    def release(self) -> None:
        """Release what is still held; a meter that fails to release it keeps it counted."""
        held, self._held = self._held, ()
        for meter, reservation in held:
            meter.release(reservation)
