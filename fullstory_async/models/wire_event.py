"""WireEvent: one event as it lies in an answer, in either wire form.

Building every nested object of a long session costs ten times as much as finding out where each one is, and most are
never looked at. So msgspec, which checks the whole answer as JSON, makes of each event its few texts and two slices of
the answer. Whoever reads a field first pays for it, once.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from fullstory_async.errors import DecodeError

__all__ = ["NOTHING", "WireEvent", "nested", "text"]

_Text = str | int | float | bool | None
"""A text, or what some answers have in its place."""

NOTHING = msgspec.Raw(b"null")
_decode = msgspec.json.Decoder().decode


class WireEvent(msgspec.Struct, gc=False):
    """The fields of both wire forms. JSON has no cycles, so the garbage collector need not look at these objects."""

    type: _Text = None
    timestamp: _Text = None
    data: msgspec.Raw = NOTHING
    event_type: _Text = None
    event_time: _Text = None
    event_properties: msgspec.Raw = NOTHING
    device_id: _Text = None
    session_id: _Text = None
    view_id: _Text = None
    source_type: _Text = None
    source_properties: msgspec.Raw = NOTHING


def text(value: _Text) -> str | None:
    """Return a text, or the JSON of what stands in its place: ids are int64, and come either way."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def nested(raw: msgspec.Raw) -> Any:
    """Decode a nested object; null is an empty one. Raises `DecodeError` for a number that Python can't hold."""
    try:
        value = _decode(raw)
    except msgspec.MsgspecError:  # numbers beyond a float's range; json reads them as infinite
        value = _by_json(bytes(raw))
    return {} if value is None else value


def _by_json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise DecodeError(f"an event's properties can't be read: {error}") from None
