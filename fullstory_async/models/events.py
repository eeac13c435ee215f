"""SessionEvents: the events of one session, and the selections that people make of them.

A selection holds the same events, which read of the answer what they are asked for, and that once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, overload

import attrs

from fullstory_async import validators
from fullstory_async.models.event import SessionEvent
from fullstory_async.models.event_data import IdentifyData
from fullstory_async.models.event_types import warn_of_event_type

__all__ = ["SessionEvents", "SessionPage"]


@attrs.frozen(eq=False, repr=False)
class SessionEvents(Sequence[SessionEvent]):
    """Events of one session in the order of time: a sequence.

    The service promises no order. Events of the same time stay in the answer's order, and one without a
    readable time stays behind the one before it.
    """

    session_id: str
    """The session that was asked for."""

    _events: list[SessionEvent] = attrs.field(factory=list, alias="events")

    raw: bytes = attrs.field(default=b"", kw_only=True)
    """The answer as it came; empty for a selection of events."""

    @overload
    def __getitem__(self, index: int) -> SessionEvent: ...
    @overload
    def __getitem__(self, index: slice) -> list[SessionEvent]: ...
    def __getitem__(self, index: int | slice) -> SessionEvent | list[SessionEvent]:
        return self._events[index]

    def __iter__(self) -> Iterator[SessionEvent]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    def of_type(self, *types: str) -> SessionEvents:
        """Return the events of these types: ``events.of_type("click", "change")``.

        Warns with `UnknownEventTypeWarning` of a name that is neither documented nor in this session.
        """
        present = {event.type for event in self}
        for name in types:
            warn_of_event_type(name, present, stacklevel=3)
        return self._selected([event for event in self if event.type in types])

    def between(self, start: datetime | None = None, end: datetime | None = None) -> SessionEvents:
        """Return the events from ``start`` on and before ``end``; those without a time are left out.

        Raises:
            ConfigurationError: a time without a time zone.
        """
        validators.aware(start, "start")
        validators.aware(end, "end")
        return self._selected(
            [
                event
                for event in self
                if (when := event.timestamp) is not None
                and (start is None or start <= when)
                and (end is None or when < end)
            ]
        )

    def errors(self) -> SessionEvents:
        """Return what failed: exceptions, errors on the console, failed requests, and crashes of an app."""
        return self._selected([event for event in self if event.is_error])

    def frustrations(self) -> SessionEvents:
        """Return signs of annoyance: rage clicks, dead clicks, clicks that led to errors, and mouse thrashing."""
        return self._selected([event for event in self if event.frustrations])

    def pages(self) -> tuple[SessionPage, ...]:
        """Return the events by view (page load, screen or tab), in the order of each view's first event."""
        views: dict[str | None, list[SessionEvent]] = {}
        for event in self:
            views.setdefault(event.view_id, []).append(event)
        return tuple(
            SessionPage(view_id, SessionEvents(self.session_id, group)) for view_id, group in views.items()
        )

    def users(self) -> tuple[IdentifyData, ...]:
        """Return who the user was said to be, each person once with what was said last."""
        found: list[IdentifyData] = []
        for event in self:
            if (said := event.identify) is None:
                continue
            known = next((n for n, other in enumerate(found) if _same_person(said, other)), None)
            if known is None:
                found.append(said)
            else:
                found[known] = said
        return tuple(found)

    @property
    def duration(self) -> float:
        """Seconds from the first to the last event; 0.0 where fewer than two have a time."""
        times = [event.timestamp for event in self if event.timestamp is not None]
        return (max(times) - min(times)).total_seconds() if times else 0.0

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the events as dicts that are ready for JSON; times are ISO 8601 texts."""
        return [
            {
                name: value.isoformat() if isinstance(value, datetime) else value
                for name, value in attrs.asdict(event, recurse=False).items()
            }
            for event in self
        ]

    def _selected(self, events: list[SessionEvent]) -> SessionEvents:
        return SessionEvents(self.session_id, events)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SessionEvents):
            return NotImplemented
        return self.session_id == other.session_id and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # a list of events has no stable hash

    def __repr__(self) -> str:
        return f"SessionEvents(session_id={self.session_id!r}, {len(self)} events)"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.session_id, list(self), self.raw)


@attrs.frozen
class SessionPage:
    """What happened in one view: a page load, a screen, or a tab."""

    view_id: str | None
    """The view; ``None`` for events outside of any, as a server's, and in the published wire form."""

    events: SessionEvents
    """Its events."""

    @property
    def url(self) -> str | None:
        """The first URL that its events name; ``None`` for screens of an app."""
        urls = (event.source.url for event in self.events)
        return next((url.full_url for url in urls if url is not None and url.full_url), None)

    @property
    def title(self) -> str | None:
        """The first title that its events name."""
        return next((title for event in self.events if (title := event.source.title)), None)


def _same_person(one: IdentifyData, other: IdentifyData) -> bool:
    """Tell by the id, or by the e-mail address where one of them has no id."""
    if one.user_id and other.user_id:
        return one.user_id == other.user_id
    return (one.user_email or "").lower() == (other.user_email or "").lower()


def _restore(session_id: str, events: list[SessionEvent], raw: bytes) -> SessionEvents:
    return SessionEvents(session_id, events, raw=raw)
