"""Page visits and the totals of a session, from its events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import accumulate, chain
from typing import Any

import attrs

from fullstory_async.tables.columns import Row
from fullstory_async.tables.events import EventColumns
from fullstory_async.tables.rows import picked

__all__ = ["NO_TOTALS", "Visit", "page_rows", "session_totals", "visits_of"]

_SIGNS = ("rage click", "dead click", "error click", "mouse thrash")
_TOTALLED = (
    "user_uid", "user_email", "event_time", "frustrations", "is_error", "browser", "operating_system",
    "device_type", "country",
)  # fmt: skip
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


def visits_of(columns: EventColumns) -> list[list[Visit]]:
    """Return the visits of each session in order.

    An event without a URL belongs to the visit that its view is in. Events without a view and a URL, such as
    a server's, belong to no visit.
    """
    visits: list[list[Visit]] = [[] for _ in columns.ids]
    open_visits: dict[tuple[int, str | None], Visit] = {}
    values, starts = columns.values, columns.runs
    pages = (picked(values[name], starts) for name in ("view_id", "page_url", "page_path", "page_title"))
    times = values["event_time"]
    # how many there are before each event
    errors = list(accumulate(values["is_error"], initial=0))
    signs = list(accumulate(map(len, values["frustrations"]), initial=0))
    ends = [*starts[1:], columns.count]
    for start, end, view_id, url, path, title in zip(starts, ends, *pages, strict=False):
        session = columns.places[start]
        visit = open_visits.get((session, view_id))
        if visit is None or (url is not None and visit.url not in (None, url)):
            if view_id is None and url is None:
                continue
            visit = open_visits[session, view_id] = Visit(view_id, url, path)
            visits[session].append(visit)
        if url is not None and visit.url is None:
            visit.url, visit.path = url, path
        visit.title = visit.title or title
        visit.entered_at = visit.entered_at or _first(times[start:end])
        visit.events += end - start
        visit.errors += errors[end] - errors[start]
        visit.frustrations += signs[end] - signs[start]
    return visits


def page_rows(columns: EventColumns, session: int, visits: Sequence[Visit]) -> list[Row]:
    """Return the visits of one session as rows of the table ``pages``.

    A visit lasts until the next one begins, and the last one until the session's last event.
    """
    ids = columns.ids[session]
    _, end = _ends(columns.values["event_time"][columns.events_of(session)])
    moments = [*map(_moment, (visit.entered_at for visit in visits)), _moment(end)]
    seconds = map(_seconds, moments, moments[1:])
    return [
        (
            ids.full_session_id, ids.device_id, ids.session_id, number, visit.view_id, visit.url, visit.path,
            visit.title, visit.entered_at, lasted, visit.events, visit.errors, visit.frustrations,
        )
        for number, (visit, lasted) in enumerate(zip(visits, seconds, strict=True), 1)
    ]  # fmt: skip


def session_totals(columns: EventColumns, session: int, visits: Sequence[Visit]) -> tuple[Any, ...]:
    """Return the columns of the table ``sessions`` from ``user_uid`` to ``country``, of one session."""
    own = columns.events_of(session)
    values = {name: columns.values[name][own] for name in _TOTALLED}
    count = own.stop - own.start
    start, end = _ends(values["event_time"])
    signs = list(chain.from_iterable(filter(None, values["frustrations"])))
    urls = [visit.url for visit in visits if visit.url is not None]
    return (
        # the user at the session's end
        *(values[name][-1] if count else None for name in ("user_uid", "user_email")),
        start, end, _seconds(_moment(start), _moment(end)), count, len(visits),
        values["is_error"].count(True), *map(signs.count, _SIGNS), _first(urls), _first(reversed(urls)),
        *(
            _first(values[name])
            for name in ("browser", "operating_system", "device_type", "country")
        ),
    )  # fmt: skip


def _ends(times: Sequence[str | None]) -> tuple[str | None, str | None]:
    """Return a session's first and last time. An event whose time can't be read stays where it was sent."""
    return _first(times), _first(reversed(times))


def _moment(when: str | None) -> datetime | None:
    return None if when is None else datetime.fromisoformat(when)


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value is not None), None)
