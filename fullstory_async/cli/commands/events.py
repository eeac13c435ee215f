"""The command ``events``: one session's events, as much of them as is wanted, for programs and for people."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from fullstory_async.cli.connection import Connection
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.option_parsing import read_time, reject_typo
from fullstory_async.cli.output import human_console, print_csv, print_json, print_rows, print_table
from fullstory_async.cli.running import run_async
from fullstory_async.cli.timeline import print_timeline
from fullstory_async.models import SessionEvent, SessionEvents
from fullstory_async.models.event_types import check_event_type, warn_about_event_type

__all__ = ["events"]

Output = Literal["jsonl", "json", "csv", "table", "timeline"]
_Flag = Parameter(negative="")
_Many = Parameter(negative="", consume_multiple=False)
_EVENT_COLUMNS = (
    "timestamp", "type", "description", "is_error", "frustrations", "url", "view_id", "device_id", "session_id",
    "source_type", "data", "source_properties",
)  # fmt: skip


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
    output: Output = "jsonl",
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Fetch all events of a session, in the order of time. Costs one activation, whatever is then shown.

    Example: fullstory-async events ID --errors --frustrations --output timeline

    Parameters
    ----------
    session_id
        A USER:SESSION pair, a client id, or a replay URL.
    type_
        Only events of this type, such as click; may be given several times.
    since
        Only events from this time on, such as 2026-05-04T10:00:00Z.
    until
        Only events before this time.
    errors
        Only exceptions, console errors, failed requests and crashes.
    frustrations
        Only rage, dead and error clicks and mouse thrashing; with --errors, both.
    event_cache
        Let FullStory answer from an earlier run over the session, which is faster, or forbid it.
    output
        JSON Lines, one JSON array or CSV for programs; a table or a timeline for people.
    """
    start, end = read_time(since, "--since"), read_time(until, "--until")
    if start is not None and end is not None and start >= end:
        raise UsageError("--since must be before --until")
    types = _read_types(type_ or ())

    async def command() -> SessionEvents:
        async with connection.open() as client:
            return await client.sessions.events(session_id, enable_event_cache=event_cache)

    found = run_async(command(), verbose=connection.verbose)
    chosen = _chosen(found, types, start, end, errors=errors, frustrations=frustrations)
    if output == "timeline":
        print_timeline(human_console(), found, chosen)
    else:
        _print_events(chosen, output)
    return Exit.OK


def _read_types(given: list[str] | tuple[()]) -> list[str]:
    """Read the names of types; a slip is refused, and any other strange name a warning, as the set is open."""
    types = [name.strip() for names in given for name in names.split(",")]
    if not all(types):
        raise UsageError("--type names a type of event, such as click; one of them is empty")
    for name in types:
        reject_typo(check_event_type(name))
        warn_about_event_type(name, stacklevel=3)
    return types


def _chosen(
    events: SessionEvents,
    types: list[str],
    start: datetime | None,
    end: datetime | None,
    *,
    errors: bool,
    frustrations: bool,
) -> SessionEvents:
    """Return the events that every given condition fits; errors and frustrations are one condition."""
    chosen = events if start is None and end is None else events.between(start, end)
    return SessionEvents(
        events.session_id,
        [
            event
            for event in chosen
            if (not types or event.type in types)
            and (
                not (errors or frustrations)
                or (errors and event.is_error)
                or (frustrations and event.frustrations)
            )
        ],
    )


def _print_events(events: SessionEvents, output: Output) -> None:
    match output:
        case "json":
            print_json(events.to_dicts())
        case "jsonl":
            print_rows(events.to_dicts())
        case "csv":
            print_csv(_EVENT_COLUMNS, map(_flat, events, events.to_dicts()))
        case "table":
            print_table(human_console(), ("time", "type", "what", "marks"), map(_for_people, events))


def _flat(event: SessionEvent, row: dict[str, Any]) -> dict[str, Any]:
    """Return an event's fields with what it means to a person beside them."""
    url = event.source.url
    return {
        **row,
        "description": event.description,
        "is_error": event.is_error,
        "frustrations": ", ".join(event.frustrations),
        "url": None if url is None else url.full_url,
    }


def _for_people(event: SessionEvent) -> dict[str, Any]:
    when = event.timestamp
    return {
        "time": "" if when is None else f"{when:%Y-%m-%d %H:%M:%S}",
        "type": event.type,
        "what": event.description,
        "marks": ", ".join((*(["error"] if event.is_error else []), *event.frustrations)),
    }
