"""Rows in SQLite, with few parameters for each.

SQLite takes a lock and makes a copy for each parameter of a row. So the columns that repeat are put once for
each of their values into a temporary table, and each row takes them from there. Python looks for an adapter
of each None and each boolean, so a missing text is a 0 that the statement turns into NULL.
"""

from __future__ import annotations

import functools
import sqlite3
from collections import Counter
from collections.abc import Sequence
from itertools import repeat
from typing import Any, cast

from fullstory_async.jobs.export.sql_names import column_names
from fullstory_async.tables.columns import Column, Row, RowWriter, Table
from fullstory_async.tables.rows import Repeated, columns_of

__all__ = ["sqlite_writer"]

_NUMBERS = frozenset({"integer", "number", "boolean"})
"""Kinds of columns whose values may be 0."""


def sqlite_writer(database: sqlite3.Connection, name: str, columns: Table) -> RowWriter:
    """Return the writer of a table of an open database, in a transaction."""
    shared = f"temp.repeated_{name}"
    # one column for each of the table, as not the same ones repeat in all sessions
    cells = [f"value_{n}" for n in range(len(columns))]
    database.execute(f"CREATE TABLE {shared} (id INTEGER PRIMARY KEY, {', '.join(cells)})")

    @functools.cache
    def statements(alike: tuple[int, ...]) -> tuple[str, str]:
        """Return what keeps the values of some columns, and what inserts a row with them."""
        kept = ", ".join(cells[n] for n in alike)
        taken = (cells[n] if n in alike else _parameter(column) for n, column in enumerate(columns))
        source = f"FROM {shared} WHERE id = ?" if alike else ""
        # our own names only
        return (
            f"INSERT INTO {shared} (id, {kept}) VALUES (?{', ?' * len(alike)})",  # noqa: S608
            f"INSERT INTO {name} ({column_names(columns)}) SELECT {', '.join(taken)} {source}",
        )

    def write(rows: Sequence[Row]) -> None:
        values = columns_of(rows, len(columns))
        alike, places = _alike(columns, values)
        keep, take = statements(alike)
        others = [
            _bound(column, each)
            for n, (column, each) in enumerate(zip(columns, values, strict=True))
            if n not in alike
        ]
        if not alike:
            database.executemany(take, zip(*others, strict=True))
            return
        repeated = [cast("Repeated", values[n]).values for n in alike]
        size = max(map(len, repeated))
        distinct = (each if len(each) == size else repeat(each[0], size) for each in repeated)
        database.execute(f"DELETE FROM {shared}")  # noqa: S608  (our own names)
        database.executemany(keep, zip(range(size), *distinct, strict=True))
        database.executemany(take, zip(*others, places, strict=True))

    return write


def _parameter(column: Column) -> str:
    """Return what a value of a column, as `_bound` returns it, is in a statement."""
    return "?" if column.is_required or column.kind in _NUMBERS else "NULLIF(?, 0)"


def _bound(column: Column, values: Sequence[Any]) -> Sequence[Any]:
    """Return a column's values without None and without booleans, if they can be: both take Python long."""
    if column.kind == "boolean":
        return [None if value is None else int(value) for value in values]
    if column.kind == "texts":
        values = [None if texts is None else "|".join(texts) for texts in values]
    if column.is_required or column.kind in _NUMBERS:
        return values
    return [0 if value is None else value for value in values]


def _alike(columns: Table, values: Sequence[Sequence[Any]]) -> tuple[tuple[int, ...], Sequence[int]]:
    """Return the columns whose values repeat alike, most of all that do, and the place of each row's values.

    A column of one value repeats like any other.
    """
    found = {
        n: each
        for n, (column, each) in enumerate(zip(columns, values, strict=True))
        if isinstance(each, Repeated) and column.kind != "texts"
    }
    if not found:
        return (), ()
    several = [column.places for column in found.values() if len(column.values) > 1]
    counts = Counter(map(id, several))
    places = max(several, key=lambda each: counts[id(each)], default=next(iter(found.values())).places)
    alike = (n for n, column in found.items() if len(column.values) == 1 or column.places is places)
    return tuple(alike), places
