"""What a run tells: how far it has come, and how it ended."""

from __future__ import annotations

import enum
from collections import Counter

import attrs

from fullstory_async.http.hooks import Stats

__all__ = ["JobProgress", "JobReport", "StopReason"]


class StopReason(enum.StrEnum):
    """Why a run ended. After every one of them the job can be run again."""

    FINISHED = "finished"
    """Every call has been made; those that failed for a passing reason are made again by the next run."""
    INTERRUPTED = "interrupted"
    BUDGET_REACHED = "budget reached"
    KEY_REJECTED = "key rejected"
    RATE_LIMITED = "rate limited"
    """The service asked for a longer wait than ``max_wait``."""
    NETWORK_DOWN = "network down"
    STORAGE_FAILED = "storage failed"
    """The disk is full, or the job's file can't be written for another reason."""


@attrs.frozen(kw_only=True)
class JobProgress:
    """How far a job has come; given to the ``progress`` callback."""

    calls: int
    """Calls of the whole job."""
    done: int
    """Answers that the job holds."""
    failed: int
    """Failures that the job holds."""
    spent: int
    """Activations that the job has spent, or may have."""
    max_activations: int | None
    stats: Stats
    """What the client has done: requests, retries, 429s."""
    last_error: str | None
    allowed_rate: float
    """Requests a second that the rate limiter allows now; it changes where the limit is adaptive."""


@attrs.frozen(kw_only=True)
class JobReport:
    """How a run ended, and how the job stands."""

    reason: StopReason
    detail: str
    """What stopped it, in words; empty where nothing did."""
    done: int
    """Answers that the job holds."""
    failed: Counter[str]
    """Calls that failed in this run, by the name of their error."""
    spent: int
    """Activations that the job has spent so far, or may have."""
    done_now: int
    """Answers that came in this run."""
    spent_now: int
    """Activations that this run has spent, or may have."""
    dropped: int
    """Calls of this run that were dropped on their way, or that the disk had no place for: they count as spent, and are made again."""
    left: int
    """Calls that are still to be made, failures with a passing reason among them."""
    seconds: float
    """How long the run took."""
