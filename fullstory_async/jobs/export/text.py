"""Exports as text: JSON Lines and CSV, plain or compressed."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby, repeat
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from fullstory_async.errors import ConfigurationError
from fullstory_async.files.compression import zstd
from fullstory_async.tables.columns import Kind, Row, RowWriter, Table
from fullstory_async.tables.rows import columns_of

__all__ = ["csv_text", "csv_writer", "json_lines_writer"]

_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are the full-width forms of the others, which some spreadsheets treat alike."""
_INVISIBLE = " \t\r\n\f\v\ufeff\u200b\u2060"
_BEFORE_FORMULAS = frozenset("".join(_FORMULA_STARTS) + _INVISIBLE)
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(:-?[0-9]+)?")
"""A number, or a session id of one or two negative halves."""


@contextmanager
def json_lines_writer(
    target: Path | IO[bytes], table: Table, *, compression: str = ""
) -> Iterator[RowWriter]:
    """Write rows as JSON Lines; JSON in them is nested, not quoted."""
    line = _line_type(table)
    nested = [n for n, column in enumerate(table) if column.kind == "json"]
    encode = msgspec.json.Encoder().encode_lines

    with _opened(target, compression) as file:

        def write(rows: Sequence[Row]) -> None:
            # by columns: each step is one loop in C
            columns: list[Iterable[Any]] = list(columns_of(rows, len(table)))
            for n in nested:
                columns[n] = [None if text is None else msgspec.Raw(text) for text in columns[n]]
            file.write(encode(list(map(line, *columns))))

        yield write


def _line_type(table: Table) -> type[msgspec.Struct]:
    """Return a structure with one field for each column, whose names may be any text."""
    names = {f"column_{n}": column.name for n, column in enumerate(table)}
    return msgspec.defstruct("Line", [(name, Any) for name in names], rename=names, gc=False)


@contextmanager
def csv_writer(
    target: Path | IO[bytes], table: Table, *, compression: str = "", bom: bool = False
) -> Iterator[RowWriter]:
    """Write rows as CSV with a header, after a byte order mark if that is asked for.

    A missing value is an empty cell, and an empty text a quoted one. Cells that a spreadsheet would run as
    formulas are escaped with an apostrophe.
    """
    with _opened(target, compression) as file:
        file.write(b"\xef\xbb\xbf" * bom)
        file.write(_csv_lines(table, (), with_header=True))

        def write(rows: Sequence[Row]) -> None:
            file.write(_csv_lines(table, rows))

        yield write


def csv_text(table: Table, rows: Sequence[Row], *, with_header: bool = False) -> str:
    """Return rows as lines of CSV."""
    return _csv_lines(table, rows, with_header=with_header).decode()


def _csv_lines(table: Table, rows: Sequence[Row], *, with_header: bool = False) -> bytes:
    # as bytes: one character beyond Latin-1 makes a text of a whole session twice as long, and slow
    lines = [",".join(_quoted(column.name) for column in table).encode()] if with_header else []
    if rows:
        columns = zip(table, columns_of(rows, len(table)), strict=True)
        parts: list[Iterable[bytes]] = []
        # equal values side by side are one part: most columns have one value in a session
        for is_constant, some in groupby(columns, key=lambda each: _is_constant(each[1])):
            if is_constant:
                part = b",".join(_CELLS[column.kind](values[0]).encode() for column, values in some)
                parts.append(repeat(part, len(rows)))
            else:
                parts += [_cells(column.kind, values) for column, values in some]
        lines += map(b",".join, zip(*parts, strict=True))
    return b"".join(map(b"%b\n".__mod__, lines))


def _is_constant(values: Sequence[Any]) -> bool:
    return values[-1] == values[0] and values.count(values[0]) == len(values)


def _cells(kind: Kind, values: Sequence[Any]) -> Sequence[bytes]:
    if kind == "json":
        return _json_cells(values)
    if kind in ("text", "time") and None not in values:
        joined = "\n".join(values)
        if kind == "time" or _is_plain(joined, values):
            return joined.encode().split(b"\n")
    if kind == "integer" and None not in values:
        return list(map(b"%d".__mod__, values))
    # many columns have few distinct values in a session
    cell = _CELLS[kind]
    cells = {value: cell(value).encode() for value in set(values)}
    return list(map(cells.__getitem__, values))


def _is_plain(joined: str, values: Sequence[str]) -> bool:
    """Return whether no text of a column needs to be quoted or escaped."""
    has_special = '"' in joined or "," in joined or "\r" in joined or "" in values
    if has_special or joined.count("\n") >= len(values):
        return False
    return _BEFORE_FORMULAS.isdisjoint({value[0] for value in values})


def _json_cells(values: Sequence[str | None]) -> list[bytes]:
    """Write long texts, which are the same object several times in a row, or once only."""
    cells: list[bytes] = []
    previous: str | None = None
    shown = b""
    for value in values:
        if value is not previous:
            previous, shown = value, _json_cell(value).encode()
        cells.append(shown)
    return cells


@contextmanager
def _opened(target: Path | IO[bytes], compression: str) -> Iterator[IO[bytes]]:
    with ExitStack() as stack:
        plain = stack.enter_context(target.open("wb")) if isinstance(target, Path) else target
        if compression == "gz":
            # No name and no time in its header, so that equal exports are equal files.
            packed = gzip.GzipFile(filename="", fileobj=plain, mode="wb", mtime=0)
            yield cast("IO[bytes]", stack.enter_context(packed))
        elif compression == "zst":
            if zstd is None:
                raise ConfigurationError("a .zst file needs: pip install 'fullstory-async[zstd]'")
            yield stack.enter_context(cast("IO[bytes]", zstd.ZstdFile(plain, "w")))
        else:
            yield plain


def _escape_formula(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run as a formula."""
    # Numbers and pairs of them stay as they are: an id may be negative, and it should come back in as it is.
    start = text.lstrip(_INVISIBLE)[:1]
    return f"'{text}" if start in _FORMULA_STARTS and not _NUMBER.fullmatch(text) else text


def _text_cell(value: str | None) -> str:
    return "" if value is None else _quoted(_escape_formula(value))


def _json_cell(value: str | None) -> str:
    # never a formula: of all JSON, only a number begins with one of their characters
    return "" if value is None else _quoted(value)


def _quoted(text: str) -> str:
    if '"' in text or "," in text or "\n" in text or "\r" in text or not text:
        doubled = text.replace('"', '""')
        return f'"{doubled}"'
    return text


def _boolean_cell(value: bool | None) -> str:
    return "" if value is None else "true" if value else "false"


_CELLS: Mapping[Kind, Callable[[Any], str]] = {
    "text": _text_cell, "name": _text_cell, "json": _json_cell, "time": lambda value: value or "",
    "boolean": _boolean_cell, "integer": lambda value: "" if value is None else str(value),
    "number": lambda value: "" if value is None else repr(value),
    "texts": lambda value: "" if value is None else _text_cell("|".join(value)) if value else "",
}  # fmt: skip
"""Kind of a column → how a value of it is written."""
