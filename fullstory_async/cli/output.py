"""Printing: JSON and CSV for programs, tables for people, messages on stderr."""

from __future__ import annotations

import contextlib
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
from rich.style import Style
from rich.table import Table
from rich.text import Text

from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.jobs.export.text import csv_text
from fullstory_async.json_ready import time_text
from fullstory_async.models import Session, UnknownEventTypeWarning
from fullstory_async.tables.columns import Row
from fullstory_async.tables.columns import Table as Columns
from fullstory_async.tables.ids import SessionIds
from fullstory_async.tables.json_text import representable

__all__ = [
    "Output",
    "as_row",
    "local_time",
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
_UNBROKEN_COLUMNS = ("full_session_id", "url", "operation")


def as_row(item: attrs.AttrsInstance) -> dict[str, Any]:
    """Return a model's fields as JSON-ready values, with the names that an export's rows have."""
    row = attrs.asdict(item, recurse=False, filter=lambda field, _: field.name not in ("raw", "user_id"))
    if (session_id := row.pop("session_id", None)) is not None:
        full_id = item.id if isinstance(item, Session) and session_id else session_id
        row = {**SessionIds.of(str(full_id)).to_dict(), **row}
    return {name: time_text(value) if isinstance(value, datetime) else value for name, value in row.items()}


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


def print_csv(table: Columns, rows: Sequence[Row]) -> None:
    """Print rows as CSV, as an export writes them; on a terminal, without control characters."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    text = csv_text(table, rows, with_header=True)
    if sys.stdout.isatty():
        text = "".join(f"{printable(line)}\n" for line in text.split("\n")[:-1])
    sys.stdout.write(text)
    sys.stdout.flush()


def print_table(console: Console, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as a table for people, with control characters replaced.

    On a terminal, an id links to the row's URL if that has no column.
    """
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0 or column in _UNBROKEN_COLUMNS, overflow="fold")
    for row in rows:
        url = "" if "url" in columns else printable(row.get("url"))
        link = Style(link=url) if url.startswith(("https://", "http://")) else ""
        table.add_row(
            *(Text(printable(row.get(each)), link if each == "full_session_id" else "") for each in columns)
        )
    # a URL that is folded over two lines can be neither clicked nor copied
    if "url" in columns:
        console = StreamConsole(width=max(console.width, _URL_WIDTH))
    console.print(table)


def local_time(when: datetime | None, form: str = "%Y-%m-%d %H:%M") -> str:
    """Return a time for people: in this machine's time zone, with its name."""
    if when is None:
        return ""
    # the first and the last hours of a `datetime` have no local time, nor has a year unknown to the system
    with contextlib.suppress(OverflowError, ValueError, OSError):
        when = when.astimezone()
    return f"{when:{form} %Z}"


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
    readers. NaN and infinities are null, as in exports.
    """
    is_utf8 = (sys.stdout.encoding or "").lower().replace("_", "-") in ("utf-8", "utf8")
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=not is_utf8, allow_nan=False)
    except ValueError:
        text = json.dumps(representable(value), indent=indent, ensure_ascii=not is_utf8)
    return "\n".join(line if line.isprintable() else _escape(line) for line in text.split("\n"))


def _escape(line: str) -> str:
    # DEL is the only unprintable character that json.dumps leaves alone
    return "".join(
        char if char.isprintable() else "\\u007f" if char == "\x7f" else json.dumps(char)[1:-1]
        for char in line
    )
