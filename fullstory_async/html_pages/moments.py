"""Moments and visits: what a page of a session shows, as records; grouped and limited here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

import attrs

__all__ = ["Look", "Moment", "Row", "Section", "SessionRecord", "Visit", "arrange"]

Look = Literal["error", "warn", "go", "act", "dim"]
"""What an event is to a reader: an error, a sign of frustration, a navigation, an action, or background."""


class Moment(NamedTuple):
    """One event."""

    at: float | None
    """Seconds from the session's first event; ``None`` without a readable time."""
    clock: str
    """The same as text, such as ``0:05.2``."""
    anchor: str
    """The time that links to the event name."""
    kind: str
    """The event's type."""
    text: str
    """What happened, on one line."""
    look: Look
    marks: tuple[tuple[Look, str], ...]
    """Labels: ``error``, and the signs of frustration."""

    @property
    def is_problem(self) -> bool:
        """Whether it is an error or a sign of frustration."""
        return self.look in ("error", "warn")


@attrs.frozen
class Visit:
    """Consecutive events of one page."""

    title: str
    url: str
    moments: Sequence[Moment]


@attrs.frozen(kw_only=True)
class SessionRecord:
    """Everything that the page of a session shows."""

    title: str
    subtitles: Sequence[str] = ()
    facts: Sequence[str] = ()
    summary: str = ""
    """The text of a summary; empty for none."""
    note: str = ""
    """What a reader must know about the selection of events."""
    length: str = ""
    """Duration of the session, as text."""
    seconds: float = 0.0
    """Duration of the session."""
    visits: Sequence[Visit] = ()


@attrs.frozen
class Row:
    """Consecutive equal events, or events that are left out."""

    moments: Sequence[Moment]
    left_out: int = 0
    """Number of events that are not shown here; the row then shows nothing else."""


@attrs.frozen
class Section:
    """The rows of one visit."""

    number: int
    visit: Visit
    rows: Sequence[Row]


def arrange(visits: Sequence[Visit], most: int) -> tuple[list[Section], int]:
    """Group repeated events, and limit the rows; return the sections and the number of events left out.

    Problems are kept before anything else; the room that they leave is filled from the start.

    Args:
        visits: the visits in the order of time.
        most: the most rows.
    """
    grouped = [list(_repeats(visit.moments)) for visit in visits]
    problems = sum(row[0].is_problem for rows in grouped for row in rows)
    room = Counter({True: min(problems, most), False: max(0, most - problems)})
    sections, left_out = [], 0
    for number, (visit, groups) in enumerate(zip(visits, grouped, strict=True)):
        rows = list(_limited(groups, room))
        left_out += sum(row.left_out for row in rows)
        if any(row.moments for row in rows):
            sections.append(Section(number, visit, rows))
    return sections, left_out


def _repeats(moments: Iterable[Moment]) -> Iterator[list[Moment]]:
    for _, group in groupby(moments, key=lambda each: (each.kind, each.text, each.marks)):
        yield list(group)


def _limited(groups: Iterable[list[Moment]], room: Counter[bool]) -> Iterator[Row]:
    """Yield a row for each group as long as there is room for its kind, and one for each gap."""
    gap = 0
    for group in groups:
        is_problem = group[0].is_problem
        if room[is_problem] <= 0:
            gap += len(group)
            continue
        room[is_problem] -= 1
        if gap:
            yield Row((), gap)
            gap = 0
        yield Row(group)
    if gap:
        yield Row((), gap)
