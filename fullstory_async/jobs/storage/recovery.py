"""Reading the items of a job's file, damaged or not: what is intact is given, and what is not is counted.

SQLite has no checksums. But a job says everything twice, and what is said twice and differently is damaged:

* An item's number and id stand in the table and in its index, and so do the places of its answers and failures. The
  answers themselves are compressed, with a checksum.
* How far the numbers go is told by the last item, and by what the job noted with its last commit. Damage makes a number
  smaller as often as larger, and one that is too small would hide every item beyond it. So the largest one counts that the file
  has room for.
* How many items, answers and failures there are was noted too. Whatever is missing of them at the end of a pass has got lost on
  the way to it, in the tree of pages, which nothing else would tell. That holds only if nobody wrote meanwhile.

Items are read in blocks of numbers; where a block can't be read or has gaps, one by one. So a damaged page costs what stands on it,
and one answer is in memory at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import attrs

from fullstory_async.jobs.storage.compression import CorruptRecord, unpacked
from fullstory_async.jobs.storage.records import JobFailure, Record
from fullstory_async.session_id import SessionId

__all__ = ["RecoveryScan"]

_LONGEST_LOG = 1 << 20
"""Items beyond what the file itself has room for: those that are in its log."""
_ITEMS = (
    "SELECT seq, session_id, (SELECT seq FROM items AS i INDEXED BY sqlite_autoindex_items_1 WHERE i.session_id = t.session_id) "
    "FROM items AS t WHERE seq BETWEEN ? AND ?"
)
_FAILURE = tuple(
    f"t.{name}"
    for name in ("at", "status", "code", "body", "error", "message", "attempts", "may_have_cost", "permanent")
)
_BLOCK = 200
"""Items whose ids are read at a time."""

_Item = tuple[int, str, int | None]
"""Number and id as the table has them, and the number that its index has for the id."""


@attrs.define
class RecoveryScan:
    """One pass over a job's items."""

    database: sqlite3.Connection
    file_size: int
    damaged: int = 0
    """Sessions that could not be read, in whole or in part, so far."""
    _items: int = attrs.field(default=0, init=False)
    _rows: int = attrs.field(default=0, init=False)
    _misled: bool = attrs.field(default=False, init=False)
    """Whether what tells how much there is was damaged itself."""

    def records(self, *, with_bodies: bool) -> Iterator[Record]:
        """Give every item that is intact, in the order of their numbers."""
        version, noted = self._version(), self._noted()
        last = self._last(noted.get("last_seq"))
        for start in range(1, last + 1, _BLOCK):
            for seq, session_id, seq_by_id in self._block(start, min(start + _BLOCK - 1, last)):
                try:
                    if seq != seq_by_id:
                        raise CorruptRecord("the item and its index differ")
                    record = self._read(seq, session_id, with_bodies=with_bodies)
                except (sqlite3.DatabaseError, CorruptRecord):
                    self.damaged += 1
                    continue
                self._items += 1
                self._rows += len(record.fetched) + len(record.failures)
                yield record
        if version is not None and version == self._version():
            self._count_the_missing(noted)
        if self._misled:
            self.damaged = max(1, self.damaged)

    def _version(self) -> int | None:
        """Return what changes when somebody else writes to the file."""
        try:
            return int(self.database.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.DatabaseError:
            return None

    def _noted(self) -> dict[str, int]:
        """Return what the job counted itself, as far as that can be true: an item takes more than a byte."""
        most, noted = self.file_size + _LONGEST_LOG, {}
        query = "SELECT name, value FROM meta WHERE name IN ('last_seq', 'items', 'answered', 'failed')"
        try:
            for name, value in self.database.execute(query):
                if isinstance(value, int) and 0 <= value <= most:
                    noted[name] = value
                else:
                    self._misled = True
        except sqlite3.DatabaseError:
            self._misled = True
        return noted

    def _last(self, noted: int | None) -> int:
        """Return the number of the last item: the largest that is told and can be."""
        most = self.file_size + _LONGEST_LOG
        found: int | None = None
        try:
            found = self.database.execute("SELECT MAX(seq) FROM items").fetchone()[0] or 0
        except sqlite3.DatabaseError:
            self._misled = True
        if found is not None and not 0 <= found <= most:
            self._misled = True
            found = None
        return max((each for each in (found, noted) if each is not None), default=most)

    def _count_the_missing(self, noted: dict[str, int]) -> None:
        self.damaged = max(self.damaged, noted.get("items", 0) - self._items)
        if not self.damaged:  # else the rows of what is damaged are missing too
            self.damaged = max(0, noted.get("answered", 0) + noted.get("failed", 0) - self._rows)

    def _block(self, start: int, end: int) -> list[_Item]:
        try:
            items = self.database.execute(_ITEMS, (start, end)).fetchall()
        except sqlite3.DatabaseError:
            items = None
        if (
            items is None or 0 < len(items) <= end - start
        ):  # erased items leave gaps as well, which is soon seen
            return [item for seq in range(start, end + 1) for item in self._intact(seq)]
        return items

    def _intact(self, seq: int) -> list[_Item]:
        try:
            return self.database.execute(_ITEMS, (seq, seq)).fetchall()
        except sqlite3.DatabaseError:
            self.damaged += 1
            return []

    def _read(self, seq: int, session_id: str, *, with_bodies: bool) -> Record:
        """Read an item's rows. Raises `CorruptRecord` for what can't have been written so."""
        record = Record(seq=seq, session_id=session_id, bodies={}, fetched={}, failures={})
        body_column = "t.body" if with_bodies else "NULL"
        try:
            for operation, at, body in self._rows_of("answers", seq, ("t.at", body_column)):
                record.fetched[operation] = datetime.fromtimestamp(at, UTC)
                if body is not None:
                    record.bodies[operation] = unpacked(body)
            for operation, at, status, code, body, *rest in self._rows_of("failures", seq, _FAILURE):
                error, message, attempts, cost, permanent = rest
                record.failures[operation] = JobFailure(
                    session_id=session_id, operation=operation, error=error, status=status, code=code,
                    message=message, attempts=attempts, may_have_cost=bool(cost), permanent=bool(permanent),
                    at=datetime.fromtimestamp(at, UTC), body=None if body is None else unpacked(body),
                )  # fmt: skip
            if record.bodies:
                SessionId(session_id)
        except (TypeError, ValueError, OverflowError, OSError) as error:
            raise CorruptRecord(str(error)) from None
        return record

    def _rows_of(self, table: str, seq: int, columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
        """Give an item's rows, each as its operation and some columns. Raises `CorruptRecord` where table and index differ."""
        query = (
            f"SELECT i.operation, t.seq, t.operation, {', '.join(columns)} "  # noqa: S608
            f"FROM {table} AS i INDEXED BY sqlite_autoindex_{table}_1 JOIN {table} AS t NOT INDEXED ON t.rowid = i.rowid WHERE i.seq = ?"
        )
        for operation, same_seq, same_operation, *row in self.database.execute(query, (seq,)):
            if (same_seq, same_operation) != (seq, operation):
                raise CorruptRecord("the row and its index differ")
            yield operation, *row
