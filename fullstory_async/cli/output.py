"""How data is printed: JSON and CSV for programs, tables for people."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fullstory_async.jobs.export.text import escape_formula
from fullstory_async.models import Session

__all__ = [
    "as_row",
    "human_console",
    "pipe_console",
    "print_csv",
    "print_json",
    "print_rows",
    "print_table",
    "say",
    "visible",
]

_WIDE = 200


def as_row(item: attrs.AttrsInstance) -> dict[str, Any]:
    """Return a model's fields as JSON-ready values."""
    row = attrs.asdict(item, recurse=False, filter=lambda field, _: field.name != "raw")
    if isinstance(item, Session):
        row = {"id": item.id if item.session_id else "", **row}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def print_table(console: Console, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows for people; control characters in them can't reach the terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0 or column in ("id", "url", "operation"), overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(row.get(column))) for column in columns))
    if "url" in columns:  # which has to stay in one piece to be of use
        console = _Console(width=max(console.width, _WIDE))
    console.print(table)


def print_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as CSV; no cell can be a formula to a spreadsheet, or move a terminal's cursor."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([escape_formula(visible(row.get(column))) for column in columns])
    sys.stdout.flush()


def print_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print JSON Lines."""
    for row in rows:
        sys.stdout.write(_json_text(row) + "\n")
    sys.stdout.flush()


def _json_text(value: Any, *, indent: int | None = None) -> str:
    """Return JSON with characters as they are where standard output carries them, and their escapes elsewhere.

    Escapes also stand for what is not printable: it could move a terminal's cursor, or end a line for some readers.
    """
    if (sys.stdout.encoding or "").lower().replace("_", "-") not in ("utf-8", "utf8"):
        return json.dumps(value, indent=indent)
    lines = json.dumps(value, indent=indent, ensure_ascii=False).split("\n")
    return "\n".join(line if line.isprintable() else _escaped(line) for line in lines)


def _escaped(line: str) -> str:
    # a DEL is the one character that is neither printable nor escaped by json
    return "".join(
        char if char.isprintable() else "\\u007f" if char == "\x7f" else json.dumps(char)[1:-1]
        for char in line
    )


def say(text: str) -> None:
    """Write a message for people; if they have gone, and their terminal with them, nobody misses it."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command to say how it ends."""
        raise BrokenPipeError


def print_json(value: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(_json_text(value, indent=2) + "\n")
    sys.stdout.flush()


def human_console() -> Console:
    """Return a console on standard output that prints what its encoding can't hold as a question mark."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return _Console()


def pipe_console() -> Console:
    """Return a console on standard output that leaves it to the command to say how it ends when nobody reads on."""
    return _Console()


def visible(value: Any) -> str:
    """Return a value as text without control characters."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
