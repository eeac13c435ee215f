"""Outage: when a worker takes the service or the network for down, and how it finds out that it is back.

A response that is lost may have been charged. So after some failures in a row a worker no longer asks for
whole shards, but for one session at a time, after pauses that double; the first response ends the outage.
"""

from __future__ import annotations

import asyncio

from fullstory_async.concurrency import Backoff
from fullstory_async.errors import FullStoryError, Scope

__all__ = ["Outage"]

_FAILURES = 10
"""Number of failures in a row after which the service counts as down."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_SCOPES = frozenset({Scope.SERVICE, Scope.NETWORK})


class Outage:
    """The state of the service, as one worker sees it."""

    reason: str
    """The last failure; empty if the service responded since."""

    def __init__(self) -> None:
        """Begin with a service that is up."""
        self.reason = ""
        self._failures = 0
        self._backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)

    @property
    def is_on(self) -> bool:
        """Whether the service counts as down."""
        return self._failures >= _FAILURES

    def record(self, error: FullStoryError | None) -> None:
        """Record how a call ended. A failure that is about its session is a response as well."""
        if error is not None and error.scope in _SCOPES:
            self._failures += 1
            self.reason = f"{type(error).__name__}: {error}"
        elif error is None or error.scope is Scope.SESSION:
            self._failures, self.reason = 0, ""
            self._backoff.reset()

    async def pause(self, stopping: asyncio.Event) -> None:
        """Pause before the next call, unless the worker is to stop."""
        waiting = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait([waiting], timeout=self._backoff.advance())
        finally:
            waiting.cancel()
