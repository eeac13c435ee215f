"""The rate limiter against a server that strictly enforces the same limit.

Measured are the share of the limit that is used, and the 429s.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import urllib.request
from collections.abc import Callable

from benchmarks.clients import ours
from benchmarks.report import Section, table
from benchmarks.server import running
from fullstory_async import RateLimit, SessionEvents

__all__ = ["limits"]

_BURST = 0.5
"""Burst, in seconds of the rate."""


def limits(quick: bool) -> Section:
    """Measure use of the limit, the busiest second and 429s at several rates.

    At 100 requests/s also with an event loop that is busy decoding.
    """
    section = Section("Rate limiter against a strict token bucket")
    section.say(
        "`used` is the share of the requests that the bucket allows in the time; `busiest second` is "
        "relative to burst + rate; `decoding` runs read every payload of 200-event sessions on the same "
        "event loop, and `light` runs only count 10 events."
    )
    rows, used, refused = [], {"light": [], "decoding": []}, 0
    plan = [(1, 8, 1), (10, 60, 1), (100, 600, 6), (1_000, 6_000, 1)] if not quick else [(100, 100, 1)]
    with running((10, 200)) as url:
        for rate, count, runs in plan:
            for n in range(runs):
                for load, session in (("light", "10"), ("decoding", "200")):
                    if load == "decoding" and rate != 100:
                        continue
                    found = asyncio.run(one_run(url, rate, count, f"r{rate}n{n}{load}", session))
                    rows.append(
                        (f"{rate}/s, {load}", f"{found['used']:.1%}", f"{found['busiest_second']:.2f}",
                        found["refused"])
                    )  # fmt: skip
                    refused += found["refused"]
                    if rate == 100:
                        used[load].append(found["used"])
    section.say(table(("run", "used", "busiest second", "429s"), rows))
    section.promise("429s in all runs", refused, 0)
    section.promise(
        "share of the limit used, light loop", statistics.median(used["light"]), 0.98, at_least=True
    )
    section.promise(
        "share of the limit used, decoding", statistics.median(used["decoding"]), 0.97, at_least=True
    )
    return section


async def one_run(url: str, rate: float, count: int, name: str, session: str) -> dict:
    limit = RateLimit(rate, max(1.0, rate * _BURST))
    read: Callable[[SessionEvents], object] = len if session == "10" else read_all
    async with ours(f"{url}/live/limit={rate},{limit.burst},{name}", rate_limit=limit) as client:
        ids = (f"{session}:{n}" for n in range(count))
        async with client.sessions.events_many(ids, concurrency=64) as results:
            async for outcome in results:
                if outcome.value is not None:
                    read(outcome.value)
    with urllib.request.urlopen(f"{url}/stats/{name}") as answer:  # noqa: S310, ASYNC210  (the run is over)
        return json.load(answer)


def read_all(events: SessionEvents) -> object:
    return [(event.data, event.source_properties) for event in events]
