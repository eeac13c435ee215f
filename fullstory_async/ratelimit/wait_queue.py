"""Line: who waits for the limiter, in two classes, and whose turn it is to ask the bucket.

Only the one who has the turn asks the bucket for a token; all others wait here. Who gets the token is decided when it
comes: a call with priority if one waits, or else the one that asked. So a call with priority takes the very next token,
although another was already waiting for that. Within a class it is first come, first served, and of `_SHARE` tokens in a row
one goes to the others, who are slowed by any number of calls with priority but never stopped.

The turn and a token are passed on by waking exactly one who waits. If that one is cancelled in the same
moment it passes on what it was given, so that nothing is lost and nobody sleeps for ever. A place that is given up leaves at
once, at the same cost wherever it stands.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

import attrs

__all__ = ["Ticket", "WaitQueue"]

_SHARE = 10


@attrs.frozen(eq=False)
class Ticket:
    """What is known of a call that waits."""

    priority: bool
    started: float
    """The loop time at which it began to wait."""
    max_pause: float | None
    """Seconds of pause that it waits out at a time; ``None`` where pauses and queue count together, from its start."""


_Queue = OrderedDict[Ticket, asyncio.Future[bool]]
"""Who waits, and what wakes them: True with a token, False with the turn, or the error that ends the wait."""


class WaitQueue:
    """Those who wait in one event loop."""

    __slots__ = ("_in_a_row", "_others", "_urgent", "taken")

    taken: bool
    """Whether somebody has the turn. The turn is free only where nobody waits."""

    def __init__(self) -> None:
        self.taken = False
        self._urgent: _Queue = OrderedDict()
        self._others: _Queue = OrderedDict()
        self._in_a_row = 0

    def before(self, place: Ticket) -> int:
        """Return how many calls would be served before one that joins now."""
        return len(self._urgent) if place.priority else self.taken + len(self._urgent) + len(self._others)

    async def wait(self, place: Ticket) -> bool:
        """Wait until there is something to do: True with a token, False with the turn to ask for one."""
        if not self.taken:
            self.taken = True
            return False
        queue = self._urgent if place.priority else self._others
        woken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        queue[place] = woken
        try:
            return await woken
        except asyncio.CancelledError:
            queue.pop(place, None)
            if not woken.cancelled() and woken.exception() is None:  # it was woken in the same moment
                self._give(token=woken.result())
            raise

    def pass_turn(self) -> None:
        """Give the turn to the next one."""
        self._give(token=False)

    def hand_over(self) -> bool:
        """Give a token to the first call with priority; tell whether there was one whose turn it is."""
        if self._in_a_row < _SHARE - 1 and self._wake(self._urgent, token=True):
            self._in_a_row += 1
            return True
        self._in_a_row = 0
        return False

    def refuse(self, reason: Callable[[Ticket, int], Exception | None]) -> None:
        """End the wait of everybody for whom there is a reason; it is asked with how many wait before them."""
        for queue, before in ((self._urgent, 0), (self._others, self.taken + len(self._urgent))):
            for ahead, (place, woken) in enumerate(tuple(queue.items()), before):
                if not woken.done() and (error := reason(place, ahead)) is not None:
                    del queue[place]
                    woken.set_exception(error)

    def _give(self, *, token: bool) -> None:
        """Wake the next one; a token that nobody is there to take is lost, which harms nobody."""
        others_are_due = self._in_a_row >= _SHARE - 1 and self._others
        if not others_are_due and self._wake(self._urgent, token=token):
            self._in_a_row += bool(self._others)
        elif not self._wake(self._others, token=token) and not self._wake(self._urgent, token=token):
            self.taken = self.taken and token

    @staticmethod
    def _wake(queue: _Queue, *, token: bool) -> bool:
        while queue:
            _, woken = queue.popitem(last=False)
            if not (woken.done() or woken.get_loop().is_closed()):  # closed with calls in it, which end now
                woken.set_result(token)
                return True
        return False
