"""Iterate over events, and decode ahead the payloads that a program reads of every event.

A program that reads a few payloads has each decoded when it is read. One that reads those of one event after
the other has them decoded in portions, which is cheaper, see `decode_payloads`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from fullstory_async.models.event import PAYLOADS, Payload, SessionEvent

__all__ = ["read_ahead"]

_FEW = 16
"""Number of events below which decoding ahead isn't worth its cost."""
_FIRST = 4
"""Number of events of which nothing is decoded ahead at first."""
_PROBES = 2
"""Number of events at the end of each portion of which nothing is decoded ahead: that the program reads them
shows that it reads every event."""
_MOST = 128
"""Number of events in the largest portion that is decoded ahead: it bounds the time of one step."""
_UNREAD = 512
"""Number of events after which a program that did not read every event is looked at again."""


def read_ahead(events: list[SessionEvent]) -> Iterator[SessionEvent]:
    """Iterate over events, and decode ahead what the program reads of each of them."""
    return iter(events) if len(events) < _FEW else chain.from_iterable(_portions(events))


def _portions(events: list[SessionEvent]) -> Iterator[list[SessionEvent]]:
    """Yield the events in portions.

    Those that are decoded ahead start small and grow while the program reads on: if it stops, not much more
    has been decoded in vain than it has read.
    """
    start, ahead, size = 0, _FIRST, _FIRST
    payloads: list[Payload] = []
    while portion := events[start : start + size]:
        for payload in payloads:
            payload.decode(portion[:-_PROBES])
        probes = portion[-_PROBES:]
        # what was read before, as in an earlier iteration, doesn't show what is read in this one
        unread = [each for each in PAYLOADS if not any(map(each.is_decoded, probes))]
        yield portion
        start += len(portion)
        payloads = [each for each in unread if all(map(each.is_decoded, probes))]
        ahead = min(2 * ahead, _MOST) if payloads else _FIRST
        size = ahead if payloads else _UNREAD
