"""Exports as text: JSON Lines, plain or compressed, and CSV."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

from fullstory_async.errors import ConfigurationError
from fullstory_async.jobs.export.tables import Row, RowWriter, Table
from fullstory_async.jobs.storage.compression import zstd

__all__ = ["csv_writer", "dump_json", "escape_formula", "iso_time", "json_lines_writer"]

_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are the full-width forms of the others, which some spreadsheets treat alike."""
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(:-?[0-9]+)?")
"""A number, or a session id of one or two negative halves."""


@contextmanager
def json_lines_writer(
    path: Path, table: Table, *, compression: str = "", surrogates: str = "backslashreplace"
) -> Iterator[RowWriter]:
    """Write rows as JSON Lines; JSON in them is nested, not quoted.

    A lone surrogate is kept, as an escape sequence.
    """
    with _opened(path, compression) as file:

        def write(row: Row) -> None:
            shown = {column.name: row[column.name] for column in table}
            text = dump_json(shown, default=iso_time, ensure_ascii=False)
            file.write(text.encode("utf-8", surrogates) + b"\n")

        yield write


@contextmanager
def csv_writer(path: Path, table: Table, *, compression: str = "") -> Iterator[RowWriter]:
    """Write rows as CSV with a header.

    Cells that a spreadsheet would run as formulas are escaped with an apostrophe.
    """
    with _opened(path, compression) as raw:
        file = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", newline="")
        writer = csv.writer(file)
        writer.writerow([column.name for column in table])

        def write(row: Row) -> None:
            writer.writerow([_cell(row[column.name], as_json=column.kind == "json") for column in table])

        try:
            yield write
            file.flush()
        finally:
            # The wrapper closes its file when it is deleted, and that file is closed elsewhere.
            file.detach()


@contextmanager
def _opened(path: Path, compression: str) -> Iterator[IO[bytes]]:
    with ExitStack() as stack:
        plain = stack.enter_context(path.open("wb"))
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


def _cell(value: Any, *, as_json: bool) -> str:
    if value is None:
        return ""
    if as_json:
        return escape_formula(dump_json(value, ensure_ascii=False))
    if isinstance(value, datetime):
        return iso_time(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return escape_formula(str(value))


def escape_formula(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run as a formula."""
    # Numbers and pairs of them stay as they are: an id may be negative, and it should come back in as it is.
    if text.lstrip()[:1] in _FORMULA_STARTS and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def dump_json(value: Any, **options: Any) -> str:
    """Write a value as JSON that every reader accepts: NaN and infinity are null.

    Some responses hold them, and JSON has no word for them.
    """
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_without_nan(value), allow_nan=False, **options)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def iso_time(value: Any) -> str:
    """Return a time in UTC in ISO 8601. Raises `TypeError` for another value."""
    if not isinstance(value, datetime):
        raise TypeError(type(value).__name__)
    return value.isoformat().replace("+00:00", "Z")
