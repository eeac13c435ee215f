"""One call of a job: reserve its activations on disk, fetch, and settle it with the result.

What a call may cost is on disk before its request is sent, and its result is on disk when the call is over.
So a process that dies at any moment has counted too much, by the calls in flight, and never too little.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import Any

import attrs
import msgspec

from fullstory_async import safe_json
from fullstory_async.api import ApiContext
from fullstory_async.codec.events import check_utf8
from fullstory_async.concurrency import Backoff
from fullstory_async.errors import (
    DecodeError,
    FullStoryError,
    GatewayThrottledError,
    JobStorageError,
    PermissionDeniedError,
    Scope,
    TransportError,
    UnexpectedResponseError,
)
from fullstory_async.http.call import Call
from fullstory_async.jobs.byte_budget import MAX_BYTES, ByteBudget, OpenCall
from fullstory_async.jobs.circuit_breaker import CircuitBreaker
from fullstory_async.jobs.report import ProgressReporter
from fullstory_async.jobs.storage.store import JobStore, SessionErased
from fullstory_async.jobs.storage.tasks import JobTask, request_for
from fullstory_async.messages import Response
from fullstory_async.stop_rule import StopRule

__all__ = ["JobCall", "RunState", "reconnect_backoff", "require_json_object"]

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0

_STOPS = frozenset({Scope.KEY, Scope.BUDGET, Scope.RATE, Scope.STORAGE})
"""Failures that end a run: every further call would fail as well."""
_RECORDED = frozenset({Scope.SESSION, Scope.SERVICE, Scope.NETWORK})
"""Failures that are recorded for the session, which may have cost an activation."""


def reconnect_backoff() -> Backoff:
    """Return the pauses after which a call that could not be sent is made again."""
    return Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)


@attrs.define
class RunState:
    """What the calls of one run share: they write it, and the runner reads it."""

    store: JobStore
    api: ApiContext
    progress: ProgressReporter
    max_wait: float
    network_patience: float
    """Seconds without any connection, or with a failing service, after which the run ends."""

    breaker: CircuitBreaker = attrs.field(init=False)
    rule: StopRule = attrs.field(factory=lambda: StopRule(_STOPS), init=False)
    failed: Counter[str] = attrs.field(factory=Counter, init=False)
    """Number of failed calls by the name of their error."""
    dropped: int = attrs.field(default=0, init=False)
    """Number of calls that may have been charged and have no result on disk."""
    offline_since: float = attrs.field(default=math.inf, init=False)
    """The loop time of the first failure to connect, if no connection was made since."""
    budget: ByteBudget = attrs.field(factory=ByteBudget, init=False)
    """The bytes of the responses in flight."""
    settled: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    """Set when the next call is settled."""

    def __attrs_post_init__(self) -> None:
        self.breaker = CircuitBreaker(self.network_patience)

    async def open_call(self) -> OpenCall:
        """Wait until the response of one more call has room in memory and on a full disk.

        Raises:
            JobStorageError: the disk has no room for a single one.
        """
        budget, store = self.budget, self.store
        while True:
            changed = budget.changed
            await self._ask_for_room(min(budget.needed, MAX_BYTES))
            if budget.is_idle:
                await self._ask_for_room(budget.needed)
                if store.spare_room < budget.needed:
                    raise store.disk_full()
            if budget.allows(store.spare_room):
                return budget.open()
            await changed.wait()

    async def _ask_for_room(self, wanted: float) -> None:
        if wanted > max(self.budget.asked, self.store.spare_room):
            self.budget.asked = wanted
            await self.store.grow_spare_room(wanted)
            self.budget.notify()

    def notify_settled(self) -> None:
        """Wake the calls that wait for activations that others have reserved."""
        self.settled.set()
        self.settled = asyncio.Event()

    def can_wait(self, error: FullStoryError) -> bool:
        """Return whether a call could not be sent, and the network may still recover in time."""
        # an earlier attempt of the call may have been charged: then it is settled, and made again by the
        # next run
        if not _was_not_sent(error) or error.permanent or error.may_have_cost:
            return False
        now = asyncio.get_running_loop().time()
        self.offline_since = min(self.offline_since, now)
        if now - self.offline_since >= self.network_patience:
            return False
        self.progress.report_waiting(error)
        return self.progress.failure is None

    def record_failure(self, task: JobTask, error: FullStoryError) -> None:
        """Record what a failure says about service and network; end the run where they are given up."""
        self.progress.last_error = f"{type(error).__name__} at {task.session_id}: {error.message}"
        if _was_not_sent(error):
            if error.scope is Scope.NETWORK:
                self.rule.end(error)
            return
        self.offline_since = math.inf
        if error.scope in {Scope.SERVICE, Scope.NETWORK}:
            self.breaker.record_failure(asyncio.get_running_loop().time())
            if self.breaker.is_exhausted:
                self.rule.end(error)
            elif self.breaker.is_open:
                self.progress.last_error = f"{type(error).__name__}: {error.message}; waiting for the service"
        elif error.attempts > 0:
            # a call that was never sent says nothing about the service
            self.breaker.record_success()


class JobCall:
    """One call of a job: a `Work` of its fan-out, and the `Meter` of its own activations."""

    def __init__(self, state: RunState, task: JobTask) -> None:
        """Prepare the call; nothing is reserved yet."""
        self.gave_up = False
        self._state, self._task = state, task
        self._call: Call | None = None
        self._stopping = self._is_settling = self._is_reserved = self._is_probe = False

    @property
    def session_id(self) -> str:
        """The session that the call is about; it may be any text."""
        return self._task.session_id

    @property
    def name(self) -> str:
        """The job with its folder, for messages."""
        return f"the job {self._state.store.folder}"

    @property
    def attempts(self) -> int:
        """Number of times that the call was sent so far."""
        return 0 if self._call is None else self._call.attempts

    @property
    def droppable(self) -> bool:
        """Whether cancelling the call now would lose nothing that may have been paid for."""
        return not self._is_settling and (self._call is None or self._call.droppable)

    def stop(self) -> None:
        """Start no further attempt."""
        self._stopping = True
        if self._call is not None:
            self._call.stopping = True

    async def run(self) -> None:
        """Make the call and settle it; without a connection, wait for the network and make it again.

        Raises:
            FullStoryError: the call failed, and is settled.
        """
        backoff = reconnect_backoff()
        while not await self._attempt():
            await backoff.sleep()

    async def reserve(self) -> None:
        """Reserve on disk what all attempts of the call may cost, once.

        Calls that hold some activations and wait for more would wait for each other for ever.
        """
        if self._is_reserved:
            return
        breaker = self._state.breaker
        self._is_probe = breaker.is_open and await breaker.acquire_probe()
        charges = self._state.api.pipeline.policy.max_charges_per_call
        while True:
            # taken first: another call may be settled before the disk has responded
            settled = self._state.settled
            if await self._state.store.reserve(self._task, charges):
                self._is_reserved = True
                return
            await settled.wait()

    def release(self, _: None) -> None:
        """Do nothing: the reservation is settled together with the result."""

    async def _attempt(self) -> bool:
        """Make the call and settle it. Return False if it was not sent and should be made again."""
        state = self._state
        self._is_reserved = False
        place: OpenCall | None = None
        try:
            place = await state.open_call()
            call = self._call = Call(
                request_for(self._task, state.store.plan), patient=True, max_pause=state.max_wait, meter=self
            )
            response = await self._fetch(call)
            self._is_settling = True
            place.received(len(response.body))
            await state.store.save_response(
                self._task, response.body, attempts=call.attempts, spent=call.at_risk
            )
            state.offline_since = math.inf
        except SessionErased:
            # erased while it waited: nothing was reserved, and nothing is sent
            return True
        except JobStorageError:
            state.dropped += self._is_settling
            raise
        except FullStoryError as error:
            if place is not None and error.response is not None:
                place.received(len(error.response.body))
            return await self._settle_failure(error)
        except asyncio.CancelledError:
            if not self._is_settling:
                state.dropped += self._at_risk > 0
                state.store.release_later(self._task, spent=self._at_risk)
            raise
        finally:
            if place is not None:
                place.close()
            state.notify_settled()
        return True

    async def _fetch(self, call: Call) -> Response:
        try:
            response = await self._state.api.pipeline.fetch(call, require_json_object)
        finally:
            if self._is_probe:
                self._is_probe = False
                self._state.breaker.release_probe()
        self._state.breaker.record_success()
        return response

    async def _settle_failure(self, error: FullStoryError) -> bool:
        """Settle a failed call and raise its error. Return False if it should be made again."""
        state, spent = self._state, self._at_risk
        # the fan-out drops such a call silently: it is neither a result nor a failure
        self.gave_up = spent == 0 and self._call is not None and self._call.gave_up
        if not self.gave_up and state.can_wait(error):
            self.gave_up = self._stopping
            state.store.release_later(self._task, spent=0)
            if self.gave_up:
                raise error
            return False
        if self.gave_up or error.scope is Scope.PROGRAM:
            state.store.release_later(self._task, spent=spent)
            raise error
        state.record_failure(self._task, error)
        if not _is_recorded(error):
            state.store.release_later(self._task, spent=spent)
            raise error
        self._is_settling = True
        state.failed[type(error).__name__] += 1
        body = error.response.body if isinstance(error, DecodeError) and error.response else None
        permanent = error.scope is Scope.SESSION and error.permanent
        await state.store.save_failure(self._task, error, body=body, permanent=permanent, spent=spent)
        raise error

    @property
    def _at_risk(self) -> int:
        return 0 if self._call is None else self._call.at_risk


def _was_not_sent(error: FullStoryError) -> bool:
    """Return whether the request never left."""
    return isinstance(error, TransportError) and not error.sent


def _is_recorded(error: FullStoryError) -> bool:
    """Return whether a failure is recorded for the session, rather than for all sessions or none.

    A single 403 is recorded: it may be about this session alone, and may have been charged. A response that
    isn't FullStory's says nothing about the session.
    """
    if _was_not_sent(error) or isinstance(error, UnexpectedResponseError | GatewayThrottledError):
        return False
    return error.scope in _RECORDED or isinstance(error, PermissionDeniedError)


_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def require_json_object(response: Response) -> Response:
    """Return a response that is a complete JSON object, without decoding its parts.

    Raises:
        DecodeError: it is anything else.
    """
    if response.status == 204:
        return attrs.evolve(response, body=b"{}")
    body = response.body
    try:
        check_utf8(body)
        value = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # Python's own parser accepts more: NaN, lone surrogates, a byte order mark
        value = _parse_leniently(body)
    if not isinstance(value, dict):
        raise DecodeError(f"the response ({len(body)} bytes) is not a JSON object")
    return response


def _parse_leniently(body: bytes) -> Any:
    try:
        return safe_json.loads(body)
    except ValueError as error:
        raise DecodeError(f"the response ({len(body)} bytes) can't be read as JSON: {error}") from None
