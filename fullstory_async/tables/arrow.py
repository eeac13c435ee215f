"""Tables in Arrow: the schema of columns, and record batches of rows. Needs pyarrow, the extra ``parquet``.

Texts with few distinct values are dictionary-encoded, times have microseconds in UTC, and lists of texts are
lists. JSON stays text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fullstory_async.errors import ConfigurationError
from fullstory_async.tables.columns import Column, Kind, Row
from fullstory_async.tables.shapes import ListShape, Shape, StructShape, fit

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["arrow_schema", "column_batch", "import_pyarrow", "record_batch"]


def import_pyarrow() -> ModuleType:
    """Return pyarrow.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        import pyarrow  # noqa: ICN001, PLC0415  (an extra, which takes a tenth of a second to import)
    except ImportError:
        raise ConfigurationError("Arrow tables need: pip install 'fullstory-async[parquet]'") from None
    module: ModuleType = pyarrow
    return module


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema of columns.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """
    pyarrow = import_pyarrow()
    kinds = _types(pyarrow)
    return pyarrow.schema(
        [
            pyarrow.field(
                each.name,
                kinds[each.kind] if each.shape is None else _type_of(pyarrow, each.shape),
                nullable=not each.is_required,
            )
            for each in columns
        ]
    )


def record_batch(columns: Sequence[Column], rows: Iterable[Row]) -> pa.RecordBatch:
    """Return rows as one Arrow record batch.

    Args:
        columns: the table's columns.
        rows: values in the order of the columns. The texts of one column have less than 2 GiB together.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """
    # column by column: pyarrow is then several times as fast as with rows
    return column_batch(columns, list(zip(*rows, strict=True)) or [()] * len(columns))


def column_batch(columns: Sequence[Column], values: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Return columns of values as one Arrow record batch, see `record_batch`."""
    pyarrow = import_pyarrow()
    schema = arrow_schema(columns)
    arrays = []
    for column, field, each in zip(columns, schema, values, strict=True):
        if column.kind == "time":
            arrays.append(_times(pyarrow, each))
            continue
        if (shape := column.shape) is not None:
            each = [None if text is None else fit(shape, json.loads(text)) for text in each]  # noqa: PLW2901
        arrays.append(pyarrow.array(each, field.type))
    return pyarrow.RecordBatch.from_arrays(arrays, schema=schema)


def _type_of(pyarrow: ModuleType, shape: Shape) -> Any:
    """Return the Arrow type of a structure or a part of one."""
    if isinstance(shape, ListShape):
        return pyarrow.list_(_type_of(pyarrow, shape.items))
    if isinstance(shape, StructShape):
        names = shape.names()
        return pyarrow.struct(
            [(names[field], _type_of(pyarrow, each)) for field, each in shape.fields.items()]
        )
    kinds: dict[str, Kind] = {"boolean": "boolean", "integer": "integer", "number": "number"}
    return _types(pyarrow)[kinds.get(shape, "text")]


def _types(pyarrow: ModuleType) -> dict[str, Any]:
    """Return the Arrow type of each kind of column."""
    text = pyarrow.string()
    return {
        "text": text, "name": pyarrow.dictionary(pyarrow.int32(), text), "integer": pyarrow.int64(),
        "number": pyarrow.float64(), "boolean": pyarrow.bool_(), "time": _time(pyarrow), "json": text,
        "texts": pyarrow.list_(text),
    }  # fmt: skip


def _times(pyarrow: ModuleType, texts: Sequence[str | None]) -> Any:
    # all at once, by Arrow's own parser
    return pyarrow.array(texts, pyarrow.string()).cast(_time(pyarrow))


def _time(pyarrow: ModuleType) -> Any:
    return pyarrow.timestamp("us", tz="UTC")
