"""Shared by the tests of the fault matrix: faulty services, calls to them, and what most rows promise."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from fullstory_async import FullStoryClient, FullStoryError, Page, RetryPolicy, Session, SessionEvents
from fullstory_async.sandbox import Fault, Sandbox
from tests.virtual_time import now
from tests.wire.servers import connected

QUICK = RetryPolicy(wait_initial=0.01, wait_jitter=0)
REPEATING = attrs.evolve(QUICK, repeat_metered=True)
WAYS = (("list", QUICK), ("events", REPEATING), ("events", QUICK))
"""A free call, a paid call that may be retried, and one that may not."""

EVERYTHING = os.environ.get("FULLSTORY_FAULTS") == "all"
slow = pytest.mark.skipif(
    not EVERYTHING, reason="takes longer than a second: set FULLSTORY_FAULTS=all to run it"
)


@asynccontextmanager
async def spoiled(
    fault: Fault, *, times: int | None = None, **settings: Any
) -> AsyncIterator[tuple[Sandbox, FullStoryClient]]:
    """Run a sandbox with a fault, and a client of it."""
    sandbox = Sandbox(users=1, sessions=4, mean_events=5)
    async with connected(sandbox, **{"retry": QUICK, **settings}) as client:
        sandbox.inject(fault, times=times)
        yield sandbox, client


async def ask(
    sandbox: Sandbox, client: FullStoryClient, operation: str = "events"
) -> SessionEvents | Page[Session]:
    """Make a call whose normal response is a non-empty list."""
    if operation == "list":
        return await client.sessions.list(uid="u-1")
    return await client.sessions.events(sandbox.session_ids[0])


async def error_of(call: Awaitable[object]) -> FullStoryError:
    """Return the error in which a call ends, after checking what every error promises."""
    started = now()
    with pytest.raises(FullStoryError) as caught:
        await call
    error = caught.value
    assert 0 <= error.elapsed <= now() - started
    assert error.__context__ is None or isinstance(error.__context__, FullStoryError)
    return error


async def is_made_again_where_that_is_free(
    fault: Fault, error_class: type[FullStoryError], *, charged: bool = True, **settings: Any
) -> list[FullStoryError]:
    """Check that free calls are retried, and paid ones only if allowed; return the last errors."""
    ways = [(operation, attrs.evolve(retry, attempts=2)) for operation, retry in WAYS]
    blips = [_after_a_blip(fault, error_class, way, settings) for way in ways]
    storms = [_in_a_storm(fault, error_class, way, settings, charged=charged) for way in ways]
    errors, _ = await asyncio.gather(asyncio.gather(*storms), asyncio.gather(*blips))
    return errors


def _repeats(operation: str, retry: RetryPolicy) -> bool:
    return operation == "list" or retry.repeat_metered


async def _after_a_blip(
    fault: Fault, error_class: type[FullStoryError], way: tuple[str, RetryPolicy], settings: Mapping[str, Any]
) -> None:
    operation, retry = way
    async with spoiled(fault, times=1, retry=retry, **settings) as (sandbox, client):
        if _repeats(*way):
            assert len(await ask(sandbox, client, operation)) > 0
            assert len(sandbox.requests) == 2
        else:
            error = await error_of(ask(sandbox, client, operation))
            assert type(error) is error_class
            assert len(await ask(sandbox, client, operation)) > 0  # the fault leaves no trace in the client
            assert len(sandbox.requests) == 2


async def _in_a_storm(
    fault: Fault,
    error_class: type[FullStoryError],
    way: tuple[str, RetryPolicy],
    settings: Mapping[str, Any],
    *,
    charged: bool,
) -> FullStoryError:
    operation, retry = way
    attempts = retry.attempts if _repeats(*way) else 1
    async with spoiled(fault, retry=retry, **settings) as (sandbox, client):
        error = await error_of(ask(sandbox, client, operation))
        assert type(error) is error_class
        assert len(sandbox.requests) == error.attempts == client.stats.requests == attempts
        assert sandbox.activations == (attempts if charged and operation == "events" else 0)
        assert error.may_have_cost is (operation == "events")
        assert client.stats.activations_at_risk == (attempts if operation == "events" else 0)
        return error
