"""Events: a whole body through msgspec, nested objects left raw until they are read.

A body that msgspec refuses but Python's ``json`` accepts (``NaN``, lone surrogates, a byte order mark) or whose fields
have other types is decoded by ``json`` and the converter instead: slower, the same result, and with the path in the
error where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec

from fullstory_async.models import SessionEvent
from fullstory_async.models.event import PublishedEvent, raw_times

__all__ = ["by_time", "decoded", "sorted_events", "unsorted_events"]

E = TypeVar("E")

_PIECE = 32 * 1024
_LONGEST_CHARACTER = 4
_SHORTEST_TIME = len("2026-05-04T10:00Z")


class _Events(msgspec.Struct, Generic[E], gc=False):
    events: list[E] | None = None  # one that is null takes the slower way


_decoders = (msgspec.json.Decoder(_Events[SessionEvent]), msgspec.json.Decoder(_Events[PublishedEvent]))


def unsorted_events(body: bytes) -> list[SessionEvent] | None:
    """Return the events of a body as they come; ``None`` if msgspec refuses it."""
    found = decoded(_decoders, body)
    return None if found is None else found.events or []


def decoded(decoders: Sequence[msgspec.json.Decoder[Any]], text: bytes) -> Any:
    """Decode by the first of them that takes a text, one for each wire form; ``None`` if none does."""
    try:
        check_utf8(text)  # msgspec does not look into the texts that it skips
        for decoder in decoders:
            try:
                return decoder.decode(text)
            except msgspec.ValidationError:  # JSON of another form
                continue
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return None


def sorted_events(body: bytes) -> list[SessionEvent] | None:
    """Return the events of a body in the order of time; ``None`` if msgspec refuses it."""
    found = unsorted_events(body)
    if found is None or _in_order(raw_times(found)):
        return found  # as the service answers today; no time has to be read for it
    return by_time((event.timestamp, event) for event in found)


def check_utf8(body: bytes) -> None:
    """Raise `UnicodeDecodeError` for a body that is not UTF-8; in pieces that stay in the processor's cache."""
    if body.isascii():
        return
    size = len(body)
    if size <= _PIECE:
        body.decode()
        return
    view, start = memoryview(body), 0
    while start < size:
        end = min(size, start + _PIECE)
        while end < size and body[end] & 0xC0 == 0x80 and start + _PIECE - end < _LONGEST_CHARACTER:
            end -= 1  # not in the middle of a character
        str(view[start:end], "utf-8")
        start = end


def _in_order(times: list[Any]) -> bool:
    """Tell whether times are ISO 8601 in UTC, written alike so that they sort as texts, and sorted."""
    try:
        joined = "\n".join(times)
    except TypeError:  # one is no text
        return False
    count, breaks = len(times), len(times) - 1
    if not times:
        return True
    step = len(times[0]) + 1
    if step <= _SHORTEST_TIME:
        return False
    # as many characters as that, and line breaks where each time would end and nowhere else: all are of one length
    alike = len(joined) == count * step - 1 and joined[step - 1 :: step] == "\n" * breaks
    if not alike or joined.count("\n") != breaks:
        return False
    years, zones = joined[4::step], joined[step - 2 :: step]
    return years == "-" * count and zones == "Z" * count and times == sorted(times)


def by_time(timed: Iterable[tuple[datetime | None, E]]) -> list[E]:
    """Sort items by time; one without a time stays behind the one before it, and ties stay as they were."""
    keyed, latest = [], datetime.min.replace(tzinfo=UTC)
    for when, item in timed:
        latest = when or latest
        keyed.append((latest, item))
    keyed.sort(key=lambda pair: pair[0])
    return [item for _, item in keyed]
