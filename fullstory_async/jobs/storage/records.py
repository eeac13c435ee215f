"""What a job keeps of a session: its answers as they came, and why others are missing."""

from __future__ import annotations

from datetime import datetime

import attrs

from fullstory_async.errors import DecodeError

__all__ = ["JobFailure", "Record"]


@attrs.frozen(kw_only=True)
class JobFailure:
    """Why one call of a job failed."""

    session_id: str
    operation: str
    """``events`` or ``summary``."""
    error: str
    """The name of the error's class."""
    status: int | None
    code: str | None
    message: str
    attempts: int
    may_have_cost: bool
    """Whether an activation may have been spent."""
    permanent: bool
    """Whether it is tried again only when asked."""
    at: datetime
    body: bytes | None = attrs.field(default=None, repr=False)
    """An answer that was paid for and could not be read."""


@attrs.frozen(kw_only=True)
class Record:
    """One item with everything about it, as it is kept."""

    seq: int
    session_id: str
    bodies: dict[str, bytes] = attrs.field(repr=False)
    """Operation → the answer's body."""
    fetched: dict[str, datetime]
    """Operation → when the answer came."""
    failures: dict[str, JobFailure]
    """Operation → why there is no answer."""

    def unreadable(self, operation: str, error: DecodeError) -> JobFailure:
        """Return the failure that an answer is which is JSON, but not what its operation answers."""
        return JobFailure(
            session_id=self.session_id, operation=operation, error=type(error).__name__, status=None, code=None,
            message=error.message, attempts=0, may_have_cost=True, permanent=True, at=self.fetched[operation],
            body=self.bodies[operation],
        )  # fmt: skip
