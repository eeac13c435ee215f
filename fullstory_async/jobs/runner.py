"""One run of a job: a fan-out over the calls that are left, each set aside before it leaves and settled after.

What a call may cost is on the disk before its request is sent, and what became of it when the call is over. So a
process that dies at any moment can have counted too much, by what was on its way, and never too little; and an
answer that was received is lost only if the machine dies before the next commit.
"""

from __future__ import annotations

import asyncio
import enum
import json
import math
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import attrs
import msgspec

from fullstory_async.api import Account
from fullstory_async.errors import (
    ActivationBudgetError,
    AuthenticationError,
    BadRequestError,
    ClientStateError,
    ConfigurationError,
    DecodeError,
    FullStoryError,
    InvalidSessionId,
    JobStorageError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseTooLarge,
    TransportError,
)
from fullstory_async.fanout import FanOut
from fullstory_async.http import endpoints
from fullstory_async.http.messages import Request, Response
from fullstory_async.http.pipeline import Stats
from fullstory_async.jobs.database import open_reader
from fullstory_async.jobs.plan import EVENTS
from fullstory_async.jobs.store import JobStore, Unit
from fullstory_async.jobs.threads import in_thread
from fullstory_async.session_id import SessionId

__all__ = ["JobProgress", "JobReport", "Runner", "StopReason"]

