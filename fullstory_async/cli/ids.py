"""Session ids from files or standard input: plain lines, a table, JSON, a workbook, or Parquet.

The whole input is read and checked before the first request, so that a misread file costs no activation. It
may hold millions of ids, so they are kept in a temporary database instead of in memory.

The published OpenAPI description allows nearly any text as an id. Here a line must look like one: a line of
something else (a program, a list of e-mail addresses) would otherwise be sent to the service as it is.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fullstory_async.cli.exits import UsageError
from fullstory_async.cli.id_files import IdText, form_of, open_ids
from fullstory_async.cli.id_json import json_rows
from fullstory_async.cli.id_parquet import parquet_rows
from fullstory_async.cli.id_tables import Records, find_table, is_comment, is_empty
from fullstory_async.cli.id_workbooks import workbook_rows
from fullstory_async.errors import ConfigurationError, StorageError
from fullstory_async.ids.alike import comparable
from fullstory_async.ids.inputs import SessionInput
from fullstory_async.ids.rounding import LossCheck, LostDigits
from fullstory_async.ids.rows import Row, RowReader
from fullstory_async.jobs.storage.inputs import pack, unpack
from fullstory_async.session_id import SessionId, UnusableId

__all__ = ["IdInput", "read_ids"]

_SAMPLE = 100
_CHUNK = 32_768
_MAX_NAMED = 3
_SEPARATOR = re.compile(r"\ufeff*\"?sep=(.)\"?\s*", re.IGNORECASE)
"""The first line by which a file names its delimiter to Excel."""
_BINARY = {".xlsx": "an Excel workbook", ".xlsm": "an Excel workbook", ".parquet": "a Parquet file"}
"""Suffixes of files that are never text."""
_TRUST = "--trust-ids uses them as they are"


class IdInput:
    """The distinct ids of an input, in order. Can be iterated repeatedly."""

    duplicates: int
    """Rows that repeated an earlier id."""
    invalid: int
    """Distinct texts that are not valid session ids. No request is sent for them."""
    not_pairs: int
    """Distinct valid ids that are not ``USER:SESSION`` pairs, the only form that the service surely
    accepts."""
    without_id: int
    """Rows that have no id."""

    def __init__(self) -> None:
        """Create an empty input."""
        self.duplicates = self.invalid = self.not_pairs = self.without_id = self._count = 0
        self.losses = LossCheck(distinct=True)
        self._notes: list[str] = []
        # an empty name makes a temporary file that SQLite deletes on close
        self._database = sqlite3.connect("")
        self._database.execute("CREATE TABLE given (text BLOB UNIQUE, reason TEXT, input BLOB)")
        self._database.execute("CREATE TABLE unusual (key BLOB, text BLOB)")

    def add(self, given: SessionInput) -> None:
        """Add an id, or a text that isn't one. Raises `StorageError` if the disk is full."""
        session_id = given.session_id
        reason = session_id.reason if isinstance(session_id, UnusableId) else None
        stored = _stored(session_id)
        origin = pack(given.text, given.columns) if given.columns or given.text != session_id else None
        try:
            row = (stored, None if reason is None else reason.encode("utf-8", "replace").decode(), origin)
            is_new = self._database.execute("INSERT OR IGNORE INTO given VALUES (?, ?, ?)", row).rowcount
            key = _stored(comparable(session_id))
            if is_new and key != stored:
                self._database.execute("INSERT INTO unusual VALUES (?, ?)", (key, stored))
        except sqlite3.Error as error:
            raise StorageError(f"can't write the ids to a temporary file: {error}") from None
        self._count += is_new
        self.duplicates += not is_new
        if is_new and isinstance(session_id, SessionId):
            self.not_pairs += not session_id.is_pair
            self.losses.add(session_id)
        elif is_new:
            self.invalid += 1

    def note(self, text: str) -> None:
        """Add a sentence about how the input was read."""
        self._notes.append(text)

    def notes(self) -> list[str]:
        """Return what a person should know about the input before anything is spent."""
        notes = list(self._notes)
        if self.without_id:
            notes.append(f"{_rows_text(self.without_id)} {'has' if self.without_id == 1 else 'have'} no id")
        if reason := self.first_reason():
            notes.append(f"{_rows_text(self.invalid)} without a usable id: {reason}")
        if self.losses.warning:
            notes.append(self.losses.warning)
        if alike := self._alike():
            notes.append(
                "ids that differ only in leading zeros or in case are fetched separately: " + "; ".join(alike)
            )
        return notes

    def first_reason(self) -> str:
        """Return why the first invalid id is invalid; empty without one."""
        query = "SELECT reason FROM given WHERE reason IS NOT NULL ORDER BY rowid LIMIT 1"
        found = self._database.execute(query).fetchone()
        return "" if found is None else found[0]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[SessionId | UnusableId]:
        for stored, reason in self._database.execute("SELECT text, reason FROM given ORDER BY rowid"):
            yield _restored(stored, reason)

    def inputs(self) -> Iterator[SessionId | UnusableId | SessionInput]:
        """Yield the ids, with the text and the row that each came from if those say more than the id."""
        query = "SELECT text, reason, input FROM given ORDER BY rowid"
        for stored, reason, origin in self._database.execute(query):
            session_id = _restored(stored, reason)
            yield session_id if origin is None else SessionInput(session_id, *unpack(origin))

    def close(self) -> None:
        """Delete the ids."""
        self._database.close()

    def _alike(self) -> list[str]:
        """Return some ids that are written differently, but may be the same."""
        query = (
            "SELECT min(a.text), coalesce(max(g.text), max(a.text)) FROM unusual a "
            "LEFT JOIN given g ON g.text = a.key GROUP BY a.key "
            "HAVING count(*) > 1 OR max(g.text) IS NOT NULL LIMIT ?"
        )
        rows = self._database.execute(query, (_MAX_NAMED,))
        return [f"{one.decode()} and {other.decode()}" for one, other in rows]


