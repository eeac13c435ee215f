"""Events: a whole body through msgspec, nested objects left raw until they are read.

Building every nested dict of a long session costs ten times as much as finding out where each one is,
and most are never looked at. msgspec checks the whole body as JSON, and returns for each event its few
texts and two slices. A body that msgspec refuses but Python's ``json`` accepts (``NaN``, lone surrogates, a
byte order mark) or whose fields have other types is decoded by ``json`` and cattrs instead: slower, the
same result, and with the path in the error where there is none.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from fullstory_async.codec.times import timestamp
from fullstory_async.errors import DecodeError
from fullstory_async.models import SessionEvent

__all__ = ["by_time", "event_from_wire", "events_from_bytes", "raw_time"]

E = TypeVar("E")

_Text = str | int | float | bool | None
_NULL = msgspec.Raw(b"null")


class _WireEvent(msgspec.Struct, gc=False):
    """One event in either wire form, as slices of the body."""

    type: _Text = None
    timestamp: _Text = None
    data: msgspec.Raw = _NULL
    event_type: _Text = None
    event_time: _Text = None
    event_properties: msgspec.Raw = _NULL
    device_id: _Text = None
    session_id: _Text = None
    view_id: _Text = None
    source_type: _Text = None
    source_properties: msgspec.Raw = _NULL


class _WireEvents(msgspec.Struct, gc=False):
    events: list[_WireEvent | None] | None = None


_decoder = msgspec.json.Decoder(_WireEvents)
_nested_decoder = msgspec.json.Decoder()


def events_from_bytes(body: bytes) -> list[Any] | None:
    """Return the events of a body, to be built by `event_from_wire`; ``None`` if msgspec refuses it."""
    try:
        if not body.isascii():
            body.decode()  # msgspec does not look into the texts that it skips
        events = _decoder.decode(body).events or []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    found = [event for event in events if event is not None]
    if _in_order([event.timestamp if event.event_time is None else event.event_time for event in found]):
        return found  # as the service answers today; no time has to be read for it
    return by_time(found, lambda e: timestamp(e.timestamp if e.event_time is None else e.event_time))


def raw_time(wire: Any) -> str | None:
    """Return an event's time as it came."""
    return _text(wire.timestamp if wire.event_time is None else wire.event_time)


def _in_order(times: list[_Text]) -> bool:
    """Tell whether times are ISO 8601 in UTC, written alike so that they sort as texts, and sorted."""
    texts = [when for when in times if isinstance(when, str) and when[4:5] == "-" and when[-1] == "Z"]
    alike = len(texts) == len(times) and len(set(map(len, texts))) <= 1
    return alike and texts == sorted(texts)


def by_time(events: list[E], time_of: Callable[[E], datetime | None]) -> list[E]:
    """Sort events by time; one without a time stays behind the one before it, and ties stay as they were."""
    keyed, latest = [], datetime.min.replace(tzinfo=UTC)
    for event in events:
        latest = time_of(event) or latest
        keyed.append((latest, event))
    keyed.sort(key=lambda pair: pair[0])
    return [event for _, event in keyed]


def event_from_wire(wire: Any) -> SessionEvent:
    """Build one event of what `events_from_bytes` returned."""
    live_form = wire.data is _NULL or bytes(wire.event_properties) != b"null"
    data = wire.event_properties if live_form else wire.data
    return SessionEvent._deferred(  # noqa: SLF001  (for the codec alone)
        type=_text(wire.event_type) or _text(wire.type) or "",
        timestamp=timestamp(wire.timestamp if wire.event_time is None else wire.event_time),
        device_id=_text(wire.device_id),
        session_id=_text(wire.session_id),
        view_id=_text(wire.view_id),
        source_type=_text(wire.source_type),
        sources={"data": data, "source_properties": wire.source_properties},
        decode=_nested,
    )


def _text(value: _Text) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _nested(raw: msgspec.Raw) -> Any:
    """Decode a nested object; null is an empty one."""
    try:
        value = _nested_decoder.decode(raw)
    except msgspec.MsgspecError:  # numbers beyond a float's range; json reads them as infinite
        value = _by_json(bytes(raw))
    return {} if value is None else value


def _by_json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DecodeError(f"an event's properties can't be read: {error}") from None
