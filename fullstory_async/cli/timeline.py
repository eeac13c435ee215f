"""A session as a timeline for the terminal, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from fullstory_async.amounts import counted, span
from fullstory_async.cli.output import local_time, printable
from fullstory_async.html_pages.moments import Look
from fullstory_async.models import SessionEvent, SessionEvents
from fullstory_async.models.described import clock, look_of, place_of

__all__ = ["print_timeline"]

_SYMBOLS: Mapping[Look, tuple[str, str, str]] = {
    "error": ("✗", "x", "red"), "warn": ("!", "!", "yellow"), "go": ("→", ">", "bold"),
    "act": ("·", ".", ""), "dim": ("·", ".", "dim"),
}  # fmt: skip
"""Look of an event → its symbol, the symbol in ASCII, and the style."""


def print_timeline(console: Console, events: SessionEvents, selected: SessionEvents | None = None) -> None:
    """Print a session's events in time order, with a heading at each change of page.

    Args:
        console: where to print.
        events: the whole session; times are relative to its first event.
        selected: the events to print; all of them by default.
    """
    selected = events if selected is None else selected
    console.print(_summary(events))
    if len(selected) < len(events):
        console.print(f"{len(selected):,} of {counted(len(events), 'event')} shown")
    start = _start(events)
    rule = "-" if _is_ascii(console) else "─"
    for heading, group in groupby(selected, key=place_of):
        console.print()
        title = Text(printable(heading), style="bold cyan")
        console.print(Rule(title, align="left", style="cyan", characters=rule))
        console.print(_rows(console, list(group), start))


def _start(events: SessionEvents) -> datetime | None:
    return next((event.timestamp for event in events if event.timestamp is not None), None)


def _summary(events: SessionEvents) -> RenderableType:
    start = _start(events)
    errors, frustrations = len(events.errors()), len(events.frustrations())
    facts = [] if start is None else [local_time(start, "%Y-%m-%d %H:%M:%S"), span(events.duration)]
    names = [user.user_display_name or user.user_email or user.user_id or "" for user in events.users()]
    line = Text(", ".join([*facts, counted(len(events), "event")]))
    line.append(f", {counted(errors, 'error')}", style="red" if errors else "")
    line.append(f", {counted(frustrations, 'frustration')}", style="yellow" if frustrations else "")
    if names:
        line.append(printable(f", {', '.join(names)}"))
    return Group(Text(printable(f"Session {events.session_id}"), style="bold"), line)


def _rows(console: Console, events: list[SessionEvent], start: datetime | None) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", width=8, no_wrap=True)
    table.add_column(width=1)
    table.add_column(overflow="fold", ratio=1)
    for event in events:
        symbol, style = _symbol(event, ascii_only=_is_ascii(console))
        description = Text(printable(event.description), style=style)
        for label in _labels(event):
            description.append("  ")
            description.append(label, style="bold red" if label == "error" else "bold yellow")
        table.add_row(Text(_elapsed(event, start), style="dim"), Text(symbol, style=style), description)
    return table


def _elapsed(event: SessionEvent, start: datetime | None) -> str:
    if event.timestamp is None or start is None:
        return ""
    return clock((event.timestamp - start).total_seconds())


def _labels(event: SessionEvent) -> Iterator[str]:
    if event.is_error:
        yield "error"
    yield from event.frustrations


def _symbol(event: SessionEvent, *, ascii_only: bool) -> tuple[str, str]:
    """Return the symbol of an event and its style."""
    symbol, ascii_symbol, style = _SYMBOLS[look_of(event, event.frustrations)]
    return ascii_symbol if ascii_only else symbol, style


def _is_ascii(console: Console) -> bool:
    # a console without UTF-8 would show the symbols as question marks
    return not console.encoding.lower().startswith("utf")
