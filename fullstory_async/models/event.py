"""SessionEvent: one thing that happened in a session.

Most readers look at a few fields of a few events, so an event is a view on what lies in the answer (`WireEvent`): a
field is decoded when it is first read, and what was made is kept. Until ``data`` and ``source_properties`` are both
read, an event refers to the answer's bytes; keep ``event.data`` rather than the event to let a large answer go.

An event is an attrs class of these fields for whoever looks at it: compared, shown, copied, pickled and structured by what
its fields say, never by whether they have been read.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs
import msgspec

from fullstory_async.models import description
from fullstory_async.models.event_data import SourceData
from fullstory_async.models.times import timestamp as read_time
from fullstory_async.models.views import EventViews
from fullstory_async.models.wire_event import NOTHING, WireEvent, nested, text

__all__ = ["SessionEvent", "event_of"]

_TEXT: Any = str | None
_TIME: Any = datetime | None
_FIELDS = {
    "type": attrs.field(type=str, default=""),
    "timestamp": attrs.field(type=_TIME, default=None),
    **{
        name: attrs.field(type=_TEXT, default=None)
        for name in ("device_id", "session_id", "view_id", "source_type")
    },
    "data": attrs.field(type=dict[str, Any], factory=dict, hash=False),
    "source_properties": attrs.field(type=dict[str, Any], factory=dict, hash=False),
}


@attrs.frozen(these=_FIELDS, init=False, slots=False, kw_only=True)
class SessionEvent(EventViews):
    """One event of a session. Both wire forms give the same fields; the live service fills more.

    The attributes that are called like a type of event (``event.click``, ``event.request``, …) give the documented fields
    of that type as an attrs class, and ``None`` where the event is of another type.
    """

    __slots__ = ("__weakref__", "_wire")

    _wire: WireEvent

    def __init__(
        self,
        *,
        type: str = "",  # noqa: A002  (the field's name)
        timestamp: datetime | None = None,
        device_id: str | None = None,
        session_id: str | None = None,
        view_id: str | None = None,
        source_type: str | None = None,
        data: dict[str, Any] | None = None,
        source_properties: dict[str, Any] | None = None,
    ) -> None:
        """Make an event by hand, as for a test."""
        wire: Any = WireEvent
        made = wire(
            event_type=type, event_time=timestamp, event_properties={} if data is None else data,
            device_id=device_id, session_id=session_id, view_id=view_id, source_type=source_type,
            source_properties={} if source_properties is None else source_properties,
        )  # fmt: skip
        _put(self, made)

    @property
    def type(self) -> str:
        """What happened: ``click``, ``navigate``, …; an open set. Empty where the answer names none."""
        wire = self._wire
        return text(wire.event_type) or text(wire.type) or ""

    @property
    def timestamp(self) -> datetime | None:
        """When, with a time zone, by the device's clock; ``None`` where the answer has no readable time."""
        wire: Any = self._wire
        when = wire.event_time
        if when is None:
            when, wire.timestamp = wire.timestamp, None
        if when is not None and not isinstance(when, datetime):
            when = read_time(when)
        wire.event_time = when
        return when

    @property
    def device_id(self) -> str | None:
        """The device, equal to `Session.user_id`. Live service only."""
        return text(self._wire.device_id)

    @property
    def session_id(self) -> str | None:
        """The session's part of the id; ``None`` for server events tied to no session. Live service only."""
        return text(self._wire.session_id)

    @property
    def view_id(self) -> str | None:
        """The page load, screen or tab. Live service only."""
        return text(self._wire.view_id)

    @property
    def source_type(self) -> str | None:
        """``web``, ``mobile_app``, ``server``, …; an open set. Live service only."""
        return text(self._wire.source_type)

    @property
    def data(self) -> dict[str, Any]:
        """The event's own properties, JSON untouched; decoded on first reading."""
        wire: Any = self._wire
        value = wire.event_properties
        if value.__class__ is msgspec.Raw:
            if wire.data is not NOTHING and bytes(value) == b"null":
                value = wire.data
            value = wire.event_properties = nested(value)
            wire.data = NOTHING
        return value  # type: ignore[no-any-return]

    @property
    def source_properties(self) -> dict[str, Any]:
        """Browser, URL, location and device, JSON untouched; decoded on first reading. Live service only."""
        wire: Any = self._wire
        value = wire.source_properties
        if value.__class__ is msgspec.Raw:
            value = wire.source_properties = nested(value)
        return value  # type: ignore[no-any-return]

    @property
    def source(self) -> SourceData:
        """The documented fields of `source_properties`: page, browser, device, app and place."""
        return SourceData.read(self.source_properties)

    @property
    def description(self) -> str:
        """What happened, as one line for people; without control characters."""
        return description.describe(self)

    @property
    def is_error(self) -> bool:
        """Whether it is an exception, an error on the console, a failed request, or a crash of the app."""
        return description.is_error(self)

    @property
    def frustrations(self) -> tuple[str, ...]:
        """The signs of annoyance in it: ``rage click``, ``dead click``, ``error click``, ``mouse thrash``."""
        return description.frustrations(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (attrs.asdict(self, recurse=False),)


_new, _put = SessionEvent.__new__, SessionEvent.__dict__["_wire"].__set__


def event_of(wire: WireEvent) -> SessionEvent:
    """Return the event that lies in an answer."""
    event = _new(SessionEvent)
    _put(event, wire)
    return event


def _restore(fields: dict[str, Any]) -> SessionEvent:
    return SessionEvent(**fields)
