"""Exports as text: JSON Lines and CSV, plain or compressed."""

from __future__ import annotations

import functools
import gzip
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from fullstory_async.errors import ConfigurationError
from fullstory_async.files.compression import zstd
from fullstory_async.tables.columns import Column, Kind, Row, RowWriter, Table
from fullstory_async.tables.json_text import JsonTexts, json_slices
from fullstory_async.tables.rows import Repeated, columns_of, grouped

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
    line_of = functools.cache(_line_of)
    with _opened(target, compression) as file:

        def write(rows: Sequence[Row]) -> None:
            # by columns: each step is one loop in C
            groups = grouped(zip(table, columns_of(rows, len(table)), strict=True))
            make, _ = line_of(tuple([group[0][0].name for group in groups]))
            file.write(_encode_lines(list(map(make, *[_field_of(group, line_of) for group in groups]))))

        yield write


_encode_lines = msgspec.json.Encoder().encode_lines


def _line_of(names: tuple[str, ...]) -> tuple[Callable[..., Any], int]:
    """Return what makes an object of the values of columns, and where the first value begins in its JSON.

    The names may be any text.
    """
    start = len(msgspec.json.encode({names[0]: 0})) - len(b"0}")
    if any(len(msgspec.json.encode(name)) != len(name.encode()) + len('""') for name in names):
        # msgspec takes no names for fields that have to be escaped
        return lambda *values: dict(zip(names, values, strict=True)), start
    fields = {f"column_{n}": name for n, name in enumerate(names)}
    return msgspec.defstruct("Line", [(field, Any) for field in fields], rename=fields, gc=False), start


def _field_of(
    group: Sequence[tuple[Column, Sequence[Any]]],
    line_of: Callable[[tuple[str, ...]], tuple[Callable[..., Any], int]],
) -> Iterable[Any]:
    """Return the values of a group of columns as one field of a line.

    The field has the name of the first column. Columns that repeat alike are encoded once for each of their
    values, and the names and values of the others are in the text of the first one's value.
    """
    column, values = group[0]
    if not isinstance(values, Repeated):
        return json_slices(values) if column.kind == "json" else values
    make, start = line_of(tuple([column.name for column, _ in group]))
    distinct = [
        json_slices(each.values) if column.kind == "json" else each.values
        for column, each in cast("Sequence[tuple[Column, Repeated]]", group)
    ]
    # text in JSON has no line break
    lines = _encode_lines(list(map(make, *distinct))).splitlines()
    return Repeated([msgspec.Raw(line[start:-1]) for line in lines], values.places)


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
        groups = grouped(zip(table, columns_of(rows, len(table)), strict=True))
        lines += map(b",".join, zip(*map(_cells_of, groups), strict=True))
    # the last one ends with a line break too
    return b"\n".join([*lines, b""])


def _cells_of(group: Sequence[tuple[Column, Sequence[Any]]]) -> Iterable[bytes]:
    """Return the cells of columns side by side that repeat alike: a text with all of them for each row."""
    column, values = group[0]
    if not isinstance(values, Repeated):
        return _cells(column.kind, values)
    # each value is written once only
    repeated = cast("Sequence[tuple[Column, Repeated]]", group)
    distinct = ([_CELLS[column.kind](value) for value in each.values] for column, each in repeated)
    shown = [",".join(cells).encode() for cells in zip(*distinct, strict=True)]
    return Repeated(shown, values.places)


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
    if not isinstance(values, JsonTexts):
        return [_plain_cell(value).encode() for value in values]
    slices = map(bytes, cast("Sequence[bytes]", values.slices))
    # on one line each
    return [b'"%b"' % each.replace(b'"', b'""') if b'"' in each or b"," in each else each for each in slices]


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


def _plain_cell(value: str | None) -> str:
    """Write a text that is not a formula. JSON never is: only its numbers begin as formulas do."""
    return "" if value is None else _quoted(value)


def _quoted(text: str) -> str:
    if '"' in text or "," in text or "\n" in text or "\r" in text or not text:
        doubled = text.replace('"', '""')
        return f'"{doubled}"'
    return text


def _boolean_cell(value: bool | None) -> str:
    return "" if value is None else "true" if value else "false"


_CELLS: Mapping[Kind, Callable[[Any], str]] = {
    "text": _text_cell, "name": _text_cell, "json": _plain_cell, "time": lambda value: value or "",
    "boolean": _boolean_cell, "integer": lambda value: "" if value is None else str(value),
    "number": lambda value: "" if value is None else repr(value),
    "texts": lambda value: "" if value is None else _text_cell("|".join(value)) if value else "",
}  # fmt: skip
"""Kind of a column → how a value of it is written."""
