"""One run of a job: a fan-out over the calls that are left, each set aside before it leaves and settled after.

What a call may cost is on the disk before its request is sent, and what became of it when the call is over. So a
process that dies at any moment can have counted too much, by what was on its way, and never too little; and an
answer that was received is lost only if the machine dies before the next commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path

import attrs

from fullstory_async.api import ApiContext
from fullstory_async.errors import (
    ActivationBudgetError,
    APITimeoutError,
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
    ConnectError,
    DecodeError,
    FullStoryError,
    JobStorageError,
    PermissionDeniedError,
    StorageError,
)
from fullstory_async.fanout import FanOut
from fullstory_async.http.call import Call
from fullstory_async.jobs.circuit_breaker import CircuitBreaker
from fullstory_async.jobs.failures import (
    is_permanent,
    is_service_failure,
    is_session_failure,
    is_throttled,
    was_not_sent,
)
from fullstory_async.jobs.organisation import other_account
from fullstory_async.jobs.report import JobProgress, JobReport, StopReason
from fullstory_async.jobs.storage.store import JobStore, SessionErased
from fullstory_async.jobs.storage.tasks import JobTask, pending_tasks, request_for
from fullstory_async.jobs.verify import require_json_object

__all__ = ["Runner"]

_DENIALS = 3
_SHORTEST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
GRACE = 5.0
"""Seconds that calls on their way have to finish after `Runner.stop`."""


@attrs.define
class Runner:
    """One run."""

    store: JobStore
    account: ApiContext
    folder: Path
    concurrency: int
    max_wait: float
    network_patience: float
    retry_failed: bool
    progress: Callable[[JobProgress], None] | None
    _fan_out: FanOut[None] | None = attrs.field(default=None, init=False)
    _asking: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _reason: StopReason | None = attrs.field(default=None, init=False)
    _detail: str = attrs.field(default="", init=False)
    _failed: Counter[str] = attrs.field(factory=Counter, init=False)
    _last_error: str | None = attrs.field(default=None, init=False)
    _denials: int = attrs.field(default=0, init=False)
    _broken_display: Exception | None = attrs.field(default=None, init=False)
    _down_since: float = attrs.field(default=math.inf, init=False)
    dropped: int = attrs.field(default=0, init=False)
    settled: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    outage: CircuitBreaker = attrs.field(init=False)
    _timer: asyncio.Timeout = attrs.field(factory=lambda: asyncio.timeout(None), init=False)

    def __attrs_post_init__(self) -> None:
        self.outage = CircuitBreaker(self.network_patience)

    async def run(self) -> JobReport:
        """Make the calls that are left, until one of the stop reasons."""
        now = asyncio.get_running_loop().time
        started, kept, before = (
            now(),
            self.store.responses_saved,
            self.store.counts.spent + self.store.reserved,
        )
        try:
            await self.store.spend_reserved()
            before = self.store.counts.spent  # what a cancelled run gave back meanwhile is not ours
            if self._reason is None:
                await self._ask()
            left = pending_tasks(self.folder, self.store.plan.operations, retry_failed=self.retry_failed)
            async with self._timer, aclosing(left) as units:
                self._fan_out = FanOut(units, partial(_JobCall, self), concurrency=self.concurrency)
                async with self._fan_out as outcomes:
                    if self._reason is not None:  # stopped before it began
                        self.stop(self._reason, self._detail)
                    self._show()
                    async for _ in outcomes:
                        self._show()
        except TimeoutError:
            if not self._timer.expired():
                raise
        except JobStorageError as error:
            self.stop(StopReason.STORAGE_FAILED, error.message)
        try:
            await self.store.flush()
        except JobStorageError as error:
            self.stop(StopReason.STORAGE_FAILED, error.message)
        if self._broken_display is not None:
            raise self._broken_display
        counts = self.store.counts
        spent = counts.spent + self.store.reserved  # reserved: for responses that could not be saved
        return JobReport(
            reason=self._reason or StopReason.FINISHED,
            detail=self._detail,
            done=counts.answered,
            failed=self._failed,
            spent=spent,
            done_now=self.store.responses_saved - kept,
            spent_now=spent - before,
            dropped=self.dropped,
            left=self._calls() - counts.answered - counts.permanent,
            seconds=now() - started,
        )

    async def _ask(self) -> None:
        """Look whose key it is; `stop` ends that."""
        self._asking = asyncio.ensure_future(self._check_account())
        try:
            await asyncio.wait([self._asking])
        finally:
            self._asking.cancel()
            await asyncio.wait([self._asking])
        if not self._asking.cancelled():
            self._asking.result()

    async def _check_account(self) -> None:
        """Refuse to mix accounts; without knowing whose key it is nothing is bought."""
        verdict = await other_account(
            self.store, self.account, self.folder, patience=self.network_patience, waits=self._say_waiting
        )
        if verdict is not None:
            self.stop(*verdict)

    def _say_waiting(self, error: FullStoryError) -> None:
        other_side = "rate limit" if is_throttled(error) else "network" if was_not_sent(error) else "service"
        self._last_error = f"{type(error).__name__}: {error.message}; waiting for the {other_side}"
        self._show()

    def stop(
        self, reason: StopReason = StopReason.INTERRUPTED, detail: str = "", *, at_once: bool = False
    ) -> None:
        """Take no more calls. Those that were sent have a few seconds to finish, or none with ``at_once``."""
        self._reason = self._reason or reason
        self._detail = self._detail or detail
        if self._asking is not None:
            self._asking.cancel()
        if self._fan_out is None:
            return
        self._fan_out.stop()
        loop = asyncio.get_running_loop()
        if reason is StopReason.INTERRUPTED and not self._timer.expired():
            when = loop.time() + (0.0 if at_once else GRACE)
            with contextlib.suppress(RuntimeError):  # the run is over, but for its report
                self._timer.reschedule(min(when, self._timer.when() or math.inf))

    def _calls(self) -> int:
        return self.store.counts.items * len(self.store.plan.operations)

    def _show(self) -> None:
        if self.progress is None:
            return
        counts = self.store.counts
        now = JobProgress(
            calls=self._calls(), done=counts.answered, failed=counts.failed, spent=counts.spent,
            max_activations=self.store.plan.max_activations, stats=attrs.evolve(self.account.pipeline.stats),
            last_error=self._last_error, allowed_rate=self.account.pipeline.limiter.rate,
        )  # fmt: skip
        try:
            self.progress(now)
        except Exception as error:  # noqa: BLE001  (it is raised when what was paid for is safe)
            self.progress, self._broken_display = None, error
            self.stop(StopReason.INTERRUPTED, f"the progress callback failed: {error!r}")

    def is_waited_for(self, error: FullStoryError) -> bool:
        """Tell whether a call could not leave, and the network may still come back in time."""
        can_wait = isinstance(error, (ConnectError, APITimeoutError)) and not (error.sent or error.permanent)
        if not can_wait or error.may_have_cost:  # by an attempt before this one
            return False
        now = asyncio.get_running_loop().time()
        self._down_since = min(self._down_since, now)
        if now - self._down_since >= self.network_patience:
            return False
        self._say_waiting(error)
        return True

    def note_settled(self) -> None:
        """Wake who waits for what others have reserved."""
        self.settled.set()
        self.settled = asyncio.Event()

    def note_answer(self) -> None:
        """Take note that all is well."""
        self._denials, self._down_since = 0, math.inf

    async def save_failure(self, unit: JobTask, error: FullStoryError, spent: int) -> None:
        """Write a failure down where it is the session's; stop where all further calls would fail too."""
        self._last_error = f"{type(error).__name__} at {unit.session_id}: {error.message}"
        self._watch(error)
        if not is_session_failure(error):
            self.store.release_later(unit, spent=spent)
            return
        self._failed[type(error).__name__] += 1
        body = error.response.body if isinstance(error, DecodeError) and error.response else None
        try:
            await self.store.save_failure(unit, error, body=body, permanent=is_permanent(error), spent=spent)
        except JobStorageError as failure:
            self.stop(StopReason.STORAGE_FAILED, failure.message)

    def _watch(self, error: FullStoryError) -> None:
        """Stop where further calls would fail as this one did."""
        self._denials = self._denials + 1 if isinstance(error, PermissionDeniedError) else 0
        unsent, lost = was_not_sent(error), is_service_failure(error)
        if error.attempts > 0 and not lost:  # else nobody was asked
            self.outage.answered()
        self._down_since = self._down_since if unsent else math.inf
        if isinstance(error, AuthenticationError) or self._denials >= _DENIALS:
            self.stop(StopReason.KEY_REJECTED, str(error))
        elif is_throttled(error):
            self.stop(StopReason.RATE_LIMITED, str(error))
        elif isinstance(error, ActivationBudgetError):
            self.stop(StopReason.BUDGET_REACHED, error.message)
        elif isinstance(error, StorageError):
            self.stop(StopReason.STORAGE_FAILED, error.message)
        elif unsent or (lost and self.outage.lost(asyncio.get_running_loop().time())):
            self.stop(StopReason.NETWORK_DOWN, f"{type(error).__name__}: {error.message}")
        elif self.outage.is_on:
            self._last_error = f"{type(error).__name__}: {error.message}; waiting for the service"


