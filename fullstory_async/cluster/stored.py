"""What a store has of a session, and what it says of itself, as values."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import attrs

from fullstory_async import errors
from fullstory_async.errors import FullStoryError
from fullstory_async.json_ready import JsonReady
from fullstory_async.messages import Response

__all__ = [
    "AddedSessions",
    "Busy",
    "Claim",
    "ClaimLost",
    "Erased",
    "KeptAnswer",
    "KeptFailure",
    "StoreStatus",
    "Taken",
]


class ClaimLost(FullStoryError):
    """The claim of a session has been taken over, or its session is done: nothing may be sent for it."""


@attrs.frozen
class Claim:
    """A session that this process may fetch."""

    seq: int
    worker: UUID
    number: int
    """With the worker, it identifies the claim: no other process has the same two."""


@attrs.frozen
class KeptAnswer:
    """A response that the store has."""

    at: datetime
    body: bytes = attrs.field(repr=False)
    """As it is stored, compressed."""


@attrs.frozen
class KeptFailure:
    """Why a session failed permanently."""

    at: datetime
    error: str
    status: int | None
    code: str | None
    message: str

    def to_error(self) -> FullStoryError:
        """Return the error once more; this time nothing was sent."""
        kind = vars(errors).get(self.error)
        if not (isinstance(kind, type) and issubclass(kind, FullStoryError)):
            kind = errors.APIStatusError
        text = f"{self.message} (recorded {self.at:%Y-%m-%d %H:%M} UTC; not called again)"
        response = None if self.status is None else Response(status=self.status, body=b"")
        error: FullStoryError = kind(text, response=response)
        error.code = self.code
        error.may_have_cost = False
        return error


@attrs.frozen
class Busy:
    """Another process has claimed the session."""


@attrs.frozen
class Erased:
    """The session was erased, and is not fetched again."""


Taken = Claim | KeptAnswer | KeptFailure | Busy | Erased


@attrs.frozen(kw_only=True)
class AddedSessions(JsonReady):
    """The result of `PostgresStore.add`."""

    new: int
    """Number of ids that the store did not have."""
    known: int
    """Number of ids that it had already, that were given twice, or that were erased."""
    refused: int
    """Number of texts that are not session ids; they are left out."""
    without_id: int = 0
    """Number of rows without an id; they are left out."""


@attrs.frozen(kw_only=True)
class StoreStatus(JsonReady):
    """The state of a store's budget and its sessions."""

    budget: str
    organisation: str | None
    """The organisation that the budget and its answers belong to; ``None`` before the first call."""
    sessions: int
    done: int
    """Sessions with an answer."""
    failed: int
    """Sessions that failed; those that did not fail permanently are tried again later."""
    pending: int
    """Sessions that no process has claimed yet."""
    claimed: int
    """Sessions that a process has claimed, and for which nothing was sent."""
    sent: int
    """Sessions whose request was sent, or is about to be; an activation is counted for each."""
    workers: int
    """Processes at work."""
    spent: int
    """Activations spent or reserved by the budget, those at risk included."""
    at_risk: int
    """Activations at risk: spent, but possibly not charged."""
    max_activations: int | None
    """The most activations that the budget may spend."""
    month: str
    """The month in UTC by the server's clock, such as ``2026-11``."""
    month_spent: int
    """Activations of the key in this month, over all budgets."""
    monthly_cap: int | None
    """The most that the key may spend in a month."""
