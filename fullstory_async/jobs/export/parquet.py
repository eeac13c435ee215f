"""Exports as Parquet, with pyarrow: zstd, row groups of a bounded size, names as dictionaries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fullstory_async.errors import ConfigurationError
from fullstory_async.jobs.export.cells import json_text
from fullstory_async.jobs.export.sink import RowWriter
from fullstory_async.jobs.export.tables import Row, Table

__all__ = ["parquet_sink"]

_GROUP = 10_000
_GROUP_BYTES = 32_000_000
"""A group of rows is so many, or fewer if their JSON is so large together."""


@contextmanager
def parquet_sink(path: Path, _: str, table: Table) -> Iterator[RowWriter]:
    """Write rows to a Parquet file. JSON is text there."""
    try:
        import pyarrow as pa  # noqa: PLC0415  (an extra)
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError("a .parquet file needs: pip install 'fullstory-async[parquet]'") from None
    kinds: dict[str, Any] = {
        "text": pa.string(), "json": pa.string(), "name": pa.dictionary(pa.int32(), pa.string()), "integer": pa.int32(),
        "boolean": pa.bool_(), "time": pa.timestamp("us", tz="UTC"),
    }  # fmt: skip
    schema = pa.schema(
        [pa.field(column.name, kinds[column.kind], nullable=not column.is_required) for column in table]
    )
    waiting: list[list[Any]] = []
    size = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def flush() -> None:
            nonlocal size
            if waiting:
                columns = zip(*waiting, strict=True)
                arrays = [
                    pa.array(values, type=field.type) for values, field in zip(columns, schema, strict=True)
                ]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
                waiting.clear()
                size = 0

        def write(row: Row) -> None:
            nonlocal size
            values = [_value(row[column.name], as_json=column.kind == "json") for column in table]
            waiting.append(values)
            size += sum(len(value) for value in values if isinstance(value, str))
            if len(waiting) >= _GROUP or size >= _GROUP_BYTES:
                flush()

        yield write
        flush()


def _value(value: Any, *, as_json: bool) -> Any:
    if as_json:
        return None if value is None else json_text(value)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
