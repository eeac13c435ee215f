"""ApiCall: one operation on one session, from its arguments to its result.

The functions here check the arguments of an operation once and return what prepares its call for a session. A
single call prepares one, a fan-out one per id.

Equal calls that run at the same time share one request, see `single_flight`. Every caller waits with its own
timeout and decodes the response for itself, because parts of a result can be changed by whoever has it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

import attrs

from fullstory_async.api.caching import Result, read_through
from fullstory_async.api.context import ApiContext
from fullstory_async.api.single_flight import SharedCall, Waiter
from fullstory_async.codec import decode_context, decode_events
from fullstory_async.errors import APITimeoutError, RateLimitedError
from fullstory_async.fanout import Host
from fullstory_async.http import endpoints
from fullstory_async.http.call import Call
from fullstory_async.http.options import CallOptions
from fullstory_async.messages import Query, Request, Response
from fullstory_async.models import SessionContext, SessionEvents, SessionRef, session_id_of
from fullstory_async.response_info import ResponseInfo, set_response_info
from fullstory_async.session_id import SessionId

__all__ = ["ApiCall", "Prepare", "call_once", "context_call", "events_call"]

R = TypeVar("R", bound=Result)
T = TypeVar("T")


async def call_once(
    api: ApiContext, request: Request, decode: Callable[[Response], T], timeout: float | None
) -> T:
    """Make a call that isn't about a session, and return its result."""
    return await api.pipeline.fetch(Call(request, timeout), decode)


