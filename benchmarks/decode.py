"""Decoding a session's events: this package's way against plain ``json`` and the obvious cattrs program.

CPU time, adjacent pairs in one process, medians; garbage collection as it comes.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from datetime import datetime

import attrs
import cattrs
import msgspec

from fullstory_async import SessionId
from fullstory_async.codec import decode_events
from fullstory_async.http.messages import Response
from fullstory_async.sandbox.events import events_of
from fullstory_async.sandbox.world import World

ROUNDS = 15
ID = SessionId("1:2")


@attrs.define
class PlainEvent:
    """What one would write first: a class like the answer, and a default converter."""

    event_type: str | None = None
    event_time: datetime | None = None
    device_id: str | None = None
    session_id: str | None = None
    view_id: str | None = None
    event_properties: dict | None = None
    source_type: str | None = None
    source_properties: dict | None = None


def main() -> bool:
    """Print a table of ratios to ``json.loads``; return whether lazy decoding is cheaper than it."""
    converter = cattrs.Converter()
    converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))

    def obvious(body: bytes) -> object:
        return converter.structure(json.loads(body)["events"], list[PlainEvent])

    def lazy(body: bytes) -> object:
        return decode_events(Response(status=200, body=body), ID)

    def types_read(body: bytes) -> object:
        return [event.type for event in lazy(body)]

    def all_read(body: bytes) -> object:
        return [(event.data, event.source_properties) for event in lazy(body)]

    print("decode: CPU time as a multiple of json.loads (smaller is better)")
    print(f"{'events':>7} {'bytes':>10} {'lazy':>7} {'types read':>11} {'all read':>9} {'json + cattrs':>14}")
    kept = True
    for count in (10, 200, 2000, 20_000):
        body = body_of(count)
        ratios = [ratio(way, json.loads, body) for way in (lazy, types_read, all_read, obvious)]
        print(
            f"{count:>7} {len(body):>10} {ratios[0]:>7.2f} {ratios[1]:>11.2f} {ratios[2]:>9.2f} {ratios[3]:>14.2f}"
        )
        kept = kept and (count < 200 or ratios[0] < 0.5)
    return kept


def body_of(count: int) -> bytes:
    """Return a live-form answer with so many events."""
    world = World(0, 1, 1, 1)
    (session,) = world.sessions.values()
    events = events_of(world, attrs.evolve(session, event_count=count, mobile=False))
    return msgspec.json.encode({"events": list(events)})


def ratio(way: Callable[[bytes], object], base: Callable[[bytes], object], body: bytes) -> float:
    """Return the median ratio of CPU times, each pair measured side by side."""
    repeat = max(1, 400_000 // len(body))
    return statistics.median(cpu(way, body, repeat) / cpu(base, body, repeat) for _ in range(ROUNDS))


def cpu(way: Callable[[bytes], object], body: bytes, repeat: int) -> float:
    started = time.process_time()
    for _ in range(repeat):
        way(body)
    return time.process_time() - started


if __name__ == "__main__":
    main()
