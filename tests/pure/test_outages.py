"""What a run says that it waits for."""

from __future__ import annotations

import math

from fullstory_async.errors import ConnectError, FullStoryError, NotFoundError, ServerError, StorageError
from fullstory_async.jobs.circuit_breaker import FAILURE_THRESHOLD
from fullstory_async.jobs.outages import Outages


def outages_after(*errors: FullStoryError) -> Outages:
    outages = Outages(math.inf)
    for error in errors:
        error.attempts = 1
        outages.record_failure(error)
    return outages


async def test_an_outage_of_the_service_is_waited_for_after_ten_failures_in_a_row() -> None:
    down = [ServerError("503")] * FAILURE_THRESHOLD
    assert outages_after(*down[1:]).reason == ""
    assert outages_after(*down).reason.startswith("ServerError: 503")


async def test_any_response_ends_it() -> None:
    down = [ServerError("503")] * FAILURE_THRESHOLD
    assert outages_after(*down, NotFoundError("404")).reason == ""
    outages = outages_after(*down)
    outages.record_response()
    assert outages.reason == ""


async def test_a_network_that_is_away_is_waited_for_at_once() -> None:
    outages, refused = Outages(math.inf), ConnectError("no route")
    refused.sent = False
    assert outages.can_wait(refused)
    assert outages.reason.startswith("ConnectError: no route")


async def test_a_database_that_was_never_reached_says_nothing_of_the_service() -> None:
    away = StorageError("away")
    away.attempts = 0
    outages = outages_after(*[ServerError("503")] * FAILURE_THRESHOLD)
    outages.record_failure(away)
    assert outages.breaker.is_open
    assert outages.reason.startswith("ServerError: 503")
