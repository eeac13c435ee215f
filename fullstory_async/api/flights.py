"""Flights: calls with the same arguments that are made at the same time share one request.

A summary takes long and costs an activation, and a chat bot is asked the same thing by several people at once.
The first call starts the request, the others join it. The request belongs to none of them: it goes on as long as
anybody waits for it, and is dropped when the last one has gone. So is its place in the line of the rate limiter: a call with priority
that joins a request without waits at that one's pace, since a request of its own would be another activation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

import attrs

from fullstory_async.errors import FullStoryError
from fullstory_async.http.parts import nobody_asks, nobody_hurries

__all__ = ["Flights", "Passenger"]

T = TypeVar("T")


@attrs.frozen(eq=False)
class Passenger:
    """One who waits for a request, and what it wants to hear of it."""

    at_stake: Callable[[int], None] = nobody_asks
    """Told how many activations the call may have cost, as `Pipeline.fetch` says."""

    has_time: Callable[[FullStoryError, float], bool] = nobody_hurries
    """Told of a failure and for how many seconds the next attempt would wait; says whether this one waits for that, or leaves now."""


class Flights(Generic[T]):
    """The requests that are under way now, by what makes two of them the same."""

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

    def is_under_way(self, key: Hashable) -> bool:
        """Tell whether `join` would join a request that somebody else has started."""
        return key in self._flights

    async def join(
        self, key: Hashable, start: Callable[[Passenger], Coroutine[Any, Any, T]], passenger: Passenger
    ) -> T:
        """Wait for the request of this key, and start it if there is none.

        Args:
            key: equal for calls that may share an answer.
            start: makes the request; what it tells the passenger that it is given, all hear who wait.
            passenger: this caller.

        Raises:
            BaseException: whatever the request raises, to everybody who waits.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(start)
        try:
            return await flight.wait(passenger)
        finally:
            if self._flights.get(key) is flight and flight.is_over:
                del self._flights[key]
            await flight.land()


class _Flight(Generic[T]):
    """One request and those who wait for it."""

    def __init__(self, start: Callable[[Passenger], Coroutine[Any, Any, T]]) -> None:
        self._waiting: list[Passenger] = []
        self._stake = 0
        self._task = asyncio.ensure_future(start(Passenger(self._tell_stake, self._anybody_has_time)))

    @property
    def is_over(self) -> bool:
        """Whether nobody should join any more: it is done, or everybody has gone."""
        return self._task.done() or not self._waiting

    async def wait(self, passenger: Passenger) -> T:
        self._waiting.append(passenger)
        if self._stake:
            passenger.at_stake(self._stake)
        try:
            return await asyncio.shield(self._task)
        finally:
            self._waiting.remove(passenger)

    async def land(self) -> None:
        """Cancel the request if nobody waits for it any more, and see it end."""
        if not self._waiting and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    def _tell_stake(self, stake: int) -> None:
        self._stake = stake
        for passenger in tuple(self._waiting):
            passenger.at_stake(stake)

    def _anybody_has_time(self, error: FullStoryError, seconds: float) -> bool:
        answers = [
            passenger.has_time(error, seconds) for passenger in tuple(self._waiting)
        ]  # all have to hear
        return any(answers)