def read_ids(
    sources: Sequence[str], column: str | None = None, *, strict: bool = False, trust_ids: bool = False
) -> IdInput:
    """Read the ids of files, or of standard input for ``-``.

    Args:
        sources: the paths.
        column: the column that holds the ids; found by its content if it is None.
        strict: refuse the input if a row is not an id, instead of counting it as failed.
        trust_ids: accept ids that look rounded or cut off.

    Raises:
        UsageError: an input can't be read, has no id column or no ids, or its ids were rounded.
        StorageError: the disk is full.
    """
    ids = IdInput()
    try:
        for source in sources:
            name = "standard input" if source == "-" else f"the ids file {source!r}"
            try:
                _read_source(ids, source, RowReader(column, trust_ids=trust_ids), column, strict=strict)
            except ConfigurationError as error:
                way_out = f". {_TRUST}" if isinstance(error, LostDigits) else ""
                raise UsageError(f"{name}: {error.message}{way_out}") from None
            except UsageError as error:
                raise UsageError(f"{name} {error}") from None
        if not trust_ids and (loss := ids.losses.find()):
            raise UsageError(f"{loss}. {_TRUST}")
    except BaseException:
        ids.close()
        raise
    return ids


def _read_source(ids: IdInput, source: str, reader: RowReader, column: str | None, *, strict: bool) -> None:
    usable = unusable = 0
    first = ""
    for row in _rows(ids, source, reader, column):
        if (given := row.input) is None:
            ids.without_id += 1
            continue
        if isinstance(given.session_id, UnusableId):
            unusable, first = unusable + 1, first or given.session_id.reason
            if strict:
                raise UsageError(f"can't be understood: {given.session_id.reason}")
        else:
            usable += 1
        ids.add(given)
    if unusable > usable and (kind := _BINARY.get(Path(source).suffix.lower())) is not None:
        raise UsageError(f"is not {kind}, although its name says so: save it again, or save the ids as CSV")
    if unusable > usable:
        raise UsageError(
            f"can't be understood: {first}; a table needs a column with replay URLs or USER:SESSION pairs, "
            "or name one with --id-column"
        )
    if not usable:
        raise UsageError("has no session ids")


