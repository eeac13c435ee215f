"""Events as their answer arrives: one request, of which each event is given as soon as it is whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from fullstory_async.api.calls import Account
from fullstory_async.codec import EventSegments
from fullstory_async.errors import FullStoryError
from fullstory_async.http.messages import Request
from fullstory_async.models import SessionEvent

__all__ = ["streamed_events"]

_PIECE = 64 * 1024
"""Bytes that are decoded at a time: well under a millisecond of work."""


async def streamed_events(
    account: Account, request: Request, timeout: float | None
) -> AsyncGenerator[SessionEvent, None]:
    """Send a request for events and give them one by one; other tasks have their turn after each piece."""
    now = asyncio.get_running_loop().time
    started = now()
    answer, attempts = await account.pipeline.stream(request, timeout=timeout)
    segments = EventSegments()
    try:
        while arrived := await answer.read():
            for start in range(0, len(arrived), _PIECE):
                for event in segments.feed(arrived[start : start + _PIECE]):
                    yield event
                await asyncio.sleep(0)
        if answer.status != 204:
            for event in segments.finish():
                yield event
    except FullStoryError as error:
        error.request, error.may_have_cost = request, True
        error.attempts, error.elapsed = attempts, now() - started
        raise
    finally:
        answer.close()
