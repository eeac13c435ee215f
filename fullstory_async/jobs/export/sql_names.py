"""Names in the statements of both kinds of databases."""

from __future__ import annotations

from fullstory_async.tables.columns import Table

__all__ = ["column_names", "escaped"]


def escaped(name: str) -> str:
    """Return a name as it is between quotes in a statement."""
    return name.replace('"', '""')


def column_names(columns: Table) -> str:
    """Return the names of columns, as a statement lists them."""
    return ", ".join(f'"{escaped(column.name)}"' for column in columns)
