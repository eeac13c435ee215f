"""Events: a whole body through msgspec, nested objects left raw until they are read.

A body that msgspec refuses but Python's ``json`` accepts (``NaN``, lone surrogates, a byte order mark) or whose fields
have other types is decoded by ``json`` and the converter instead: slower, the same result, and with the path in the
error where there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from fullstory_async.models.times import timestamp
from fullstory_async.models.wire_event import WireEvent, text

__all__ = ["by_time", "raw_time", "unsorted_events", "wire_events"]

E = TypeVar("E")


class _WireEvents(msgspec.Struct, gc=False):
    events: list[WireEvent | None] | None = None


_decoder = msgspec.json.Decoder(_WireEvents)


def unsorted_events(body: bytes) -> list[WireEvent] | None:
    """Return the events of a body as they come; ``None`` if msgspec refuses it."""
    try:
        if not body.isascii():
            body.decode()  # msgspec does not look into the texts that it skips
        events = _decoder.decode(body).events or []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return [event for event in events if event is not None]


def wire_events(body: bytes) -> list[WireEvent] | None:
    """Return the events of a body in the order of time; ``None`` if msgspec refuses it."""
    found = unsorted_events(body)
    if found is None or _in_order([_time(event) for event in found]):
        return found  # as the service answers today; no time has to be read for it
    return by_time(found, lambda event: timestamp(_time(event)))


def raw_time(event: WireEvent) -> str | None:
    """Return an event's time as it came; to be asked before the event is looked at."""
    return text(_time(event))


def _time(event: WireEvent) -> Any:
    return event.timestamp if event.event_time is None else event.event_time


def _in_order(times: list[Any]) -> bool:
    """Tell whether times are ISO 8601 in UTC, written alike so that they sort as texts, and sorted."""
    try:
        joined = "".join(times)
    except TypeError:  # one is no text
        return False
    widths = set(map(len, times))
    if len(widths) > 1:
        return False
    width = max(widths, default=1)
    years, zones = joined[4::width], joined[width - 1 :: width]
    return years == "-" * len(times) and zones == "Z" * len(times) and times == sorted(times)


def by_time(events: list[E], time_of: Callable[[E], datetime | None]) -> list[E]:
    """Sort events by time; one without a time stays behind the one before it, and ties stay as they were."""
    keyed, latest = [], datetime.min.replace(tzinfo=UTC)
    for event in events:
        latest = time_of(event) or latest
        keyed.append((latest, event))
    keyed.sort(key=lambda pair: pair[0])
    return [event for _, event in keyed]
