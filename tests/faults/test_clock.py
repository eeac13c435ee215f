"""Row 47: the wall clock jumps, as when a machine is suspended or its time is set."""

from __future__ import annotations

import os
import subprocess
import sys
from email.utils import formatdate
from pathlib import Path

import pytest

from fullstory_async.messages import Response
from fullstory_async.retry import retry_after
from tests.faults.calls import slow
from tests.limits import SECONDS

JUMPING = """
import datetime, os, time

real, jump = time.time, float(os.environ["JUMP"])

def jumped(calls=[0]):
    calls[0] += 1
    return real() + (jump if calls[0] % 2 else -jump)

time.time = jumped
"""
"""A ``sitecustomize`` module, run before anything else: each reading of the wall clock is off, now ahead and now behind."""

SCRIPT = """
import asyncio, sys, time
from fullstory_async import APITimeoutError, ClientConfig, FullStoryClient, RateLimit, RetryPolicy
from fullstory_async.sandbox import Fault, Sandbox

assert abs(time.time() - time.time()) > 3600, "the clock does not jump"

async def main():
    async with Sandbox(users=1, sessions=4, mean_events=2) as sandbox:
        retry = RetryPolicy(wait_initial=0.2, wait_jitter=0)
        config = ClientConfig(
            api_key=sandbox.api_key, base_url=sandbox.url, retry=retry, rate_limit=RateLimit(20, 1), read_timeout=0.3
        )
        async with FullStoryClient(config=config) as client:
            sandbox.inject(Fault.status(503))
            await client.sessions.list(uid="u-1")  # a retry after 0.2 s
            for session_id in sandbox.session_ids:  # and four calls, 0.05 s apart
                await client.sessions.events(session_id)
            sandbox.inject(Fault.stall(5))
            try:
                await client.sessions.events(sandbox.session_ids[0])
            except APITimeoutError as error:
                assert 0.25 < error.elapsed < 600, error.elapsed
            else:
                raise AssertionError("no timeout")
            if "pause" in sys.argv:
                sandbox.inject(Fault.retry_after(1))
            await client.sessions.events(sandbox.session_ids[0])
            await client.sessions.events(sandbox.session_ids[0])
        at = [request.at for request in sandbox.requests]
        print(*(f"{later - earlier:.3f}" for earlier, later in zip(at, at[1:])))

asyncio.run(main())
"""


JUMPED = 600
"""Seconds between two requests that only a wait by the wall clock would reach."""


def seconds_between_requests(tmp_path: Path, jump: float, *options: str) -> list[float]:
    (tmp_path / "sitecustomize.py").write_text(JUMPING)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *options], capture_output=True, text=True, timeout=SECONDS,
        env={**os.environ, "PYTHONPATH": path, "JUMP": str(jump)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


@pytest.mark.row(47)
def test_row_47_a_clock_that_jumps_by_an_hour(tmp_path: Path) -> None:
    retried, _, *paced, timed_out = seconds_between_requests(tmp_path, 3600)[:7]
    assert 0.19 < retried < JUMPED
    assert len(paced) == 4
    assert all(0 <= gap < JUMPED for gap in paced)
    assert sum(paced) > 0.15
    assert 0.25 < timed_out < JUMPED


@slow
@pytest.mark.row(47)
def test_row_47_a_pause_while_it_jumps_by_a_year(tmp_path: Path) -> None:
    *_, refused, paused, last = seconds_between_requests(tmp_path, 365 * 86_400, "pause")
    assert 0.25 < refused < JUMPED
    assert 0.99 < paused < JUMPED
    assert last < JUMPED


@pytest.mark.row(47)
@pytest.mark.parametrize("off", [-3600, 0, 3600])
def test_row_47_only_a_date_without_a_date_is_read_against_the_wall_clock(off: int) -> None:
    until = formatdate(1_000_030, usegmt=True)
    asked = Response(status=429, headers={"retry-after": until, "date": formatdate(1_000_000, usegmt=True)})
    assert retry_after(asked, clock=lambda: 1_000_000 + off) == 30
    undated = Response(status=429, headers={"retry-after": until})
    assert retry_after(undated, clock=lambda: 1_000_000 + off) == max(0, 30 - off)
