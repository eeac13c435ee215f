"""A session as a timeline for the terminal: page by page, when, what happened, and where it hurt."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from fullstory_async.cli.output import visible
from fullstory_async.models import SessionEvent, SessionEvents
from fullstory_async.models.described import clock

__all__ = ["print_timeline"]

_BACKSTAGE = frozenset(
    {
        "cumulative_layout_shift", "first_input_delay", "interaction_to_next_paint", "load", "page_properties",
        "page_view", "consent", "identify",
    }
)  # fmt: skip
"""What nobody did or saw: shown, but dimly."""


def print_timeline(console: Console, events: SessionEvents, shown: SessionEvents | None = None) -> None:
    """Print a session's events in the order of time, with a heading wherever the page changes.

    Args:
        console: where to.
        events: the whole session, which times are counted from the beginning of.
        shown: the events to print; all of them unless given.
    """
    shown = events if shown is None else shown
    console.print(_heading(events))
    if len(shown) < len(events):
        console.print(f"{len(shown)} of them shown")
    began = next((event.timestamp for event in events if event.timestamp is not None), None)
    for place, group in groupby(shown, key=_place):
        console.print()
        console.print(
            Rule(
                Text(visible(place), style="bold cyan"), align="left", style="cyan", characters=_line(console)
            )
        )
        console.print(_rows(console, list(group), began))


def _heading(events: SessionEvents) -> RenderableType:
    began = next((event.timestamp for event in events if event.timestamp is not None), None)
    errors, frustrations = len(events.errors()), len(events.frustrations())
    facts = [] if began is None else [f"{began:%Y-%m-%d %H:%M:%S %Z}", f"{clock(events.duration)} long"]
    names = [user.user_display_name or user.user_email or user.user_id or "" for user in events.users()]
    line = Text(", ".join([*facts, f"{len(events)} events"]))
    line.append(f", {errors} errors", style="red" if errors else "")
    line.append(f", {frustrations} frustrations", style="yellow" if frustrations else "")
    if names:
        line.append(visible(f", {', '.join(names)}"))
    return Group(Text(visible(f"Session {events.session_id}"), style="bold"), line)


def _place(event: SessionEvent) -> str:
    """Return where an event happened, as a heading."""
    source = event.source
    if source.url is not None:
        path = source.url.path or source.url.full_url or ""
        return f"{source.title}  {path}" if source.title else path
    if source.app is not None:
        return f"{source.app.name or 'App'} {source.app.version or ''}".strip()
    return {"server": "Sent by a server", "mobile_app": "The app"}.get(event.source_type or "", "Events")


def _rows(console: Console, events: list[SessionEvent], began: datetime | None) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", width=8, no_wrap=True)
    table.add_column(width=1)
    table.add_column(overflow="fold", ratio=1)
    for event in events:
        since = (
            None if event.timestamp is None or began is None else (event.timestamp - began).total_seconds()
        )
        mark, style = _mark(event, plain=_plain(console))
        what = Text(visible(event.description), style=style)
        for sign in _signs(event):
            what.append("  ")
            what.append(sign, style="bold red" if sign == "error" else "bold yellow")
        table.add_row(Text("" if since is None else clock(since), style="dim"), Text(mark, style=style), what)
    return table


def _signs(event: SessionEvent) -> Iterator[str]:
    if event.is_error:
        yield "error"
    yield from event.frustrations


def _mark(event: SessionEvent, *, plain: bool) -> tuple[str, str]:
    if event.is_error:
        return "x" if plain else "✗", "red"
    if event.frustrations:
        return "!", "yellow"
    if event.type == "navigate":
        return ">" if plain else "→", "bold"
    return "." if plain else "·", "dim" if event.type in _BACKSTAGE else ""


def _plain(console: Console) -> bool:
    return not console.encoding.lower().startswith("utf")


def _line(console: Console) -> str:
    return "-" if _plain(console) else "─"
