"""Slots: the connections of a session that the program gave; a call waits for one before it is sent."""

from __future__ import annotations

import asyncio
import math

import attrs

from fullstory_async.http.call import Call
from fullstory_async.messages import Response, StreamedResponse

__all__ = ["occupied_until_closed", "wait_for_slot"]


async def wait_for_slot(slots: asyncio.Semaphore, call: Call) -> None:
    """Take a slot, within the call's time: the wait does not count for the attempt's own timeouts.

    Raises:
        APITimeoutError: the call's time is over.
    """
    try:
        async with asyncio.timeout_at(None if call.deadline == math.inf else call.deadline):
            await slots.acquire()
    except TimeoutError:
        raise call.out_of_time("a connection of the given session") from call.last_error


def occupied_until_closed(slots: asyncio.Semaphore, response: StreamedResponse) -> Response:
    """Return the stream with a `StreamedResponse.close` that also releases its slot."""
    close = response.close

    def close_and_release() -> bool:
        if not close():
            return False
        slots.release()
        return True

    return attrs.evolve(response, close=close_and_release)
