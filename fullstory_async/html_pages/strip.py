"""The time strip of a session: pages as bands, and one lane of ticks for each kind of event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

import attrs

from fullstory_async.amounts import counted
from fullstory_async.html_pages.moments import Look, Moment, SessionRecord, Visit
from fullstory_async.notebook_html import clip, escape

__all__ = ["strip"]

_BINS = 200
"""Bins of the strip, whatever the number of events."""
_BIN_WIDTH = 5
_BAND_HEIGHT = 12
_LANE_HEIGHT = 14
_LANES: Mapping[Look, str] = {"error": "errors", "warn": "frustrations", "go": "pages", "act": "actions"}
"""Look → the lane's name, from top to bottom; background events have no lane."""
_MAX_TITLE = 80


@attrs.define
class _Bin:
    """The events of a two-hundredth of the session."""

    counts: Counter[Look] = attrs.field(factory=Counter)
    visit: int = -1
    """The visit of its first event; -1 for a bin without events."""
    problem: Moment | None = None
    """The first error or sign of frustration."""


def strip(record: SessionRecord) -> Iterator[str]:
    """Yield the strip as SVG with a legend; nothing for events without times."""
    bins = _bins(record.visits, record.seconds)
    totals = sum((each.counts for each in bins), Counter[Look]())
    if not totals:
        return
    height = _BAND_HEIGHT + 2 + _LANE_HEIGHT * len(_LANES)
    label = f"{record.length}: " + ", ".join(f"{totals[look]:,} {name}" for look, name in _LANES.items())
    yield f'<figure><svg viewBox="0 0 {_BINS * _BIN_WIDTH} {height}" preserveAspectRatio="none" '
    yield f'height="{height * 1.4:.0f}" role="img" aria-label="{escape(label)}">'
    yield from _bands(bins, record.visits)
    for number, look in enumerate(_LANES):
        yield _lane(bins, look, _BAND_HEIGHT + 2 + number * _LANE_HEIGHT)
    yield from _links(bins, height)
    yield "</svg><figcaption><span>0:00</span>"
    for look, name in _LANES.items():
        yield f'<span class="key {look}">{name} {totals[look]:,}</span>'
    yield f'<span class="end">{escape(record.length)}</span></figcaption></figure>'


def _bins(visits: Iterable[Visit], seconds: float) -> list[_Bin]:
    bins = [_Bin() for _ in range(_BINS)]
    scale = _BINS / seconds if seconds > 0 else 0.0
    for number, visit in enumerate(visits):
        for moment in visit.moments:
            if moment.at is None:
                continue
            found = bins[min(max(int(moment.at * scale), 0), _BINS - 1)]
            found.counts[moment.look] += 1
            found.visit = number if found.visit < 0 else found.visit
            if found.problem is None and moment.is_problem:
                found.problem = moment
    return bins


def _bands(bins: list[_Bin], visits: Iterable[Visit]) -> Iterator[str]:
    """Yield a band for each visit that at least one bin begins with; quiet bins continue the last one."""
    current, shown = 0, []
    for each in bins:
        current = each.visit if each.visit >= 0 else current
        shown.append(current)
    titles = [visit.title for visit in visits]
    start = 0
    for number, group in groupby(shown):
        width = len(list(group))
        yield f'<rect class="band" x="{start * _BIN_WIDTH}" width="{width * _BIN_WIDTH - 1}" '
        yield f'height="{_BAND_HEIGHT}"><title>{escape(clip(titles[number], _MAX_TITLE))}</title></rect>'
        start += width


def _lane(bins: list[_Bin], look: Look, top: int) -> str:
    """Return a lane's ticks as one path: the more events, the higher."""
    highest = max(each.counts[look] for each in bins)
    path = []
    for number, each in enumerate(bins):
        if count := each.counts[look]:
            # a single one must be seen beside many
            tall = max(_LANE_HEIGHT // 3, (_LANE_HEIGHT - 2) * count // highest)
            path.append(f"M{number * _BIN_WIDTH} {top + _LANE_HEIGHT - 2 - tall}h4v{tall}h-4z")
    return f'<path class="{look}" d="{"".join(path)}"/>' if path else ""


def _links(bins: list[_Bin], height: int) -> Iterator[str]:
    """Yield a link over each bin with a problem; the keyboard has the list below instead."""
    for number, each in enumerate(bins):
        if each.problem is None or not each.problem.anchor:
            continue
        problems = counted(each.counts["error"] + each.counts["warn"], "problem")
        title = f"{each.problem.clock} {clip(each.problem.text, _MAX_TITLE)} ({problems})"
        yield f'<a href="#{escape(each.problem.anchor)}" tabindex="-1"><rect class="hit" '
        yield f'x="{number * _BIN_WIDTH}" width="{_BIN_WIDTH}" height="{height}">'
        yield f"<title>{escape(title)}</title></rect></a>"
