"""Where data goes: JSON Lines to standard output or a file, or a table for people."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fullstory_async.cli.exits import UsageError
from fullstory_async.errors import DecodeError, FullStoryError
from fullstory_async.jobs.export.cells import harmless
from fullstory_async.models import Session, SessionEvents, SessionSummary

__all__ = [
    "Lines",
    "WriteError",
    "answer_line",
    "as_row",
    "console_for_people",
    "error_line",
    "not_made_line",
    "print_csv",
    "print_json",
    "print_rows",
    "print_table",
    "visible",
]

_WIDE = 200
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class WriteError(Exception):
    """Data can't be written; what came after the last good line is lost."""


class Lines:
    """JSON Lines to a file, each written at once so that a program that is killed loses none."""

    path: Path | None
    """The file; ``None`` is standard output."""
    count: int
    """How many lines were written."""

    def __init__(self, path: Path | None, *, force: bool) -> None:
        """Open a file, or standard output for ``None``, before anything is paid for.

        Args:
            path: where to write. The file is readable by its owner only: sessions are personal data.
            force: overwrite a file that exists; what is in it stays until `begin`.

        Raises:
            UsageError: the file exists and ``force`` is not set, or it can't be written.
        """
        self.path, self.count = path, 0
        self._begun = False
        if path is None:
            if sys.stdout is None:
                raise UsageError("standard output is closed; give --out FILE")
            self._file: IO[bytes] = sys.stdout.buffer
            return
        try:
            self._fresh = not os.path.lexists(path)
            flags = os.O_WRONLY | os.O_CREAT | (0 if force else os.O_EXCL)
            self._file = os.fdopen(os.open(path, flags, 0o600), "wb")
        except FileExistsError:
            raise UsageError(f"{path} exists; choose another name or overwrite it with --force") from None
        except OSError as error:
            raise UsageError(f"{path} can't be written: {error.strerror}") from None

    def begin(self) -> None:
        """Empty the file, now that everything else is ready."""
        self._begun = True
        if self.path is not None and self.path.is_file():
            self._file.truncate()

    def write(self, line: bytes) -> None:
        """Write one line. Raises `WriteError`, or `BrokenPipeError` where nobody reads any more."""
        try:
            self._file.write(line + b"\n")
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            place = "standard output" if self.path is None else str(self.path)
            text = f"{place} can't be written: {error.strerror}; {self.count} lines are in it"
            raise WriteError(text) from None
        self.count += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path is None:
            return
        try:
            self._file.close()
        except OSError as failed:  # what could not be written has been reported when it was tried
            sys.stderr.write(f"{self.path}: {failed.strerror}\n")
        ours = self._fresh or (self._begun and self.path.is_file() and not self.path.is_symlink())
        if self.count == 0 and ours:
            self.path.unlink(missing_ok=True)  # an empty file would only stand in the way of the next try


def as_row(item: attrs.AttrsInstance) -> dict[str, Any]:
    """Return a model's fields as JSON-ready values."""
    row = attrs.asdict(item, recurse=False, filter=lambda field, _: field.name != "raw")
    if isinstance(item, Session):
        row = {"id": item.id if item.session_id else "", **row}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def answer_line(session_id: str, operation: str, answer: SessionEvents | SessionSummary) -> bytes:
    """Return one line that holds a whole answer, byte for byte but for line breaks between its parts."""
    raw = answer.raw.removeprefix(_BYTE_ORDER_MARK).replace(b"\r", b" ").replace(b"\n", b" ")
    head = json.dumps({"session_id": str(session_id), "operation": operation}).encode()
    return head[:-1] + b', "answer": ' + (raw or b"{}") + b"}"


def error_line(session_id: str, operation: str, error: FullStoryError) -> bytes:
    """Return one line about a call that failed; of an unreadable answer it holds the text that was paid for."""
    line = {
        "session_id": session_id, "operation": operation, "error": type(error).__name__, "status": error.status,
        "code": error.code, "message": error.message, "attempts": error.attempts,
        "may_have_cost": error.may_have_cost,
    }  # fmt: skip
    if isinstance(error, DecodeError) and error.response is not None:
        line["answer_text"] = error.response.body.decode("utf-8", "replace")
    return json.dumps(line).encode()


def not_made_line(session_id: str, operation: str, *, may_have_cost: bool | None) -> bytes:
    """Return one line about a call that has no outcome; ``None`` where nobody knows whether it was made."""
    line = {
        "session_id": session_id, "operation": operation, "error": "NoOutcome",
        "message": "the job ended before", "may_have_cost": may_have_cost,
    }  # fmt: skip
    return json.dumps(line).encode()


def print_table(console: Console, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows for people; control characters in them can't reach the terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0 or column in ("id", "url"), overflow="fold")
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
        writer.writerow([harmless(visible(row.get(column))) for column in columns])
    sys.stdout.flush()


def print_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print JSON Lines."""
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command to say how it ends."""
        raise BrokenPipeError


def print_json(value: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
    sys.stdout.flush()


def console_for_people() -> Console:
    """Return a console on standard output that prints what its encoding can't hold as a question mark."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return _Console()


def visible(value: Any) -> str:
    """Return a value as text without control characters."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
