"""The contents of a job as values: responses and failures, raw and typed."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from datetime import datetime
from typing import Protocol

import attrs

from fullstory_async.deprecation import Renamed
from fullstory_async.errors import DecodeError
from fullstory_async.jobs.plan import JobPlan
from fullstory_async.json_ready import JsonReady
from fullstory_async.models import SessionEvents, SessionSummary

__all__ = ["JobFailure", "JobResult", "JobStatus", "Record", "RecordSource"]


@attrs.frozen(kw_only=True)
class JobFailure(JsonReady):
    """Why one call of a job failed."""

    session_id: str
    """The session, as it was requested."""
    operation: str
    """``events`` or ``summary``."""
    error: str
    """The name of the error's class."""
    status: int | None
    """The HTTP status; ``None`` without a response."""
    code: str | None
    """The service's code for the error, if it sent one."""
    message: str
    """What happened, in the error's words."""
    attempts: int
    """Number of requests that were sent."""
    may_have_cost: bool
    """Whether an activation may have been spent."""
    permanent: bool
    """Whether it is tried again only on request."""
    at: datetime
    """When it failed, in UTC."""
    body: bytes | None = attrs.field(default=None, repr=False)
    """A response that was paid for and could not be read."""


@attrs.frozen(kw_only=True)
class Record:
    """One item with all its stored responses and failures."""

    seq: int
    session_id: str
    input: str = attrs.field(repr=False)
    """The text that the id came from; the id itself if it was given alone."""
    input_columns: dict[str, str] = attrs.field(repr=False)
    """The other columns of its row in a table, by the names that they have there."""
    bodies: dict[str, bytes] = attrs.field(repr=False)
    """Operation → the response's body."""
    fetched: dict[str, datetime]
    """Operation → when the response arrived."""
    failures: dict[str, JobFailure]
    """Operation → why there is no response."""

    def malformed(self, operation: str, error: DecodeError) -> JobFailure:
        """Return the failure for a stored response that is JSON but has the wrong shape."""
        return JobFailure(
            session_id=self.session_id, operation=operation, error=type(error).__name__, status=None,
            message=error.message, code=None, attempts=0, may_have_cost=True, permanent=True,
            at=self.fetched[operation], body=self.bodies[operation],
        )  # fmt: skip


class RecordSource(Protocol):
    """Where an export reads its records, as often as it needs to: a job's folder, for example."""

    @property
    def plan(self) -> JobPlan:
        """What is fetched for each session."""
        ...

    @property
    def secret(self) -> str:
        """The secret of its fingerprints."""
        ...

    @property
    def organisation(self) -> str | None:
        """Whose sessions these are, once that is known."""
        ...

    @property
    def input_columns(self) -> Mapping[str, str]:
        """Column of the tables that the ids came from → its name in an export."""
        ...

    def records(self, *, with_bodies: bool | str = True) -> Generator[Record, None, None]:
        """Yield every intact session, with the bodies of all operations, of one, or of none."""
        ...


@attrs.frozen(kw_only=True)
class JobResult(JsonReady):
    """One session of a job."""

    session_id: str
    """The session."""
    events: SessionEvents | None = None
    """Its events, if they were fetched."""
    summary: SessionSummary | None = None
    """Its summary, if it was generated."""
    failures: tuple[JobFailure, ...] = ()
    """Its failures; a call that is neither here nor above has not been made yet."""


@attrs.frozen(kw_only=True)
class JobStatus(JsonReady):
    """The progress of a job."""

    plan: JobPlan
    """What the job fetches, and its limits."""
    sessions: int
    """Number of sessions."""
    calls: int
    """Calls of the whole job."""
    done: int
    """Responses."""
    failed: int
    """Failures; the next run retries those that aren't permanent."""
    permanent: int
    """Failures that are tried again only on request."""
    left: int
    """Calls that are still to be made."""
    spent: int
    """Activations spent, those at risk included."""
    at_risk: int
    """Activations at risk: spent, but possibly not charged."""
    reserved: int
    """Activations reserved for calls in flight. Without a process they are spent, and at risk."""
    holder: str | None
    """The process that has the job open; ``None`` if none has."""
    missing: str | None = None
    """What the job's file lacks, and what was spent in it counts in ``spent``; ``None`` if it is complete."""

    set_aside = Renamed("reserved")
