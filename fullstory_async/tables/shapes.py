"""Shapes: the type that all JSON values of a column have in common, for columns of structures.

A part whose values have different types, such as a price that is a number here and a text there, stays JSON
text; so does an object that never has a field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from fullstory_async.tables.json_text import dump_json

__all__ = ["ListShape", "Shape", "StructShape", "distinct_names", "fit", "merge", "settled", "shape_of"]

_MAX_INTEGER = 2**63
_MAX_DEPTH = 32
"""Levels that structures have; Parquet readers and DuckDB have limits for deeper types."""
_MAX_FIELDS = 1000
"""Beyond this number, fields are data used as keys, and not columns."""


def distinct_names(wanted: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Return names with a number where they would be like an earlier or a taken one but for case.

    Some programs don't tell names apart that differ in case only.
    """
    known = {name.lower() for name in taken}
    names = []
    for plain in wanted:
        name, number = plain, 1
        while name.lower() in known:
            number += 1
            name = f"{plain}_{number}"
        known.add(name.lower())
        names.append(name)
    return names


@attrs.frozen
class ListShape:
    """A list whose items have a shape."""

    items: Shape


@attrs.frozen
class StructShape:
    """An object; its fields keep the order in which they were seen."""

    fields: Mapping[str, Shape] = attrs.field(factory=dict)

    def names(self) -> dict[str, str]:
        """Return a name for each field that is not empty and differs from all others by more than case."""
        names = distinct_names(field or "_" for field in self.fields)
        return dict(zip(self.fields, names, strict=True))


Shape = Literal["null", "boolean", "integer", "number", "text", "json"] | ListShape | StructShape

_NUMBERS: tuple[Shape, ...] = ("integer", "number")
_SCALARS: Mapping[type, Shape] = {
    type(None): "null", bool: "boolean", int: "integer", float: "number", str: "text",
}  # fmt: skip


def shape_of(value: Any, depth: int = 0) -> Shape:
    """Return the shape of a parsed value that has ``depth`` others around it."""
    if depth == _MAX_DEPTH and isinstance(value, dict | list):
        return "json"
    if isinstance(value, dict):
        return StructShape({name: shape_of(item, depth + 1) for name, item in value.items()})
    if isinstance(value, list):
        items: Shape = "null"
        for item in value:
            items = merge(items, shape_of(item, depth + 1))
        return ListShape(items)
    if isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
        return "json"
    return _SCALARS[type(value)]


def merge(one: Shape, other: Shape) -> Shape:
    """Return the shape that values of both shapes fit into."""
    if other in (one, "null"):
        return one
    if one == "null":
        return other
    if isinstance(one, ListShape) and isinstance(other, ListShape):
        return ListShape(merge(one.items, other.items))
    if isinstance(one, StructShape) and isinstance(other, StructShape):
        fields = dict(one.fields)
        for name, shape in other.fields.items():
            fields[name] = merge(fields.get(name, "null"), shape)
        return StructShape(fields) if len(fields) <= _MAX_FIELDS else "json"
    return "number" if one in _NUMBERS and other in _NUMBERS else "json"


def settled(shape: Shape) -> Shape:
    """Return the final shape: parts without any value, and objects without fields, are JSON."""
    if isinstance(shape, ListShape):
        return ListShape(settled(shape.items))
    if isinstance(shape, StructShape) and shape.fields:
        return StructShape({name: settled(each) for name, each in shape.fields.items()})
    return "json" if shape == "null" or isinstance(shape, StructShape) else shape


def fit(shape: Shape, value: Any) -> Any:
    """Return a parsed value as the shape has it."""
    if value is None:
        return None
    if isinstance(shape, StructShape):
        return {name: fit(shape.fields[field], value.get(field)) for field, name in shape.names().items()}
    if isinstance(shape, ListShape):
        return [fit(shape.items, item) for item in value]
    if shape == "json":
        return dump_json(value)
    return float(value) if shape == "number" else value
