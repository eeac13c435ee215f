"""Page visits and the totals of a session, from its events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import attrs

from fullstory_async.tables.columns import Row
from fullstory_async.tables.events import EventColumns

__all__ = ["NO_TOTALS", "Visit", "page_rows", "session_totals", "visits_of"]

_SIGNS = ("rage click", "dead click", "error click", "mouse thrash")
NO_TOTALS: tuple[None, ...] = (None,) * 18
"""The totals of a session whose events are not known."""


@attrs.define
class Visit:
    """One visit of a page: the events of a view while its URL stays the same."""

    view_id: str | None
    url: str | None
    path: str | None
    title: str | None = None
    """The first title that is not empty."""

    entered_at: str | None = None
    events: int = 0
    errors: int = 0
    frustrations: int = 0

    def add(self, columns: EventColumns, start: int, end: int) -> None:
        """Add some events to the visit."""
        values = columns.values
        self.title = self.title or values["page_title"][start]
        self.entered_at = self.entered_at or _first(values["event_time"][start:end])
        self.events += end - start
        self.errors += sum(values["is_error"][start:end])
        self.frustrations += sum(map(len, filter(None, values["frustrations"][start:end])))


def visits_of(columns: EventColumns) -> list[Visit]:
    """Return the visits of a session in order.

    An event without a URL belongs to the visit that its view is in. Events without a view and a URL, such as
    a server's, belong to no visit.
    """
    visits: list[Visit] = []
    open_visits: dict[str | None, Visit] = {}
    for start, end in _runs(columns):
        view_id, url, path = (columns.values[name][start] for name in ("view_id", "page_url", "page_path"))
        visit = open_visits.get(view_id)
        if visit is None or (url is not None and visit.url not in (None, url)):
            if view_id is None and url is None:
                continue
            visit = open_visits[view_id] = Visit(view_id, url, path)
            visits.append(visit)
        if url is not None and visit.url is None:
            visit.url, visit.path = url, path
        visit.add(columns, start, end)
    return visits


def _runs(columns: EventColumns) -> Iterator[tuple[int, int]]:
    """Yield the first and the last number, plus one, of events in a row on one page of one view."""
    return zip(columns.runs, [*columns.runs[1:], columns.count], strict=False)


def page_rows(columns: EventColumns, visits: Sequence[Visit]) -> list[Row]:
    """Return the visits as rows of the table ``pages``.

    A visit lasts until the next one begins, and the last one until the session's last event.
    """
    ids = columns.ids
    _, end = _ends(columns.values["event_time"])
    ends = [*(visit.entered_at for visit in visits[1:]), end]
    return [
        (
            ids.full_session_id, ids.device_id, ids.session_id, number, visit.view_id, visit.url, visit.path,
            visit.title, visit.entered_at, _seconds(visit.entered_at, until), visit.events, visit.errors,
            visit.frustrations,
        )
        for number, (visit, until) in enumerate(zip(visits, ends, strict=False), 1)
    ]  # fmt: skip


def session_totals(columns: EventColumns, visits: Sequence[Visit]) -> tuple[Any, ...]:
    """Return the columns of the table ``sessions`` from ``user_uid`` to ``country``."""
    values = columns.values
    start, end = _ends(values["event_time"])
    signs = [sign for each in values["frustrations"] if each for sign in each]
    urls = [visit.url for visit in visits if visit.url is not None]
    return (
        # the user at the session's end
        *(values[name][-1] if columns.count else None for name in ("user_uid", "user_email")),
        start, end, _seconds(start, end), columns.count, len(visits), sum(values["is_error"]),
        *map(signs.count, _SIGNS), _first(urls), _first(reversed(urls)),
        *(
            _first(values[name])
            for name in ("browser", "operating_system", "device_type", "country")
        ),
    )  # fmt: skip


def _ends(times: Iterable[str | None]) -> tuple[str | None, str | None]:
    """Return the first and the last time, which need not be those of the first and the last event."""
    known = [when for when in times if when is not None]
    return (min(known), max(known)) if known else (None, None)


def _seconds(start: str | None, end: str | None) -> float | None:
    if start is None or end is None:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value is not None), None)