_PAGE = 500
_DENIALS = 3
_PERMANENT = (NotFoundError, BadRequestError, InvalidSessionId, DecodeError, ResponseTooLarge)
GRACE = 5.0
"""Seconds that calls on their way have to finish after `Runner.stop`."""


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
    """How far a job has come; given to the ``progress`` callback after each call."""

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
    left: int
    """Calls that are still to be made, failures with a passing reason among them."""
    seconds: float
    """How long the run took."""


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
    _reason: StopReason | None = attrs.field(default=None, init=False)
    _detail: str = attrs.field(default="", init=False)
    _failed: Counter[str] = attrs.field(factory=Counter, init=False)
    _last_error: str | None = attrs.field(default=None, init=False)
    _denials: int = attrs.field(default=0, init=False)
    _down_since: float = attrs.field(default=math.inf, init=False)
    _on_their_way: int = attrs.field(default=0, init=False)
    _settled: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _timer: asyncio.Timeout = attrs.field(factory=lambda: asyncio.timeout(None), init=False)

    async def run(self) -> JobReport:
        """Make the calls that are left, until one of the stop reasons."""
        now = asyncio.get_running_loop().time
        started = now()
        try:
            async with self._timer, aclosing(self._units()) as units:
                self._fan_out = FanOut(units, self._call, concurrency=self.concurrency, name=_same)
                async with self._fan_out as outcomes:
                    if self._reason is not None:  # stopped before it began
                        self.stop(self._reason, self._detail)
                    async for _ in outcomes:
                        self._show()
        except TimeoutError:
            if not self._timer.expired():
                raise
        try:
            await self.store.flush()
        except JobStorageError as error:
            self.stop(StopReason.STORAGE_FAILED, error.message)
        counts = self.store.counts
        return JobReport(
            reason=self._reason or StopReason.FINISHED,
            detail=self._detail,
            done=counts.answered,
            failed=self._failed,
            spent=counts.spent,
            left=self._calls() - counts.answered - counts.permanent,
            seconds=now() - started,
        )

    def stop(
        self, reason: StopReason = StopReason.INTERRUPTED, detail: str = "", *, at_once: bool = False
    ) -> None:
        """Take no more calls. Those that were sent have a few seconds to finish, or none with ``at_once``."""
        self._reason = self._reason or reason
        self._detail = self._detail or detail
        if self._fan_out is None:
            return
        self._fan_out.stop()
        loop = asyncio.get_running_loop()
        if reason is StopReason.INTERRUPTED and not self._timer.expired():
            when = loop.time() + (0.0 if at_once else GRACE)
            self._timer.reschedule(min(when, self._timer.when() or math.inf))

    def _calls(self) -> int:
        return self.store.counts.items * len(self.store.plan.operations)

    def _show(self) -> None:
        if self.progress is None:
            return
        counts = self.store.counts
        self.progress(
            JobProgress(
                calls=self._calls(), done=counts.answered, failed=counts.failed, spent=counts.spent,
                max_activations=self.store.plan.max_activations, stats=attrs.evolve(self.account.pipeline.stats),
                last_error=self._last_error,
            )
        )  # fmt: skip

    async def _units(self) -> AsyncGenerator[Unit, None]:
        """Give the calls that are left, in order, a page at a time; each once in a run."""
        operations = self.store.plan.operations
        wanted = " UNION ALL ".join(
            f"SELECT {n} AS rank, '{name}' AS operation" for n, name in enumerate(operations)
        )
        failed = (
            ""
            if self.retry_failed
            else (
                "AND NOT EXISTS (SELECT 1 FROM failures f WHERE f.seq = i.seq AND f.operation = o.operation AND f.permanent) "
            )
        )
        query = (
            f"SELECT i.seq, i.session_id, o.operation, o.rank FROM items i CROSS JOIN ({wanted}) o "  # noqa: S608
            "WHERE i.seq >= ?1 AND (i.seq > ?1 OR o.rank > ?2) "
            "AND NOT EXISTS (SELECT 1 FROM answers a WHERE a.seq = i.seq AND a.operation = o.operation) "
            f"{failed}ORDER BY i.seq, o.rank LIMIT {_PAGE}"
        )
        reader = open_reader(self.folder)
        seq, rank = 0, -1
        try:
            while page := await in_thread(_fetch_all, reader, query, (seq, rank)):
                for seq, session_id, operation, rank in page:  # noqa: B007
                    yield Unit(seq, session_id, operation)
        finally:
            reader.close()

    async def _call(self, unit: Unit, at_stake: Callable[[bool], None]) -> tuple[None, int]:
        """Set a call's cost aside, make it, and settle it; never raises what a service or a network may do."""
        risk, open_ = 0, True

        def note(stake: bool) -> None:
            nonlocal risk
            risk += 1 if stake else -1
            at_stake(stake)

        self._on_their_way += 1
        try:
            if not await self._set_aside(unit):
                return None, 0
            response, attempts = await self.account.pipeline.fetch(
                self._request(unit), _verified, patient=True, longest_wait=self.max_wait, at_stake=note
            )
            open_ = False
            await self.store.settle_answer(unit, response.body, attempts=attempts, spent=max(1, risk))
            self._denials, self._down_since = 0, math.inf
        except (ClientStateError, ConfigurationError):
            self.store.settle_later(unit, spent=risk)
            raise
        except JobStorageError as error:
            self.stop(StopReason.STORAGE_FAILED, error.message)
        except FullStoryError as error:
            at_stake(True)  # its failure is
            open_ = False
            await self._settle_failure(unit, error, risk)
        except asyncio.CancelledError:
            if open_:
                self.store.settle_later(unit, spent=risk)
            raise
        finally:
            self._on_their_way -= 1
            self._settled.set()
        return None, 0

    async def _set_aside(self, unit: Unit) -> bool:
        """Put what the call may cost on the disk; wait for others to be settled if the budget is all set aside."""
        policy = self.account.pipeline.policy
        at_most = policy.attempts if policy.repeat_metered else 1
        while (others := await self.store.reserve(unit, at_most)) is not None:
            if others == 0:
                spent, cap = self.store.counts.spent, self.store.plan.max_activations
                self.stop(StopReason.BUDGET_REACHED, f"{spent} of {cap} activations are spent")
                return False
            if self.store.reserved > 0:  # else they have been settled meanwhile
                self._settled.clear()
                await self._settled.wait()
        return True

    async def _settle_failure(self, unit: Unit, error: FullStoryError, risk: int) -> None:
        self._last_error = f"{unit.session_id}: {error}"
        spent = max(1, risk) if error.may_have_cost else 0
        self._watch(error)
        if isinstance(error, (AuthenticationError, RateLimitedError, ActivationBudgetError)):
            self.store.settle_later(unit, spent=spent)  # it says nothing of this session
            return
        self._failed[type(error).__name__] += 1
        body = error.response.body if isinstance(error, DecodeError) and error.response else None
        try:
            permanent = isinstance(error, _PERMANENT)
            await self.store.settle_failure(unit, error, body=body, permanent=permanent, spent=spent)
        except JobStorageError as failure:
            self.stop(StopReason.STORAGE_FAILED, failure.message)

    def _watch(self, error: FullStoryError) -> None:
        """Stop where further calls would fail as this one did."""
        now = asyncio.get_running_loop().time()
        self._denials = self._denials + 1 if isinstance(error, PermissionDeniedError) else 0
        down = isinstance(error, TransportError) and not error.sent
        self._down_since = min(self._down_since, now - error.elapsed) if down else math.inf
        if isinstance(error, AuthenticationError) or self._denials >= _DENIALS:
            self.stop(StopReason.KEY_REJECTED, str(error))
        elif isinstance(error, RateLimitedError):
            self.stop(StopReason.RATE_LIMITED, str(error))
        elif isinstance(error, ActivationBudgetError):
            self.stop(StopReason.BUDGET_REACHED, str(error))
        elif now - self._down_since > self.network_patience:
            self.stop(StopReason.NETWORK_DOWN, str(error))

    def _request(self, unit: Unit) -> Request:
        session_id = SessionId(unit.session_id)
        if unit.operation == EVENTS:
            return endpoints.session_events(session_id)
        return endpoints.session_summary(session_id, config_profile_id=self.store.plan.summary)


def _same(unit: Unit) -> Unit:
    return unit


def _verified(response: Response) -> Response:
    """Return an answer that is a complete JSON object. Raises `DecodeError` for anything else."""
    if response.status == 204:
        return attrs.evolve(response, body=b"{}")
    body = response.body
    try:
        whole = msgspec.json.decode(body.decode() and body, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        whole = _by_json(body)  # Python's own parser knows more: NaN, lone surrogates, a byte order mark
    if not isinstance(whole, dict):
        raise DecodeError(f"the answer ({len(body)} bytes) is no JSON object")
    return response


def _by_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the answer ({len(body)} bytes) can't be read as JSON: {error}") from None


def _fetch_all(reader: sqlite3.Connection, query: str, values: tuple[int, int]) -> list[Any]:
    return reader.execute(query, values).fetchall()
