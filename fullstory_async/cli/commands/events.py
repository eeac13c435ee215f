"""The command ``events``: one session's events, filtered and formatted."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs
from cyclopts import Parameter

from fullstory_async.cli.connection import Connection
from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.option_parsing import read_session_id, read_time, reject_typo
from fullstory_async.cli.output import local_time, print_csv, print_json, print_rows, print_table
from fullstory_async.cli.pages import show_page
from fullstory_async.cli.reuse import Reuse, saved_events
from fullstory_async.cli.streams import require_output
from fullstory_async.cli.timeline import print_timeline
from fullstory_async.models import SessionEvent, SessionEvents
from fullstory_async.models.event_types import check_event_type, warn_about_event_type

__all__ = ["events"]

EventOutput = Literal["jsonl", "json", "csv", "table", "timeline", "html"]
_Flag = Parameter(negative="")
_Many = Parameter(negative="", consume_multiple=False)


@attrs.frozen(kw_only=True)
class _Filter:
    """The events that the options select."""

    types: list[str]
    since: datetime | None
    until: datetime | None
    errors: bool
    frustrations: bool

    def select(self, events: SessionEvents) -> SessionEvents:
        """Return the events that match every condition that is set."""
        matching = events.between(self.since, self.until) if self.since or self.until else events
        selected = [event for event in matching if self._matches(event)]
        return SessionEvents(events.session_id, selected, parent=events)

    def _matches(self, event: SessionEvent) -> bool:
        if self.types and event.type not in self.types:
            return False
        # errors and frustrations are one condition: with both, an event needs only one of them
        if not (self.errors or self.frustrations):
            return True
        return (self.errors and event.is_error) or (self.frustrations and bool(event.frustrations))


def events(
    session_id: str,
    /,
    *,
    type_: Annotated[list[str] | None, Parameter(name="--type"), _Many] = None,
    since: str | None = None,
    until: str | None = None,
    errors: Annotated[bool, _Flag] = False,
    frustrations: Annotated[bool, _Flag] = False,
    event_cache: bool | None = None,
    output: EventOutput = "jsonl",
    open_: Annotated[bool, Parameter(name="--open", negative="")] = False,
    reuse: Reuse = Reuse(),  # noqa: B008  (frozen)
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Fetch all events of a session, in time order. Costs one activation.

    The filters select what is printed; the cost is the same. With --cache, repeating the command is free. A
    saved response, or JSON that this command wrote, is printed again in any form without a call:

    fullstory-async events ID > one.jsonl; fullstory-async events one.jsonl --output timeline

    Example: fullstory-async events ID --errors --frustrations --output timeline

    Example: fullstory-async events ID --output html --open

    Parameters
    ----------
    session_id
        A USER:SESSION pair, a client id, or a replay URL; or a file with saved events.
    type_
        Print only events of this type, such as click. Can be repeated.
    since
        Print only events from this time on, such as 2026-05-04T10:00:00Z.
    until
        Print only events before this time.
    errors
        Print only exceptions, console errors, failed requests and crashes.
    frustrations
        Print only rage clicks, dead clicks, error clicks and mouse thrashing; with --errors, print both.
    event_cache
        Let FullStory reuse an earlier result for the session, which is faster; --no-event-cache forbids it.
    output
        JSON Lines, one JSON array or CSV for programs, with an export's columns; a table, a timeline or a web
        page for people.
    open_
        Open the web page in the browser. It stays in a temporary file.
    """
    if open_ and output != "html":
        raise UsageError("--open goes with --output html")
    start, end = read_time(since, "--since"), read_time(until, "--until")
    if start is not None and end is not None and start >= end:
        raise UsageError("--since must be before --until")
    selection = _Filter(
        types=_read_types(type_ or ()), since=start, until=end, errors=errors, frustrations=frustrations
    )
    found = _obtain(session_id, event_cache, reuse, connection)
    selected = selection.select(found)
    if output == "timeline":
        print_timeline(StreamConsole(), found, selected)
    elif output == "html":
        show_page(selected.to_html(), in_browser=open_)
    else:
        _print_events(selected, output)
    return Exit.OK


def _obtain(session_id: str, event_cache: bool | None, reuse: Reuse, connection: Connection) -> SessionEvents:
    """Return the events of a file, of a job's folder, of the cache or of a call."""
    reuse.check(event_cache=event_cache)
    # not `Path.is_file`, which raises an error for a text that is too long for a name
    if reuse.from_ is None and os.path.isfile(session_id):  # noqa: PTH113
        require_output()
        return saved_events(Path(session_id), None)
    wanted = read_session_id(session_id)
    if reuse.from_ is None and not wanted.is_pair:
        if os.path.isdir(session_id):  # noqa: PTH112
            raise UsageError(f"{session_id} is a folder: name a session, and a job's folder with --from")
        # a mistyped name would be sent as an id, and may cost an activation
        if session_id.endswith((".json", ".jsonl")):
            raise UsageError(f"there is no file {session_id}")
    require_output()
    if reuse.from_ is not None:
        return saved_events(reuse.from_, wanted)
    return reuse.fetch(
        connection, lambda client: client.sessions.events(wanted, enable_event_cache=event_cache)
    )


def _read_types(given: list[str] | tuple[()]) -> list[str]:
    """Read event types. Raises `UsageError` for a typo, warns of other unknown names."""
    # FullStory may add types at any time, so a name that is merely unknown can be right
    types = [name.strip() for names in given for name in names.split(",")]
    if not all(types):
        raise UsageError("--type takes event types, such as click; one of them is empty")
    for name in types:
        reject_typo(check_event_type(name))
        warn_about_event_type(name, stacklevel=3)
    return types


def _print_events(events: SessionEvents, output: EventOutput) -> None:
    match output:
        case "json":
            print_json(events.to_dicts())
        case "jsonl":
            print_rows(events.to_dicts())
        case "csv":
            print_csv(*events.to_rows())
        case "table":
            print_table(StreamConsole(), ("time", "type", "what", "marks"), map(_table_row, events))


def _table_row(event: SessionEvent) -> dict[str, Any]:
    return {
        "time": local_time(event.timestamp, "%Y-%m-%d %H:%M:%S"),
        "type": event.type,
        "what": event.description,
        "marks": ", ".join((*(["error"] if event.is_error else []), *event.frustrations)),
    }
