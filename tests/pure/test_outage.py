"""When a worker takes the service for down, and what ends that."""

from __future__ import annotations

import asyncio
import time

from fullstory_async.cluster.outage import Outage
from fullstory_async.errors import ConnectError, NotFoundError, ServerError, StorageError


def outage_after(*errors: Exception | None) -> Outage:
    outage = Outage()
    for error in errors:
        outage.record(error)  # type: ignore[arg-type]
    return outage


def test_ten_failures_in_a_row_are_an_outage() -> None:
    down, lost = ServerError("503"), ConnectError("no route")
    assert not outage_after(*[down] * 9).is_on
    assert outage_after(*[down, lost] * 5).is_on
    assert outage_after(*[down, lost] * 5).reason.startswith("ConnectError: no route")


def test_any_response_ends_it_and_our_own_database_says_nothing_of_the_service() -> None:
    down = [ServerError("503")] * 10
    assert not outage_after(*down, None).is_on
    assert not outage_after(*down, NotFoundError("404")).is_on
    assert not outage_after(*[StorageError("away")] * 20).is_on
    assert outage_after(*down, StorageError("away")).is_on
    assert outage_after(*down, None).reason == ""


async def test_a_worker_that_is_to_stop_does_not_sit_out_the_pause() -> None:
    stopping = asyncio.Event()
    outage = Outage()
    asyncio.get_running_loop().call_soon(stopping.set)
    began = time.monotonic()
    await outage.pause(stopping)
    assert time.monotonic() - began < 0.9
