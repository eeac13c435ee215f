"""JobPlan: what a job does with each session, and what it may spend."""

from __future__ import annotations

import json
from typing import Any

import attrs

from fullstory_async import validators
from fullstory_async.errors import ConfigurationError, JobError

__all__ = ["EVENTS", "SUMMARY", "JobEstimate", "JobPlan", "estimated"]

EVENTS = "events"
SUMMARY = "summary"


@attrs.frozen(kw_only=True)
class JobPlan:
    """What a job fetches for each session. It is kept with the job, and may later only grow."""

    events: bool = attrs.field(default=False, validator=validators.instance_of(bool))
    """Whether to fetch the session's events."""

    summary: str | None = attrs.field(default=None, validator=validators.instance_of(str, optional=True))
    """The id of the profile to summarise it by; ``None`` for no summary."""

    max_activations: int | None = attrs.field(
        default=None, validator=validators.integer(at_least=0, optional=True)
    )
    """The most that the job may ever spend; ``None`` for any number, or for what the job's own plan says.

    It is no part of what is done, so it may be changed at any time."""

    def __attrs_post_init__(self) -> None:
        if not self.operations:
            raise ConfigurationError("a plan needs events, a summary profile, or both")

    @property
    def operations(self) -> tuple[str, ...]:
        """The operations on each session, in the order in which they are made."""
        return ((EVENTS,) if self.events else ()) + ((SUMMARY,) if self.summary else ())

    def grown_to(self, wanted: JobPlan) -> JobPlan:
        """Return the plan of a job that is opened again with another one.

        Raises:
            JobError: the other plan changes what is done, instead of adding to it.
        """
        if self.events and not wanted.events:
            raise JobError(
                "the job fetches events, and its plan can't give that up; open it with events=True"
            )
        if self.summary is not None and wanted.summary != self.summary:
            raise JobError(
                f"the job summarises by the profile {self.summary!r}, and its plan can't change that to "
                f"{wanted.summary!r}; open it with the same profile, or begin another job"
            )
        cap = self.max_activations if wanted.max_activations is None else wanted.max_activations
        return attrs.evolve(wanted, max_activations=cap)

    def to_json(self) -> str:
        """Return the plan as it is kept."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> JobPlan:
        """Read what `to_json` made."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**fields)


@attrs.frozen(kw_only=True)
class JobEstimate:
    """What is still to be done, before anything is spent."""

    sessions: int
    """Sessions of the whole job."""
    calls: int
    """Calls that are left."""
    activations: int
    """What these will spend at most, the budget considered, and what a call may cost by `RetryPolicy.max_charges_per_call`."""
    spent: int
    """What the job has spent so far."""
    max_activations: int | None
    """The most that it may ever spend."""
    seconds: float
    """How long the calls take at the client's present rate, at least; an adaptive one will change."""


def estimated(plan: JobPlan, sessions: int, calls: int, spent: int, rate: float, charges: int) -> JobEstimate:
    """Return what so many calls come to within a plan's budget, where each may be charged so many times."""
    cap, most = plan.max_activations, calls * charges
    affordable = most if cap is None else max(0, min(most, cap - spent))
    return JobEstimate(
        sessions=sessions, calls=calls, activations=affordable, spent=spent, max_activations=cap,
        seconds=min(calls, affordable) / rate,
    )  # fmt: skip
