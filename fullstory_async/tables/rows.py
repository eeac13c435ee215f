"""Rows of a table that are kept column by column, as most formats write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import attrs

from fullstory_async.tables.columns import Row

__all__ = ["ColumnRows", "columns_of"]


@attrs.frozen
class ColumnRows(Sequence[Row]):
    """Rows of at least one column."""

    columns: Sequence[Sequence[Any]]
    """The values of each column, one for each row."""

    def __len__(self) -> int:
        return len(self.columns[0])

    def __iter__(self) -> Iterator[Row]:
        return zip(*self.columns, strict=True)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> ColumnRows: ...
    def __getitem__(self, index: int | slice) -> Row | ColumnRows:
        if isinstance(index, slice):
            return ColumnRows([column[index] for column in self.columns])
        return tuple(column[index] for column in self.columns)


def columns_of(rows: Sequence[Row], count: int) -> Sequence[Sequence[Any]]:
    """Return the values of each of ``count`` columns."""
    if isinstance(rows, ColumnRows):
        return rows.columns
    return list(zip(*rows, strict=True)) or [()] * count
