"""ApiCall: one operation on one session, from its arguments to its result.

The functions here check the arguments of an operation once and return what prepares its call for a session. A
single call prepares one, a fan-out one per id.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

import attrs

from fullstory_async.api.context import ApiContext
from fullstory_async.codec import decode_context, decode_events
from fullstory_async.http import endpoints
from fullstory_async.http.call import Call
from fullstory_async.http.options import CallOptions
from fullstory_async.messages import Query, Request, Response
from fullstory_async.models import SessionContext, SessionEvents, SessionRef, session_id_of
from fullstory_async.session_id import SessionId

__all__ = ["ApiCall", "Prepare", "call_once", "context_call", "events_call"]

T = TypeVar("T")


async def call_once(
    api: ApiContext, request: Request, decode: Callable[[Response], T], timeout: float | None
) -> T:
    """Make a call that isn't about a session, and return its result."""
    return await api.pipeline.fetch(Call(request, timeout), decode)


@attrs.define(eq=False)
class ApiCall(Generic[T]):
    """One operation on one session, ready to run, alone or as the `Work` of a fan-out."""

    api: ApiContext
    session_id: SessionId
    call: Call
    decode: Callable[[Response], T]

    @property
    def attempts(self) -> int:
        """Attempts so far."""
        return self.call.attempts

    @property
    def droppable(self) -> bool:
        """Whether cancelling the call now loses nothing that may have been paid for."""
        return self.call.droppable

    @property
    def gave_up(self) -> bool:
        """Whether the call ended only because it was stopped."""
        return self.call.gave_up

    def stop(self) -> None:
        """Start no further attempt."""
        self.call.stopping = True

    def run(self) -> Coroutine[Any, Any, T]:
        """Make the call and return its result."""
        return self.api.pipeline.fetch(self.call, self.decode)


Prepare = Callable[[SessionRef], ApiCall[T]]
"""Prepares the call for a session. Raises `InvalidSessionId`."""


def events_call(
    api: ApiContext, query: Query, options: CallOptions, *, patient: bool = False
) -> Prepare[SessionEvents]:
    """Prepare calls for events; the query is that of `endpoints.events_query`."""

    def prepare(ref: SessionRef) -> ApiCall[SessionEvents]:
        session_id = session_id_of(ref)
        request = endpoints.session_events(session_id, query)
        call = Call(options.apply(request), options.timeout, patient=patient)
        return ApiCall(api, session_id, call, partial(decode_events, session_id=session_id))

    return prepare


def context_call(
    api: ApiContext, body: bytes, options: CallOptions, *, patient: bool = False
) -> Prepare[SessionContext]:
    """Prepare calls for context; ``body`` holds its options as JSON."""

    def prepare(ref: SessionRef) -> ApiCall[SessionContext]:
        session_id = session_id_of(ref)
        request = endpoints.session_context(session_id, body=body)
        call = Call(options.apply(request), options.timeout, patient=patient)
        return ApiCall(api, session_id, call, partial(decode_context, session_id=session_id))

    return prepare
