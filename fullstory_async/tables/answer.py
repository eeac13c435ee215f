"""An answer's events with their JSON left as slices, in either wire form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

__all__ = ["ParsedEvent", "SlicedEvent", "as_texts", "sliced_events"]

E = TypeVar("E")
T = TypeVar("T")

_Sent = str | int | float | bool | None
"""A string, or what some responses have in its place."""
_NULL = msgspec.Raw(b"null")


class ParsedEvent(NamedTuple):
    """An event of an answer that msgspec rejects, parsed by other means."""

    type: str
    time: Any
    """As it was sent."""
    device_id: str | None
    view_id: str | None
    source_type: str | None
    data: Any
    source: Any


class SlicedEvent(msgspec.Struct, Generic[T], gc=False):
    """An event in the live service's form and order; ``T`` is what the service sends as a text."""

    # msgspec expects each field behind the one before
    device_id: T | None = None
    session_id: T | None = None
    view_id: T | None = None
    event_time: _Sent = None
    event_type: str = ""
    event_properties: msgspec.Raw = _NULL
    source_type: T | None = None
    source_properties: msgspec.Raw = _NULL
    # the keys of the other form must be absent, see `SessionEvent`
    no_type: None = msgspec.field(default=None, name="type")
    no_time: None = msgspec.field(default=None, name="timestamp")
    no_data: None = msgspec.field(default=None, name="data")


class _PublishedEvent(SlicedEvent[T], Generic[T], gc=False):
    """An event in the published description's form."""

    event_type: str = msgspec.field(default="", name="type")
    event_time: _Sent = msgspec.field(default=None, name="timestamp")
    event_properties: msgspec.Raw = msgspec.field(default=_NULL, name="data")
    no_type: None = msgspec.field(default=None, name="event_type")
    no_time: None = msgspec.field(default=None, name="event_time")
    no_data: None = msgspec.field(default=None, name="event_properties")


class _Events(msgspec.Struct, Generic[E], gc=False):
    events: list[E] | None = None


_DECODERS: tuple[msgspec.json.Decoder[Any], ...] = (
    msgspec.json.Decoder(_Events[SlicedEvent[str]]), msgspec.json.Decoder(_Events[_PublishedEvent[str]]),
)  # fmt: skip
_SENT_DECODERS: tuple[msgspec.json.Decoder[Any], ...] = (
    msgspec.json.Decoder(_Events[SlicedEvent[_Sent]]), msgspec.json.Decoder(_Events[_PublishedEvent[_Sent]]),
)  # fmt: skip


def sliced_events(body: bytes) -> list[SlicedEvent[str]] | None:
    """Return the events in the answer's order; ``None`` if msgspec rejects the body.

    Only `event_time` may still be what was sent in place of a text. The slices need not be UTF-8.
    """
    try:
        if (events := _decoded(_DECODERS, body)) is None and (events := _decoded(_SENT_DECODERS, body)):
            for each in events:
                given = (each.device_id, each.view_id, each.source_type)
                each.device_id, each.view_id, each.source_type = as_texts(given)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return events


def _decoded(decoders: Iterable[msgspec.json.Decoder[Any]], body: bytes) -> list[SlicedEvent[str]] | None:
    """Return the events as the first decoder does that accepts them, if there is one."""
    for decoder in decoders:
        try:
            found: list[SlicedEvent[str]] = decoder.decode(body).events or []
        except msgspec.ValidationError:
            # valid JSON in another form
            continue
        return found
    return None


def as_texts(values: Sequence[Any]) -> Sequence[str | None]:
    """Return values as texts: strings as they are, others as their JSON."""
    if set(map(type, values)) <= {str, type(None)}:
        return values
    return [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
