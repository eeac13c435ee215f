"""Outages: a service that fails every call is waited for, and asked by one call at a time.

Each lost answer may have been charged, so a job must not go on with all its workers while everything fails. After `FAILURE_THRESHOLD` lost
answers in a row the service is taken to be down. From then on one call at a time asks whether it is back, after pauses
that double, and all others wait; the first answer lets them go on. Of the calls that have passed here,
few are not sent by then: `Admission` sees to that.
"""

from __future__ import annotations

import asyncio
import math

__all__ = ["FAILURE_THRESHOLD", "CircuitBreaker"]

FAILURE_THRESHOLD = 10
"""Lost answers in a row after which the service is taken to be down."""
_SHORTEST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0


class CircuitBreaker:
    """Whether the service of one run is down, and for how long."""

    def __init__(self, patience: float) -> None:
        """Wait for the service to come back for so many seconds."""
        self._patience = patience
        self._in_a_row = 0
        self._began = math.inf
        self._pause = _SHORTEST_PAUSE
        self._asking = asyncio.Lock()
        self._back = asyncio.Event()

    @property
    def is_on(self) -> bool:
        """Whether the service is taken to be down."""
        return self._in_a_row >= FAILURE_THRESHOLD

    def answered(self) -> None:
        """Take note that the service has answered, whatever it said."""
        if self.is_on:
            self._back.set()
        self._in_a_row, self._began, self._pause = 0, math.inf, _SHORTEST_PAUSE

    def lost(self, now: float) -> bool:
        """Take note of a lost answer; tell whether the service has been down for longer than it is waited for."""
        self._in_a_row += 1
        self._began = min(self._began, now)
        if self.is_on:
            self._back.clear()
        return self.is_on and now - self._began >= self._patience

    async def wait_to_ask(self) -> bool:
        """Wait until the service is back, which gives False, or until it is this call's turn to ask; it then has to say when it `has_asked`."""
        await self._asking.acquire()
        try:
            if self.is_on:
                pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
                async with asyncio.timeout(pause):
                    await self._back.wait()  # as an answer may say that is still on its way
        except TimeoutError:
            return True
        except asyncio.CancelledError:
            self._asking.release()
            raise
        self._asking.release()
        return False

    def has_asked(self) -> None:
        """Let another call ask, or all of them go on."""
        self._asking.release()
