"""What a job keeps of the text and of the row of a table that an id came from."""

from __future__ import annotations

import math
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

from fullstory_async.ids.inputs import SessionInput
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.export.redaction import Redaction
from fullstory_async.jobs.export.tables import Tables
from fullstory_async.jobs.storage.inputs import column_names
from fullstory_async.session_id import SessionId, UnusableId

PLAN = JobPlan(events=True)
ONE, TWO, THREE = (f"40621433532028{n:04}:38291430702708{n:04}" for n in range(3))
URL = f"https://app.fullstory.com/ui/O/session/{TWO}"
Inputs = list[tuple[str, str, dict[str, str]]]


async def add(folder: Path, ids: Iterable[Any], plan: JobPlan | None = PLAN) -> None:
    async with Job.open(folder, plan=plan) as job:
        await job.add(ids)


def inputs(folder: Path) -> Inputs:
    return [(each.session_id, each.input, each.input_columns) for each in JobReader(folder).records()]


async def test_the_text_and_the_row_of_an_id_are_kept(tmp_path: Path) -> None:
    when = datetime(2026, 5, 4, tzinfo=UTC)
    rows = [
        {"fs url": URL, "Ticket": 7, "vip": True, "at": when, "share": math.nan, "note": "", "org": {"name": "é\ud800"}},
        {"fs url": f" {ONE} ", "Ticket": "#8"},
        {"fs url": "no id", "Ticket": 9},
    ]  # fmt: skip
    await add(tmp_path / "j", rows)
    await add(tmp_path / "j", [ONE, SessionId(THREE), UnusableId("..", "bad"), "../x"])
    assert inputs(tmp_path / "j") == [
        (TWO, URL, {"Ticket": "7", "vip": "true", "at": "2026-05-04T00:00:00+00:00", "org.name": "é?"}),
        (ONE, f" {ONE} ", {"Ticket": "#8"}),
        ("no id", "no id", {"Ticket": "9"}),
        (THREE, THREE, {}),
        ("..", "..", {}),
        ("../x", "../x", {}),
    ]
    names = JobReader(tmp_path / "j").input_columns
    assert names == {
        "Ticket": "input_ticket",
        "vip": "input_vip",
        "at": "input_at",
        "org.name": "input_org_name",
    }


class Text(str):  # noqa: SLOT000  (as a caller would write it)
    """A text of another type, as numpy's."""


async def test_texts_of_other_types_are_texts(tmp_path: Path) -> None:
    rows = [{"id": ONE, "also": SessionId(TWO), Text("x"): Text("y")}, Text(URL), Text(THREE)]
    await add(tmp_path / "j", rows)
    assert inputs(tmp_path / "j") == [
        (ONE, ONE, {"also": TWO, "x": "y"}), (TWO, URL, {}), (THREE, THREE, {}),
    ]  # fmt: skip


async def test_names_that_are_no_unicode_are_stored_as_values_are(tmp_path: Path) -> None:
    # JSON allows lone surrogates in names too
    await add(tmp_path / "j", [{"id": TWO, "a\ud800": 1, "a?": 2, "\0": 3}])
    assert inputs(tmp_path / "j") == [(TWO, TWO, {"a?": "1", "a? 2": "2", "\0": "3"})]
    assert list(JobReader(tmp_path / "j").input_columns) == ["a?", "a? 2", "\0"]


async def test_of_several_rows_with_one_id_the_first_counts(tmp_path: Path) -> None:
    await add(tmp_path / "j", [URL, THREE, ONE])
    await add(tmp_path / "j", [{"id": TWO, "n": 1}, {"id": THREE, "n": 2}, {"id": THREE, "n": 3}])
    assert inputs(tmp_path / "j") == [(TWO, URL, {}), (THREE, THREE, {"n": "2"}), (ONE, ONE, {})]


async def test_an_erased_session_leaves_no_input(tmp_path: Path) -> None:
    await add(tmp_path / "j", [{"id": TWO, "who": "ann@example.com"}, {"id": ONE, "who": "bob@example.com"}])
    async with Job.open(tmp_path / "j") as job:
        assert await job.purge(TWO)
        await job.add([{"id": TWO, "who": "ann@example.com"}])
    assert inputs(tmp_path / "j") == [(ONE, ONE, {"who": "bob@example.com"})]
    stored = b"".join(path.read_bytes() for path in (tmp_path / "j").iterdir())
    assert (b"ann@example.com" in stored, b"bob@example.com" in stored) == (False, True)


