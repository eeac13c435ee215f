"""One call of a store: take what is kept, or claim the session, fetch it, and settle the claim.

`StoreCall` is a `Work` of the store's fan-out: a job's call with Postgres in place of the folder. It waits
where another process is at work on the same session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

from fullstory_async.cluster.answers import Settlement
from fullstory_async.cluster.store_run import ClaimMeter, Fetching
from fullstory_async.cluster.stored import Busy, ClaimLost, Erased, KeptAnswer, KeptFailure
from fullstory_async.codec import decode_events
from fullstory_async.concurrency import Backoff
from fullstory_async.errors import (
    DecodeError,
    FullStoryError,
    Scope,
    StorageError,
)
from fullstory_async.fanout import Host
from fullstory_async.files.compression import CorruptRecord, decompress
from fullstory_async.http import endpoints
from fullstory_async.http.call import Call
from fullstory_async.jobs.saved_call import SavedCall
from fullstory_async.jobs.storage.statements import FailureRow
from fullstory_async.jobs.storage.tasks import SessionErased
from fullstory_async.jobs.task import is_recorded, require_json_object
from fullstory_async.messages import Response
from fullstory_async.models import SessionEvents, SessionRef, session_id_of
from fullstory_async.response_info import HasResponseInfo, ResponseInfo, find_request_id, set_response_info
from fullstory_async.session_id import SessionId

__all__ = ["StoreCall", "events_call", "raw_call"]

T = TypeVar("T")

_FIRST_LOOK, _LONGEST_LOOK = 0.1, 1.0
"""Seconds between two looks at a session that another process fetches."""


class _MadeAgain(Exception):
    """The call was not sent, and has to be made again."""


class StoreCall(SavedCall, Generic[T]):
    """One session of a fan-out of a store."""

    def __init__(
        self,
        fetching: Fetching,
        session_id: SessionId,
        decode: Callable[[Response], T],
    ) -> None:
        """Prepare the call; nothing is claimed yet. ``decode`` makes the result of a response."""
        super().__init__()
        self.session_id = session_id
        self._fetching, self._run, self._decode = fetching, fetching.run, decode

    async def run(self, host: Host | None = None) -> T:  # noqa: ARG002  (no other caller joins it)
        """Return the answer that the store has or gets.

        Raises:
            FullStoryError: the call failed, and is settled; or the session had failed permanently before.
        """
        if not self._run.owner.is_done:
            await self._run.owner.check(self._fetching.api)
        active, key = self._run.active, str(self.session_id)
        while (other := active.get(key)) is not None:
            await other.wait()
        ended = active[key] = asyncio.Event()
        try:
            return await self._take()
        finally:
            del active[key]
            ended.set()

    async def _take(self) -> T:
        looks, waits = Backoff(_FIRST_LOOK, _LONGEST_LOOK), Backoff(_FIRST_LOOK, 5.0)
        began = asyncio.get_running_loop().time()
        while True:
            found = await self._run.claims.take(self.session_id)
            match found:
                case KeptAnswer():
                    return self._kept(found, began)
                case KeptFailure():
                    raise found.to_error()
                case Erased():
                    raise self._erased()
                case Busy():
                    await looks.sleep()
                    continue
            meter = ClaimMeter(self._fetching, found)
            while True:
                try:
                    return await self._attempt(meter)
                except ClaimLost:
                    break
                except _MadeAgain:
                    await self._pause(waits, meter)

    def _erased(self) -> SessionErased:
        error = SessionErased(
            f"the session {self.session_id} was erased from {self._run.name}: it is not fetched"
        )
        error.scope = Scope.SESSION
        return error

    def _kept(self, found: KeptAnswer, began: float) -> T:
        try:
            body = decompress(found.body)
        except CorruptRecord as error:
            damaged = StorageError(
                f"the result of the session {self.session_id} in {self._run.name} is damaged: {error}"
            )
            damaged.permanent, damaged.scope = True, Scope.SESSION
            raise damaged from None
        value = self._decode(Response(status=200, body=body))
        if isinstance(value, HasResponseInfo):
            elapsed = asyncio.get_running_loop().time() - began
            set_response_info(value, ResponseInfo(elapsed=elapsed, source="cache"))
        return value

    async def _pause(self, waits: Backoff, meter: ClaimMeter) -> None:
        try:
            await waits.sleep()
        except asyncio.CancelledError:
            self._run.claims.release(meter.claim)
            raise

    async def _attempt(self, meter: ClaimMeter) -> T:
        """Fetch, and settle the claim, unless the call has to be made again."""
        run, lease, place = self._run, self._run.claims.lease, None
        request = endpoints.session_events(self.session_id)
        call = self._call = Call(
            request, patient=True, max_pause=self._fetching.max_pause, meter=meter,
            ledger_included=self._fetching.ledger_included,
        )  # fmt: skip
        call.stopping, call.send_by = self._stopping, lease.valid_until
        lease.calls.add(call)
        try:
            place = await run.open_call()
            response = await self._fetch(call, meter)
            place.received(len(response.body))
            await self._settle(meter, call, body=response.body)
        except FullStoryError as error:
            if self._is_settling:
                raise
            await self._settle_failure(meter, call, error)
            raise
        except asyncio.CancelledError:
            if not self._is_settling:
                self._release(meter, call)
            raise
        finally:
            lease.calls.discard(call)
            if place is not None:
                place.close()
        return self._fetched(call, response)

    async def _fetch(self, call: Call, meter: ClaimMeter) -> Response:
        try:
            response = await self._fetching.api.pipeline.fetch(call, require_json_object)
        finally:
            meter.end()
        self._fetching.outages.record_response()
        return response

    def _fetched(self, call: Call, response: Response) -> T:
        try:
            value = self._decode(response)
        except DecodeError as error:  # the answer is kept all the same
            error.request, error.response = call.request, response
            error.attempts, error.elapsed, error.may_have_cost = call.attempts, call.elapsed, True
            raise
        if isinstance(value, HasResponseInfo):
            request_id = find_request_id(response.headers)
            set_response_info(value, ResponseInfo(request_id, call.attempts, call.elapsed, call.at_risk))
        return value

    async def _settle_failure(self, meter: ClaimMeter, call: Call, error: FullStoryError) -> None:
        """Settle a failed call.

        Raises:
            ClaimLost: the claim was lost meanwhile.
            _MadeAgain: it was not sent, and has to be made again; the claim stays as it is.
        """
        fetching = self._fetching
        if call.admitted > call.send_by:  # it stood still for longer than its lease
            self._release(meter, call)
            raise ClaimLost("the lease has expired") from None
        waits = fetching.can_wait(error)
        if waits and not self._stopping:
            raise _MadeAgain from None
        self.gave_up = call.at_risk == 0 and (call.gave_up or waits)
        if not self.gave_up and fetching.outages.record_failure(error):
            fetching.rule.end(error)
        if self.gave_up or error.scope is Scope.PROGRAM or not is_recorded(error):
            self._release(meter, call)
            return
        permanent = error.scope is Scope.SESSION and error.permanent
        body = error.response.body if isinstance(error, DecodeError) and error.response else None
        await self._settle(meter, call, body=body, failure=FailureRow.of(error, permanent=permanent))

    async def _settle(
        self, meter: ClaimMeter, call: Call, *, body: bytes | None, failure: FailureRow | None = None
    ) -> None:
        self._is_settling, spent = True, call.at_risk
        settlement = Settlement(
            claim=meter.claim, month=meter.month, spent=spent, at_risk=spent - (failure is None), body=body,
            failure=failure, came=asyncio.get_running_loop().time(), attempts=call.attempts,
        )  # fmt: skip
        try:
            await self._run.settlements.submit(settlement)
        except StorageError as error:
            error.may_have_cost = spent > 0
            raise

    def _release(self, meter: ClaimMeter, call: Call) -> None:
        spent = call.at_risk
        self._run.settlements.submit_later(
            Settlement(claim=meter.claim, month=meter.month, spent=spent, at_risk=spent)
        )


def events_call(fetching: Fetching, ref: SessionRef) -> StoreCall[SessionEvents]:
    """Prepare the call for a session's events. Raises `InvalidSessionId`."""
    session_id = ref if type(ref) is SessionId else session_id_of(ref)
    return StoreCall(fetching, session_id, partial(decode_events, session_id=session_id))


def raw_call(fetching: Fetching, ref: SessionRef) -> StoreCall[bytes]:
    """Prepare the call for a session's events as JSON. Raises `InvalidSessionId`."""
    return StoreCall(fetching, ref if type(ref) is SessionId else session_id_of(ref), _body_of)


def _body_of(response: Response) -> bytes:
    return response.body
