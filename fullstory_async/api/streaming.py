"""Streams a session's events: one request, each event returned as soon as it has arrived."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Any

from fullstory_async.api.context import ApiContext
from fullstory_async.codec import IncrementalEventDecoder
from fullstory_async.errors import FullStoryError
from fullstory_async.http.call import Call
from fullstory_async.http.session_check import other_session_in
from fullstory_async.messages import Request
from fullstory_async.models import SessionEvent
from fullstory_async.privacy import strip_traceback
from fullstory_async.response_info import (
    HasResponseInfo,
    ResponseInfo,
    find_request_id,
    set_response_info,
)

__all__ = ["EventStream", "streamed_events"]

_CHUNK = 64 * 1024
"""Bytes decoded at a time: well under a millisecond of work."""


class EventStream(AsyncGenerator[SessionEvent, None]):
    """The events of a session while its response arrives: an asynchronous generator."""

    __slots__ = ("_arrival", "_events")

    def __init__(self, events: AsyncGenerator[SessionEvent, None], arrival: HasResponseInfo) -> None:
        """Wrap a generator, and the record in which it notes how its response came."""
        self._events, self._arrival = events, arrival

    @property
    def response_info(self) -> ResponseInfo | None:
        """Request id, attempts, elapsed time and activations; ``None`` before the first event."""
        return self._arrival.response_info

    def __aiter__(self) -> AsyncIterator[SessionEvent]:
        # the generator itself, so that iterating costs no more than without this class
        return self._events

    async def asend(self, value: None) -> SessionEvent:
        """Return the next event."""
        return await self._events.asend(value)

    async def athrow(self, *error: Any) -> SessionEvent:
        """Raise an error where the stream waits."""
        return await self._events.athrow(*error)

    async def aclose(self) -> None:
        """End the stream and release its connection."""
        await self._events.aclose()


def streamed_events(api: ApiContext, request: Request, timeout: float | None) -> EventStream:
    """Return the events of a request, which is sent when the first one is asked for."""
    arrival = HasResponseInfo()
    return EventStream(_streamed_events(api, request, timeout, arrival), arrival)


async def _streamed_events(
    api: ApiContext, request: Request, timeout: float | None, arrival: HasResponseInfo
) -> AsyncGenerator[SessionEvent, None]:
    """Send a request for events and yield them one by one; other tasks get a turn after each chunk."""
    now = asyncio.get_running_loop().time
    started = now()
    call = Call(request, timeout)
    response = await api.pipeline.stream(call)
    request_id = find_request_id(response.headers)
    activations = call.charged + request.metered
    set_response_info(arrival, ResponseInfo(request_id, call.attempts, now() - started, activations))
    decoder, ready = IncrementalEventDecoder(), deque[SessionEvent]()
    failed: FullStoryError | None = None
    is_named = False
    try:
        # No local holds a part of the body where something can fail: tracebacks show locals.
        while arrived := memoryview(await response.read()):
            for start in range(0, len(arrived), _CHUNK):
                ready.extend(decoder.feed(arrived[start : start + _CHUNK]))
                is_named = is_named or _are_requested(call, ready)
                while ready:
                    yield ready.popleft()
                await asyncio.sleep(0)
        if response.status != 204:
            ready.extend(decoder.finish())
            is_named = is_named or _are_requested(call, ready)
            while ready:
                yield ready.popleft()
    except FullStoryError as error:
        error.request, error.may_have_cost = request, True
        error.attempts, error.elapsed = call.attempts, now() - started
        failed = strip_traceback(error)
    # a patched module may raise anything; the caller gets an error of this package, without the key
    except Exception as raised:  # noqa: BLE001
        failed = api.pipeline.program_error(call, raised)
    finally:
        response.close()
    if failed is not None:
        raise failed


def _are_requested(call: Call, events: Iterable[SessionEvent]) -> bool:
    """Return whether events carry ids. Raises `DecodeError` if these are another session's."""
    found = [(event.device_id, event.session_id) for event in events]
    if (error := other_session_in(call.request, found)) is not None:
        call.drop_connection()
        raise error
    return any(session_id is not None for _, session_id in found)
