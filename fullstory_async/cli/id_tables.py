"""Tables with ids: find the delimiter and the header, and read the records."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import attrs

from fullstory_async.cli.exits import UsageError
from fullstory_async.errors import ConfigurationError
from fullstory_async.ids.cells import Kind, is_damaged_pair, is_opaque_id, long_pairs, read_cell
from fullstory_async.ids.columns import choose, find_named, normalised_name
from fullstory_async.session_id import SessionId

__all__ = ["Records", "Table", "distinct_columns", "find_table", "is_comment", "is_empty"]

_DELIMITERS = ("\t", ";", ",", "|")
_IDS = (Kind.LINK, Kind.PAIR, Kind.SHORT_PAIR, Kind.SEVERAL, Kind.CUT, Kind.ROUNDED)
_RULE = re.compile(r"[\s|+=:_-]*[|+=_-]{2}[\s|+=:_-]*|\([0-9]+ rows?\)|[0-9]+ rows? in set.*")
"""The lines that databases and Markdown draw around a table, and the count below it."""
_SIMILAR = 0.8
"""Share of rows that have as many cells as the header."""


@attrs.frozen
class Table:
    """The form of a table."""

    delimiter: str
    columns: tuple[str, ...]
    has_header: bool


def is_empty(line: str) -> bool:
    """Return whether a line holds nothing: it is empty, or a rule of a drawn table."""
    stripped = line.strip().strip("\ufeff\x1a\x00")
    return not stripped or _RULE.fullmatch(stripped) is not None


def is_comment(line: str) -> bool:
    """Return whether a line that is not a record of a table is a comment."""
    return line.lstrip(" \t\ufeff").startswith("#")


@contextmanager
def _large_cells() -> Iterator[None]:
    """Let the csv module read cells of any size meanwhile; its limit is one for the whole process."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def find_table(lines: Sequence[str], delimiter: str | None, column: str | None) -> Table | None:
    """Return the form of a table by its first lines; ``None`` if they are plain lines of ids.

    Args:
        lines: the first lines that are not empty; the first isn't a comment.
        delimiter: the delimiter, if it is known.
        column: the column that was named, if any.
    """
    is_list = read_cell(lines[0]).kind in _IDS
    if column is None and len(long_pairs(lines[0])) > 1 and not SessionId.find_all(lines[0]):
        # several ids in one line are not the columns of a table, of which one has the ids
        return None
    found: list[tuple[bool, int, Table]] = []
    for each in _DELIMITERS if delimiter is None else (delimiter,):
        rows = _parsed(lines, each)
        width = len(rows[0])
        if width == 1 and each != delimiter:
            continue
        has_header = not any(read_cell(cell).kind in _IDS for cell in rows[0])
        table = Table(each, distinct_columns(rows[0], has_header=has_header), has_header)
        dicts = [_as_row(table, row) for row in rows[has_header:]]
        has_ids = _has_ids(dicts) if column is None else find_named(column, table.columns) is not None
        similar = sum(len(row) == width for row in rows)
        if has_ids or (similar >= _SIMILAR * len(rows) and not is_list and len(rows) > 1):
            found.append((has_ids, width, table))
    if found and not (is_list and column is None and not _has_pair_cell(lines[0], found)):
        return max(found, key=lambda each: each[:2])[2]
    return None if is_list else _single_column(lines, column)


def _single_column(lines: Sequence[str], column: str | None) -> Table | None:
    """Return a table of one column, if its first line is a header."""
    name = lines[0].strip().lstrip("\ufeff").strip("\"'")
    table = Table(",", (name,), has_header=True)
    if column is not None:
        return table
    names = ("fullsessionid", "sessionid", "session", "fsurl", "replayurl", "sessionurl", "url", "id")
    if normalised_name(name) in names:
        return table
    # a text that may be an id is not a header
    may_be_id = is_damaged_pair(name) or (is_opaque_id(name) and "session" not in normalised_name(name))
    if read_cell(name).kind is not Kind.TEXT or may_be_id:
        return None
    return table if _has_ids([{name: line} for line in lines[1:] if not is_comment(line)]) else None


