"""Exports as Parquet, with pyarrow: zstd, bounded row groups, dictionaries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from fullstory_async.errors import ConfigurationError
from fullstory_async.tables.arrow import arrow_schema, column_batch
from fullstory_async.tables.columns import Row, RowWriter, Table
from fullstory_async.tables.json_text import JsonTexts
from fullstory_async.tables.rows import Repeated, columns_of

__all__ = ["RowGroups", "parquet_writer"]

_GROUP = 10_000
_GROUP_BYTES = 32_000_000
"""A group has about ``_GROUP`` rows, or fewer if their JSON is larger than this together."""


@contextmanager
def parquet_writer(path: Path, table: Table, *, at_once: bool = False) -> Iterator[RowWriter]:
    """Write rows to a Parquet file, with JSON as text.

    Args:
        path: the file.
        table: the columns.
        at_once: whether the rows of one call are a group, instead of being collected.
    """
    try:
        import pyarrow.parquet as pq  # noqa: PLC0415  (an extra)
    except ImportError:
        raise ConfigurationError("a .parquet file needs: pip install 'fullstory-async[parquet]'") from None
    # An open file: a name is taken for a URL by some versions, and must be UTF-8.
    with path.open("wb") as raw, pq.ParquetWriter(raw, arrow_schema(table), compression="zstd") as file:
        groups = RowGroups(table)

        def write(rows: Sequence[Row]) -> None:
            batch = groups.add(rows)
            if batch is None and at_once:
                batch = groups.take()
            if batch is not None:
                file.write_batch(batch)

        yield write
        if (batch := groups.take()) is not None:
            file.write_batch(batch)


@attrs.define
class RowGroups:
    """Collects rows until they are a large group: memory use stays flat."""

    table: Table
    rows: int = attrs.field(factory=lambda: _GROUP)
    """How many rows are a large group."""
    dictionaries: bool = False
    """As for `column_batch`."""
    _chunks: list[Sequence[Sequence[Any]]] = attrs.field(factory=list, init=False)
    """The columns of the rows that were added together."""
    _count: int = attrs.field(default=0, init=False)
    _bytes: int = attrs.field(default=0, init=False)
    _json: list[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._json = [n for n, column in enumerate(self.table) if column.kind == "json"]

    def add(self, rows: Sequence[Row]) -> Any | None:
        """Add rows; return a record batch of all rows so far if they are many."""
        columns = columns_of(rows, len(self.table))
        self._chunks.append(columns)
        self._count += len(rows)
        self._bytes += sum(_size_of(columns[n]) for n in self._json)
        return self.take() if self._count >= self.rows or self._bytes >= _GROUP_BYTES else None

    def take(self) -> Any | None:
        """Return the rows that are left as a record batch, or ``None`` if there are none."""
        chunks, self._chunks, self._count, self._bytes = self._chunks, [], 0, 0
        return column_batch(self.table, chunks, dictionaries=self.dictionaries) if chunks else None


def _size_of(texts: Sequence[str | None]) -> int:
    """Return about how many bytes a column of texts has."""
    if isinstance(texts, JsonTexts):
        return sum(map(len, texts.slices))
    if isinstance(texts, Repeated):
        sizes = [len(text or "") for text in texts.values]
        return sum(map(sizes.__getitem__, texts.places))
    return sum(map(len, filter(None, texts)))
