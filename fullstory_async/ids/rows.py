"""Rows: read the session id of each row of a table, after the column was chosen from the first rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from fullstory_async.errors import ConfigurationError, InvalidSessionId
from fullstory_async.ids.cells import (
    Cell,
    Kind,
    is_damaged_pair,
    is_long_half,
    is_opaque_id,
    long_pairs,
    read_cell,
)
from fullstory_async.ids.columns import Choice, choose, find_named
from fullstory_async.ids.inputs import SessionInput, text_of_value
from fullstory_async.ids.rounding import LossCheck
from fullstory_async.session_id import SessionId, UnusableId

__all__ = ["Row", "RowReader", "flatten"]

_SAMPLE = 200
_MAX_DEPTH = 6
_MAX_COLUMNS = 300


@attrs.frozen
class Row:
    """What one row says."""

    where: str
    """The row, such as ``line 7``."""
    id: SessionId | UnusableId | None
    """The id, the text that isn't one, or ``None`` for a row without a value."""
    given: object = None
    """The value that was pushed."""
    fields: Mapping[str, Any] | None = None
    """Its columns, if it is a mapping; nested ones under their paths."""
    id_columns: tuple[str, ...] = ()
    """Those of the id."""

    @property
    def input(self) -> SessionInput | None:
        """The id with its text and the other columns of its row; ``None`` without an id."""
        if self.id is None:
            return None
        if self.fields is not None:
            return SessionInput.of_row(self.id, self.fields, self.id_columns)
        return SessionInput(self.id, text_of_value(self.given).strip())


class RowReader:
    """Reads rows one by one; the first ones are held back until their columns are known.

    Rows are mappings of column names to values, or single values.
    """

    def __init__(self, column: str | None = None, *, trust_ids: bool = False) -> None:
        """Choose the column by content, or take the named one.

        Args:
            column: the column that holds the ids; a path such as ``a.b.c`` for a nested field.
            trust_ids: accept ids that look rounded or cut off.
        """
        self.losses = LossCheck()
        self._column = column
        self._trust_ids = trust_ids
        self._choice: Choice | None = None
        self._held: list[tuple[str, object]] = []

    @property
    def holds_rows(self) -> bool:
        """Whether rows are held back."""
        return bool(self._held)

    def push(self, value: object, where: str) -> Iterator[Row]:
        """Take a row; yield those that can be read now. Raises `ConfigurationError`."""
        if self._choice is None and (self._held or isinstance(value, Mapping)):
            self._held.append((where, value))
            if len(self._held) >= _SAMPLE:
                yield from self.finish()
        else:
            yield self._read(value, where)

    def finish(self) -> Iterator[Row]:
        """Yield the rows that are held back, after choosing the column. Raises `ConfigurationError`."""
        held, self._held = self._held, []
        if held and self._choice is None:
            self._choice = self._choose([flatten(row) for _, row in held if isinstance(row, Mapping)])
        # all of them are read before the first is used, as something may have been rounded
        read = [self._read(value, where) for where, value in held]
        if not self._trust_ids:
            self.losses.require()
        yield from read

    def _choose(self, rows: list[dict[str, Any]]) -> Choice:
        if self._column is None:
            return choose(rows)
        names = list(dict.fromkeys(name for row in rows for name in row))
        if (named := find_named(self._column, names)) is None:
            raise ConfigurationError(
                f"there is no column {self._column!r}; the columns are: {', '.join(names)[:1000]}"
            )
        return Choice((named,), allows_opaque=True)

    def _read(self, value: object, where: str) -> Row:
        if not isinstance(value, Mapping):
            return Row(where, self._read_cells([read_cell(value)], where, allows_opaque=True), value)
        row, choice = flatten(value), self._choice
        if choice is None or not any(column in row for column in choice.columns):
            # documents of another shape in between; a row of a table has all columns
            try:
                choice = self._choose([row])
            except ConfigurationError as error:
                return Row(where, UnusableId(f"{row!r:.60}", f"{where}: {error.message}"), value, row)
        cells = [read_cell(row.get(column)) for column in choice.columns]
        found = self._read_cells(cells, where, allows_opaque=choice.allows_opaque)
        return Row(where, found, value, row, choice.columns)

    def _read_cells(
        self, cells: list[Cell], where: str, *, allows_opaque: bool
    ) -> SessionId | UnusableId | None:
        if any(cell.kind is Kind.EMPTY for cell in cells):
            return None
        text = ":".join(cell.text for cell in cells)
        if any(cell.kind is Kind.ROUNDED for cell in cells):
            if not self._trust_ids:
                raise self.losses.rounded(text, where)
            return UnusableId(text, f"the id in {where} was rounded: {text[:60]!a}")
        if len(cells) > 1:
            if all(map(is_long_half, cells)):
                return self._checked(SessionId(text))
            return UnusableId(text, f"{where} does not look like a session id: {text[:60]!a}")
        return self._read_one(cells[0], where, allows_opaque=allows_opaque)

    def _read_one(self, cell: Cell, where: str, *, allows_opaque: bool) -> SessionId | UnusableId:
        text = cell.text
        if cell.kind is Kind.LINK:
            self.losses.add_link(text, ends_text=cell.ends_with_link)
        if cell.kind in (Kind.LINK, Kind.PAIR, Kind.SHORT_PAIR):
            return self._checked(SessionId(text))
        if cell.kind is Kind.CUT:
            return UnusableId(text, f"{where}: the replay URL {text[-80:]!a} is cut off")
        if cell.kind is Kind.SEVERAL:
            return UnusableId(text, f"{where}: the text has the replay URLs of several sessions")
        return self._read_text(text, where, allows_opaque=allows_opaque)

    def _read_text(self, text: str, where: str, *, allows_opaque: bool) -> SessionId | UnusableId:
        if len(long_pairs(text)) > 1:
            return UnusableId(text, f"{where} holds several ids; put each on a line of its own")
        if is_damaged_pair(text) and not self._trust_ids:
            return UnusableId(text, f"{where} has other text around an id, or a part of one: {text[:60]!a}")
        # "." and ".." have no digit, but are bad ids of another kind than a line of text
        if allows_opaque and (is_opaque_id(text) or text in (".", "..")):
            try:
                return SessionId(text)
            except InvalidSessionId as error:
                return UnusableId(text, error.message)
        return UnusableId(text, f"{where} does not look like a session id: {text[:60]!a}")

    def _checked(self, session_id: SessionId) -> SessionId:
        self.losses.add(session_id)
        return session_id


def flatten(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row with the fields of nested objects under their paths, as ``a.b.c``."""
    flat: dict[str, Any] = {}
    _flatten_into(flat, row, "", 0)
    return flat


def _flatten_into(flat: dict[str, Any], row: Mapping[Any, Any], path: str, depth: int) -> None:
    for name, value in row.items():
        if len(flat) >= _MAX_COLUMNS:
            return
        # lists hold parts of a session, not its id
        if isinstance(value, Mapping):
            if depth < _MAX_DEPTH:
                _flatten_into(flat, value, f"{path}{name}.", depth + 1)
        elif not isinstance(value, (list, tuple)):
            flat[f"{path}{name}"] = value