def _has_pair_cell(line: str, found: list[tuple[bool, int, Table]]) -> bool:
    """Return whether a cell of a line without a header is an id by itself, and the line is not."""
    if read_cell(line).kind is not Kind.TEXT:
        return False
    return any(read_cell(cell).kind in _IDS for _, _, table in found for cell in line.split(table.delimiter))


def _has_ids(rows: list[dict[str, str]]) -> bool:
    with suppress(ConfigurationError):
        return bool(rows) and choose(rows) is not None
    return False


def _parsed(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    with _large_cells():
        rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        return [row for row in rows if row and not _is_comment_row(row)]


def _is_comment_row(cells: Sequence[str]) -> bool:
    # order numbers may begin with the mark of a comment
    return len(cells) == 1 and is_comment(cells[0])


def distinct_columns(cells: Sequence[str], *, has_header: bool) -> tuple[str, ...]:
    """Return distinct names for the columns of a header, or of a first row."""
    names = [cell.strip(" \t\ufeff\"'\u200b\u00a0") if has_header else "" for cell in cells]
    count = Counter(names)
    return tuple(
        name if name and count[name] == 1 else f"{name} (column {number})".lstrip()
        for number, name in enumerate(names, 1)
    )


def _as_row(table: Table, cells: Sequence[str]) -> dict[str, str]:
    # a cell without a column has no name, but may hold the rest of a text
    return dict(itertools.zip_longest(table.columns, cells[: len(table.columns)], fillvalue=""))


class Records:
    """The records of a table. Those with irregular quotation marks are read leniently and counted."""

    irregular: int
    """Number of records with irregular quotation marks."""

    def __init__(self, lines: Iterable[tuple[int, str]], table: Table) -> None:
        """Read from numbered lines, the first of which is the header if there is one."""
        self.irregular = 0
        self._table = table
        self._lines = iter(lines)
        self._returned: deque[tuple[int, str]] = deque()
        self._taken: list[tuple[int, str]] = []

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield the rows with the lines where they begin. Raises `UsageError` for an open quotation mark."""
        header: list[str] | None = None
        for line, cells in self._records():
            if header is None:
                header = cells
            # files with headers that were joined
            is_header = cells == header and self._table.has_header
            if not is_header and not _is_comment_row(cells):
                yield line, _as_row(self._table, cells)

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        reader = self._reader(strict=True)
        with _large_cells():
            while (start := self._skip_empty()) is not None:
                self._taken = []
                try:
                    cells = next(reader)
                except csv.Error:
                    cells = self._read_leniently()
                    # one that came to the end of the lines would not read those that were returned
                    reader = self._reader(strict=True)
                except StopIteration:
                    return
                yield start, cells

    def _skip_empty(self) -> int | None:
        """Return the number of the next line that is not empty; ``None`` at the end."""
        for number, line in self._remaining():
            if not is_empty(line):
                self._returned.appendleft((number, line))
                return number
        return None

    def _read_leniently(self) -> list[str]:
        """Read the record again, with backslashes before quotation marks, or with stray ones."""
        self.irregular += 1
        start, text = self._taken[0][0], "".join(line for _, line in self._taken)
        has_backslash = '\\"' in text
        self._returned.extendleft(reversed(self._taken))
        self._taken = []
        try:
            if has_backslash:
                return next(self._reader(strict=True, escapechar="\\"))
            # only this line: a stray mark must not hide the records after it
            number, line = next(self._remaining())
            self._taken.append((number, line))
            return next(csv.reader([line], **self._dialect(), strict=False))
        except (csv.Error, StopIteration):
            raise UsageError(
                f"can't be read: the quotation mark that opens in line {start} is never closed"
            ) from None

    def _reader(self, *, strict: bool, escapechar: str | None = None) -> Iterator[list[str]]:
        return csv.reader(self._feed(), **self._dialect(), strict=strict, escapechar=escapechar)

    def _dialect(self) -> dict[str, Any]:
        return {"delimiter": self._table.delimiter, "skipinitialspace": True}

    def _feed(self) -> Iterator[str]:
        for number, line in self._remaining():
            self._taken.append((number, line))
            yield line

    def _remaining(self) -> Iterator[tuple[int, str]]:
        while True:
            if self._returned:
                yield self._returned.popleft()
            elif (numbered := next(self._lines, None)) is not None:
                yield numbered
            else:
                return
