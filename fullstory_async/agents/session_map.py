"""The map of a session: what an agent needs before it looks closer, in about 150 tokens for any size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from fullstory_async.agents.text import counts_text, one_line
from fullstory_async.amounts import counted, span
from fullstory_async.models import SessionEvent, SessionEvents

__all__ = ["map_of", "may_have_grown"]

_MOST = 4
"""Entries of each list."""
_WIDTH = 40
"""Characters of each text."""
_GROWS = timedelta(days=1)


def map_of(events: SessionEvents) -> str:
    """Return the map: time, user, device, and counts of errors, frustrations, types and pages.

    ``#`` and a number is the first event of a kind, as a cursor of the timeline.
    """
    return "\n".join(filter(None, _lines(events)))


def may_have_grown(events: SessionEvents, fetched: datetime | None) -> str:
    """Return a note on a session that was younger than a day when it was fetched; empty for older ones."""
    start = _start(events)
    if start is None or fetched is None or fetched - start >= _GROWS:
        return ""
    hours = max(0.0, (fetched - start).total_seconds()) / 3600
    return (
        f"Fetched {fetched:%Y-%m-%d %H:%M:%S}Z, {hours:.1f} h after the session began; it may have grown. "
        "refresh=true costs 1 activation."
    )


def _lines(events: SessionEvents) -> Iterator[str]:
    start, pages = _start(events), _page_visits(events)
    began = "" if start is None else f"{start:%Y-%m-%d %H:%M:%S}Z, {span(events.duration)} long, "
    visits = counted(sum(pages.values()), "page visit")
    yield f"{began}{counted(len(events), 'event')}, {visits}"
    yield ", ".join(filter(None, (_user(events), _device(events))))
    kinds = Counter[str]()
    errors, frustrations = Counter[str](), Counter[str]()
    first: dict[str, int] = {}
    for n, event in enumerate(events):
        kinds[event.type] += 1
        if event.is_error:
            errors[event.type] += 1
            first.setdefault("errors", n)
        if signs := event.frustrations:
            frustrations.update(signs)
            first.setdefault("frustrations", n)
    for name, counts in (("errors", errors), ("frustrations", frustrations)):
        found = f": {counts_text(_short(counts), _MOST)}; first #{first[name]}" if counts else ""
        yield f"{name} {sum(counts.values())}{found}"
    yield f"types: {counts_text(_short(kinds), _MOST)}" if kinds else ""
    yield f"pages: {counts_text(_short(pages), _MOST)}" if pages else ""


def _start(events: SessionEvents) -> datetime | None:
    return next((event.timestamp for event in events if event.timestamp is not None), None)


def _page_visits(events: SessionEvents) -> Counter[str]:
    """Return how often each page was visited; in the published wire form, how often it was opened."""
    pages = events.pages()
    if len(pages) == 1 and pages[0].view_id is None:
        return Counter(_place(event) for event in events if event.type == "navigate" and _place(event))
    named = (next(filter(None, map(_place, page.events)), "") for page in pages)
    return Counter(name for name in named if name)


def _place(event: SessionEvent) -> str:
    url = event.source.url
    return "" if url is None else url.path or url.full_url or ""


def _user(events: SessionEvents) -> str:
    for user in events.users():
        names = (one_line(each, _WIDTH) for each in (user.user_display_name, user.user_email, user.user_id))
        if known := [*filter(None, names)]:
            return known[0] if len(known) == 1 else f"{known[0]} ({known[1]})"
    return ""


def _device(events: SessionEvents) -> str:
    for event in events:
        source = event.source
        if source.user_agent is None and source.device is None and source.location is None:
            continue
        agent, device, place = source.user_agent, source.device, source.location
        parts = [agent.browser, agent.operating_system] if agent else []
        parts += [device.manufacturer, device.model] if device else []
        parts += [place.city, place.country] if place else []
        return " ".join(one_line(each, _WIDTH) for each in parts if each)
    return ""


def _short(counts: Counter[str]) -> Counter[str]:
    short = Counter[str]()
    for name, count in counts.items():
        short[one_line(name, _WIDTH) or "unknown"] += count
    return short
