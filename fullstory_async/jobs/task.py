"""One call of a job: reserve its activations on disk, fetch, and settle it with the result.

What a call may cost is on disk before its request is sent, and its result is on disk when the call is over.
So a process that dies at any moment has counted too much, by the calls in flight, and never too little.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable
from typing import Any

import attrs
import msgspec

from fullstory_async import safe_json
from fullstory_async.errors import (
    DecodeError,
    FullStoryError,
    GatewayThrottledError,
    JobStorageError,
    PermissionDeniedError,
    Scope,
    UnexpectedResponseError,
)
from fullstory_async.fanout import Host
from fullstory_async.http.call import Call
from fullstory_async.jobs.byte_budget import OpenCall
from fullstory_async.jobs.outages import was_not_sent
from fullstory_async.jobs.run_state import RunState, reconnect_backoff
from fullstory_async.jobs.saved_call import SavedCall
from fullstory_async.jobs.storage.tasks import JobTask, SessionErased, request_for
from fullstory_async.messages import Response
from fullstory_async.models.event_decoding import check_utf8

__all__ = ["JobCall", "is_recorded", "require_json_object"]

_RECORDED = frozenset({Scope.SESSION, Scope.SERVICE, Scope.NETWORK})
"""Failures that are recorded for the session, which may have cost an activation."""


class JobCall(SavedCall):
    """One call of a job: a `Work` of its fan-out, and the `Meter` of its own activations."""

    def __init__(self, state: RunState, task: JobTask) -> None:
        """Prepare the call; nothing is reserved yet."""
        super().__init__()
        self._state, self._task = state, task
        self._is_reserved = self._is_probe = False

    @property
    def session_id(self) -> str:
        """The session that the call is about; it may be any text."""
        return self._task.session_id

    @property
    def name(self) -> str:
        """The job with its folder, for messages."""
        return f"the job {self._state.store.folder}"

    async def run(self, host: Host | None = None) -> None:  # noqa: ARG002  (no other caller joins it)
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
        breaker = self._state.outages.breaker
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
            await self._save(
                state.store.save_response(
                    self._task, response.body, attempts=call.attempts, spent=call.at_risk
                )
            )
            state.disk_failed_since = math.inf
        except SessionErased:
            # erased while it waited: nothing was reserved, and nothing is sent
            return True
        except FullStoryError as error:
            # the body of another error is not saved, and says nothing of the size of a result
            if place is not None and isinstance(error, DecodeError) and error.response is not None:
                place.received(len(error.response.body))
            if self._is_settling:  # it is held, and rescued at the end of the run
                raise
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

    async def _save(self, saving: Awaitable[None]) -> None:
        """Save a result; while the disk fails, hold it and wait."""
        try:
            await saving
        except JobStorageError as error:
            if not await self._state.wait_until_saved(error):
                raise

    async def _fetch(self, call: Call) -> Response:
        try:
            response = await self._state.api.pipeline.fetch(call, require_json_object)
        finally:
            if self._is_probe:
                self._is_probe = False
                self._state.outages.breaker.release_probe()
        self._state.outages.record_response()
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
        if not is_recorded(error):
            state.store.release_later(self._task, spent=spent)
            raise error
        self._is_settling = True
        state.failed[type(error).__name__] += 1
        body = error.response.body if isinstance(error, DecodeError) and error.response else None
        permanent = error.scope is Scope.SESSION and error.permanent
        await self._save(
            state.store.save_failure(self._task, error, body=body, permanent=permanent, spent=spent)
        )
        raise error

    @property
    def _at_risk(self) -> int:
        return 0 if self._call is None else self._call.at_risk


def is_recorded(error: FullStoryError) -> bool:
    """Return whether a failure is recorded for the session, rather than for all sessions or none.

    A single 403 is recorded: it may be about this session alone, and may have been charged. A response that
    isn't FullStory's says nothing about the session.
    """
    if was_not_sent(error) or isinstance(error, UnexpectedResponseError | GatewayThrottledError):
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