@attrs.define(eq=False)
class ApiCall(Generic[R]):
    """One operation on one session, ready to run, alone or as the `Work` of a fan-out."""

    api: ApiContext
    session_id: SessionId
    call: SharedCall[R]
    """The call to start, unless an equal one is in flight."""
    decode: Callable[[Response], R]
    waiter: Waiter[R] | None = None
    """Its wait, for its own request or for another call's."""

    @property
    def attempts(self) -> int:
        """Attempts so far while this call waited."""
        return 0 if self.waiter is None else self.waiter.attempts

    @property
    def droppable(self) -> bool:
        """Whether cancelling the call now loses nothing that may have been paid for."""
        return self.waiter is None or not self.waiter.at_risk

    @property
    def gave_up(self) -> bool:
        """Whether the call ended only because it was stopped."""
        return self.waiter is not None and self.waiter.gave_up

    def stop(self) -> None:
        """Start no further attempt, and wait for none."""
        self.call.stopping = True
        if self.waiter is not None:
            self.waiter.stop()

    async def run(self, host: Host | None = None) -> R:
        """Return the result of a request in flight for the same question, of the cache, or of a request."""
        if self.waiter is not None:
            # after a hand-over: the request continues in the task where it began
            return await self._result(self.waiter)
        api, call, request = self.api, self.call, self.call.request
        timeout = math.inf if call.patient else call.timeout or api.pipeline.timeout
        waiter = self.waiter = Waiter(asyncio.get_running_loop().time(), timeout, call.stopping)
        headers = tuple(sorted(request.headers.items())) if request.headers else ()
        call.key = request.method, request.path, request.query, request.body, headers
        joined = api.shared.get(call.key)
        # mostly there is none, and a function less on the way
        if joined is not None and (shared := await self._join_any(waiter)) is not None:
            return shared
        api.shared[call.key] = call
        if api.cache is None:
            work = api.pipeline.fetch(call, self.decode)
        else:
            call.set_timer(waiter)  # it also ends the wait for a file
            work = read_through(api, api.cache, call, self.decode)
        # a wait with a timeout of its own needs a task that it can leave
        if host is not None and timeout == math.inf:
            result = await call.run_here(work, waiter, api.shared, host)
            if call.host is not None and api.pending_writes:
                await self._until_written(waiter)
            return result
        call.task = asyncio.get_running_loop().create_task(work)
        call.task.add_done_callback(call.settle)
        return await self._result(waiter)

    async def _result(self, waiter: Waiter[R]) -> R:
        """Return the result of the own request, which runs in a task of its own."""
        result = await self.call.wait(waiter, self.api.shared)
        if self.api.pending_writes:
            await self._until_written(waiter)
        return result

    async def _join_any(self, waiter: Waiter[R]) -> R | None:
        """Return the result of an equal call in flight; None if there is none, or the last one gave up."""
        api, call, now = self.api, self.call, asyncio.get_running_loop().time
        api.pipeline.check()
        while (joined := api.shared.get(call.key)) is not None and joined.is_open:
            try:
                result = await self._joined(waiter, joined)
            except APITimeoutError as error:
                if waiter.deadline <= now() or error.may_have_cost:
                    raise
            except RateLimitedError as error:
                # the other call may have given up because it was less patient than this one
                took_over = error.response is None or call.patient
                if not took_over or waiter.gave_up:
                    raise
            else:
                await self._until_written(waiter)
                return self._own(result, waiter)
        if waiter.timeout != math.inf:
            call.timeout = max(0.0, waiter.deadline - now())
        return None

    async def _joined(self, waiter: Waiter[R], joined: SharedCall[R]) -> R:
        """Wait for the call of another caller, and report the wait."""
        failure: str | None = None
        began = asyncio.get_running_loop().time()
        joined.prepare_wait(waiter)
        try:
            return await joined.wait(waiter, self.api.shared)
        # a cancellation too: the report names what ended the wait, and the caller still gets it
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            self.api.pipeline.joined(joined, failure, asyncio.get_running_loop().time() - began)

    def _own(self, result: R, waiter: Waiter[R]) -> R:
        """Return a result of another call once more, as this call's own."""
        own = self.decode(Response(status=200 if result.raw else 204, body=result.raw))
        came, elapsed = result.response_info, asyncio.get_running_loop().time() - waiter.started
        if came is None or came.source == "cache":
            info = ResponseInfo(elapsed=elapsed, source="cache")
        else:
            info = ResponseInfo(came.request_id, waiter.attempts, elapsed, source="shared")
        set_response_info(own, info)
        return own

    async def _until_written(self, waiter: Waiter[R]) -> None:
        """Wait until the result is in the cache, so that the next call finds it there."""
        if (writing := self.api.pending_writes.get(self.call.key)) is not None:
            # a write that takes longer than this call has is finished anyway
            left = waiter.deadline - asyncio.get_running_loop().time()
            await asyncio.wait([writing], timeout=None if left == math.inf else max(0.0, left))


Prepare = Callable[[SessionRef], ApiCall[R]]
"""Prepares the call for a session. Raises `InvalidSessionId`."""


def events_call(
    api: ApiContext, query: Query, options: CallOptions, *, patient: bool = False
) -> Prepare[SessionEvents]:
    """Prepare calls for events; the query is that of `endpoints.events_query`."""

    def prepare(ref: SessionRef) -> ApiCall[SessionEvents]:
        session_id = ref if type(ref) is SessionId else session_id_of(ref)
        request = endpoints.session_events(session_id, query)
        # not SharedCall[SessionEvents](…), which costs three times as much
        call: SharedCall[SessionEvents] = SharedCall(options.apply(request), options.timeout, patient=patient)
        return ApiCall(api, session_id, call, partial(decode_events, session_id=session_id))

    return prepare


def context_call(
    api: ApiContext, body: bytes, options: CallOptions, *, patient: bool = False
) -> Prepare[SessionContext]:
    """Prepare calls for context; ``body`` holds its options as JSON."""

    def prepare(ref: SessionRef) -> ApiCall[SessionContext]:
        session_id = session_id_of(ref)
        request = endpoints.session_context(session_id, body=body)
        call = SharedCall[SessionContext](options.apply(request), options.timeout, patient=patient)
        return ApiCall(api, session_id, call, partial(decode_context, session_id=session_id))

    return prepare
