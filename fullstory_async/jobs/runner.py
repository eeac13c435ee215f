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
from pathlib import Path

import attrs

from fullstory_async.api import Account
from fullstory_async.errors import (
    ActivationBudgetError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
    ConnectError,
    DecodeError,
    FullStoryError,
    JobError,
    JobStorageError,
    PermissionDeniedError,
    RateLimitedError,
    StorageError,
    TransportError,
)
from fullstory_async.fanout import FanOut
from fullstory_async.http.messages import Response
from fullstory_async.jobs.account import organisation_of
from fullstory_async.jobs.admission import Admission
from fullstory_async.jobs.outage import Outage
from fullstory_async.jobs.report import JobProgress, JobReport, StopReason
from fullstory_async.jobs.store import GONE, JobStore
from fullstory_async.jobs.units import Unit, request_of, units_left
from fullstory_async.jobs.verdicts import is_lost, is_of_the_session, is_permanent, is_throttled, is_unsent
from fullstory_async.jobs.verify import verified

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
    account: Account
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
    _dropped: int = attrs.field(default=0, init=False)
    _settled: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _outage: Outage = attrs.field(init=False)
    _admission: Admission = attrs.field(init=False)
    _timer: asyncio.Timeout = attrs.field(factory=lambda: asyncio.timeout(None), init=False)

    def __attrs_post_init__(self) -> None:
        limiter = self.account.pipeline.limiter
        self._outage = Outage(self.network_patience)
        self._admission = Admission(lambda: limiter.rate, self.concurrency)

    async def run(self) -> JobReport:
        """Make the calls that are left, until one of the stop reasons."""
        now = asyncio.get_running_loop().time
        started, kept, before = now(), self.store.answers_kept, self.store.counts.spent + self.store.reserved
        try:
            await self.store.recover()
            before = self.store.counts.spent  # what a cancelled run gave back meanwhile is not ours
            if self._reason is None:
                await self._ask()
            left = units_left(self.folder, self.store.plan.operations, retry_failed=self.retry_failed)
            async with self._timer, aclosing(left) as units:
                self._fan_out = FanOut(
                    units, self._call, concurrency=self.concurrency, name=lambda unit: unit
                )
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
        spent = counts.spent + self.store.reserved  # set aside for answers that could not be written down
        return JobReport(
            reason=self._reason or StopReason.FINISHED,
            detail=self._detail,
            done=counts.answered,
            failed=self._failed,
            spent=spent,
            done_now=self.store.answers_kept - kept,
            spent_now=spent - before,
            dropped=self._dropped,
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
        """Refuse to mix accounts: a job remembers the organisation of its first run. Asking for it is free."""
        known = self.store.account
        try:
            organisation = await organisation_of(
                self.account, patience=self.network_patience, waits=self._say_waiting
            )
        except AuthenticationError as error:
            self.stop(StopReason.KEY_REJECTED, str(error))
            return
        except (APIStatusError, TransportError) as error:
            # even in the first run: what is bought without knowing it could be mixed with another's by the next
            limited = isinstance(error, RateLimitedError)
            self.stop(
                StopReason.RATE_LIMITED if limited else StopReason.NETWORK_DOWN,
                f"whose key it is could not be asked: {error}",
            )
            return
        if known is not None and organisation not in (None, known):
            raise JobError(
                f"the job {self.folder} is of the organisation {known}, and the key of {organisation}: "
                "its sessions would all be unknown there"
            )
        if known is None and organisation is not None:
            await self.store.remember_account(organisation)

    def _say_waiting(self, error: FullStoryError) -> None:
        other_side = "rate limit" if is_throttled(error) else "network" if is_unsent(error) else "service"
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

    @property
    def _at_most(self) -> int:
        """What one call may cost: every attempt that the policy allows to be charged."""
        return self.account.pipeline.policy.charges_at_most

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

    async def _call(self, unit: Unit, at_stake: Callable[[int], None]) -> tuple[None, int]:
        """Make a call; where no connection is to be had, wait for the network to come back and make it again."""
        pause = _SHORTEST_PAUSE
        while not await self._is_over(unit, at_stake):
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return None, 0

    async def _is_over(self, unit: Unit, at_stake: Callable[[int], None]) -> bool:
        """Set a call's cost aside, make it, and settle it; never raises what a service or a network may do.

        Returns False if it should be made again, since it could not leave.
        """
        risk, open_ = 0, True
        place = await self._admission.enter()

        def note(stake: int) -> None:
            nonlocal risk
            risk = stake
            if stake:
                place.leave()
            at_stake(stake)

        try:
            made = await self._make(unit, note)
            if made is None:
                return True
            open_, (response, attempts) = False, made
            await self.store.settle_answer(
                unit, response.body, attempts=attempts, spent=min(risk, self._at_most)
            )
            self._denials, self._down_since = 0, math.inf
        except (ClientStateError, ConfigurationError):
            self.store.settle_later(unit, spent=min(risk, self._at_most))
            raise
        except JobStorageError as error:
            self._dropped += not open_
            self.stop(StopReason.STORAGE_FAILED, error.message)
        except FullStoryError as error:
            if self._is_waited_for(error):
                self.store.settle_later(unit, spent=0)
                return False
            at_stake(1)  # its failure is
            open_ = False
            await self._settle_failure(unit, error, risk)
        except asyncio.CancelledError:
            if open_:
                self._dropped += risk > 0
                self.store.settle_later(unit, spent=min(risk, self._at_most))
            raise
        finally:
            place.leave()
            self._settled.set()
            self._settled = asyncio.Event()
        return True

    async def _make(self, unit: Unit, note: Callable[[int], None]) -> tuple[Response, int] | None:
        """Make a call when it is its turn; ``None`` if the budget or an erasure forbids it."""
        request = request_of(unit, self.store.plan)
        asks = self._outage.is_on and await self._outage.wait_to_ask()
        try:
            if not await self._set_aside(unit):
                return None
            made = await self.account.pipeline.fetch(
                request, verified, patient=True, longest_wait=self.max_wait, at_stake=note
            )
            self._outage.answered()
            return made
        finally:
            if asks:
                self._outage.has_asked()

    def _is_waited_for(self, error: FullStoryError) -> bool:
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

    async def _set_aside(self, unit: Unit) -> bool:
        """Put what the call may cost on the disk; wait for others to be settled if the budget is all set aside."""
        while True:
            settled = self._settled  # taken first: something may be settled before the disk has answered
            if (others := await self.store.reserve(unit, self._at_most)) is None:
                return True
            if others == GONE:
                return False
            if others == 0:
                spent, cap = self.store.counts.spent, self.store.plan.max_activations
                self.stop(StopReason.BUDGET_REACHED, f"{spent} of {cap} activations are spent")
                return False
            await settled.wait()

    async def _settle_failure(self, unit: Unit, error: FullStoryError, risk: int) -> None:
        self._last_error = f"{type(error).__name__} at {unit.session_id}: {error.message}"
        spent = min(max(risk, int(error.may_have_cost)), self._at_most)
        self._watch(error)
        if not is_of_the_session(error):
            self.store.settle_later(unit, spent=spent)
            return
        self._failed[type(error).__name__] += 1
        body = error.response.body if isinstance(error, DecodeError) and error.response else None
        try:
            await self.store.settle_failure(
                unit, error, body=body, permanent=is_permanent(error), spent=spent
            )
        except JobStorageError as failure:
            self.stop(StopReason.STORAGE_FAILED, failure.message)

    def _watch(self, error: FullStoryError) -> None:
        """Stop where further calls would fail as this one did."""
        self._denials = self._denials + 1 if isinstance(error, PermissionDeniedError) else 0
        unsent, lost = is_unsent(error), is_lost(error)
        if error.attempts > 0 and not lost:  # else nobody was asked
            self._outage.answered()
        self._down_since = self._down_since if unsent else math.inf
        if isinstance(error, AuthenticationError) or self._denials >= _DENIALS:
            self.stop(StopReason.KEY_REJECTED, str(error))
        elif is_throttled(error):
            self.stop(StopReason.RATE_LIMITED, str(error))
        elif isinstance(error, ActivationBudgetError):
            self.stop(StopReason.BUDGET_REACHED, str(error))
        elif isinstance(error, StorageError):
            self.stop(StopReason.STORAGE_FAILED, error.message)
        elif unsent or (lost and self._outage.lost(asyncio.get_running_loop().time())):
            self.stop(StopReason.NETWORK_DOWN, f"{type(error).__name__}: {error.message}")
        elif self._outage.is_on:
            self._last_error = f"{type(error).__name__}: {error.message}; waiting for the service"
