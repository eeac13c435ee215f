"""Flights: calls with the same arguments that are made at the same time share one request.

A summary takes long and costs an activation, and a chat bot is asked the same thing by several people at once.
The first call starts the request, the others join it. The request belongs to none of them: it goes on as long as
anybody waits for it, and is dropped when the last one has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

__all__ = ["Flights"]

T = TypeVar("T")

AtStake = Callable[[int], None]
"""Told how many activations the call may have cost, as `Pipeline.fetch` says."""


class Flights(Generic[T]):
    """The requests that are under way now, by what makes two of them the same."""

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

    def is_under_way(self, key: Hashable) -> bool:
        """Tell whether `join` would join a request that somebody else has started."""
        return key in self._flights

    async def join(
        self, key: Hashable, start: Callable[[AtStake], Coroutine[Any, Any, T]], at_stake: AtStake
    ) -> T:
        """Wait for the request of this key, and start it if there is none.

        Args:
            key: equal for calls that may share an answer.
            start: makes the request; it is given what to tell whether something is at stake.
            at_stake: is told the same, for this caller.

        Raises:
            BaseException: whatever the request raises, to everybody who waits.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(start)
        try:
            return await flight.wait(at_stake)
        finally:
            if self._flights.get(key) is flight and flight.is_over:
                del self._flights[key]
            await flight.land()


class _Flight(Generic[T]):
    """One request and those who wait for it."""

    def __init__(self, start: Callable[[AtStake], Coroutine[Any, Any, T]]) -> None:
        self._waiting: list[AtStake] = []
        self._stake = 0
        self._task = asyncio.ensure_future(start(self._tell))

    @property
    def is_over(self) -> bool:
        """Whether nobody should join any more: it is done, or everybody has gone."""
        return self._task.done() or not self._waiting

    async def wait(self, at_stake: AtStake) -> T:
        self._waiting.append(at_stake)
        if self._stake:
            at_stake(self._stake)
        try:
            return await asyncio.shield(self._task)
        finally:
            self._waiting.remove(at_stake)

    async def land(self) -> None:
        """Cancel the request if nobody waits for it any more, and see it end."""
        if not self._waiting and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    def _tell(self, stake: int) -> None:
        self._stake = stake
        for at_stake in tuple(self._waiting):
            at_stake(stake)