def _rows(ids: IdInput, source: str, reader: RowReader, column: str | None) -> Iterator[Row]:
    """Yield the rows of a file of any form."""
    path, sheet = _split_sheet(source)
    form = form_of(path)
    if sheet is not None and form != "workbook":
        raise UsageError(f"can't be read: only Excel workbooks have sheets, such as {sheet!r}")
    if form == "text":
        yield from _text_rows(ids, source, reader, column)
        return
    rows = parquet_rows(path) if form == "parquet" else workbook_rows(path, sheet, column, ids.note)
    for where, value in rows:
        yield from reader.push(value, where)
    yield from reader.finish()


def _split_sheet(source: str) -> tuple[str, str | None]:
    """Return a path and the sheet that is named behind it, as in ``tickets.xlsx#May``."""
    path, mark, sheet = source.rpartition("#")
    if not mark or source == "-" or Path(source).exists() or not Path(path).is_file():
        return source, None
    return path, sheet


def _text_rows(ids: IdInput, source: str, reader: RowReader, column: str | None) -> Iterator[Row]:
    with open_ids(source) as text:
        for number, value in _values(ids, text, column):
            yield from reader.push(value, f"line {number}")
        yield from reader.finish()
        if text.not_utf_8:
            ids.note(f"{source} is not UTF-8 throughout; the rest was read as Windows-1252")


def _values(ids: IdInput, text: IdText, column: str | None) -> Iterator[tuple[int, Any]]:
    """Yield the values of a file with their lines; mappings are rows of a table."""
    # the first line that is neither empty nor a comment decides the form
    number, first = 0, ""
    while is_empty(first) or is_comment(first):
        number, first = number + 1, text.read_line(_CHUNK)
        if not first:
            return
    first = first.lstrip("\ufeff\x1e \t")
    # JSON may be one line of any length, so it is read in pieces
    if first[0] in "[{" and not first.startswith("[["):
        yield from json_rows(itertools.chain((first,), text.pieces()), number)
        return
    if not first.endswith("\n"):
        first += text.read_line()
    yield from _lines_or_rows(ids, text, (number, first), column)


def _lines_or_rows(
    ids: IdInput, text: IdText, first: tuple[int, str], column: str | None
) -> Iterator[tuple[int, Any]]:
    """Yield the values of a file that is not JSON; its first line was read already."""
    delimiter, (number, line) = None, first
    if (separator := _SEPARATOR.fullmatch(line)) is not None:
        delimiter = separator[1]
        number, line = number + 1, text.read_line()
    numbered = enumerate(itertools.chain((line,), text.lines()), number)
    sample = list(itertools.islice(numbered, _SAMPLE))
    table = find_table([each for _, each in sample if not is_empty(each)], delimiter, column)
    lines = itertools.chain(sample, numbered)
    if table is not None:
        records = Records(lines, table)
        yield from records.rows()
        if records.irregular:
            ids.note(f"irregular quotation marks, which were read leniently: {_rows_text(records.irregular)}")
    elif column is not None:
        raise UsageError(f"has no column {column!r}: it has plain lines")
    else:
        for line_number, each in lines:
            if not (is_empty(each) or is_comment(each)):
                yield line_number, re.split(r"\s#", each)[0]


def _rows_text(count: int) -> str:
    return f"{count} row" if count == 1 else f"{count} rows"


def _restored(stored: bytes, reason: str | None) -> SessionId | UnusableId:
    text = stored.decode("utf-8", "surrogatepass")
    return SessionId(text) if reason is None else UnusableId(text, reason)


def _stored(text: str) -> bytes:
    # as bytes: SQLite's text can't hold the lone surrogates that JSON allows
    return text.encode("utf-8", "surrogatepass")
