"""Brake: until a first call succeeds, only a few calls may be started, because the ids may all be wrong.

A wrong column of a file, or ids of another organisation, give a 404 or 400 for every id, and each of these
calls may cost an activation. Calls in flight and calls that failed for their session share one limit, so that
no more calls than that are ever started while every call fails so. Other failures, such as a 500, say nothing
about the ids: such a call gives its place to another one, and `StopRule` or the job's circuit breaker limits
them.
"""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

from fullstory_async import validators
from fullstory_async.errors import FullStoryError, NoSessionFoundError, Scope

__all__ = ["Brake"]


class Brake:
    """The limit of one run or fan-out. ``async with`` around each call waits for a place under it."""

    def __init__(self, limit: int | None, *, refused: int = 0) -> None:
        """Allow ``limit`` calls before the first success, or any number for ``None``.

        Args:
            limit: number of calls, 1 or more.
            refused: number of calls that earlier runs made, and that failed for their session.

        Raises:
            ConfigurationError: the limit is not a positive integer.
        """
        if limit is not None:
            validators.positive_integer(limit, "max_failures")
        self._limit: float = math.inf if limit is None else limit
        self._refused = refused
        self._in_flight = 0
        self._last = ""
        self._changed = asyncio.Event()

    @property
    def is_loose(self) -> bool:
        """Whether any number of calls is allowed from now on."""
        return self._limit == math.inf

    def loosen(self) -> None:
        """Allow any number of calls: one that was sent has succeeded."""
        if self._limit < math.inf:
            self._limit = math.inf
            self._wake()

    async def __aenter__(self) -> None:
        """Wait until the call may be started.

        Raises:
            NoSessionFoundError: as many calls as allowed were made, and none has succeeded.
        """
        while self._refused + self._in_flight >= self._limit:
            if self._refused >= self._limit:
                raise NoSessionFoundError(
                    f"none of the {self._refused} calls so far found a session{self._last}: the ids may be "
                    "of another kind or of another organisation"
                )
            await self._changed.wait()
        self._in_flight += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._in_flight -= 1
        # other failures give their place back: an outage says nothing about the ids
        if isinstance(error, FullStoryError) and error.scope is Scope.SESSION and not error.is_transient:
            self._refused += 1
            self._last = f", the latest one ended in {type(error).__name__}" + (
                f" (status {error.status})" if error.status else ""
            )
        if self._limit < math.inf:
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
