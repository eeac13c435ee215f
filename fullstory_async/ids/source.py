"""IdSource: the ids that a caller gives to a fan-out or a job, one after the other.

Mappings among them are rows, which follow the same rules as a table in a file. Everything else is passed on
as it is. Of the texts, the first ones are checked for rounding; those that are a `SessionId` already are not.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Literal

from fullstory_async.errors import ConfigurationError
from fullstory_async.ids.alike import AlikeIds
from fullstory_async.ids.cells import Kind, read_cell
from fullstory_async.ids.rounding import LossCheck
from fullstory_async.ids.rows import RowReader
from fullstory_async.session_id import SessionId, UnusableId

__all__ = ["End", "IdSource"]

_CHECKED_TEXTS = 1000
_FRAMES = (("to_dict", "df.to_dict('records')"), ("to_dicts", "df.to_dicts()"), ("to_pylist", "to_pylist()"))


class End(enum.Enum):
    """The end of the ids; ``None`` could be one of the (bad) ids."""

    END = enum.auto()


class IdSource:
    """Ids, listed sessions, texts and rows, from an iterable or an async iterable.

    Consumed lazily; only the first rows are read ahead, because they decide which column has the ids.
    """

    without_id: int
    """Number of rows that have no id."""
    alike: AlikeIds
    """Compares the ids of rows; who reads the ids adds those of texts."""

    def __init__(self, ids: Any, *, keeps_inputs: bool = False) -> None:
        """Check what was given.

        Args:
            ids: the iterable.
            keeps_inputs: return the id of a row as a `SessionInput`, with the row's other columns.

        Raises:
            ConfigurationError: it is one id, or a whole table.
        """
        _require_many(ids)
        self.without_id = 0
        self.alike = AlikeIds()
        self._ids, self._keeps_inputs = ids, keeps_inputs
        self._now: Iterator[Any] = iter(())
        self._later: AsyncIterator[Any] | None = None
        self._lock: asyncio.Lock | None = None
        self._rows = RowReader()
        self._ready: deque[Any] = deque()
        self._texts, self._row_number = 0, 0
        self._ended = False

    def start(self) -> None:
        """Begin to iterate. Raises `ConfigurationError` if the first ids of a list were rounded."""
        if isinstance(self._ids, AsyncIterable):
            self._later, self._lock = aiter(self._ids), asyncio.Lock()
            return
        if isinstance(self._ids, Sequence):
            losses = LossCheck()
            for number, ref in enumerate(self._ids[:_CHECKED_TEXTS], 1):
                _check_text(ref, f"id {number}", losses)
            losses.require()
        self._now = iter(self._ids)

    @property
    def is_async(self) -> bool:
        """Whether the ids come from an async iterable, for which `next` waits."""
        return self._lock is not None

    async def next(self) -> Any | Literal[End.END]:
        """Return the next id, or `End.END`. Raises `ConfigurationError` for rows without a column of ids."""
        if self._lock is None:
            return self.next_now()
        async with self._lock:
            while not self._ready and not self._ended:
                self._take(await self._next_later())
        return self._ready.popleft() if self._ready else End.END

    def next_now(self) -> Any | Literal[End.END]:
        """Return the next id as `next` does, of a plain iterable."""
        # the usual case: an id that needs no look at others
        if not self._ready and not self._ended and not self._rows.holds_rows:
            ref = next(self._now, End.END)
            if type(ref) is SessionId or (isinstance(ref, str) and self._texts >= _CHECKED_TEXTS):
                return ref
            self._take(ref)
        while not self._ready and not self._ended:
            self._take(next(self._now, End.END))
        return self._ready.popleft() if self._ready else End.END

    async def close(self) -> None:
        """Close the iterator that was made here; a generator that was given belongs to the caller."""
        if self._later is not self._ids and isinstance(self._later, AsyncGenerator):
            await self._later.aclose()

    async def _next_later(self) -> Any | Literal[End.END]:
        if self._later is None:
            return End.END
        # unlike the built-in, this accepts iterators without __aiter__
        try:
            return await self._later.__anext__()
        except StopAsyncIteration:
            return End.END

    def _take(self, ref: Any) -> None:
        """Make an item of the iterable ready, after the rows before it."""
        if ref is End.END:
            self._ended = True
            self._add(self._rows.finish())
        elif isinstance(ref, Mapping) or self._rows.holds_rows:
            self._row_number += 1
            self._add(self._rows.push(ref, f"row {self._row_number}"))
        else:
            self._texts += 1
            if self._texts <= _CHECKED_TEXTS and not isinstance(self._ids, Sequence):
                _check_text(ref, f"id {self._texts}", self._rows.losses)
                self._rows.losses.require()
            self._ready.append(ref)

    def _add(self, rows: Iterator[Any]) -> None:
        for row in rows:
            if not isinstance(row.given, Mapping):
                self._ready.append(row.given)
            elif row.id is None:
                self.without_id += 1
            else:
                self._ready.append(row.input if self._keeps_inputs else row.id)
                if isinstance(row.id, SessionId):
                    self.alike.add(row.id)


def _check_text(ref: Any, where: str, losses: LossCheck) -> None:
    # a SessionId was checked by its owner
    if not isinstance(ref, str) or isinstance(ref, (SessionId, UnusableId)):
        return
    cell = read_cell(ref)
    if cell.kind is Kind.ROUNDED:
        raise losses.rounded(cell.text, where)
    if cell.kind in (Kind.PAIR, Kind.LINK):
        losses.add(cell.text)


def _require_many(ids: Any) -> None:
    """Raise `ConfigurationError` unless something holds many ids, or many rows."""
    if hasattr(ids, "columns") or hasattr(ids, "column_names"):
        way = next((way for method, way in _FRAMES if hasattr(ids, method)), "a list of mappings")
        raise ConfigurationError(
            f"ids is a {type(ids).__name__}, whose columns are not known to hold session ids; "
            f"pass one column, as in df['session_id'], or its rows: {way}"
        )
    if isinstance(ids, Mapping):
        is_table = any(isinstance(value, (list, tuple)) for value in ids.values())
        hint = (
            "pass one of its lists, as in table['session_id'], or a list of mappings"
            if is_table
            else "pass a list of mappings, [row], or its id alone, [row['session_id']]"
        )
        raise ConfigurationError(f"ids is one {type(ids).__name__}, not many ids; {hint}")
    # a Session has the methods of neither
    many = isinstance(ids, AsyncIterable) or hasattr(ids, "__iter__") or hasattr(ids, "__getitem__")
    if isinstance(ids, (str, bytes)) or not many:
        raise ConfigurationError(f"ids must be an iterable of session ids, not one {type(ids).__name__}")
