"""Tables in Arrow: the schema of columns, and record batches of their values. Needs the extra ``parquet``.

Texts with few distinct values are dictionary-encoded, times have microseconds in UTC, and lists of texts are
lists. JSON stays text.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from itertools import accumulate, chain
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import attrs

from fullstory_async.errors import ConfigurationError
from fullstory_async.tables.columns import Column, Kind
from fullstory_async.tables.json_text import JsonTexts
from fullstory_async.tables.rows import Repeated
from fullstory_async.tables.shapes import ListShape, Shape, StructShape, fit

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["arrow_schema", "column_batch", "import_pyarrow"]


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


def column_batch(
    columns: Sequence[Column], chunks: Sequence[Sequence[Sequence[Any]]], *, dictionaries: bool = False
) -> pa.RecordBatch:
    """Return columns of values as one Arrow record batch.

    Args:
        columns: the table's columns.
        chunks: the values of each column, for some rows after the other. The texts of one column have less
            than 2 GiB together.
        dictionaries: whether texts that repeat are dictionaries, which take less time and memory, instead of
            the types of the schema.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """
    schema = arrow_schema(columns)
    arrays = _Arrays(import_pyarrow(), dictionaries)
    found = [
        arrays.of(column, field.type, [chunk[n] for chunk in chunks])
        for n, (column, field) in enumerate(zip(columns, schema, strict=True))
    ]
    if dictionaries:
        return arrays.pyarrow.RecordBatch.from_arrays(found, names=schema.names)
    return arrays.pyarrow.RecordBatch.from_arrays(found, schema=schema)


@attrs.frozen
class _Arrays:
    """Makes the arrays of one record batch."""

    pyarrow: Any
    dictionaries: bool
    _places: dict[tuple[tuple[int, int], ...], Any] = attrs.field(factory=dict, init=False)
    """The places of values, by the identity of each chunk's places and its number of values."""

    def of(self, column: Column, kind: Any, chunks: Sequence[Sequence[Any]]) -> Any:
        """Return the values of a column."""
        if all(isinstance(chunk, Repeated) for chunk in chunks):
            repeated = cast("Sequence[Repeated]", chunks)
            values = [value for chunk in repeated for value in chunk.values]
            # each value is converted once, and copied by Arrow
            distinct, places = self._plain(column, kind, values), self._places_in(repeated)
            if self.dictionaries and column.kind == "text":
                return self.pyarrow.DictionaryArray.from_arrays(places, distinct)
            return distinct.take(places)
        if column.shape is None and all(isinstance(chunk, JsonTexts) for chunk in chunks):
            return self._json(cast("Sequence[JsonTexts]", chunks))
        return self._plain(column, kind, list(chain.from_iterable(chunks)))

    def _plain(self, column: Column, kind: Any, values: Sequence[Any]) -> Any:
        if column.kind == "time":
            # all at once, by Arrow's own parser
            return self.pyarrow.array(values, self.pyarrow.string()).cast(kind)
        if (shape := column.shape) is not None:
            values = [None if text is None else fit(shape, json.loads(text)) for text in values]
        return self.pyarrow.array(values, kind)

    def _places_in(self, chunks: Sequence[Repeated]) -> Any:
        """Return the place of each row's value among the values of all chunks."""
        # by identity, since most columns share a list of places, and the chunks outlive this
        key = tuple((id(chunk.places), len(chunk.values)) for chunk in chunks)
        if key not in self._places:
            places: list[int] = []
            start = 0
            for chunk in chunks:
                is_one = len(chunk.values) == 1
                places += [start] * len(chunk) if is_one else [start + place for place in chunk.places]
                start += len(chunk.values)
            self._places[key] = self.pyarrow.array(places, self.pyarrow.int32())
        return self._places[key]

    def _json(self, chunks: Sequence[JsonTexts]) -> Any:
        slices = [part for chunk in chunks for part in chunk.slices]
        ends = array("i", accumulate(map(len, cast("Sequence[bytes]", slices)), initial=0))
        buffers = map(self.pyarrow.py_buffer, (ends, b"".join(cast("Sequence[bytes]", slices))))
        return self.pyarrow.StringArray.from_buffers(len(slices), *buffers)


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


def _time(pyarrow: ModuleType) -> Any:
    return pyarrow.timestamp("us", tz="UTC")
