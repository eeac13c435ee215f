"""StoreState: the counts and reservations of a job, in memory.

`JobStore` changes a state together with the rows of the file, and puts the previous one back when a
transaction fails. So everything that a failed transaction must undo is a field of it.
"""

from __future__ import annotations

import enum

import attrs

from fullstory_async.activations import Activations
from fullstory_async.jobs.storage.commit_record import Committed
from fullstory_async.jobs.storage.schema import CEILING, COMMITS, RESERVED
from fullstory_async.jobs.storage.tasks import JobTask

__all__ = ["Counts", "ReserveResult", "StoreState"]

_STEP = 100
_STEP_SHARE = 10
"""The ceiling is raised by ``_STEP``, or by a tenth of what is spent if that is more."""


def raised_ceiling(ceiling: int, used: int, cap: int | None) -> int:
    """Return the ceiling for what is spent or reserved; the same one if it still holds."""
    if used <= ceiling:
        return ceiling
    raised = used + max(_STEP, used // _STEP_SHARE)
    return raised if cap is None else max(used, min(raised, cap))


@attrs.define
class Counts:
    """The contents of a job, in numbers."""

    items: int = 0
    """Ids that were added."""
    answered: int = 0
    """Responses."""
    failed: int = 0
    """Failures, permanent ones and others."""
    permanent: int = 0
    """Failures that are tried again only on request."""
    unusable: int = 0
    """Items that aren't session ids; their failures are permanent, and trying them again sends nothing."""
    spent: int = 0
    """Activations spent, those at risk included."""
    at_risk: int = 0
    """Activations at risk: spent, but possibly not charged."""


class ReserveResult(enum.Enum):
    """The decision about a reservation."""

    RESERVED = enum.auto()
    WAIT = enum.auto()
    """The rest of the budget is reserved for other calls, which may not need it."""
    BUDGET_SPENT = enum.auto()
    SESSION_ERASED = enum.auto()


@attrs.define
class StoreState:
    """Counts, reservations and erased items."""

    counts: Counts
    last_seq: int = 0
    """The number of the last item."""
    commits: int = 0
    """The number of the last commit."""
    ceiling: int = 0
    """The upper bound of what is spent or reserved, as the main file has it."""
    reserved: int = 0
    """Activations reserved for calls in flight: the sum of all reservations."""
    responses_saved: int = 0
    """Responses saved since the job was opened, those erased afterwards included."""
    erased: set[int] = attrs.field(factory=set)
    """Items that were erased since the job was opened: calls for them may be in flight."""
    _reservations: dict[tuple[int, str], int] = attrs.field(factory=dict)

    def copy(self) -> StoreState:
        """Return a copy that shares nothing with this state."""
        return attrs.evolve(
            self,
            counts=attrs.evolve(self.counts),
            erased=self.erased.copy(),
            reservations=self._reservations.copy(),
        )

    def numbers(self) -> dict[str, int]:
        """Return what ``meta`` holds of this state.

        A reader compares the numbers of rows with the rows, which reveals those lost to damage.
        """
        counts = self.counts
        return {
            "spent": counts.spent, "at_risk": counts.at_risk, RESERVED: self.reserved,
            "last_seq": self.last_seq, "items": counts.items, "answered": counts.answered,
            "failed": counts.failed, COMMITS: self.commits, CEILING: self.ceiling,
        }  # fmt: skip

    def committed(self) -> Committed:
        """Return what the commit record holds of this state."""
        counts = self.counts
        return Committed(self.commits, counts.spent + self.reserved, counts.items, counts.answered)

    def raise_ceiling(self, cap: int | None) -> bool:
        """Raise the ceiling unless it covers what is spent or reserved; return whether it was raised."""
        before = self.ceiling
        self.ceiling = raised_ceiling(before, self.counts.spent + self.reserved, cap)
        return self.ceiling != before

    def reserve(self, task: JobTask, activations: int, cap: int | None) -> ReserveResult:
        """Reserve activations for a call, if the budget allows it."""
        if task.seq in self.erased:
            return ReserveResult.SESSION_ERASED
        if cap is not None and self.counts.spent + self.reserved + activations > cap:
            return ReserveResult.WAIT if self.reserved else ReserveResult.BUDGET_SPENT
        self.reserved += activations
        self._reservations[task.seq, task.operation] = activations
        return ReserveResult.RESERVED

    def release(self, task: JobTask, spent: int, at_risk: int) -> None:
        """Release a call's reservation, and count what it has spent and how much of that is at risk."""
        self.reserved -= self._reservations.pop((task.seq, task.operation), 0)
        self.counts.spent += spent
        self.counts.at_risk += at_risk

    @property
    def activations(self) -> Activations:
        """The activations, in numbers."""
        return Activations(self.counts.spent, self.counts.at_risk, self.reserved)

    def spend_reserved(self) -> None:
        """Count all reservations as spent, and as at risk."""
        settled = self.activations.settled()
        self.counts.spent, self.counts.at_risk, self.reserved = settled.spent, settled.at_risk, 0
        self._reservations.clear()
