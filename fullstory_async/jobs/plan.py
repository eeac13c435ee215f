"""JobPlan: what a job fetches for each session, and what it may spend."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import attrs

from fullstory_async import validators
from fullstory_async.errors import ConfigurationError, JobError
from fullstory_async.json_ready import JsonReady

__all__ = ["EVENTS", "SUMMARY", "JobEstimate", "JobPlan", "estimate_within_budget"]

EVENTS = "events"
SUMMARY = "summary"
_MAX_FAILURES = 20
"""Calls that a job starts before its first success, unless its plan says more."""


def _check_max_failures(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    is_share = isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?%", value, re.ASCII)
    if value is None or (is_share and 0 < _percent(str(value)) <= 100):
        return
    validators.positive_integer(value, attribute.name, or_else="a percentage such as '50%'")


def _percent(share: str) -> float:
    return float(share.removesuffix("%"))


@attrs.frozen(kw_only=True)
class JobPlan(JsonReady):
    """What a job fetches for each session. It is saved with the job, and may only grow later."""

    events: bool = attrs.field(default=False, validator=validators.instance_of(bool))
    """Whether to fetch the session's events."""

    summary: str | None = attrs.field(
        default=None, converter=validators.exact_text, validator=validators.instance_of(str, optional=True)
    )
    """The id of the profile for its summary; ``None`` for no summary."""

    max_activations: int | None = attrs.field(
        default=None,
        converter=validators.exact_integer,
        validator=validators.integer(at_least=0, optional=True),
    )
    """The most activations that the job may ever spend; ``None`` for no cap, or the cap of the saved plan.

    It can be changed at any time, up or down."""

    max_failures: int | str | None = attrs.field(default=None, validator=_check_max_failures)
    """The most calls that the job starts before its first success: a number, or a share of its calls such as
    ``"50%"``; ``None`` for 20, or for the value of the saved plan.

    If all of these fail for their session, such as with a 404, the run ends, because the ids are probably
    wrong. ``"100%"`` lets it continue. It can be changed at any time."""

    def __attrs_post_init__(self) -> None:
        if not self.operations:
            raise ConfigurationError("a plan needs events, a summary profile, or both")

    @property
    def operations(self) -> tuple[str, ...]:
        """The operations on each session, in the order in which they are made."""
        return ((EVENTS,) if self.events else ()) + ((SUMMARY,) if self.summary else ())

    def grown_to(self, wanted: JobPlan) -> JobPlan:
        """Return the plan of a job that is reopened with another one.

        Raises:
            JobError: the other plan changes the operations instead of adding to them.
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
        failures = self.max_failures if wanted.max_failures is None else wanted.max_failures
        return attrs.evolve(wanted, max_activations=cap, max_failures=failures)

    def failure_limit(self, calls: int) -> int:
        """Return the most calls that a job with ``calls`` calls starts before its first success."""
        if isinstance(self.max_failures, str):
            return max(1, math.ceil(calls * _percent(self.max_failures) / 100))
        return _MAX_FAILURES if self.max_failures is None else self.max_failures

    def to_json(self) -> str:
        """Return the plan as it is saved."""
        # without the fields that are None: earlier versions refuse a plan with fields that they don't know
        return json.dumps(attrs.asdict(self, filter=lambda _, value: value is not None))

    @classmethod
    def from_json(cls, text: str) -> JobPlan:
        """Read the result of `to_json`."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**fields)


@attrs.frozen(kw_only=True)
class JobEstimate(JsonReady):
    """The work that is left, estimated before anything is spent."""

    sessions: int
    """Number of sessions of the whole job."""
    calls: int
    """Number of calls that are left."""
    activations: int
    """The most activations that these calls can spend within the budget.

    A call may cost `RetryPolicy.max_charges_per_call`."""
    spent: int
    """Number of activations that the job has spent so far, those at risk included."""
    max_activations: int | None
    """The most activations that the job may ever spend."""
    seconds: float
    """The least time that the calls take at the client's current rate; an adaptive rate will change."""


def estimate_within_budget(
    plan: JobPlan, sessions: int, calls: int, spent: int, rate: float, charges: int
) -> JobEstimate:
    """Return the estimate of a number of calls that may be charged ``charges`` times each."""
    cap, most = plan.max_activations, calls * charges
    affordable = most if cap is None else max(0, min(most, cap - spent))
    return JobEstimate(
        sessions=sessions, calls=calls, activations=affordable, spent=spent, max_activations=cap,
        seconds=min(calls, affordable) / rate,
    )  # fmt: skip
