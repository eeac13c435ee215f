"""Rows of a table that are kept column by column, as most formats write them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, repeat
from typing import Any, TypeVar, overload

import attrs

from fullstory_async.tables.columns import Row

__all__ = ["ColumnRows", "Repeated", "columns_of", "grouped", "picked"]

T = TypeVar("T")


@attrs.frozen(eq=False)
class Repeated(Sequence[Any]):
    """A column whose values repeat: each is kept once, and written once by most formats."""

    values: Sequence[Any]
    places: Sequence[int]
    """The place among the values of each row's value; one object for all columns that repeat alike."""

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Any]:
        if len(self.values) == 1:
            return repeat(self.values[0], len(self.places))
        return map(self.values.__getitem__, self.places)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Repeated: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Repeated(self.values, self.places[index])
        return self.values[self.places[index]]


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


def picked(column: Sequence[Any], indexes: Sequence[int]) -> Sequence[Any]:
    """Return some values of a column."""
    if isinstance(column, Repeated):
        return list(map(column.values.__getitem__, map(column.places.__getitem__, indexes)))
    return list(map(column.__getitem__, indexes))


def columns_of(rows: Sequence[Row], count: int) -> Sequence[Sequence[Any]]:
    """Return the values of each of ``count`` columns."""
    if isinstance(rows, ColumnRows):
        return rows.columns
    return list(zip(*rows, strict=True)) or [()] * count


def grouped(pairs: Iterable[tuple[T, Sequence[Any]]]) -> list[list[tuple[T, Sequence[Any]]]]:
    """Group columns, each with its values, that are side by side and repeat alike."""
    # the place of a column that does not repeat is its own
    return [list(group) for _, group in groupby(pairs, lambda pair: id(getattr(pair[1], "places", pair[1])))]
