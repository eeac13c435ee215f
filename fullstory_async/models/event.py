"""SessionEvent: one thing that happened in a session.

Most readers look at a few fields of a few events, so an event decodes its ``data`` and ``source_properties``
when they are first read, and keeps what it made. Until both are read it refers to the answer's bytes; keep
``event.data`` rather than the event to let a large answer go.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs

from fullstory_async.models import description
from fullstory_async.models.event_data import SourceData
from fullstory_async.models.views import EventViews

__all__ = ["SessionEvent"]


class _Deferred:
    """Lets slots of a frozen attrs class stay empty until they are first read.

    An empty slot sends the look-up here; its source is decoded, put into the slot, and never asked for again.
    """

    __slots__ = ("_decode", "_sources")

    if not TYPE_CHECKING:  # a type checker would otherwise allow any attribute name

        def __getattr__(self, name: str) -> Any:
            find = object.__getattribute__
            try:
                sources, decode = find(self, "_sources"), find(self, "_decode")
                source = sources[name]
            except (AttributeError, KeyError):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None
            value = decode(source)
            object.__setattr__(self, name, value)
            del sources[name]  # with the last one goes the event's hold on the answer's bytes
            return value


@attrs.frozen(kw_only=True)
class SessionEvent(_Deferred, EventViews):
    """One event of a session. Both wire forms give the same fields; the live service fills more.

    The attributes that are called like a type of event (``event.click``, ``event.request``, …) give the documented fields
    of that type as an attrs class, and ``None`` where the event is of another type.
    """

    type: str = ""
    """What happened: ``click``, ``navigate``, …; an open set. Empty where the answer names none."""

    timestamp: datetime | None = None
    """When, with a time zone, by the device's clock; ``None`` where the answer has no readable time."""

    device_id: str | None = None
    """The device, equal to `Session.user_id`. Live service only."""

    session_id: str | None = None
    """The session's part of the id; ``None`` for server events tied to no session. Live service only."""

    view_id: str | None = None
    """The page load, screen or tab. Live service only."""

    source_type: str | None = None
    """``web``, ``mobile_app``, ``server``, …; an open set. Live service only."""

    data: dict[str, Any] = attrs.field(factory=dict, hash=False)
    """The event's own properties, JSON untouched; decoded on first reading."""

    source_properties: dict[str, Any] = attrs.field(factory=dict, hash=False)
    """Browser, URL, location and device, JSON untouched; decoded on first reading. Live service only."""

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

    @classmethod
    def _deferred(
        cls,
        *,
        type: str,  # noqa: A002  (the field's name)
        timestamp: datetime | None,
        device_id: str | None,
        session_id: str | None,
        view_id: str | None,
        source_type: str | None,
        sources: dict[str, Any],
        decode: Callable[[Any], Any],
    ) -> SessionEvent:
        """Make an event whose ``sources`` are decoded when the field of their name is first read."""
        event = cls.__new__(cls)
        put = object.__setattr__
        put(event, "type", type)
        put(event, "timestamp", timestamp)
        put(event, "device_id", device_id)
        put(event, "session_id", session_id)
        put(event, "view_id", view_id)
        put(event, "source_type", source_type)
        put(event, "_sources", sources)
        put(event, "_decode", decode)
        return event
