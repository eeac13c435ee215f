"""The timeline of a session, page by page: the events from a cursor on, as many as fit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

import attrs

from fullstory_async.agents.text import one_line, token_count
from fullstory_async.errors import ConfigurationError
from fullstory_async.models import SessionEvent, SessionEvents
from fullstory_async.models.described import clock
from fullstory_async.models.event_types import check_event_type

__all__ = ["MIN_TOKENS", "Only", "Selection", "timeline_page"]

Only = Literal["all", "errors", "frustrations"]
MIN_TOKENS = 100
"""The smallest size of a page; every page has at least one event."""
_WIDTH = 160
_CLOSING_TOKENS = 25
"""Tokens of the line that says how to continue."""
_COUNT_TOKENS = 3


@attrs.frozen(kw_only=True)
class Selection:
    """The events that an agent asked for."""

    only: Only = "all"
    types: tuple[str, ...] = ()

    def matches(self, event: SessionEvent) -> bool:
        """Return whether an event is one of them."""
        if self.types and event.type not in self.types:
            return False
        if self.only == "errors":
            return event.is_error
        return self.only == "all" or bool(event.frustrations)


@attrs.define
class _Line:
    """One event, or several equal ones in a row."""

    number: int
    time: str
    text: str
    count: int = 1

    def __str__(self) -> str:
        return f"#{self.number} {self.time} {self.text}" + (f" ×{self.count}" if self.count > 1 else "")


def timeline_page(
    events: SessionEvents, selection: Selection, *, cursor: int = 0, max_tokens: int = 1500
) -> str:
    """Return the selected events from number ``cursor`` on, and how to get the next page.

    Args:
        events: the whole session.
        selection: which of them.
        cursor: the number of the first event to show; pages and maps name it.
        max_tokens: the most tokens of the page, about.

    Raises:
        ConfigurationError: a cursor, a size or a type that can't be right.
    """
    _check(events, selection, cursor, max_tokens)
    left = max_tokens - _CLOSING_TOKENS
    lines: list[_Line | str] = []
    numbers = [n for n in range(cursor, len(events)) if selection.matches(events[n])]
    shown = 0
    for heading, line in _described(events, numbers):
        last = lines[-1] if lines else None
        if isinstance(last, _Line) and not heading and last.text == line.text:
            last.count += 1
            left -= _COUNT_TOKENS if last.count == 2 else 0
        else:
            added: list[_Line | str] = [*([f"## {heading}"] if heading else []), line]
            left -= sum(token_count(str(each)) + 1 for each in added)
            if left < 0 and lines:
                break
            lines += added
        shown += 1
    rest = len(numbers) - shown
    end = f"next page: cursor={numbers[shown]} ({rest} left)" if rest else "end of the timeline"
    return "\n".join([*map(str, lines), end if numbers else "no such events from here on"])


def _check(events: SessionEvents, selection: Selection, cursor: int, max_tokens: int) -> None:
    if cursor < 0:
        raise ConfigurationError(f"cursor must be 0 or more, not {cursor}")
    if max_tokens < MIN_TOKENS:
        raise ConfigurationError(f"max_tokens must be {MIN_TOKENS} or more, not {max_tokens}")
    present = {event.type for event in events} if selection.types else set()
    for name in selection.types:
        if name not in present and (doubt := check_event_type(name)) is not None:
            types = one_line(", ".join(sorted(present)), _WIDTH * 2)
            raise ConfigurationError(f"{doubt.text}; this session has: {types}")


def _described(events: SessionEvents, numbers: list[int]) -> Iterator[tuple[str, _Line]]:
    """Yield each event's line, and before it the page's heading where the page changes."""
    start = next((event.timestamp for event in events if event.timestamp is not None), None)
    current = ""
    for n in numbers:
        event = events[n]
        place = _place(event)
        heading, current = (place, place) if place and place != current else ("", current)
        yield heading, _Line(n, _elapsed(event, start), _text(event))


def _text(event: SessionEvent) -> str:
    marks = [*(["error"] if event.is_error else []), *event.frustrations]
    return one_line(event.description, _WIDTH) + "".join(f" [{mark}]" for mark in marks)


def _elapsed(event: SessionEvent, start: datetime | None) -> str:
    if event.timestamp is None or start is None:
        return "?"
    return clock((event.timestamp - start).total_seconds())


def _place(event: SessionEvent) -> str:
    url = event.source.url
    return "" if url is None else one_line(url.path or url.full_url, _WIDTH)
