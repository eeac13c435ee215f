"""Exports as Parquet, with pyarrow: zstd, row groups of a bounded size, names as dictionaries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fullstory_async.errors import ConfigurationError
from fullstory_async.jobs.export.sink import Sink
from fullstory_async.jobs.export.tables import Row, Table

__all__ = ["parquet_sink"]

_GROUP = 10_000
"""Rows in a group: about 10 MB of events."""


@contextmanager
def parquet_sink(path: Path, _: str, table: Table) -> Iterator[Sink]:
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
        [
            pa.field(column.name, kinds[column.kind], nullable=column.name not in ("session_id", "seq"))
            for column in table
        ]
    )
    waiting: list[Row] = []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def flush() -> None:
            if waiting:
                columns = [[_value(row[c.name], as_json=c.kind == "json") for row in waiting] for c in table]
                arrays = [
                    pa.array(values, type=field.type) for values, field in zip(columns, schema, strict=True)
                ]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
                waiting.clear()

        def write(row: Row) -> None:
            waiting.append(row)
            if len(waiting) >= _GROUP:
                flush()

        yield write
        flush()


def _value(value: Any, *, as_json: bool) -> Any:
    if as_json:
        return None if value is None else json.dumps(value)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
