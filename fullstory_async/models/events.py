"""SessionEvents: the events of one session, and common selections of them.

A selection shares the events' objects, so a field that was decoded once is not decoded again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, overload

import attrs

from fullstory_async import validators
from fullstory_async.amounts import counted
from fullstory_async.json_ready import JsonReady
from fullstory_async.models.event import SessionEvent
from fullstory_async.models.event_data import IdentifyData
from fullstory_async.models.event_decoding import read_events
from fullstory_async.models.event_table import EVENT_TABLE, event_columns, event_table
from fullstory_async.models.event_types import warn_about_event_type
from fullstory_async.models.reading_ahead import read_ahead
from fullstory_async.models.session import SessionRef, session_id_of
from fullstory_async.models.summary import SessionSummary
from fullstory_async.notebook_html import table
from fullstory_async.response_info import HasResponseInfo
from fullstory_async.tables.columns import Row, Table
from fullstory_async.tables.dicts import rows_as_dicts
from fullstory_async.tables.events import EventColumns

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SessionEvents", "SessionPage"]


@attrs.frozen(eq=False, repr=False)
class SessionEvents(HasResponseInfo, JsonReady, Sequence[SessionEvent]):
    """The events of one session, sorted by time: a sequence.

    The service does not promise an order. Events with the same time stay in the response's order, and an
    event without a readable time stays behind the one before it.
    """

    session_id: str
    """The requested session."""

    events: list[SessionEvent] = attrs.field(factory=list)
    """The events as a list. Public so that encoders that read fields, such as msgspec's, include them."""

    raw: bytes = attrs.field(default=b"", kw_only=True)
    """The response body, unchanged; empty for a selection of events."""

    _parent: SessionEvents | None = attrs.field(default=None, alias="parent", kw_only=True)
    """The events that this is a selection of."""

    @classmethod
    def from_json(cls, body: bytes | str, session_id: SessionRef | None = None) -> SessionEvents:
        """Read a response that was kept, such as `raw`: ``SessionEvents.from_json(path.read_bytes())``.

        Args:
            body: the complete JSON of a response, in either wire form.
            session_id: the session; by default the one that the events themselves name, if they do.

        Raises:
            DecodeError: the body is not a list of events.
            InvalidSessionId: ``session_id`` can't be one.
        """
        raw = body.encode() if isinstance(body, str) else bytes(body)
        events = read_events(raw)
        name = _session_named_in(events) if session_id is None else str(session_id_of(session_id))
        return cls(name, events, raw=raw)

    @overload
    def __getitem__(self, index: int) -> SessionEvent: ...
    @overload
    def __getitem__(self, index: slice) -> SessionEvents: ...
    def __getitem__(self, index: int | slice) -> SessionEvent | SessionEvents:
        if isinstance(index, slice):
            return self._selection(self.events[index])
        return self.events[index]

    def __iter__(self) -> Iterator[SessionEvent]:
        return read_ahead(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def of_type(self, *types: str) -> SessionEvents:
        """Return the events of these types: ``events.of_type("click", "change")``.

        Issues an `UnknownEventTypeWarning` for a name that is neither documented nor in this session.
        """
        present = {event.type for event in self}
        for name in types:
            warn_about_event_type(name, present, stacklevel=3)
        return self._selection([event for event in self if event.type in types])

    def between(self, start: datetime | None = None, end: datetime | None = None) -> SessionEvents:
        """Return the events from ``start`` on and before ``end``.

        Events without a time are left out.

        Raises:
            ConfigurationError: a time without a time zone.
        """
        start, end = validators.time_or_none(start), validators.time_or_none(end)
        validators.timezone_aware(start, "start")
        validators.timezone_aware(end, "end")
        return self._selection(
            [
                event
                for event in self
                if (when := event.timestamp) is not None
                and (start is None or start <= when)
                and (end is None or when < end)
            ]
        )

    def errors(self) -> SessionEvents:
        """Return exceptions, console errors, failed requests and app crashes."""
        return self._selection([event for event in self if event.is_error])

    def frustrations(self) -> SessionEvents:
        """Return rage clicks, dead clicks, error clicks and mouse thrashing."""
        return self._selection([event for event in self if event.frustrations])

    def pages(self) -> tuple[SessionPage, ...]:
        """Return the events grouped by view, in the order of each view's first event.

        A view is a page load, a screen or a tab.
        """
        views: dict[str | None, list[SessionEvent]] = {}
        for event in self:
            views.setdefault(event.view_id, []).append(event)
        return tuple(SessionPage(view_id, self._selection(group)) for view_id, group in views.items())

    def users(self) -> tuple[IdentifyData, ...]:
        """Return the identified users, each person once with the latest data."""
        users: list[IdentifyData] = []
        for event in self:
            if (identity := event.identify) is None:
                continue
            known = next((n for n, other in enumerate(users) if _is_same_person(identity, other)), None)
            if known is None:
                users.append(identity)
            else:
                users[known] = identity
        return tuple(users)

    @property
    def duration(self) -> float:
        """Seconds from the first to the last event; 0.0 if fewer than two have a time."""
        # min and max, not the ends: an event without a readable time is not sorted
        times = [event.timestamp for event in self if event.timestamp is not None]
        return (max(times) - min(times)).total_seconds() if times else 0.0

    def to_html(self, *, summary: SessionSummary | str | None = None) -> str:
        """Return a page for people: one HTML file without scripts, which loads nothing.

        It has a time strip, the events page by page, a switch for problems only and a choice of types. Its
        size is limited, and a note says how many events it leaves out.

        Args:
            summary: a summary to show at its top.
        """
        # a page is seldom asked for, and its style sheet is large
        from fullstory_async.models.event_page import EventPage  # noqa: PLC0415

        session = self._parent or self
        text = summary.text if isinstance(summary, SessionSummary) else summary or ""
        return EventPage(
            session_id=self.session_id, events=self, session=session, duration=session.duration,
            users=session.users(), summary=text,
        ).to_html()  # fmt: skip

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the events as dicts for JSON, with the names and values of an export's rows.

        ``event_properties`` and ``source_properties`` are nested, and times are texts in UTC. The events of a
        selection have the numbers (``seq``) and the user that they have in their session.
        """
        return rows_as_dicts(*self.to_rows())

    def to_rows(self) -> tuple[Table, Sequence[Row]]:
        """Return the columns of an export of events, and the events as rows of them."""
        return EVENT_TABLE, self._columns().rows(EVENT_TABLE)

    def _columns(self) -> EventColumns:
        parent = self._parent
        if parent is None:
            return event_columns(self.session_id, self.events, self.raw)
        # the user of an event is known from the events before it, which a selection may lack
        numbers = {id(event): n for n, event in enumerate(parent)}
        columns = event_columns(parent.session_id, list(parent), parent.raw)
        return columns.take([numbers[id(event)] for event in self])

    def to_arrow(self) -> pa.Table:
        """Return the events as a ``pyarrow.Table``, with the columns of an export. Needs pyarrow.

        The events of a selection have the numbers (``seq``) and the user that they have in their session.

        Raises:
            ConfigurationError: pyarrow is not installed.
            DecodeError: an event is nested too deeply.
        """
        return event_table(self._columns())

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return `to_arrow` through Arrow's PyCapsule interface: for pandas, polars and DuckDB."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def _selection(self, events: list[SessionEvent]) -> SessionEvents:
        return SessionEvents(self.session_id, events, parent=self._parent or self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SessionEvents):
            return NotImplemented
        return self.session_id == other.session_id and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # a list of events has no stable hash

    def __repr__(self) -> str:
        return f"SessionEvents(session_id={self.session_id!r}, {len(self)} events)"

    def _repr_html_(self) -> str:
        """Return a table of the first events, for notebooks."""
        caption = f"Session {self.session_id}: {counted(len(self), 'event')} in {self.duration:,.0f} s"
        rows = (
            (
                event.timestamp,
                event.type,
                event.description,
                event.is_error or "",
                ", ".join(event.frustrations),
            )
            for event in self
        )
        return table(caption, ("time", "type", "description", "error", "frustrations"), rows, len(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.session_id, list(self), self.raw)


@attrs.frozen
class SessionPage(JsonReady):
    """The events of one view: a page load, a screen or a tab."""

    view_id: str | None
    """The view; ``None`` for events outside any view (a server's), and in the published wire form."""

    events: SessionEvents
    """The events of this view."""

    @property
    def url(self) -> str | None:
        """The first URL in its events; ``None`` for screens of an app."""
        urls = (event.source.url for event in self.events)
        return next((url.full_url for url in urls if url is not None and url.full_url), None)

    @property
    def title(self) -> str | None:
        """The first title in its events."""
        return next((title for event in self.events if (title := event.source.title)), None)


def _session_named_in(events: list[SessionEvent]) -> str:
    """Return the full session id that the events name; empty if they name none."""
    names = ((event.device_id, event.session_id) for event in events)
    return next((f"{device}:{session}" for device, session in names if device and session), "")


def _is_same_person(one: IdentifyData, other: IdentifyData) -> bool:
    """Return whether two have the same id, or e-mail address if an id is missing."""
    if one.user_id and other.user_id:
        return one.user_id == other.user_id
    return (one.user_email or "").lower() == (other.user_email or "").lower()


def _restore(session_id: str, events: list[SessionEvent], raw: bytes) -> SessionEvents:
    return SessionEvents(session_id, events, raw=raw)
