"""The page of a session, from its events: converts them to the records of `fullstory_async.html_pages`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import attrs

from fullstory_async import coerce
from fullstory_async.amounts import counted, span
from fullstory_async.html_pages.moments import Look, Moment, SessionRecord, Visit
from fullstory_async.html_pages.session_page import session_page
from fullstory_async.models.described import clock, look_of, place_of
from fullstory_async.models.event import SessionEvent
from fullstory_async.models.event_data import IdentifyData, SourceData

__all__ = ["EventPage"]


@attrs.frozen(kw_only=True)
class EventPage:
    """What the page of a session is made from."""

    session_id: str
    events: Sequence[SessionEvent]
    """The events to show."""
    session: Sequence[SessionEvent]
    """All events of the session: times count from the first one."""
    duration: float
    """Seconds from the first to the last event of the session."""
    users: Sequence[IdentifyData] = ()
    summary: str = ""
    title: str = ""
    """The heading; by default the session's id."""
    note: str = ""
    """A line below the heading."""

    def to_html(self) -> str:
        """Return the page."""
        return session_page(self._record())

    def _record(self) -> SessionRecord:
        start = next((when for event in self.session if (when := event.timestamp) is not None), None)
        visits = list(_visits(self.events, start))
        left = len(self.session) - len(self.events)
        selection = (
            f"A selection: {len(self.events):,} of {counted(len(self.session), 'event')}." if left else ""
        )
        return SessionRecord(
            title=self.title or f"Session {self.session_id}",
            subtitles=[text for text in (self.title and self.session_id, self.note) if text],
            facts=list(self._facts(start, visits)), summary=self.summary, note=selection,
            length=clock(self.duration), seconds=self.duration, visits=visits,
        )  # fmt: skip

    def _facts(self, start: datetime | None, visits: Sequence[Visit]) -> Iterator[str]:
        if start is not None:
            yield f"{start.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        looks = Counter(moment.look for visit in visits for moment in visit.moments)
        yield f"{counted(looks.total(), 'event')} in {span(self.duration)}"
        yield counted(looks["error"], "error")
        yield counted(looks["warn"], "frustration")
        for user in self.users:
            yield user.user_display_name or user.user_email or user.user_id or "an identified user"
        browsing = (event.source for event in self.session if event.source_type != "server")
        if (source := next(browsing, None)) is not None:
            yield from _surroundings(source)


def _surroundings(source: SourceData) -> Iterator[str]:
    """Yield the browser or device, and the place."""
    if (agent := source.user_agent) is not None:
        yield " on ".join(filter(None, (agent.browser, agent.operating_system)))
    elif (device := source.device) is not None:
        yield " ".join(filter(None, (device.manufacturer, device.model, device.operating_system)))
    if (location := source.location) is not None:
        yield ", ".join(filter(None, (location.city, location.country)))


def _visits(events: Sequence[SessionEvent], start: datetime | None) -> Iterator[Visit]:
    """Yield the visits of pages in the order of time; a page that is visited again is another visit.

    An event without a view and a URL, such as a server's, is shown where it happened.
    """
    moments: list[Moment] = []
    key: tuple[str | None, str | None] | None = None
    first: SessionEvent | None = None
    for event in events:
        # not `event.source`, which reads all of its fields
        url = coerce.mapping(event.source_properties.get("url"))
        found = (event.view_id, coerce.string(url.get("full_url")))
        is_same = found == key or (key is not None and found[1] is None and found[0] in (None, key[0]))
        if not is_same:
            if first is not None:
                yield _visit(first, moments)
            moments, key, first = [], found, event
        moments.append(_moment(event, start))
    if first is not None:
        yield _visit(first, moments)


def _visit(first: SessionEvent, moments: list[Moment]) -> Visit:
    url = first.source.url
    return Visit(place_of(first), (url and url.full_url) or "", moments)


def _moment(event: SessionEvent, start: datetime | None) -> Moment:
    when, signs = event.timestamp, event.frustrations
    look = look_of(event, signs)
    at = None if when is None or start is None else (when - start).total_seconds()
    marks: list[tuple[Look, str]] = [("warn", sign) for sign in signs]
    if look == "error":
        marks.insert(0, ("error", "error"))
    return Moment(
        at=at, clock="" if at is None else clock(at), anchor="" if when is None else when.isoformat(),
        kind=event.type, text=event.description, look=look, marks=tuple(marks),
    )  # fmt: skip
