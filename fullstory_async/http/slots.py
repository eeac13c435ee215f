"""Slots: the connections that a given session, or this process, may have; a call waits for one."""

from __future__ import annotations

import asyncio

import attrs

from fullstory_async.http.call import Call
from fullstory_async.messages import Response, StreamedResponse

__all__ = ["occupied_until_closed", "wait_for_slot"]


async def wait_for_slot(slots: asyncio.Semaphore, call: Call) -> None:
    """Take a slot, within the call's time: the wait does not count for the attempt's own timeouts.

    Nor does it count for a patient call, which may queue behind any number of others.

    Raises:
        APITimeoutError: the call's time is over.
    """
    began = asyncio.get_running_loop().time()
    call.waits_for = "a free connection"
    try:
        async with asyncio.timeout_at(None if call.patient else call.deadline):
            await slots.acquire()
    except TimeoutError:
        raise call.out_of_time() from call.last_error
    if call.patient:
        call.deadline += asyncio.get_running_loop().time() - began


def occupied_until_closed(slots: asyncio.Semaphore, response: StreamedResponse) -> Response:
    """Return the stream with a `StreamedResponse.close` that also releases its slot."""
    close = response.close

    def close_and_release() -> bool:
        if not close():
            return False
        slots.release()
        return True

    return attrs.evolve(response, close=close_and_release)
