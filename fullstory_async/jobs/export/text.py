"""Exports as text: JSON Lines, plain or compressed, and CSV."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

from fullstory_async.errors import ConfigurationError
from fullstory_async.jobs.export.cells import harmless, json_text
from fullstory_async.jobs.export.sink import Sink
from fullstory_async.jobs.export.tables import Row, Table
from fullstory_async.jobs.packing import zstd

__all__ = ["csv_sink", "json_lines_sink"]


@contextmanager
def json_lines_sink(
    path: Path, _: str, table: Table, *, compression: str = "", surrogates: str = "backslashreplace"
) -> Iterator[Sink]:
    """Write rows as JSON Lines; JSON in them is nested, not quoted. A lone surrogate stays one, as an escape."""
    with _opened(path, compression) as file:

        def write(row: Row) -> None:
            shown = {column.name: row[column.name] for column in table}
            file.write(
                json_text(shown, default=_time, ensure_ascii=False).encode("utf-8", surrogates) + b"\n"
            )

        yield write


@contextmanager
def csv_sink(path: Path, _: str, table: Table, *, compression: str = "") -> Iterator[Sink]:
    """Write rows as CSV with a header; a cell that a spreadsheet would run as a formula gets an apostrophe."""
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
            file.detach()  # it is not the wrapper's to close


@contextmanager
def _opened(path: Path, compression: str) -> Iterator[IO[bytes]]:
    with ExitStack() as stack:
        plain = stack.enter_context(path.open("wb"))
        if compression == "gz":
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
        return harmless(json_text(value, ensure_ascii=False))
    if isinstance(value, datetime):
        return _time(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return harmless(str(value))


def _time(value: Any) -> str:
    if not isinstance(value, datetime):
        raise TypeError(type(value).__name__)
    return value.isoformat().replace("+00:00", "Z")
