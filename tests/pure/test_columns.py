"""Columns of repeated values and of slices of JSON: the same sequences as lists, and the same files."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import msgspec
import pytest

from fullstory_async.jobs.export.databases import SQLITE
from fullstory_async.jobs.export.sqlite_rows import sqlite_writer
from fullstory_async.jobs.export.text import csv_writer, json_lines_writer
from fullstory_async.tables.arrow import column_batch
from fullstory_async.tables.columns import Column
from fullstory_async.tables.json_text import JsonTexts, may_be_huge
from fullstory_async.tables.rows import ColumnRows, Repeated, columns_of, grouped

TABLE = (
    Column("id", "text"), Column("number", "integer"), Column("data", "json"), Column("source", "json"),
    Column('a "name"', "name"), Column("signs", "texts"), Column("at", "time"),
)  # fmt: skip
PLACES = [0, 0, 2, 1, 0]
SHARED = (
    ['{"b":"x,y"}', None, "{}"], ["=1", "a\nb", None], [("rage click",), (), ("x", "y")],
    ["2026-05-04T10:00:00.000000Z", None, "2026-05-04T10:00:01.000000Z"],
)  # fmt: skip
DATA = ['{"a":"1"}', "{}", '["é"]', "5", "[1,2]"]
COLUMNS: list[Sequence[Any]] = [
    Repeated(("1:2",), bytes(5)),
    range(5),
    JsonTexts([msgspec.Raw(text.encode()) for text in DATA]),
    *(Repeated(values, PLACES) for values in SHARED),
]


def test_they_are_sequences() -> None:
    for column, expected in zip(
        COLUMNS,
        (["1:2"] * 5, list(range(5)), DATA, *([values[n] for n in PLACES] for values in SHARED)),
        strict=True,
    ):
        assert list(column) == expected
        assert list(column[1:4]) == expected[1:4]
        assert (len(column), column[2], column[-1]) == (5, expected[2], expected[-1])
    rows = ColumnRows(COLUMNS)
    assert rows[3] == list(rows)[3]
    assert list(rows[1:3]) == list(rows)[1:3]


def test_columns_that_repeat_alike_are_grouped_where_they_are_side_by_side() -> None:
    names = [[column.name for column, _ in group] for group in grouped(zip(TABLE, COLUMNS, strict=True))]
    assert names == [["id"], ["number"], ["data"], ["source", 'a "name"', "signs", "at"]]
    again = [COLUMNS[3], COLUMNS[0], COLUMNS[4], COLUMNS[0]]
    assert [len(group) for group in grouped(zip(TABLE, again, strict=False))] == [1, 1, 1, 1]
    # two columns that are one list are two columns
    plain = [[1], [2]]
    assert [len(group) for group in grouped(zip(TABLE, plain, strict=False))] == [1, 1]


@pytest.mark.parametrize("writer", [json_lines_writer, csv_writer])
def test_they_are_written_as_their_values_are(writer: Any) -> None:
    files = []
    for rows in (ColumnRows(COLUMNS), list(ColumnRows(COLUMNS))):
        file = io.BytesIO()
        with writer(file, TABLE) as write:
            write(rows)
            write(rows[2:4])
        files.append(file.getvalue())
    assert files[0] == files[1]
    if writer is json_lines_writer:
        first = json.loads(files[0].splitlines()[0])
        assert list(first) == [column.name for column in TABLE]
        assert (first["data"], first["source"], first['a "name"']) == ({"a": "1"}, {"b": "x,y"}, "=1")


@pytest.mark.parametrize("others", [range(5), Repeated([True, None, False], [2, 2, 0, 1, 1])])
def test_they_are_the_same_in_sqlite(others: Sequence[Any]) -> None:
    """What repeats alike is bound once, and None and booleans are bound as numbers."""
    table = (*TABLE, Column("flag", "boolean"), Column("text", "text"), Column("count", "integer"))
    columns = [*COLUMNS, others, ["", None, "0", "a", None], [0, None, 1, 2, 3]]
    found = []
    for rows in (ColumnRows(columns), list(ColumnRows(columns))):
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
            database.execute(SQLITE.table("events", table))
            write = sqlite_writer(database, "events", table)
            write(rows)
            write(rows[2:4])
            found.append(database.execute("SELECT * FROM events").fetchall())
    assert found[0] == found[1]
    first = ("1:2", 0, '{"a":"1"}', '{"b":"x,y"}', "=1", "rage click", "2026-05-04T10:00:00.000000Z")
    assert found[0][0] == (*first, others[0], "", 0)
    assert [row[-2:] for row in found[0]] == [*list(zip(*columns[-2:], strict=True)), ("0", 1), ("a", 2)]


def test_they_are_the_same_in_arrow() -> None:
    plain = list(zip(*ColumnRows(COLUMNS), strict=True))
    part = [column[1:3] for column in COLUMNS]
    batch = column_batch(TABLE, [COLUMNS, part])
    batch.validate(full=True)
    expected = column_batch(TABLE, [plain, [column[1:3] for column in plain]])
    assert batch.to_pylist() == expected.to_pylist()
    small = column_batch(TABLE, [COLUMNS, part], dictionaries=True)
    small.validate(full=True)
    assert small.to_pylist() == expected.to_pylist()
    # with rows of both kinds
    mixed = column_batch(TABLE, [plain, part])
    assert mixed.to_pylist() == expected.to_pylist()
    assert columns_of(ColumnRows(COLUMNS), 7) is COLUMNS


def test_places_that_columns_share_count_the_values_of_each() -> None:
    places = [0, 0]
    chunks = [[Repeated(["a"], places), Repeated(["c", "d"], places)], [Repeated(["b"], places)] * 2]
    batch = column_batch((Column("one", "text"), Column("two", "text")), chunks)
    assert batch.to_pydict() == {"one": ["a", "a", "b", "b"], "two": ["c", "c", "b", "b"]}


def test_the_name_of_a_browser_is_no_huge_number() -> None:
    name = b'{"raw_user_agent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15"}'
    assert not may_be_huge([name])
    assert may_be_huge([b"[1e400]"])
    assert may_be_huge([name, b'{"a":1E+999}'])
    assert may_be_huge([b"[%b]" % (b"1" * 310)])
