"""Build events from JSON that msgspec rejects: more slowly, with the same result or an error with paths."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from fullstory_async.errors import DecodeError
from fullstory_async.json_documents import parse_json, read_text, require_list, require_object, unexpected
from fullstory_async.models import coerce
from fullstory_async.models.event import SessionEvent

__all__ = ["build_event", "build_events", "by_time", "fallback_events"]

E = TypeVar("E")

_TEXTS = {
    "type": ("event_type", "type"), "device_id": ("device_id",), "session_id": ("session_id",),
    "view_id": ("view_id",), "source_type": ("source_type",),
}  # fmt: skip
_OTHERS = {
    "timestamp": ("event_time", "timestamp"), "data": ("event_properties", "data"),
    "source_properties": ("source_properties",),
}  # fmt: skip
"""Field → its names in the live form and in the published one; the first with a value counts."""

_logger = logging.getLogger("fullstory_async.codec")


def fallback_events(body: bytes) -> list[tuple[SessionEvent, Any]]:
    """Return the events of a body that msgspec rejects, sorted by time, each with its time as it was sent.

    Raises:
        DecodeError: it is not JSON, or a value has the wrong type; the message has the path of each.
    """
    document = parse_json(body)
    _logger.debug("events: not strict JSON with the usual types, using the slow decoder")
    events = build_events(document)
    items = [item for item in document.get("events") or [] if item is not None]
    times = [_first(item, _OTHERS["timestamp"]) for item in items]
    return by_time((event.timestamp, (event, when)) for event, when in zip(events, times, strict=True))


def build_events(document: Any, *, first: int = 0) -> list[SessionEvent]:
    """Build the events of a parsed response, in its order.

    Args:
        document: the parsed response.
        first: the first event's index, for the path in errors.

    Raises:
        DecodeError: a value has the wrong type; the message has the path of each.
    """
    items = enumerate(require_list(require_object(document), "events"), first)
    return [build_event(item, f"$.events[{n}]") for n, item in items if item is not None]


def build_event(item: Any, path: str) -> SessionEvent:
    """Build an event from parsed JSON of either wire form.

    Raises:
        DecodeError: a value has the wrong type; the message has the path of each.
    """
    if not isinstance(item, Mapping):
        raise unexpected("an object", item, path)
    fields: dict[str, Any] = {}
    mismatches = []
    for name, keys in _TEXTS.items():
        if (value := _first(item, keys)) is not None:
            try:
                fields[name] = read_text(value)
            except TypeError as error:
                mismatches.append(f"{error} @ {path}.{name}")
    if mismatches:
        raise DecodeError(f"the response has an unexpected structure: {'; '.join(mismatches)}")
    fields |= {name: value for name, keys in _OTHERS.items() if (value := _first(item, keys)) is not None}
    return SessionEvent(**{**fields, "timestamp": coerce.timestamp(fields.get("timestamp"))})


def _first(item: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((item[key] for key in keys if item.get(key) is not None), None)


def by_time(timed: Iterable[tuple[datetime | None, E]]) -> list[E]:
    """Sort items by time, stably; one without a time stays behind its predecessor."""
    keyed, latest = [], datetime.min.replace(tzinfo=UTC)
    for when, item in timed:
        latest = when or latest
        keyed.append((latest, item))
    keyed.sort(key=lambda pair: pair[0])
    return [item for _, item in keyed]
