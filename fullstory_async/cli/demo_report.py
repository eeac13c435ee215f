"""What the demo shows at its end: totals, one session, the top frustrations, and the next commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fullstory_async.activations import Activations
from fullstory_async.amounts import counted, span
from fullstory_async.cli.output import printable
from fullstory_async.cli.program import program
from fullstory_async.cli.timeline import print_timeline
from fullstory_async.jobs import JobReader
from fullstory_async.models import SessionEvents, SessionSummary

__all__ = ["Totals", "print_commands", "print_session", "print_totals"]

_MAX_EVENTS = 150
"""Events that fit on a page that people like to read."""
_TIMELINE_EVENTS = 5
"""Lines of the timeline that is printed."""
_FRUSTRATIONS = 5
"""Lines of the table of frustrations."""


@attrs.frozen(kw_only=True)
class Totals:
    """What a demo did, as its sandbox counted it."""

    users: int
    sessions: int
    seconds: float
    requests: int
    rejected: int
    """Requests that the sandbox rejected with 429."""
    charged: int
    """Activations that the sandbox charged."""
    survived: int | None
    """Results that survived a crash; ``None`` if there was none."""


def print_totals(console: Console, totals: Totals, job_folder: Path) -> None:
    """Print what happened, as a table."""
    status = JobReader(job_folder).status()
    lists = totals.requests - totals.charged - totals.rejected
    rejected = f"{totals.rejected} rejected with 429"
    rows = [
        ("Sessions", f"{totals.sessions}, of {counted(totals.users, 'user')}"),
        ("Results", f"{status.done} of {status.calls}, {status.failed} failed"),
        ("Time", f"{span(totals.seconds)}, lists included"),
        ("Requests", f"{totals.requests}: {totals.charged} for results, {lists} for lists, {rejected}"),
        ("Activations", f"{Activations(status.spent, status.at_risk)}; the sandbox charged {totals.charged}"),
    ]
    if totals.survived is not None:
        repeated = counted(totals.charged - status.done, "call")
        rows.append(("Crash", f"{counted(totals.survived, 'result')} survived it; {repeated} paid for twice"))
    table = Table(title="What happened", show_header=False, title_justify="left")
    for name, value in rows:
        table.add_row(name, value)
    console.print(table)


def print_session(console: Console, job_folder: Path, page: Path) -> str | None:
    """Print a part of one session and its summary, and the top frustrations of all; write its page.

    Returns its id; ``None`` if no session has events.
    """
    frustrations: Counter[tuple[str, str]] = Counter()
    shown: SessionEvents | None = None
    summary: SessionSummary | None = None
    for result in JobReader(job_folder).results():
        if result.events is not None:
            frustrations.update(_signs(result.events))
            if shown is None or _interest(result.events) > _interest(shown):
                shown, summary = result.events, result.summary
    if shown is None:
        return None
    console.print("\nOne session", style="italic")
    print_timeline(console, shown, _around_first_problem(shown))
    if summary is not None:
        console.print(f"\nIts summary: {printable(summary.text)}", markup=False, highlight=False)
    page.write_text(shown.to_html(summary=summary), encoding="utf-8")
    _print_frustrations(console, frustrations)
    return shown.session_id


def _interest(events: SessionEvents) -> tuple[bool, bool, int]:
    """Return how much of a story a session tells: web pages, and as many events as people like to read."""
    first = next(iter(events), None)
    is_web = first is not None and first.source.url is not None
    return (len(events) <= _MAX_EVENTS, is_web, len(events))


def _around_first_problem(events: SessionEvents) -> SessionEvents:
    """Return the few events before the first error or sign of frustration, and this one."""
    problems = (n for n, event in enumerate(events) if event.is_error or event.frustrations)
    end = max(next(problems, 0) + 1, _TIMELINE_EVENTS)
    return SessionEvents(events.session_id, list(events)[end - _TIMELINE_EVENTS : end], parent=events)


def _signs(events: SessionEvents) -> Iterable[tuple[str, str]]:
    """Yield each sign of frustration with what the user did."""
    for event in events.frustrations():
        yield from ((sign, event.description) for sign in event.frustrations)


def _print_frustrations(console: Console, frustrations: Counter[tuple[str, str]]) -> None:
    if not frustrations:
        return
    console.print("\nTop frustrations of all sessions", style="italic")
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    for (sign, description), count in frustrations.most_common(_FRUSTRATIONS):
        table.add_row(f"{count} ×", Text(sign, style="yellow"), printable(description))
    console.print(table)


def print_commands(console: Console, folder: Path, job_folder: Path) -> None:
    """Print what to do next; every command works as it is typed where the demo was started."""
    command, job = program(), job_folder.as_posix()
    lines = (
        f"{command} job status {job} --output table",
        f"{command} job export {job} {folder.as_posix()}/demo.sqlite",
        f"{command} job report {job} {folder.as_posix()}/report.html",
    )
    console.print("\nNext", style="italic")
    for line in lines:
        console.print(f"  {line}", soft_wrap=True, markup=False, highlight=False)
    console.print(
        f"\nThe session as a page: {(folder / 'replay.html').resolve().as_uri()}",
        soft_wrap=True,
        markup=False,
    )
