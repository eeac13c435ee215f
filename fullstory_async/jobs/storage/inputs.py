"""The inputs of a job: for each item the text that its id came from, and the other columns of its row.

They are a column of ``items`` that older versions neither have nor read. An item's input disappears with
it, in those versions too, so an erased session leaves none. A folder without the column gets it when it is
opened for writing.
"""

from __future__ import annotations

import functools
import re
import sqlite3
import zlib
from collections.abc import Iterable, Mapping

import attrs
import msgspec

from fullstory_async.errors import FullStoryError
from fullstory_async.files.compression import CorruptRecord
from fullstory_async.files.storage_faults import SQLITE_ERRORS
from fullstory_async.ids.inputs import text_of_value
from fullstory_async.jobs.storage.statements import get_meta, set_meta

__all__ = [
    "Input",
    "NewItem",
    "add_input_column",
    "add_names",
    "column_names",
    "distinct_names",
    "has_inputs",
    "merged_names",
    "pack",
    "read_names",
    "unpack",
    "write_names",
]


@attrs.frozen
class NewItem:
    """An item to add."""

    text: str
    """The id, or the text that isn't an id."""
    given: bytes | None = attrs.field(default=None, repr=False)
    """Its packed input, unless the id itself was given alone."""
    error: FullStoryError | None = None
    """Why the text isn't an id."""


Input = tuple[str, dict[str, str]]
"""The text of an id, and column → text."""

_NAMES = "input_columns"
"""The name in ``meta`` of the columns' names, in the order in which they came."""
_MAX_NAMES = 300
"""Columns of all rows together, so that documents that share no fields don't make an endless table."""
_CHECKSUM_BYTES = 4
_decoder = msgspec.json.Decoder(Input)


def has_inputs(database: sqlite3.Connection) -> bool:
    """Return whether a job's file has the column; a file of an older version doesn't."""
    try:
        return any(name == "input" for _, name, *_ in database.execute("PRAGMA table_info(items)"))
    except SQLITE_ERRORS:
        return False


def add_input_column(database: sqlite3.Connection) -> None:
    """Give a file of an older version the column."""
    if not has_inputs(database):
        database.execute("ALTER TABLE items ADD COLUMN input BLOB")


def pack(text: str, columns: Mapping[str, str]) -> bytes:
    """Return an input as it is stored: JSON after its checksum."""
    named = dict(zip(distinct_names(columns), columns.values(), strict=True))
    body = msgspec.json.encode((text_of_value(text), named))
    return zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "big") + body


def unpack(stored: object) -> Input:
    """Return a stored input. Raises `CorruptRecord` if it is damaged."""
    if not isinstance(stored, bytes):
        raise CorruptRecord(f"the input is {type(stored).__name__}")
    mark, body = stored[:_CHECKSUM_BYTES], stored[_CHECKSUM_BYTES:]
    if zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "big") != mark:
        raise CorruptRecord("the input and its checksum differ")
    try:
        found: Input = _decoder.decode(body)
    except ValueError as error:  # zeros have the checksum of nothing
        raise CorruptRecord(str(error)) from None
    return found


def add_names(database: sqlite3.Connection, names: Iterable[str]) -> None:
    """Remember the names of columns; those beyond the first 300 are not exported."""
    known = read_names(get_meta(database, _NAMES)) or []
    if (merged := merged_names(known, names)) != known:
        set_meta(database, **{_NAMES: write_names(merged)})


def merged_names(known: list[str], names: Iterable[str]) -> list[str]:
    """Return known names and those that are new, 300 at most."""
    new = [name for name in names if name not in known]
    return [*known, *new[: _MAX_NAMES - len(known)]]


def write_names(names: list[str]) -> str:
    """Return the names of columns as they are stored."""
    return msgspec.json.encode(names).decode()


def read_names(stored: object) -> list[str] | None:
    """Return stored names of columns; ``None`` if they are damaged, which costs only columns."""
    try:
        return [] if stored is None else msgspec.json.decode(str(stored), type=list[str])
    except ValueError:
        return None


def column_names(names: Iterable[str]) -> dict[str, str]:
    """Return the column of an export for each of some names, as in ``Ticket No.`` → ``input_ticket_no``.

    Names that differ in case or punctuation only, as in two files, have the same column.
    """
    return {name: f"input_{_plain(name)}" for name in names}


def distinct_names(columns: Iterable[str]) -> tuple[str, ...]:
    """Return the names of one row's columns, each with a column of its own in an export."""
    return _distinct(tuple(columns))


@functools.lru_cache(maxsize=256)
def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    taken: set[str] = set()
    distinct = []
    for given in map(text_of_value, names):
        name, number = given, 2
        while _plain(name) in taken:
            name, number = f"{given} {number}", number + 1
        taken.add(_plain(name))
        distinct.append(name)
    return tuple(distinct)


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name.lower()).strip("_") or "column"