async def test_a_folder_of_an_older_version_is_read_and_gets_them_when_it_is_opened(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(Path(__file__).parent / "zstandard_job", tmp_path / "old.job"))
    before = inputs(folder)
    assert len(before) == 7
    assert all(text == session_id for session_id, text, _ in before)
    await add(folder, [{"id": before[1][0], "ticket": "T1"}], None)
    assert inputs(folder) == [before[0], (*before[1][:2], {"ticket": "T1"}), *before[2:]]
    with closing(sqlite3.connect(folder / "job.sqlite3")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)


async def test_a_damaged_input_is_counted_and_costs_nothing_else(tmp_path: Path) -> None:
    await add(tmp_path / "j", [{"id": TWO, "who": "ann"}, {"id": ONE, "who": "bob"}])
    other = crc32(b"[1]").to_bytes(4, "big") + b"[1]"
    damages = (
        "CAST(replace(input, 'ann', 'eve') AS BLOB)", "x''", "x'00000000'", "'text'", "7", f"x'{other.hex()}'",
    )  # fmt: skip
    for damage in damages:
        with closing(sqlite3.connect(tmp_path / "j" / "job.sqlite3")) as database, database:
            database.execute(f"UPDATE items SET input = {damage} WHERE seq = 1")
        reader = JobReader(tmp_path / "j")
        assert [each.input_columns for each in reader.records()] == [{}, {"who": "bob"}], damage
        assert reader.damaged == 1


async def test_damaged_names_of_columns_cost_only_columns(tmp_path: Path) -> None:
    await add(tmp_path / "j", [{"id": TWO, "who": "ann"}])
    for damage in ("'[\"who'", "5", "x'ff'", "'[1]'", "'{}'"):
        with closing(sqlite3.connect(tmp_path / "j" / "job.sqlite3")) as database, database:
            database.execute(f"UPDATE meta SET value = {damage} WHERE name = 'input_columns'")
        reader = JobReader(tmp_path / "j")
        assert [each.input_columns for each in reader.records()] == [{"who": "ann"}], damage
        assert (reader.input_columns, reader.damaged) == ({}, 1)
    await add(tmp_path / "j", [{"id": ONE, "who": "bob"}])
    reader = JobReader(tmp_path / "j")
    assert [each.input_columns for each in reader.records()] == [{"who": "ann"}, {"who": "bob"}]
    assert (reader.input_columns, reader.damaged) == ({"who": "input_who"}, 0)


async def test_the_names_of_columns_are_bounded(tmp_path: Path) -> None:
    await add(tmp_path / "j", ({"id": f"{10**17 + n}:{10**17 + n}", f"c{n}": n} for n in range(1, 400)))
    assert len(JobReader(tmp_path / "j").input_columns) == 300


def test_columns_have_names_that_any_database_takes() -> None:
    assert list(column_names(["Ticket No.", "", "?", "Größe", "a.b", "ticket_NO"]).values()) == [
        "input_ticket_no", "input_column", "input_column", "input_größe", "input_a_b", "input_ticket_no",
    ]  # fmt: skip


async def test_names_that_differ_in_case_are_one_column_unless_a_row_has_both(tmp_path: Path) -> None:
    await add(tmp_path / "j", [{"id": ONE, "Ticket": 1, "TICKET": 2, "ticket #": 3}])
    await add(tmp_path / "j", [{"id": TWO, "ticket_2": 4, "ticket": 5}])
    reader = JobReader(tmp_path / "j")
    tables = Tables(PLAN, Redaction.of(["TICKET 2"], "secret"), inputs=reader.input_columns)
    names = ("input_ticket", "input_ticket_2", "input_ticket_3")
    assert [column.name for column in tables.columns("sessions")][-3:] == list(names)
    rows = [
        row
        for record in reader.records()
        for name, rows in tables.rows(record)
        for row in rows
        if name == "sessions"
    ]
    assert [row[-3:] for row in rows] == [("1", None, "3"), ("5", None, None)]


def test_a_row_is_never_part_of_a_text_that_is_logged() -> None:
    def row() -> Iterator[SessionInput]:
        yield SessionInput.of_row(SessionId(ONE), {"id": ONE, "who": "ann@example.com"}, ("id",))

    assert "ann" not in repr(next(row()))
