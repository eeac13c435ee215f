"""Structures in place of JSON text: the shapes of a job's events, found by reading all of them."""

from __future__ import annotations

from collections.abc import Iterable

from fullstory_async.jobs.export.tables import Tables
from fullstory_async.jobs.storage.records import Record
from fullstory_async.safe_json import loads
from fullstory_async.tables.shapes import Shape, StructShape, merge, settled, shape_of

__all__ = ["event_shapes"]


def event_shapes(tables: Tables, records: Iterable[Record]) -> dict[str, StructShape]:
    """Return the structure of each JSON column of events whose values are all objects."""
    if "events" not in tables.names:
        return {}
    nested = {n: column.name for n, column in enumerate(tables.columns("events")) if column.kind == "json"}
    shapes: dict[str, Shape] = dict.fromkeys(nested.values(), "null")
    seen: dict[str, str] = {}
    for record in records:
        for row in dict(tables.rows(record)).get("events", ()):
            for n, name in nested.items():
                # mostly the same page as of the event before
                if row[n] is not None and seen.get(name) != row[n]:
                    seen[name] = row[n]
                    shapes[name] = merge(shapes[name], _shape_of(row[n]))
    found = {name: settled(shape) for name, shape in shapes.items()}
    return {name: shape for name, shape in found.items() if isinstance(shape, StructShape)}


def _shape_of(text: str) -> Shape:
    try:
        return shape_of(loads(text.encode()))
    # too deep to be parsed: the column stays text
    except ValueError:
        return "json"
