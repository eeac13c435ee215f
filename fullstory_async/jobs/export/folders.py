"""Exports as folders: one for each table, with numbered files, which programs read as one data set."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import attrs

from fullstory_async.files.file_system import PRIVATE_FILE, PRIVATE_FOLDER
from fullstory_async.tables.columns import TABLES, Row, RowWriter, Table

__all__ = ["FolderLayout", "date_column", "folder_writers", "foreign_files"]

FileOpener: TypeAlias = Callable[[Path, Table], AbstractContextManager[RowWriter]]

_ENOUGH = 3
"""Files of others that a refusal names."""
_NOTE = "_export.json"
"""A file of the folder that says which export made it. Data sets ignore names that begin so."""
_PART = re.compile(r"(?:event_date=[^/]+/)?part-[0-9]{4,}\.[a-z.]+")
_OPEN_DATES = 64
"""Files that may be open at once: with more dates than this, a date may get several files."""
_WAITING_BYTES = 32_000_000
"""Bytes of rows that wait to be written to the files of their dates."""
_ROW_BYTES = 500
"""About what a row takes beside its JSON."""
_ANY_DATE = "1970-01-01"
"""The date of an empty file, from which readers have the type of the column if no row has a date."""
_NO_DATE = "__HIVE_DEFAULT_PARTITION__"
"""The value that stands for null in the name of a folder, for all programs that read partitions."""


@attrs.frozen
class FolderLayout:
    """How the rows of a table are divided among files."""

    suffix: str
    by_date: bool = False
    """Whether events have a folder for each date of ``event_time``, such as ``event_date=2026-05-04``."""
    rows_per_file: int | None = None


def foreign_files(folder: Path) -> tuple[str, ...]:
    """Return some of the files in a folder that no export put there. Raises `OSError`."""
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        # it may be a home folder, or a whole disk
        if len(found) > _ENOUGH:
            break
        inside = Path(place).relative_to(folder)
        for name in files + [each for each in folders if Path(place, each).is_symlink()]:
            relative = (inside / name).as_posix()
            table, _, rest = relative.partition("/")
            if relative != _NOTE and not (table in TABLES and _PART.fullmatch(rest)):
                found.append(relative)
    has_files = any(files for _, _, files in os.walk(folder))
    if found or not has_files or _is_note(folder / _NOTE):
        return tuple(sorted(found))
    return tuple(sorted(path.name for path in folder.iterdir()))


def _is_note(path: Path) -> bool:
    try:
        note = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(note, dict) and note.get("made_by") == "fullstory_async"


@contextmanager
def folder_writers(
    folder: Path, tables: Mapping[str, Table], layout: FolderLayout, open_file: FileOpener
) -> Iterator[dict[str, RowWriter]]:
    """Write each table to files in a folder of its name.

    Args:
        folder: an empty folder.
        tables: the columns of each table.
        layout: how to divide the rows.
        open_file: opens one file of the format for rows with these columns.
    """
    with ExitStack() as stack:
        written: dict[str, _Files | _Dates] = {}
        for name, columns in tables.items():
            files = _Files(folder / name, columns, layout, open_file)
            place = date_column(columns) if layout.by_date else None
            written[name] = stack.enter_context(files) if place is None else _Dates(files, place, stack)
        yield {name: each.add for name, each in written.items()}
        for each in written.values():
            each.complete()
    note = {"made_by": "fullstory_async", "format": layout.suffix.removeprefix("."), "tables": list(tables)}
    path = folder / _NOTE
    path.touch(PRIVATE_FILE)
    path.write_text(json.dumps(note) + "\n")


def date_column(columns: Table) -> int | None:
    """Return the place of the column by whose dates rows are divided; None if there is none."""
    return next(
        (n for n, each in enumerate(columns) if (each.name, each.kind) == ("event_time", "time")), None
    )


@attrs.define
class _Files:
    """The numbered files of one folder, one of them open."""

    folder: Path
    columns: Table
    layout: FolderLayout
    open_file: FileOpener
    _count: int = attrs.field(default=0, init=False)
    _rows: int = attrs.field(default=0, init=False)
    """Rows in the open file."""
    _stack: ExitStack = attrs.field(factory=ExitStack, init=False)
    _write: RowWriter | None = attrs.field(default=None, init=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, rows: Sequence[Row]) -> None:
        limit = self.layout.rows_per_file
        while rows:
            if self._write is None or self._rows == limit:
                self._write = self._open()
            now = rows if limit is None else rows[: limit - self._rows]
            self._write(now)
            self._rows += len(now)
            rows = rows[len(now) :]

    def complete(self) -> None:
        """Close the open file. A table without a row has a file too, from which readers have its columns."""
        if not self._count:
            self._open()
        self.close()

    def close(self) -> None:
        """Close the open file; more rows go to the next one."""
        self._stack.close()
        self._write = None

    def _open(self) -> RowWriter:
        self.close()
        self.folder.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
        path = self.folder / f"part-{self._count:04}{self.layout.suffix}"
        path.touch(PRIVATE_FILE)
        self._count += 1
        self._rows = 0
        return self._stack.enter_context(self.open_file(path, self.columns))


@attrs.define
class _Dates:
    """The files of a table whose rows are divided by the date of a column; null has a folder too."""

    table: _Files
    """The files that it would have undivided; never written."""
    place: int
    """The column of the time."""
    stack: ExitStack
    """Closes the files if the export fails."""
    _waiting: dict[str, list[Row]] = attrs.field(factory=dict, init=False)
    """The rows of each date that are not written yet."""
    _sizes: dict[str, int] = attrs.field(factory=dict, init=False)
    """About how many bytes they take."""
    _json: list[int] = attrs.field(init=False)
    _by_date: dict[str, _Files] = attrs.field(factory=dict, init=False)
    _open: dict[str, _Files] = attrs.field(factory=dict, init=False)
    """The dates whose file is open, the one that was used last at the end."""

    def __attrs_post_init__(self) -> None:
        self._json = [n for n, column in enumerate(self.table.columns) if column.kind == "json"]

    def add(self, rows: Sequence[Row]) -> None:
        for row in rows:
            time = row[self.place]
            date = _NO_DATE if time is None else time[:10]
            self._waiting.setdefault(date, []).append(row)
            size = _ROW_BYTES + sum(len(row[n] or "") for n in self._json)
            self._sizes[date] = self._sizes.get(date, 0) + size
        # Written in large portions, and with one limit for all dates: each portion is a group of Parquet.
        while sum(self._sizes.values()) > _WAITING_BYTES:
            self._write(max(self._sizes, key=self._sizes.__getitem__))

    def complete(self) -> None:
        """Close the open files; without any date, an empty file has one."""
        for date in list(self._waiting):
            self._write(date)
        if not self._by_date.keys() - {_NO_DATE}:
            self._files_of(_ANY_DATE)
        for files in self._by_date.values():
            files.complete()

    def _write(self, date: str) -> None:
        del self._sizes[date]
        self._files_of(date).add(self._waiting.pop(date))

    def _files_of(self, date: str) -> _Files:
        files = self._by_date.get(date)
        if files is None:
            files = attrs.evolve(self.table, folder=self.table.folder / f"event_date={date}")
            self._by_date[date] = self.stack.enter_context(files)
        self._open.pop(date, None)
        self._open[date] = files
        if len(self._open) > _OPEN_DATES:
            self._open.pop(next(iter(self._open))).close()
        return files
