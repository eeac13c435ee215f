"""How long tests wait for something at most, before they fail: far longer than it takes, even on a busy machine."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

FACTOR = float(os.environ.get("FULLSTORY_TEST_TIMEOUT_FACTOR", "1"))
"""Multiplies every time limit of the tests; raise it on a machine that is slower still."""

SECONDS = 120 * FACTOR
"""For a condition, or for a process to end."""
A_TEST = 300 * FACTOR
"""For a whole test."""


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something is so, where no event loop runs."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
