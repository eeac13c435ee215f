"""What calls may cost, set aside before their requests leave: one place for each call that is on its way.

A place has to be on the disk before its request may leave. But a call that is over can hand its place on, in the same
transaction that settles it, and the next call leaves without waiting for the disk. So what is set aside at any
moment is never more than what as many calls as there are workers may cost, on their way or about to leave.

The amounts belong to the thread that writes, as they are part of its transactions. Who holds which place belongs to the event loop.
"""

from __future__ import annotations

from collections.abc import Hashable

import attrs

__all__ = ["Amounts", "Places"]


@attrs.define
class Amounts:
    """Activations set aside, by place."""

    total: int = 0
    by_place: dict[int, int] = attrs.field(factory=dict)

    def put(self, place: int, activations: int) -> None:
        """Set activations aside."""
        self.by_place[place] = activations
        self.total += activations

    def take(self, place: int | None) -> int:
        """Set nothing aside in a place any more; return what was, nothing if it was never used."""
        activations = 0 if place is None else self.by_place.pop(place, 0)
        self.total -= activations
        return activations

    def copy(self) -> Amounts:
        """Return the same, to go back to."""
        return Amounts(self.total, self.by_place.copy())


class Places:
    """Who holds which place, and which are free to be taken over."""

    def __init__(self) -> None:
        """Begin without any."""
        self._held: dict[Hashable, int] = {}
        self._free: list[int] = []
        self._made = 0

    def take_over(self, holder: Hashable) -> bool:
        """Give a call a place that another has handed on; tell whether there was one."""
        if not self._free:
            return False
        self._held[holder] = self._free.pop()
        return True

    def make(self, holder: Hashable) -> int:
        """Give a call a place of its own, for which nothing is set aside yet."""
        self._made += 1
        self._held[holder] = self._made
        return self._made

    def leave(self, holder: Hashable) -> int | None:
        """Take a call's place from it, if it has one."""
        return self._held.pop(holder, None)

    def hand_on(self, place: int) -> None:
        """Let the next call have a place for which something is set aside."""
        self._free.append(place)

    def take_free(self) -> list[int]:
        """Return the places that nobody has taken over, which there are no more then."""
        free, self._free = self._free, []
        return free
