"""Realistic response bodies: sandbox events of about 1 kB, in both wire forms."""

from __future__ import annotations

import random

import attrs
import msgspec

from fullstory_async.sandbox.events import events_of, in_spec_form
from fullstory_async.sandbox.world import World

__all__ = ["FORMS", "MIX", "body_of", "mixed_bodies"]

FORMS = ("live", "spec")
MIX = 256
"""Number of different bodies in the mix."""
_MEDIAN, _SIGMA, _LARGEST = 97, 1.2, 4000  # log-normal with a mean of 200 events


def body_of(count: int, form: str = "live") -> bytes:
    """Return a response body with ``count`` events."""
    return _whole(_events(count, form))


def mixed_bodies() -> list[bytes]:
    """Return bodies with log-normal numbers of events, 200 on average."""
    rng, events = random.Random(1), _events(_LARGEST, "live")
    counts = (round(rng.lognormvariate(0, _SIGMA) * _MEDIAN) for _ in range(MIX))
    return [_whole(events[: max(1, min(count, _LARGEST))]) for count in counts]


def _events(count: int, form: str) -> list[bytes]:
    world = World(0, 1, 1, 1)
    (session,) = world.sessions.values()
    events = events_of(world, attrs.evolve(session, event_count=count, mobile=False))
    return [msgspec.json.encode(each) for each in (events if form == "live" else map(in_spec_form, events))]


def _whole(events: list[bytes]) -> bytes:
    return b'{"events":[' + b",".join(events) + b"]}"
