"""Printing: JSON and CSV for programs, tables for people, messages on stderr."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal, TextIO

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.jobs.export.text import escape_formula
from fullstory_async.models import Session, UnknownEventTypeWarning

__all__ = [
    "Output",
    "as_row",
    "print_csv",
    "print_json",
    "print_rows",
    "print_rows_as",
    "print_table",
    "printable",
    "warnings_as_messages",
    "write_stderr",
]

Output = Literal["jsonl", "table"]
"""The formats that most commands offer."""

_URL_WIDTH = 200
_UNBROKEN_COLUMNS = ("id", "url", "operation")


def as_row(item: attrs.AttrsInstance) -> dict[str, Any]:
    """Return a model's fields as JSON-ready values."""
    row = attrs.asdict(item, recurse=False, filter=lambda field, _: field.name != "raw")
    if isinstance(item, Session):
        row = {"id": item.id if item.session_id else "", **row}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def print_rows_as(output: Output, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print rows as JSON Lines, or the given columns of them as a table."""
    if output == "table":
        print_table(StreamConsole(), columns, rows)
    else:
        print_rows(rows)


def print_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print JSON Lines."""
    for row in rows:
        sys.stdout.write(_dump(row) + "\n")
    sys.stdout.flush()


def print_json(value: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(_dump(value, indent=2) + "\n")
    sys.stdout.flush()


def print_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as CSV, safe to open in a spreadsheet or a terminal.

    Cells that a spreadsheet would run as formulas are escaped, and control characters are replaced.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([escape_formula(printable(row.get(column))) for column in columns])
    sys.stdout.flush()


def print_table(console: Console, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as a table for people, with control characters replaced."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0 or column in _UNBROKEN_COLUMNS, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(row.get(column))) for column in columns))
    # a URL that is folded over two lines can be neither clicked nor copied
    if "url" in columns:
        console = StreamConsole(width=max(console.width, _URL_WIDTH))
    console.print(table)


def printable(value: Any) -> str:
    """Return a value as text, with each control character replaced by U+FFFD."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def write_stderr(text: str) -> None:
    """Write a message to standard error, and ignore that its terminal is gone."""
    # the message is lost with its reader, but the job that reports must still end in order
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


@contextmanager
def warnings_as_messages() -> Iterator[None]:
    """Print the library's warnings as one-line messages inside the block."""

    def show_message(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, UnknownEventTypeWarning):
            sys.stderr.write(f"fullstory-async: {message}\n")
        else:
            show_as_before(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UnknownEventTypeWarning)
        show_as_before = warnings.showwarning
        warnings.showwarning = show_message
        yield


def _dump(value: Any, *, indent: int | None = None) -> str:
    """Return JSON, with non-ASCII characters escaped unless the output is UTF-8.

    Unprintable characters are always escaped: they could move a terminal's cursor, or end a line for some
    readers.
    """
    if (sys.stdout.encoding or "").lower().replace("_", "-") not in ("utf-8", "utf8"):
        return json.dumps(value, indent=indent)
    lines = json.dumps(value, indent=indent, ensure_ascii=False).split("\n")
    return "\n".join(line if line.isprintable() else _escape(line) for line in lines)


def _escape(line: str) -> str:
    # DEL is the only unprintable character that json.dumps leaves alone
    return "".join(
        char if char.isprintable() else "\\u007f" if char == "\x7f" else json.dumps(char)[1:-1]
        for char in line
    )
