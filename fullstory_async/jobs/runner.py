"""One run of a job: a fan-out over the pending calls, and the reason why it ended.

`JobCall` reserves, makes and settles each call; the fan-out's `StopRule` ends the work. The runner checks the
organisation first, stops on request, and turns what ended the run into a `StopReason`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path

import attrs

from fullstory_async.api import ApiContext
from fullstory_async.brake import Brake
from fullstory_async.concurrency import Alarm
from fullstory_async.errors import (
    APIStatusError,
    AuthenticationError,
    FullStoryError,
    JobLockedError,
    NoSessionFoundError,
    ProxyError,
    Scope,
    StorageError,
    TransportError,
    UnexpectedResponseError,
)
from fullstory_async.fanout import FanOut
from fullstory_async.files.ledger import LedgerAccount
from fullstory_async.jobs.ledger_floor import raise_ledger
from fullstory_async.jobs.organisation import ask_who_responds, check_organisation
from fullstory_async.jobs.report import JobProgress, JobReport, ProgressReporter, StopReason
from fullstory_async.jobs.run_state import RunState, reconnect_backoff
from fullstory_async.jobs.storage.statements import count_refused
from fullstory_async.jobs.storage.store import JobStore
from fullstory_async.jobs.storage.tasks import pending_tasks
from fullstory_async.jobs.task import JobCall

__all__ = ["Runner"]

GRACE = 5.0
"""Seconds that calls in flight have to finish after `Runner.stop`."""

_REASONS = {
    Scope.KEY: StopReason.KEY_REJECTED,
    Scope.BUDGET: StopReason.BUDGET_REACHED,
    Scope.RATE: StopReason.RATE_LIMITED,
    Scope.STORAGE: StopReason.STORAGE_FAILED,
    Scope.SERVICE: StopReason.NETWORK_DOWN,
    Scope.NETWORK: StopReason.NETWORK_DOWN,
}


def _reason_for(error: FullStoryError) -> StopReason:
    """Return the reason of a run that a failure ended."""
    is_unknown = isinstance(error, APIStatusError) and error.is_unknown_status
    if is_unknown or isinstance(error, UnexpectedResponseError | ProxyError):
        return StopReason.NOT_FULLSTORY
    if isinstance(error, JobLockedError):
        return StopReason.TAKEN_OVER
    return _REASONS.get(error.scope, StopReason.NETWORK_DOWN)


@attrs.define
class Runner:
    """One run."""

    store: JobStore
    api: ApiContext
    folder: Path
    concurrency: int
    max_wait: float
    network_patience: float
    retry_failed: bool
    progress: Callable[[JobProgress], None] | None
    _state: RunState = attrs.field(init=False)
    _fan_out: FanOut[None] | None = attrs.field(default=None, init=False)
    _check: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _reason: StopReason | None = attrs.field(default=None, init=False)
    _detail: str = attrs.field(default="", init=False)
    _timer: asyncio.Timeout = attrs.field(factory=lambda: asyncio.timeout(None), init=False)
    _grace: Alarm | None = attrs.field(default=None, init=False)
    """Ends the run some time after it was stopped."""

    def __attrs_post_init__(self) -> None:
        reporter = ProgressReporter(self.store, self.api.pipeline, self.progress)
        self._state = RunState(self.store, self.api, reporter, self.max_wait, self.network_patience)

    async def run(self) -> JobReport:
        """Make the calls that are left, until one of the stop reasons."""
        now = asyncio.get_running_loop().time
        started, kept = now(), self.store.responses_saved
        before = self.store.activations.settled().spent
        try:
            await self.store.spend_reserved()
            # taken again: what a cancelled run has saved and released meanwhile is not this run's
            before, kept = self.store.counts.spent, self.store.responses_saved
            await self._compare_with_ledger()
            if self._reason is None:
                await self._check_organisation()
            await self._make_calls()
        except TimeoutError:
            if not self._timer.expired():
                raise
        except (StorageError, JobLockedError) as error:
            self.stop(_reason_for(error), error.message)
        finally:
            if self._grace is not None:
                self._grace.cancel()
        await self._write_rest()
        self._state.progress.report_end()
        if self._state.progress.failure is not None:
            raise self._state.progress.failure
        self._adopt_rule()
        if self._state.rule.ended_by is not None and self._reason is StopReason.NOT_FULLSTORY:
            self._detail = f"{self._detail}\n{await ask_who_responds(self.api)}"
        counts = self.store.counts
        # what is still reserved belongs to responses that could not be saved
        activations = self.store.activations.settled()
        return JobReport(
            reason=self._reason or StopReason.FINISHED,
            detail=self._detail,
            done=counts.answered,
            failed=self._state.failed,
            spent=activations.spent,
            at_risk=activations.at_risk,
            new_responses=self.store.responses_saved - kept,
            newly_spent=activations.spent - before,
            dropped=self._state.dropped,
            left=self._state.progress.calls - counts.answered - counts.permanent,
            seconds=now() - started,
        )

    async def _write_rest(self) -> None:
        """Write what is not on disk yet; the results that can't be saved, to the rescue file."""
        try:
            await self.store.flush()
        except StorageError as error:
            self.stop(StopReason.STORAGE_FAILED, error.message)
        else:
            return
        rescued, lost = await self.store.writer.rescue_held()
        self._state.dropped += lost
        path = self.store.writer.rescue_file.path
        if rescued:
            self._detail += f"\n{rescued} paid results are in {path}: the next run takes them in"
        elif lost:
            self._detail += f"\n{lost} paid results could not be written to {path} either"

    async def _make_calls(self) -> None:
        """Make the pending calls; leave when all are over, or the run has ended and the grace period too."""
        brake = await self._make_brake()
        pending = pending_tasks(self.folder, self.store.plan.operations, retry_failed=self.retry_failed)
        async with self._timer, aclosing(pending) as tasks:
            self._fan_out = FanOut(
                tasks, partial(JobCall, self._state), concurrency=self.concurrency, rule=self._state.rule,
                brake=brake,
            )  # fmt: skip
            async with self._fan_out as outcomes:
                # stopped before it began: the new fan-out does not know yet
                if self._reason is not None:
                    self.stop(self._reason, self._detail)
                self._report_progress()
                try:
                    async for _ in outcomes:
                        self._report_progress()
                except NoSessionFoundError as error:
                    self.stop(StopReason.NO_SESSION_FOUND, error.message)
                except FullStoryError as error:
                    if error is not self._state.rule.ended_by:
                        raise

    async def _make_brake(self) -> Brake:
        """Return the limit of calls before the first success; no limit if the job has a result already."""
        if self.retry_failed or self.store.counts.answered:
            return Brake(None)
        limit = self.store.plan.failure_limit(self._state.progress.calls)
        return Brake(limit, refused=await self.store.writer.run(count_refused))

    async def _compare_with_ledger(self) -> None:
        """Notice a ledger that was removed since the last run; wait for one that can't be used now."""
        account, backoff = self.api.pipeline.ledger, reconnect_backoff()
        while isinstance(account, LedgerAccount) and self._reason is None:
            try:
                await raise_ledger(self.store, account)
            except StorageError as error:
                if not self._state.can_wait_for_disk(error):
                    raise
                await backoff.sleep()
            else:
                return

    async def _check_organisation(self) -> None:
        """Refuse to mix organisations; without knowing the key's nothing is spent. `stop` ends the check."""
        self._check = asyncio.ensure_future(
            check_organisation(
                self.store, self.api, self.folder, self._state.progress, patience=self.network_patience
            )
        )
        try:
            await asyncio.wait([self._check])
        finally:
            self._check.cancel()
            await asyncio.wait([self._check])
        if self._check.cancelled():
            return
        try:
            self._check.result()
        except AuthenticationError as error:
            self.stop(StopReason.KEY_REJECTED, str(error))
        except (APIStatusError, TransportError) as error:
            self.stop(_reason_for(error), f"whose key it is could not be asked: {error}")

    def stop(
        self, reason: StopReason = StopReason.INTERRUPTED, detail: str = "", *, at_once: bool = False
    ) -> None:
        """Start no more calls.

        Calls that were sent have a few seconds to finish, or none with ``at_once``.
        """
        self._adopt_rule()
        if self._reason is None:
            self._reason, self._detail = reason, detail
        if self._check is not None:
            self._check.cancel()
        if self._fan_out is None:
            return
        self._fan_out.stop()
        if at_once:
            self._end()
        elif reason is StopReason.INTERRUPTED and self._grace is None:
            self._grace = Alarm(asyncio.get_running_loop().time() + GRACE, self._end)

    def _end(self) -> None:
        """Wait no longer for calls in flight."""
        # that comes too late when only the report is missing
        with contextlib.suppress(RuntimeError):
            self._timer.reschedule(asyncio.get_running_loop().time())

    def _adopt_rule(self) -> None:
        """Take the reason from the failure that ended the fan-out, unless there is an earlier one."""
        error = self._state.rule.ended_by
        if self._reason is not None or error is None:
            return
        self._reason = _reason_for(error)
        match error.scope:
            case Scope.KEY | Scope.RATE:
                self._detail = str(error)
            case Scope.BUDGET | Scope.STORAGE:
                self._detail = error.message
            case _:
                self._detail = f"{type(error).__name__}: {error.message}"

    def _report_progress(self) -> None:
        self._state.progress.report()
        if self._state.progress.failure is not None:
            self.stop(StopReason.INTERRUPTED, "the progress callback failed")
