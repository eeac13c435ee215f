"""Tables in Arrow: the schema of columns, and record batches of rows. Needs pyarrow, the extra ``parquet``.

Texts with few distinct values are dictionary-encoded, times have microseconds in UTC, and lists of texts are
lists. JSON stays text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fullstory_async.errors import ConfigurationError
from fullstory_async.tables.columns import Column, Row

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["arrow_schema", "import_pyarrow", "record_batch"]


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
        [pyarrow.field(each.name, kinds[each.kind], nullable=not each.is_required) for each in columns]
    )


def record_batch(columns: Sequence[Column], rows: Iterable[Row]) -> pa.RecordBatch:
    """Return rows as one Arrow record batch.

    Args:
        columns: the table's columns.
        rows: values in the order of the columns. The texts of one column have less than 2 GiB together.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """
    pyarrow = import_pyarrow()
    schema = arrow_schema(columns)
    # column by column: pyarrow is then several times as fast as with rows
    values = list(zip(*rows, strict=True)) or [()] * len(columns)
    arrays = [
        _times(pyarrow, each) if column.kind == "time" else pyarrow.array(each, field.type)
        for column, field, each in zip(columns, schema, values, strict=True)
    ]
    return pyarrow.RecordBatch.from_arrays(arrays, schema=schema)


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
