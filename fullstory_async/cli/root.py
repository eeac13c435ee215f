"""The root of the command line: its commands, and the help page that lists them.

A command's own modules are imported when it runs, and the page needs none of them, nor any library.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["COMMANDS", "EPILOGUE", "HELP", "Command", "asks_for_page", "chosen", "page"]

HELP = """List FullStory sessions, fetch their events, generate context and AI summaries, and manage summary
profiles.

Data goes to standard output, messages and progress to standard error. To try it without a key, run
`fullstory-async demo`, or any command with `--sandbox`.

Each events, context and summary call costs one activation (common plans include 1 000 a month); everything
else is free. FullStory offers this API for real-time activation, not for data export.
"""
EPILOGUE = """Exit codes: 0 ok, 1 unexpected, 2 usage, 3 some ids failed, 4 authentication, 5 not found,
6 rate limit or deadline, 7 activation budget, 8 service or network down, 9 not FullStory,
10 no session found, 75 another process runs the job, 129 terminal closed, 130 interrupted,
141 output closed, 143 terminated
"""

_MIN_WIDTH, _MAX_WIDTH = 40, 100
"""Columns of the page."""


class Command(NamedTuple):
    """A command of the root."""

    name: str
    module: str
    """Its module in `cli.commands`."""
    attribute: str
    summary: str
    """The first line of its help."""


COMMANDS = (
    Command("cluster", "cluster", "cluster",
            "Fetch events with many workers, on one budget, one rate limit and one set of results in "
            "Postgres."),
    Command("context", "sessions", "context",
            "Describe a session compactly for your own LLM prompt. Costs one activation."),
    Command("demo", "demo", "demo",
            "Watch a complete job against an embedded sandbox: no key, no settings, no cost."),
    Command("events", "events", "events",
            "Fetch all events of a session, in time order. Costs one activation."),
    Command("fetch", "fetch", "fetch",
            "Fetch events, summaries or both for many sessions. One activation per call."),
    Command("id", "sessions", "id_",
            "Convert a session id of any form to the API's form. Sends no request."),
    Command("job", "jobs", "job",
            "Inspect a job folder, export its results, or erase a session from it. Free; needs no key."),
    Command("mcp", "mcp", "mcp",
            "Serve sessions to AI agents over MCP, within a budget of activations."),
    Command("profiles", "profiles", "profiles",
            "List, show, create, change and delete summary profiles. Free."),
    Command("sandbox", "sandbox", "sandbox",
            "Run a local FullStory until Ctrl-C; prints its URL and its key."),
    Command("sessions", "listing", "sessions",
            "List a user's sessions with their replay URLs. Free."),
    Command("summary", "sessions", "summary",
            "Generate an AI summary of a session. Costs one activation."),
    Command("whoami", "sessions", "whoami",
            "Show the API key's organisation, e-mail address and role. Free."),
)  # fmt: skip

_OPTIONS = (
    ("--help, -h", "Display this message and exit."),
    ("--version", "Display application version."),
)


def asks_for_page(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks for the help page of the root."""
    return list(arguments) in ([], ["--help"], ["-h"])


def chosen(arguments: Sequence[str]) -> Sequence[Command]:
    """Return the command that a command line names; all of them if it names none."""
    return [each for each in COMMANDS if [each.name] == list(arguments[:1])] or COMMANDS


def page() -> str:
    """Return the help page of the root, for the terminal's width."""
    # only what the variable should hold: a number of columns
    given = os.environ.get("COLUMNS", "")
    usable = given.isascii() and given.isdigit() and int(given) > 0
    columns = int(given) if usable else shutil.get_terminal_size().columns
    width = min(max(columns, _MIN_WIDTH), _MAX_WIDTH)
    names = max(len(name) for name, _ in (*_OPTIONS, *((each.name, "") for each in COMMANDS)))
    parts = [
        "Usage: fullstory-async COMMAND",
        *_paragraphs(HELP, width),
        "Commands:\n" + _listing(((each.name, each.summary) for each in COMMANDS), names, width),
        "Options:\n" + _listing(_OPTIONS, names, width),
        *_paragraphs("Use `fullstory-async COMMAND --help` for the options of a command.", width),
        *_paragraphs(EPILOGUE, width),
    ]
    return "\n\n".join(parts) + "\n"


def _paragraphs(text: str, width: int) -> Iterable[str]:
    plain = (" ".join(each.split()).replace("`", "") for each in text.split("\n\n"))
    return (textwrap.fill(each, width, break_on_hyphens=False) for each in plain)


def _listing(rows: Iterable[tuple[str, str]], names: int, width: int) -> str:
    gap = " " * (names + 4)
    return "\n".join(
        textwrap.fill(
            text, width, initial_indent=f"  {name:{names}}  ", subsequent_indent=gap, break_on_hyphens=False
        )
        for name, text in rows
    )
