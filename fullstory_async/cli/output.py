"""Where data goes: JSON Lines to standard output or a file, or a table for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fullstory_async.cli.exits import UsageError
from fullstory_async.errors import FullStoryError
from fullstory_async.models import Session, SessionEvent, SessionEvents, SessionSummary

__all__ = ["Lines", "answer_line", "as_row", "error_line", "open_lines", "print_table"]


class Lines:
    """A file of JSON Lines that is made when its first line is written."""

    def __init__(self, path: Path | None, *, force: bool) -> None:
        """Prepare to write to ``path``, or to standard output for ``None``.

        Raises:
            UsageError: the file exists and ``force`` is not set, or its folder does not.
        """
        self.path = path
        self._file: IO[str] | None = None
        if path is None:
            return
        if path.exists() and not force:
            raise UsageError(f"{path} exists; choose another name or overwrite it with --force")
        if path.is_dir() or not path.parent.is_dir():
            raise UsageError(
                f"{path} can't be written: {'it is' if path.is_dir() else path.parent} a missing folder"
            )

    def write(self, line: str) -> None:
        """Write one line at once, so that a program that is killed loses none."""
        file = self._file or (sys.stdout if self.path is None else _create(self.path))
        self._file = file
        file.write(line + "\n")
        file.flush()

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._file is not None and self.path is not None:
            self._file.close()


@contextmanager
def open_lines(path: Path | None, *, force: bool) -> Iterator[Lines]:
    """Open `Lines` for a block."""
    lines = Lines(path, force=force)
    try:
        yield lines
    finally:
        lines.close()


def _create(path: Path) -> IO[str]:
    """Open for writing, readable by nobody else: sessions are personal data."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from None
    return os.fdopen(descriptor, "w", encoding="utf-8")


def as_row(item: Session | SessionEvent | SessionSummary) -> dict[str, Any]:
    """Return a model's fields as JSON-ready values."""
    row = attrs.asdict(item, recurse=False, filter=lambda field, _: field.name != "raw")
    if isinstance(item, Session):
        row = {"id": item.id, **row}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def answer_line(session_id: str, operation: str, answer: SessionEvents | SessionSummary) -> str:
    """Return one line that holds a whole answer, as it came."""
    raw = answer.raw.decode("utf-8", "surrogateescape")
    if "\n" in raw or "\r" in raw:
        raw = json.dumps(json.loads(raw))
    head = json.dumps({"session_id": str(session_id), "operation": operation})
    return f'{head[:-1]}, "answer": {raw or "{}"}}}'


def error_line(session_id: str, operation: str, error: FullStoryError) -> str:
    """Return one line about a session that failed."""
    line = {
        "session_id": session_id, "operation": operation, "error": type(error).__name__, "status": error.status,
        "code": error.code, "message": error.message, "attempts": error.attempts,
        "may_have_cost": error.may_have_cost,
    }  # fmt: skip
    return json.dumps(line)


def print_table(console: Console, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows for people; control characters in them can't reach the terminal."""
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(_visible(row.get(column))) for column in columns))
    console.print(table)


def _visible(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
