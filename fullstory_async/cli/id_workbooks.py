"""Excel workbooks with ids: find the sheet and its header, and read the rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from fullstory_async.cli.exits import UsageError
from fullstory_async.cli.id_tables import distinct_columns
from fullstory_async.errors import ConfigurationError
from fullstory_async.ids.cells import Kind, read_cell
from fullstory_async.ids.columns import choose, find_named

if TYPE_CHECKING:
    from python_calamine import CalamineWorkbook

__all__ = ["workbook_rows"]

_SAMPLE = 200
_TITLE_ROWS = 20
_NO_HEADER = (Kind.LINK, Kind.PAIR, Kind.SHORT_PAIR, Kind.SEVERAL, Kind.CUT, Kind.ROUNDED)

_Rows = Iterator[tuple[int, Sequence[Any]]]
"""The rows that have a value, with their numbers as Excel shows them."""


@attrs.frozen
class _Sheet:
    """A sheet as a table."""

    name: str
    header: tuple[str, ...]
    first_row: int
    """The number of the first row below the header."""

    def as_row(self, cells: Sequence[Any]) -> dict[str, Any]:
        """Return the cells of a row by their columns."""
        return dict(zip(self.header, cells, strict=False))


def workbook_rows(
    path: str, sheet: str | None, column: str | None, note: Callable[[str], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a sheet, each with its place.

    Args:
        path: the workbook.
        sheet: the sheet that was named; otherwise the first one that has ids.
        column: the column that was named.
        note: called with what a person should know about the choice.

    Raises:
        UsageError: the workbook can't be read, or no sheet has ids.
    """
    with _opened(path) as workbook:
        chosen = _chosen(workbook, sheet, column, note)
        for number, cells in _rows(workbook, chosen.name):
            if number >= chosen.first_row:
                yield f"row {number} of the sheet {chosen.name!r}", chosen.as_row(cells)


@contextmanager
def _opened(path: str) -> Iterator[CalamineWorkbook]:
    try:
        from python_calamine import CalamineError, CalamineWorkbook, PasswordError  # noqa: PLC0415  (extra)
    except ImportError:
        raise UsageError(
            "is an Excel workbook, which needs: pip install 'fullstory-async[xlsx]'; or save the ids as CSV"
        ) from None
    try:
        yield CalamineWorkbook.from_path(path)
    except PasswordError:
        raise UsageError("is encrypted; save it without a password, or save the ids as CSV") from None
    except CalamineError as error:
        raise UsageError(
            f"can't be read as an Excel workbook, it is damaged or something else: {error}"
        ) from None


def _chosen(
    workbook: CalamineWorkbook, sheet: str | None, column: str | None, note: Callable[[str], None]
) -> _Sheet:
    names = _visible_sheets(workbook)
    if sheet is not None and sheet not in workbook.sheet_names:
        raise UsageError(f"has no sheet {sheet!r}; its sheets are: {', '.join(workbook.sheet_names)}")
    found: list[_Sheet] = []
    failure: ConfigurationError | None = None
    for name in names if sheet is None else [sheet]:
        sample = list(itertools.islice(_rows(workbook, name), _SAMPLE))
        if not sample:
            continue
        table = _table(name, sample)
        try:
            rows = [table.as_row(cells) for number, cells in sample if number >= table.first_row]
            _require_ids(table, rows, column)
        except ConfigurationError as error:
            failure = failure or ConfigurationError(f"the sheet {name!r}: {error.message}")
        else:
            found.append(table)
    if not found:
        raise failure or UsageError("has no session ids")
    if len(found) > 1:
        others = ", ".join(repr(each.name) for each in found[1:])
        note(
            f"the sheet {found[0].name!r} was read; {others} may have ids too: name one as in FILE.xlsx#SHEET"
        )
    return found[0]


def _visible_sheets(workbook: CalamineWorkbook) -> list[str]:
    from python_calamine import SheetTypeEnum, SheetVisibleEnum  # noqa: PLC0415

    return [
        each.name
        for each in workbook.sheets_metadata
        if each.typ == SheetTypeEnum.WorkSheet and each.visible == SheetVisibleEnum.Visible
    ]


def _require_ids(table: _Sheet, rows: list[dict[str, Any]], column: str | None) -> None:
    """Raise `ConfigurationError` if a sheet doesn't have the named column, or any ids."""
    if column is None:
        choose(rows)
    elif find_named(column, table.header) is None:
        raise ConfigurationError(f"there is no column {column!r}; the columns are: {', '.join(table.header)}")


def _table(name: str, sample: list[tuple[int, Sequence[Any]]]) -> _Sheet:
    """Return a sheet as a table; titles above the header have fewer cells than the rows below."""
    widest = max(_filled(cells) for _, cells in sample)
    number, cells = next(each for each in [*sample[:_TITLE_ROWS], *sample] if _filled(each[1]) * 2 >= widest)
    has_header = not any(read_cell(cell).kind in _NO_HEADER for cell in cells)
    columns = distinct_columns([str(cell) for cell in cells], has_header=has_header)
    return _Sheet(name, columns, number + has_header)


def _filled(cells: Sequence[Any]) -> int:
    return sum(cell != "" for cell in cells)


def _rows(workbook: CalamineWorkbook, name: str) -> _Rows:
    for number, cells in enumerate(workbook.get_sheet_by_name(name).iter_rows(), 1):
        if any(cell != "" for cell in cells):
            yield number, cells
