"""Events as their answer arrives: one request, of which each event is given as soon as it is whole."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from fullstory_async.api.calls import ApiContext
from fullstory_async.codec import IncrementalEventDecoder
from fullstory_async.errors import FullStoryError
from fullstory_async.http.call import Call
from fullstory_async.messages import Request
from fullstory_async.models import SessionEvent
from fullstory_async.privacy import bare

__all__ = ["streamed_events"]

_PIECE = 64 * 1024
"""Bytes that are decoded at a time: well under a millisecond of work."""


async def streamed_events(
    account: ApiContext, request: Request, timeout: float | None
) -> AsyncGenerator[SessionEvent, None]:
    """Send a request for events and give them one by one; other tasks have their turn after each piece."""
    now = asyncio.get_running_loop().time
    started = now()
    call = Call(request, timeout)
    answer = await account.pipeline.stream(call)
    segments, whole = IncrementalEventDecoder(), deque[SessionEvent]()
    failed: FullStoryError | None = None
    try:
        # nothing that a traceback would show of the answer is in a variable while something can fail
        while arrived := memoryview(await answer.read()):
            for start in range(0, len(arrived), _PIECE):
                whole.extend(segments.feed(arrived[start : start + _PIECE]))
                while whole:
                    yield whole.popleft()
                await asyncio.sleep(0)
        if answer.status != 204:
            whole.extend(segments.finish())
            while whole:
                yield whole.popleft()
    except FullStoryError as error:
        error.request, error.may_have_cost = request, True
        error.attempts, error.elapsed = call.attempts, now() - started
        failed = bare(error)
    finally:
        answer.close()
    if failed is not None:
        raise failed
