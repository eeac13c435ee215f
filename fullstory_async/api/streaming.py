"""Streams a session's events: one request, each event returned as soon as it has arrived."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from fullstory_async.api.context import ApiContext
from fullstory_async.codec import IncrementalEventDecoder
from fullstory_async.errors import FullStoryError
from fullstory_async.http.call import Call
from fullstory_async.http.foreign import program_error
from fullstory_async.messages import Request
from fullstory_async.models import SessionEvent
from fullstory_async.privacy import Redactor, strip_traceback

__all__ = ["streamed_events"]

_CHUNK = 64 * 1024
"""Bytes decoded at a time: well under a millisecond of work."""


async def streamed_events(
    api: ApiContext, request: Request, timeout: float | None
) -> AsyncGenerator[SessionEvent, None]:
    """Send a request for events and yield them one by one; other tasks get a turn after each chunk."""
    now = asyncio.get_running_loop().time
    started = now()
    call = Call(request, timeout)
    response = await api.pipeline.stream(call)
    decoder, ready = IncrementalEventDecoder(), deque[SessionEvent]()
    failed: FullStoryError | None = None
    try:
        # No local holds a part of the body where something can fail: tracebacks show locals.
        while arrived := memoryview(await response.read()):
            for start in range(0, len(arrived), _CHUNK):
                ready.extend(decoder.feed(arrived[start : start + _CHUNK]))
                while ready:
                    yield ready.popleft()
                await asyncio.sleep(0)
        if response.status != 204:
            ready.extend(decoder.finish())
            while ready:
                yield ready.popleft()
    except FullStoryError as error:
        error.request, error.may_have_cost = request, True
        error.attempts, error.elapsed = call.attempts, now() - started
        failed = strip_traceback(error)
    except Exception as raised:  # noqa: BLE001  (of a patched module)
        failed = program_error(call, raised, Redactor(""))
    finally:
        response.close()
    if failed is not None:
        raise failed
