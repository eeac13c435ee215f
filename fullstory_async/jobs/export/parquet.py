"""Exports as Parquet, with pyarrow: zstd, bounded row groups, dictionaries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from fullstory_async.errors import ConfigurationError
from fullstory_async.jobs.export.tables import Row, RowWriter, Table
from fullstory_async.jobs.export.text import dump_json
from fullstory_async.jobs.storage.schema import replace_surrogates

__all__ = ["parquet_writer"]

_GROUP = 10_000
_GROUP_BYTES = 32_000_000
"""A group has ``_GROUP`` rows, or fewer if their texts are larger than this together."""


@contextmanager
def parquet_writer(path: Path, table: Table) -> Iterator[RowWriter]:
    """Write rows to a Parquet file, with JSON as text."""
    try:
        import pyarrow as pa  # noqa: PLC0415  (an extra)
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError("a .parquet file needs: pip install 'fullstory-async[parquet]'") from None
    kinds: dict[str, Any] = {
        "text": pa.string(), "json": pa.string(), "name": pa.dictionary(pa.int32(), pa.string()),
        "integer": pa.int32(), "boolean": pa.bool_(), "time": pa.timestamp("us", tz="UTC"),
    }  # fmt: skip
    schema = pa.schema(
        [pa.field(column.name, kinds[column.kind], nullable=not column.is_required) for column in table]
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        groups = _RowGroups(pa, file, schema, table)
        yield groups.add
        groups.flush()


@attrs.define
class _RowGroups:
    """Collects rows, and writes a group when it is large: memory use stays flat."""

    pyarrow: Any
    file: Any
    schema: Any
    table: Table
    _rows: list[list[Any]] = attrs.field(factory=list, init=False)
    _bytes: int = attrs.field(default=0, init=False)

    def add(self, row: Row) -> None:
        values = [_value(row[column.name], as_json=column.kind == "json") for column in self.table]
        self._rows.append(values)
        self._bytes += sum(len(value) for value in values if isinstance(value, str))
        if len(self._rows) >= _GROUP or self._bytes >= _GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        if not self._rows:
            return
        columns = zip(*self._rows, strict=True)
        arrays = [
            self.pyarrow.array(values, type=field.type)
            for values, field in zip(columns, self.schema, strict=True)
        ]
        self.file.write_table(self.pyarrow.Table.from_arrays(arrays, schema=self.schema))
        self._rows.clear()
        self._bytes = 0


def _value(value: Any, *, as_json: bool) -> Any:
    if as_json:
        return None if value is None else dump_json(value)
    return replace_surrogates(value) if isinstance(value, str) else value
