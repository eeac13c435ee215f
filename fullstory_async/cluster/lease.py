"""Lease: the slots that one question brought a process, each used at its own time or lost.

At 40 requests a second and more a process with several calls waiting asks for up to `LEASE` seconds' worth of
slots at once, so that the questions cost little. A slot is used within `MARGIN` seconds after its time. So
the requests of a window of W seconds have slots of ``W + MARGIN`` seconds, whoever leased them: no more than
``burst + rate·(W + 0.05)``, however small the burst.
"""

from __future__ import annotations

import math

import attrs

from fullstory_async.cluster.slots import GUARD, Grant
from fullstory_async.ratelimit.bucket import MARGIN

__all__ = ["LEASE", "Lease", "lease_size"]

LEASE = 0.05
"""Seconds' worth of slots that one question takes at most."""

_ROUNDING = 1e-6
"""Slots, or seconds, by which two ways to compute a time may differ."""


def lease_size(rate: float, wanted: int) -> int:
    """Return how many slots to ask for: one for each call that waits, as far as a lease goes."""
    return max(1, min(wanted, math.floor(rate * LEASE + _ROUNDING)))


@attrs.define(eq=False)
class Lease:
    """The slots of one grant that are left, in loop time."""

    grant: Grant
    interval: float
    """Seconds between two slots."""
    granted_at: float
    """When the grant arrived, from which its offset counts."""
    confirmed_at: float = attrs.field(init=False)
    """When the server last knew these slots."""
    _used: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.confirmed_at = self.granted_at

    @property
    def is_empty(self) -> bool:
        """Whether no slot is left."""
        return self._used >= self.grant.count

    @property
    def due(self) -> float:
        """The time of the next slot."""
        return self.granted_at + max(0.0, self.grant.offset + self._used * self.interval)

    @property
    def is_confirmed(self) -> bool:
        """Whether the next slot holds without asking the server again."""
        return self.due - self.confirmed_at <= GUARD + _ROUNDING

    def use(self) -> None:
        """Use the next slot."""
        self._used += 1

    def drop_missed(self, now: float) -> None:
        """Lose the slots that are too old: their requests would add to those of the slots that follow."""
        while not self.is_empty and now - self.due > MARGIN:
            self._used += 1
