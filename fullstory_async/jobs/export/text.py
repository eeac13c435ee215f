"""Exports as text: JSON Lines and CSV, plain or compressed."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from fullstory_async.errors import ConfigurationError
from fullstory_async.files.compression import zstd
from fullstory_async.tables.columns import Kind, Row, RowWriter, Table

__all__ = ["csv_text", "csv_writer", "json_lines_writer"]

_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are the full-width forms of the others, which some spreadsheets treat alike."""
_INVISIBLE = " \t\r\n\f\v\ufeff\u200b\u2060"
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
            columns: list[Iterable[Any]] = list(zip(*rows, strict=True)) or [()] * len(table)
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
        file.write(csv_text(table, (), with_header=True).encode())

        def write(rows: Sequence[Row]) -> None:
            file.write(csv_text(table, rows).encode())

        yield write


def csv_text(table: Table, rows: Sequence[Row], *, with_header: bool = False) -> str:
    """Return rows as lines of CSV."""
    columns = [
        _cells(column.kind, values) for column, values in zip(table, zip(*rows, strict=True), strict=False)
    ]
    header = [[_quoted(column.name) for column in table]] if with_header else []
    return "".join(f"{','.join(row)}\n" for row in (*header, *zip(*columns, strict=True)))


def _cells(kind: Kind, values: Sequence[Any]) -> Sequence[str]:
    cell = _CELLS[kind]
    if values.count(values[0]) == len(values):
        return [cell(values[0])] * len(values)
    if kind == "time" and None not in values:
        return values
    if kind == "json":
        return _json_cells(values)
    # many columns have few distinct values in a session
    cells = {value: cell(value) for value in set(values)}
    return [cells[value] for value in values]


def _json_cells(values: Sequence[str | None]) -> list[str]:
    """Write long texts, which are the same object several times in a row, or once only."""
    cells: list[str] = []
    previous: str | None = None
    shown = ""
    for value in values:
        if value is not previous:
            previous, shown = value, _json_cell(value)
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
        return '"{}"'.format(text.replace('"', '""'))
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
