"""WaitQueue: the calls that wait for a rate limiter, in two classes, one of them the leader.

Only the leader asks the bucket for a token; all other calls wait here. Who gets the token is decided when it
comes: the first call with priority, if there is one, otherwise the leader. So a priority call takes the very
next token, although the leader was already waiting for it. Within a class calls are served in order of
arrival. Of `_PRIORITY_RUN` tokens in a row one goes to a call without priority, so that any number of
priority calls slows the others but never stops them.

The lead and tokens are passed on by waking exactly one waiter. If that waiter is cancelled in the same
moment, it passes on what it was given, so that no lead is lost and no call sleeps for ever. A cancelled
waiter leaves at once, at the same cost wherever it stands in the queue.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator

import attrs

__all__ = ["Ticket", "WaitQueue"]

_PRIORITY_RUN = 10
"""Tokens of which one is left to calls without priority."""


@attrs.frozen(eq=False)
class Ticket:
    """What the limiter knows about a waiting call."""

    priority: bool
    started: float
    """The loop time at which the wait began."""
    max_pause: float | None
    """Seconds of each pause that the call waits out; ``None`` if ``max_wait`` counts, from ``started``."""


_Waiters = OrderedDict[Ticket, asyncio.Future[bool]]
"""Waiting calls, and what wakes each: True with a token, False with the lead, or an error."""


class WaitQueue:
    """The calls that wait in one event loop."""

    __slots__ = ("_normal", "_priority", "_run", "has_leader")

    has_leader: bool
    """Whether a call has the lead. It is free only while no call waits."""

    def __init__(self) -> None:
        self.has_leader = False
        self._priority: _Waiters = OrderedDict()
        self._normal: _Waiters = OrderedDict()
        self._run = 0

    def __len__(self) -> int:
        """Return how many calls wait, without the leader."""
        return len(self._priority) + len(self._normal)

    def ahead_of(self, ticket: Ticket) -> int:
        """Return how many calls would be served before one that joins now."""
        if ticket.priority:
            return len(self._priority)
        return self.has_leader + len(self._priority) + len(self._normal)

    def waiting(self) -> Iterator[tuple[Ticket, int]]:
        """Yield each waiting call and the number ahead; it may be rejected meanwhile."""
        for waiters, ahead in ((self._priority, 0), (self._normal, self.has_leader + len(self._priority))):
            yield from ((ticket, position) for position, ticket in enumerate(tuple(waiters), ahead))

    async def wait(self, ticket: Ticket) -> bool:
        """Wait for a token or for the lead; return True with a token, False with the lead."""
        if not self.has_leader:
            self.has_leader = True
            return False
        waiters = self._waiters_like(ticket)
        woken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiters[ticket] = woken
        try:
            return await woken
        except asyncio.CancelledError:
            waiters.pop(ticket, None)
            # Woken in the same moment: the lead or the token must not be lost with this call.
            if not woken.cancelled() and woken.exception() is None:
                self._wake_next(token=woken.result())
            raise

    def pass_lead(self) -> None:
        """Give the lead to the next call."""
        self._wake_next(token=False)

    def give_to_priority(self) -> bool:
        """Give a token to the first priority call whose turn it is; return whether."""
        if self._run < _PRIORITY_RUN - 1 and self._wake(self._priority, token=True):
            self._run += 1
            return True
        self._run = 0
        return False

    def reject(self, ticket: Ticket, error: Exception) -> None:
        """End the wait of a call with an error."""
        woken = self._waiters_like(ticket).pop(ticket)
        # A cancelled call stays in the queue until its task runs, and has its error already.
        if not woken.done():
            woken.set_exception(error)

    def _wake_next(self, *, token: bool) -> None:
        """Wake the next call. A token that no call takes is lost, without harm."""
        normal_is_due = self._run >= _PRIORITY_RUN - 1 and self._normal
        if not normal_is_due and self._wake(self._priority, token=token):
            self._run += bool(self._normal)
        elif not self._wake(self._normal, token=token) and not self._wake(self._priority, token=token):
            # A lead that no call takes is free. A token that no call takes leaves the leader as it was.
            self.has_leader = self.has_leader and token

    def _waiters_like(self, ticket: Ticket) -> _Waiters:
        return self._priority if ticket.priority else self._normal

    @staticmethod
    def _wake(waiters: _Waiters, *, token: bool) -> bool:
        while waiters:
            _, woken = waiters.popitem(last=False)
            # Calls of a loop that was closed are still here, and can't be woken.
            if not (woken.done() or woken.get_loop().is_closed()):
                woken.set_result(token)
                return True
        return False
