"""Decode a complete body of events with msgspec; nested objects stay raw until they are read.

Some bodies are rejected by msgspec and accepted by Python's ``json`` (``NaN``, lone surrogates, a byte
order mark), or have fields of other types. ``json`` and `event_fallback` decode those instead: more slowly,
with the same result, or with an error that names the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from fullstory_async.models.event import PublishedEvent, SessionEvent, raw_times
from fullstory_async.models.event_fallback import by_time, fallback_events

__all__ = ["check_utf8", "decode_with_first", "read_events", "read_events_with_times", "unsorted_events"]

E = TypeVar("E")

_CHUNK = 32 * 1024
_MAX_CHARACTER_BYTES = 4
_MIN_TIME_LENGTH = len("2026-05-04T10:00Z")


class _Events(msgspec.Struct, Generic[E], gc=False):
    # a null event is not of this type, so a body that has one takes the fallback
    events: list[E] | None = None


_decoders = (msgspec.json.Decoder(_Events[SessionEvent]), msgspec.json.Decoder(_Events[PublishedEvent]))


def unsorted_events(body: bytes) -> list[SessionEvent] | None:
    """Return the events in the response's order; ``None`` if msgspec rejects the body."""
    decoded = decode_with_first(_decoders, body)
    return None if decoded is None else decoded.events or []


def decode_with_first(decoders: Sequence[msgspec.json.Decoder[Any]], text: bytes) -> Any:
    """Decode with the first decoder that accepts the text; ``None`` if none does.

    Args:
        decoders: one for each wire form.
        text: the JSON text.
    """
    try:
        # msgspec does not validate the strings that it skips, and raw slices are skipped
        check_utf8(text)
        for decoder in decoders:
            try:
                return decoder.decode(text)
            except msgspec.ValidationError:
                # valid JSON in another form
                continue
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return None


def read_events(body: bytes) -> list[SessionEvent]:
    """Return the events of a complete body, sorted by time.

    Raises:
        DecodeError: it is not JSON, or a value has the wrong type; the message has the path of each.
    """
    events = unsorted_events(body)
    if events is None:
        return [event for event, _ in fallback_events(body)]
    # The service sends events in order today. To compare the strings is much cheaper than to parse every
    # time.
    if _are_sorted(raw_times(events)):
        return events
    return by_time((event.timestamp, event) for event in events)


def read_events_with_times(body: bytes) -> list[tuple[SessionEvent, str | None]]:
    """Return the events of a complete body, sorted by time, each with its time as it was sent.

    Raises:
        DecodeError: as for `read_events`.
    """
    events = unsorted_events(body)
    pairs: list[tuple[SessionEvent, Any]]
    if events is None:
        pairs = fallback_events(body)
    else:
        pairs = by_time(
            (each.timestamp, (each, when)) for each, when in zip(events, raw_times(events), strict=True)
        )
    return [(event, when if when is None else str(when)) for event, when in pairs]


def check_utf8(body: bytes) -> None:
    """Raise `UnicodeDecodeError` for a body that is not UTF-8."""
    if body.isascii():
        return
    size = len(body)
    if size <= _CHUNK:
        body.decode()
        return
    # in chunks: they and their decoded copies stay in the processor's cache
    view, start = memoryview(body), 0
    while start < size:
        end = min(size, start + _CHUNK)
        # move the end back to the start of a character; a run of continuation bytes is invalid and stays in
        while end < size and body[end] & 0xC0 == 0x80 and start + _CHUNK - end < _MAX_CHARACTER_BYTES:
            end -= 1
        str(view[start:end], "utf-8")
        start = end


def _are_sorted(times: list[Any]) -> bool:
    """Return whether times are sorted ISO 8601 strings in UTC, all of one format."""
    # A few operations on one long string instead of a check of each time: this runs over every event.
    try:
        joined = "\n".join(times)
    except TypeError:
        return False
    count, breaks = len(times), len(times) - 1
    if not times:
        return True
    step = len(times[0]) + 1
    if step <= _MIN_TIME_LENGTH:
        return False
    # all have the length of the first if the total length is right and the line breaks are exactly where
    # each ends
    same_length = len(joined) == count * step - 1 and joined[step - 1 :: step] == "\n" * breaks
    if not same_length or joined.count("\n") != breaks:
        return False
    # the dash behind the year, and the Z at the end, of every time: only then the order of strings is that
    # of times
    years, zones = joined[4::step], joined[step - 2 :: step]
    return years == "-" * count and zones == "Z" * count and times == sorted(times)