class _JobCall:
    """One call of the job, as a part of its fan-out and as the `Meter` of its own activations."""

    gave_up = False

    def __init__(self, run: Runner, unit: JobTask) -> None:
        self._run, self._unit = run, unit
        self._call: Call | None = None
        self._is_settling = self._is_reserved = self._probes = False

    @property
    def session_id(self) -> str:
        return self._unit.session_id

    @property
    def attempts(self) -> int:
        return 0 if self._call is None else self._call.attempts

    @property
    def droppable(self) -> bool:
        return not self._is_settling and (self._call is None or self._call.droppable)

    def stop(self) -> None:
        if self._call is not None:
            self._call.stopping = True

    async def run(self) -> None:
        """Make the call; where no connection is to be had, wait for the network to come back and make it again."""
        pause = _SHORTEST_PAUSE
        while not await self._is_over():
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def reserve(self) -> None:
        """Put on the disk what the call may cost, once and for all attempts: calls that wait for more while they hold some would wait for each other."""
        if self._is_reserved:
            return
        self._probes = self._run.outage.is_on and await self._run.outage.wait_to_ask()
        while True:
            settled = self._run.settled  # taken first: something may be settled before the disk has answered
            if await self._run.store.reserve(
                self._unit, self._run.account.pipeline.policy.max_charges_per_call
            ):
                self._is_reserved = True
                return
            await settled.wait()

    async def release(self, _: None) -> None:
        """Do nothing: it is settled together with what became of the call."""

    async def _is_over(self) -> bool:
        """Make the call and settle it; never raises what a service or a network may do.

        Returns False if it should be made again, since it could not leave.
        """
        run, unit, risk, self._is_reserved = self._run, self._unit, 0, False
        try:
            self._call = call = Call(
                request_for(unit, run.store.plan), patient=True, max_pause=run.max_wait, meter=self
            )
            try:
                response = await run.account.pipeline.fetch(call, require_json_object)
            finally:
                risk = call.at_risk
                self._end_probe()
            run.outage.answered()
            self._is_settling = True
            await run.store.save_response(unit, response.body, attempts=call.attempts, spent=risk)
            run.note_answer()
        except (ClientStateError, ConfigurationError):
            run.store.release_later(unit, spent=risk)
            raise
        except JobStorageError as error:
            run.dropped += self._is_settling
            run.stop(StopReason.STORAGE_FAILED, error.message)
        except SessionErased:
            pass
        except FullStoryError as error:
            if run.is_waited_for(error) or (self._call is not None and self._call.gave_up and not risk):
                run.store.release_later(unit, spent=0)
                return self._call is not None and self._call.gave_up
            self._is_settling = True
            await run.save_failure(unit, error, risk)
        except asyncio.CancelledError:
            if not self._is_settling:
                run.dropped += risk > 0
                run.store.release_later(unit, spent=risk)
            raise
        finally:
            run.note_settled()
        return True

    def _end_probe(self) -> None:
        if self._probes:
            self._probes = False
            self._run.outage.has_asked()
