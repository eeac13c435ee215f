"""RecoveryScan: reads the items of a job's file, damaged or not.

Intact items are yielded, damaged ones counted. SQLite has no checksums. But a job stores every fact twice,
and two copies that differ reveal damage:

* An item's number and id are in the table and in its index. So are the positions of its responses and
  failures. The responses themselves are compressed, with a checksum.
* The largest number is the one of the last item, and the one that the job recorded with its last commit.
  Damage makes a number smaller as often as larger, and one that is too small would hide every item beyond it.
  So the larger one counts, unless the file is too small for that number of items.
* The numbers of items, responses and failures are recorded too. Rows that are missing at the end of a pass
  were lost in the tree of pages, which nothing else would reveal. The comparison holds only without writes
  in the meantime.

Items are read in blocks of numbers; where a block can't be read or has gaps, one by one. So a damaged page
costs only the items on it, and one response is in memory at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import attrs

from fullstory_async.files.compression import CorruptRecord, decompress
from fullstory_async.files.storage_faults import SQLITE_ERRORS
from fullstory_async.jobs.storage.inputs import Input, has_inputs, unpack
from fullstory_async.jobs.storage.records import JobFailure, Record
from fullstory_async.session_id import SessionId

__all__ = ["RecoveryScan"]

_MAX_LOG_ITEMS = 1 << 20
"""Items beyond those that the file itself has room for: they may be in its log."""
_ITEMS = (
    "SELECT seq, session_id, {given}, "
    "(SELECT seq FROM items AS i INDEXED BY sqlite_autoindex_items_1 WHERE i.session_id = t.session_id) "
    "FROM items AS t WHERE seq BETWEEN ? AND ?"
)
_FAILURE = tuple(
    f"t.{name}"
    for name in ("at", "status", "code", "body", "error", "message", "attempts", "may_have_cost", "permanent")
)
_BLOCK = 200
"""Items whose ids are read at a time."""

_Item = tuple[int, str, bytes | None, int | None]
"""Number, id and input from the table, and the number that the index has for the id."""


@attrs.define
class RecoveryScan:
    """One pass over a job's items."""

    database: sqlite3.Connection
    file_size: int
    damaged: int = 0
    """Sessions that could not be read so far, completely or partly."""
    _items: int = attrs.field(default=0, init=False)
    _rows: int = attrs.field(default=0, init=False)
    _query: str = attrs.field(init=False)
    _metadata_corrupt: bool = attrs.field(default=False, init=False)
    """Whether the recorded counts are themselves corrupt."""

    def __attrs_post_init__(self) -> None:
        self._query = _ITEMS.format(given="input" if has_inputs(self.database) else "NULL")

    def records(self, *, with_bodies: bool | str) -> Iterator[Record]:
        """Yield every intact item, in the order of their numbers."""
        version, recorded = self._version(), self._recorded_counts()
        last = self._last(recorded.get("last_seq"))
        for start in range(1, last + 1, _BLOCK):
            for seq, session_id, given, seq_by_id in self._block(start, min(start + _BLOCK - 1, last)):
                try:
                    if seq != seq_by_id:
                        raise CorruptRecord("the item and its index differ")
                    record = self._read(seq, session_id, given, with_bodies=with_bodies)
                except (*SQLITE_ERRORS, CorruptRecord):
                    self.damaged += 1
                    continue
                self._items += 1
                self._rows += len(record.fetched) + len(record.failures)
                yield record
        # A write during the pass changes the counts, and a difference then says nothing about damage.
        if version is not None and version == self._version():
            self._count_missing(recorded)
        if self._metadata_corrupt:
            self.damaged = max(1, self.damaged)

    def find(self, session_id: str, *, with_bodies: bool | str) -> Record | None:
        """Return the item of a session; None if there is none.

        Raises:
            CorruptRecord: it is damaged.
        """
        found = self.database.execute("SELECT seq FROM items WHERE session_id = ?", (session_id,)).fetchone()
        if found is None:
            return None
        for seq, name, given, seq_by_id in self._readable(found[0]):
            if (seq, name) == (seq_by_id, session_id):
                return self._read(seq, name, given, with_bodies=with_bodies)
        raise CorruptRecord("the item and its index differ")

    def _version(self) -> int | None:
        """Return a number that changes when another connection writes to the file."""
        try:
            return int(self.database.execute("PRAGMA data_version").fetchone()[0])
        except SQLITE_ERRORS:
            return None

    def _recorded_counts(self) -> dict[str, int]:
        """Return the job's own counts, without impossible ones.

        Each item takes more than one byte of the file.
        """
        most, recorded = self.file_size + _MAX_LOG_ITEMS, {}
        query = "SELECT name, value FROM meta WHERE name IN ('last_seq', 'items', 'answered', 'failed')"
        try:
            for name, value in self.database.execute(query):
                if isinstance(value, int) and 0 <= value <= most:
                    recorded[name] = value
                else:
                    self._metadata_corrupt = True
        except SQLITE_ERRORS:
            self._metadata_corrupt = True
        return recorded

    def _last(self, recorded: int | None) -> int:
        """Return the number of the last item: the largest possible one of any source."""
        most = self.file_size + _MAX_LOG_ITEMS
        found: int | None = None
        try:
            found = self.database.execute("SELECT MAX(seq) FROM items").fetchone()[0] or 0
        except SQLITE_ERRORS:
            self._metadata_corrupt = True
        if found is not None and not 0 <= found <= most:
            self._metadata_corrupt = True
            found = None
        return max((each for each in (found, recorded) if each is not None), default=most)

    def _count_missing(self, recorded: dict[str, int]) -> None:
        self.damaged = max(self.damaged, recorded.get("items", 0) - self._items)
        # Rows of damaged items are missing as well, and must not be counted a second time.
        if not self.damaged:
            self.damaged = max(0, recorded.get("answered", 0) + recorded.get("failed", 0) - self._rows)

    def _block(self, start: int, end: int) -> list[_Item]:
        try:
            items = self.database.execute(self._query, (start, end)).fetchall()
        except SQLITE_ERRORS:
            items = None
        # A gap may be damage, or an erased item: reading one by one tells them apart.
        if items is None or 0 < len(items) <= end - start:
            return [item for seq in range(start, end + 1) for item in self._readable(seq)]
        return items

    def _readable(self, seq: int) -> list[_Item]:
        try:
            return self.database.execute(self._query, (seq, seq)).fetchall()
        except SQLITE_ERRORS:
            self.damaged += 1
            return []

    def _input(self, session_id: str, given: bytes | None) -> Input:
        """Return an item's input; a damaged one is counted, and costs the session nothing else."""
        try:
            return (session_id, {}) if given is None else unpack(given)
        except CorruptRecord:
            self.damaged += 1
            return session_id, {}

    def _read(self, seq: int, session_id: str, given: bytes | None, *, with_bodies: bool | str) -> Record:
        """Read an item's rows. Raises `CorruptRecord` for values that no job ever wrote."""
        text, columns = self._input(session_id, given)
        record = Record(
            seq=seq, session_id=session_id, input=text, input_columns=columns,
            bodies={}, fetched={}, failures={},
        )  # fmt: skip
        body_column = "t.body" if with_bodies else "NULL"
        if isinstance(with_bodies, str):
            body_column = f"CASE WHEN t.operation = '{with_bodies}' THEN t.body END"
        try:
            for operation, at, body in self._rows_of("answers", seq, ("t.at", body_column)):
                record.fetched[operation] = datetime.fromtimestamp(at, UTC)
                if body is not None:
                    record.bodies[operation] = decompress(body)
            for operation, at, status, code, body, *rest in self._rows_of("failures", seq, _FAILURE):
                error, message, attempts, cost, permanent = rest
                record.failures[operation] = JobFailure(
                    session_id=session_id, operation=operation, error=error, status=status, code=code,
                    message=message, attempts=attempts, may_have_cost=bool(cost), permanent=bool(permanent),
                    at=datetime.fromtimestamp(at, UTC), body=None if body is None else decompress(body),
                )  # fmt: skip
            if record.bodies:
                SessionId(session_id)  # raises: an item that isn't a session id can't have a response
        except (TypeError, ValueError, OverflowError, OSError) as error:
            raise CorruptRecord(str(error)) from None
        return record

    def _rows_of(self, table: str, seq: int, columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
        """Yield an item's rows, each as its operation and some columns.

        Raises:
            CorruptRecord: the table and its index differ.
        """
        query = (
            f"SELECT i.operation, t.seq, t.operation, {', '.join(columns)} "  # noqa: S608
            f"FROM {table} AS i INDEXED BY sqlite_autoindex_{table}_1 "
            f"JOIN {table} AS t NOT INDEXED ON t.rowid = i.rowid WHERE i.seq = ?"
        )
        for operation, same_seq, same_operation, *row in self.database.execute(query, (seq,)):
            if (same_seq, same_operation) != (seq, operation):
                raise CorruptRecord("the row and its index differ")
            yield operation, *row
