"""Reports of a run: its progress, and how it ended."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable

import attrs

from fullstory_async.amounts import counted
from fullstory_async.deprecation import Renamed
from fullstory_async.errors import FullStoryError, Scope, TransportError
from fullstory_async.http.hooks import Stats
from fullstory_async.http.pipeline import Pipeline
from fullstory_async.jobs.storage.store import JobStore
from fullstory_async.json_ready import JsonReady
from fullstory_async.notebook_html import fact_table

__all__ = ["JobProgress", "JobReport", "ProgressReporter", "StopReason"]


class StopReason(enum.StrEnum):
    """Why a run ended. Whatever the reason, the job can be run again."""

    FINISHED = "finished"
    """Every call was made. The next run retries the failures that are not permanent."""
    INTERRUPTED = "interrupted"
    BUDGET_REACHED = "budget reached"
    KEY_REJECTED = "key rejected"
    RATE_LIMITED = "rate limited"
    """The service asked for a longer wait than ``max_wait``."""
    NETWORK_DOWN = "network down"
    NOT_FULLSTORY = "not_fullstory"
    """Responses can't be FullStory's: a sign-in page, a proxy, a redirect or another API."""
    NO_SESSION_FOUND = "no session found"
    """Every call so far failed for its session, as with a 404; as many as the plan's ``max_failures``."""
    STORAGE_FAILED = "storage failed"
    """The disk is full, or the job's file can't be written for another reason."""
    TAKEN_OVER = "taken over"
    """Another process opened the job, since its lock file was removed or replaced."""


@attrs.frozen(kw_only=True)
class JobProgress(JsonReady):
    """The progress of a job, as the ``progress`` callback gets it."""

    calls: int
    """Number of calls of the whole job."""
    done: int
    """Number of responses that the job holds."""
    failed: int
    """Number of failures that the job holds."""
    spent: int
    """Number of activations that the job has spent, those at risk included."""
    max_activations: int | None
    """The job's limit; ``None`` if it has none."""
    stats: Stats
    """The client's counters: requests, retries, 429s."""
    last_error: str | None
    """The text of the newest failure of this run."""
    allowed_rate: float
    """Requests per second that the rate limiter allows now; an adaptive limit changes it."""
    at_risk: int = 0
    """Number of activations at risk: spent, but possibly not charged."""


@attrs.frozen(kw_only=True)
class JobReport(JsonReady):
    """How a run ended, and the state of the job."""

    reason: StopReason
    """Why the run ended."""
    detail: str
    """What stopped the run, in words; empty if nothing did."""
    done: int
    """Number of responses that the job holds."""
    failed: Counter[str]
    """Number of calls that failed in this run, by the name of their error."""
    spent: int
    """Number of activations that the job has spent in all its runs, those at risk included."""
    at_risk: int
    """Number of activations at risk: spent, but possibly not charged.

    They are those of attempts that failed, or whose response could not be saved."""
    new_responses: int
    """Number of responses that this run received."""
    newly_spent: int
    """Number of activations that this run has spent, those at risk included."""
    dropped: int
    """Number of calls that may have been charged, and whose response is not saved.

    This run did not wait for it, or the disk was full. Their activations are spent, and at risk; the next run
    makes them again."""
    left: int
    """Number of calls that are still to be made, failures that are not permanent included."""
    seconds: float
    """Duration of the run."""

    def _repr_html_(self) -> str:
        """Return the report as a table, for notebooks."""
        failed = ", ".join(f"{counted(n, 'call')} with {name}" for name, n in self.failed.most_common())
        return fact_table(
            f"Run of a job: {self.reason}",
            {
                "detail": self.detail, "responses": self.done, "of these new": self.new_responses,
                "failed": failed, "left": self.left, "spent": self.spent, "of these at risk": self.at_risk,
                "spent in this run": self.newly_spent, "dropped": self.dropped or None,
                "seconds": f"{self.seconds:.1f}",
            },
        )  # fmt: skip

    done_now = Renamed("new_responses")
    spent_now = Renamed("newly_spent")


@attrs.define
class ProgressReporter:
    """Calls the ``progress`` callback of one run."""

    store: JobStore
    pipeline: Pipeline
    callback: Callable[[JobProgress], None] | None
    last_error: str | None = attrs.field(default=None, init=False)
    failure: Exception | None = attrs.field(default=None, init=False)
    """What the callback raised. It ends the run, which raises it when all paid-for responses are saved."""
    _spent: int | None = attrs.field(default=None, init=False)
    """What was reported last."""

    @property
    def calls(self) -> int:
        """Number of calls of the whole job."""
        return self.store.counts.items * len(self.store.plan.operations)

    def report(self) -> None:
        """Report the progress, unless an earlier report failed."""
        if self.callback is None or self.failure is not None:
            return
        counts = self.store.counts
        self._spent = counts.spent
        progress = JobProgress(
            calls=self.calls, done=counts.answered, failed=counts.failed, spent=counts.spent,
            max_activations=self.store.plan.max_activations, stats=attrs.evolve(self.pipeline.stats),
            last_error=self.last_error, allowed_rate=self.pipeline.limiter.rate, at_risk=counts.at_risk,
        )  # fmt: skip
        try:
            self.callback(progress)
        except Exception as error:  # noqa: BLE001  (the runner raises it)
            self.failure = error

    def report_end(self) -> None:
        """Report the activations of calls that were dropped, unless that was done."""
        if self.store.counts.spent != self._spent:
            self.report()

    def report_waiting(self, error: FullStoryError) -> None:
        """Report that the run waits because of a failure."""
        if error.scope is Scope.RATE:
            other_side = "rate limit"
        elif isinstance(error, TransportError) and not error.sent:
            other_side = "network"
        elif error.scope is Scope.STORAGE:
            other_side = "disk"
        else:
            other_side = "service"
        self.last_error = f"{type(error).__name__}: {error.message}; waiting for the {other_side}"
        self.report()
