"""Parquet files with ids: read the rows in batches, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fullstory_async.cli.exits import UsageError

__all__ = ["parquet_rows"]

_BATCH = 1000


def parquet_rows(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a file, each with its place. Raises `UsageError` if it can't be read."""
    try:
        import pyarrow as pa  # noqa: PLC0415  (an extra)
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise UsageError(
            "is a Parquet file, which needs: pip install 'fullstory-async[parquet]'; or save the ids as CSV"
        ) from None
    number = 0
    try:
        # pre_buffer reads whole row groups ahead, which may be the whole file
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                columns = [_readable(pa, column) for column in batch.columns]
                for row in pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist():
                    number += 1
                    yield f"row {number}", row
    # ValueError: also a time that Python can't represent
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise UsageError(
            f"can't be read as a Parquet file, it is damaged, encrypted or something else: {error}"
        ) from None


def _readable(pa: Any, column: Any) -> Any:
    """Return a column whose times Python can represent, and whose texts are texts."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return column
    # older programs write texts as bytes; bytes that are not text stay unchanged
    try:
        return column.cast(pa.large_string())
    except pa.ArrowInvalid:
        return column
