"""Rows as dicts for JSON: JSON columns are nested, and lists of texts are lists."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fullstory_async.tables.columns import Kind, Row, Table

__all__ = ["rows_as_dicts"]

_READERS: Mapping[Kind, Callable[[Any], Any]] = {"json": json.loads, "texts": list}


def rows_as_dicts(table: Table, rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return rows as dicts, by the names of the columns."""
    readers = [(column.name, _READERS.get(column.kind)) for column in table]
    return [
        {
            name: value if value is None or read is None else read(value)
            for (name, read), value in zip(readers, row, strict=True)
        }
        for row in rows
    ]
