"""Iteration over the events of a session, which decodes ahead while a loop reads every event.

It isn't known in advance whether a program will read the payload of each event or of a few. A loop shows it:
where it has read a field of every event of a block, the field is decoded in the next block at once. A loop
that skips events, for example by their type, decodes what it reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from fullstory_async.models.event import SessionEvent, decode_alike

__all__ = ["read_in_blocks"]

_FIRST = 8
_BLOCK = 64
"""Events that are decoded at once: few enough to stay in the processor's cache."""


def read_in_blocks(events: Sequence[SessionEvent]) -> Iterator[SessionEvent]:
    """Yield events, and decode ahead as the loop reads them."""
    return chain.from_iterable(_blocks(events)) if len(events) > 2 * _FIRST else iter(events)


def _blocks(events: Sequence[SessionEvent]) -> Iterator[Sequence[SessionEvent]]:
    block = events[:_FIRST]
    yield block
    for start in range(_FIRST, len(events), _BLOCK):
        previous, block = block, events[start : start + _BLOCK]
        decode_alike(previous, block)
        yield block
