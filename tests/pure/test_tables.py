"""Rows of tables: one normal form in every format, which agrees with `SessionEvent`."""

from __future__ import annotations

import csv
import io
import json
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fullstory_async.coerce import timestamp
from fullstory_async.jobs.export.databases import sqlite_writers
from fullstory_async.jobs.export.text import csv_text, json_lines_writer
from fullstory_async.models import SessionEvents
from fullstory_async.models.views import EVENT_TYPES
from fullstory_async.tables.columns import Row, Table
from fullstory_async.tables.events import Answer, EventColumns, columns_of_answers
from fullstory_async.tables.ids import SessionIds
from fullstory_async.tables.pages import visits_of
from fullstory_async.tables.rows import ColumnRows, columns_of
from fullstory_async.tables.times import canonical_time, canonical_times
from tests.odd_answers import FAR_TIMES, ODD_BODIES, TIMES, event

ID = "5736495272951808:5629499534213120"


def read(body: bytes, fetched_at: str | None = None) -> EventColumns | None:
    return columns_of_answers([Answer(ID, body, fetched_at)])


def rows_of(body: bytes) -> tuple[Table, Sequence[Row]]:
    return SessionEvents.from_json(body, session_id=ID).to_rows()


def agree(events: SessionEvents) -> None:
    """Assert that rows say of each event what the event says of itself."""
    table, rows = events.to_rows()
    names = [column.name for column in table]
    for one, row in zip(events, rows, strict=True):
        found = dict(zip(names, row, strict=True))
        said = (one.description, one.is_error, one.frustrations, one.type)
        wanted = tuple(each.replace("\ud800", "\ufffd") if isinstance(each, str) else each for each in said)
        assert (found["description"], found["is_error"], found["frustrations"], found["event_type"]) == wanted
        when = None if one.timestamp is None else one.timestamp
        assert (None if found["event_time"] is None else timestamp(found["event_time"])) == when


@pytest.mark.parametrize("name", ODD_BODIES)
def test_rows_agree_with_the_events(name: str) -> None:
    agree(SessionEvents.from_json(ODD_BODIES[name], session_id=ID))


def test_rows_of_random_events_agree_with_the_events() -> None:
    chance = random.Random(7)
    values: list[Any] = [
        None, True, False, 0, 1, 4.0, 2.5, -1, "4", "", " ", "x", "unknown", "Console", "ERROR", "info", [], {},
        {"a": 1}, [1], 404, 200, 10**400, 2**70, 1e300, "a > b.c", "é\u202e", "u-1",
    ]  # fmt: skip
    fields = [
        "text", "masked", "raw_selector", "fs_rage_count", "fs_dead_count", "fs_error_kind", "event_name",
        "event_properties", "message", "console_message_level", "request_status", "request_method",
        "request_duration_millis", "load_time_millis", "user_id", "user_email", "page_name", "navigate_reason",
        "duration_millis", "consent_scope", "is_consent_given", "elapsed_millis", "pinch_gesture_type",
        "cumulative_layout_shift", "interaction_to_next_paint_millis", "element_visible_duration_millis",
    ]  # fmt: skip
    parts = {
        "target": ("text", "masked", "raw_selector"), "request_url": ("full_url", "path"),
    }  # fmt: skip
    events = []
    for kind in (*EVENT_TYPES, "", "made_up") * 20:
        data = {name: chance.choice(values) for name in chance.sample(fields, 12)}
        data |= {part: {name: chance.choice(values) for name in names} for part, names in parts.items()}
        source = {"url": {"path": chance.choice(values)}, "title": chance.choice(values)}
        events.append(event("2026-05-04T10:00:00Z", kind, data, source_properties=source))
    agree(SessionEvents.from_json(json.dumps({"events": events}).encode(), session_id=ID))


@pytest.mark.parametrize("name", ODD_BODIES)
def test_every_format_of_the_core_has_the_same_values(name: str, tmp_path: Path) -> None:
    table, rows = rows_of(ODD_BODIES[name])
    names = [column.name for column in table]
    nested = [n for n, column in enumerate(table) if column.kind == "json"]
    with json_lines_writer(tmp_path / "out.jsonl", table) as write:
        write(rows)
    lines = (tmp_path / "out.jsonl").read_bytes().split(b"\n")[:-1]
    parsed = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    wanted = [
        {
            column: json.loads(value) if n in nested else list(value) if isinstance(value, tuple) else value
            for n, (column, value) in enumerate(zip(names, row, strict=True))
        }
        for row in rows
    ]
    assert parsed == wanted
    cells = list(csv.reader(io.StringIO(csv_text(table, rows, with_header=True), newline="")))
    assert cells[0] == names
    for row, found in zip(rows, cells[1:], strict=True):
        for value, cell in zip(row, found, strict=True):
            shown = "" if value is None else "|".join(value) if isinstance(value, tuple) else value
            shown = str(shown).lower() if isinstance(value, bool) else str(shown)
            assert cell.removeprefix("'") == shown.removeprefix("'")
            assert not cell.lstrip(" \t\r\n\u200b").startswith(("=", "@", "+"))
    with sqlite_writers(tmp_path / "out.sqlite", {"events": table}, schema="v2") as writers:
        writers["events"](rows)
    with closing(sqlite3.connect(tmp_path / "out.sqlite")) as database:
        assert database.execute("SELECT * FROM events").fetchall() == [
            tuple("|".join(value) if isinstance(value, tuple) else value for value in row) for row in rows
        ]


def test_odd_values_have_their_documented_form() -> None:
    def column(name: str, body: str) -> list[Any]:
        table, rows = rows_of(ODD_BODIES[body])
        return [row[[each.name for each in table].index(name)] for row in rows]

    assert column("event_time", "times") == [
        "2026-05-04T10:00:00.000000Z", "2026-05-04T10:00:00.500000Z", "2026-05-04T10:00:01.000000Z",
        "2026-05-04T10:00:02.250000Z", "2026-05-04T10:00:03.123456Z", "2026-05-04T10:00:04.000000Z",
        "2026-05-04T10:00:05.123000Z", "2026-05-04T10:00:06.000000Z", "2026-05-04T10:00:07.000000Z", None, None,
    ]  # fmt: skip
    assert column("event_time_raw", "times") == [when and str(when) for when in TIMES]
    assert column("event_time", "far times") == [
        None, None, "1677-01-01T00:00:00.000000Z", "2300-01-01T00:00:00.000000Z", None, None, None,
    ]  # fmt: skip
    assert set(column("event_time_raw", "far times")) == set(FAR_TIMES)
    (text,) = column("event_properties", "no JSON")
    assert json.loads(text) == {
        "a": 2, "nan": None, "inf": None, "f": None, "u": "x\u2028y\u2029z\x85w", "lone": "\ufffd",
        "nul": "a\x00b",
    }  # fmt: skip
    (text,) = column("event_properties", "numbers beyond a float")
    assert (json.loads(text)["f"], json.loads(text)["inf"]) == (None, None)
    assert column("event_properties", "unicode") == [
        '{"text": "Zo\\u00eb \\u2013 \\u6771\\u4eac \\ud83d\\ude00"}'
    ]
    assert column("view_id", "missing ids") == [None, "9007199254740993"]
    assert column("source_type", "missing ids") == ["web", "true"]


def test_the_service_s_own_text_is_kept() -> None:
    own = '{ "b" : 1.50, "a":[ ], "b": "\\u0041" }'
    body = '{"events": [{"event_type": "x", "event_properties": ' + own + "}]}"
    columns = read(body.encode())
    assert columns is not None
    assert list(columns.values["event_properties"]) == [own]


def test_only_pairs_of_numbers_have_halves() -> None:
    assert SessionIds.of("-1:2") == SessionIds("-1:2", "-1", "2")
    guid = "0f8fad5b-d9cb-469f-a165-70867728950e"
    for name in (f"{guid}:{guid}", "1", "1:2:3", "a:b", "1:", "١:٢"):
        assert SessionIds.of(name) == SessionIds(name, None, None)


@pytest.mark.parametrize("suffix", ["Z", ".123Z", ".123456Z", ".5Z", "+02:00", ""])
def test_a_list_of_times_is_read_as_each_of_them(suffix: str) -> None:
    days = ("2026-05-04", "2024-02-29", "0001-01-01", "2026-13-01", "9999-12-31", "1969-07-20")
    for group in (days, days[:2], days[2:3], (days[0], "2026-W19-1")):
        times = [
            f"{day}T{hour}:59:59{suffix}"
            for day in group
            for hour in ("00", "23", "24")[: 2 + len(group) % 2]
        ]
        assert canonical_times(times) == list(map(canonical_time, times))


def test_an_event_is_known_by_a_stable_hash() -> None:
    from fullstory_async.tables.columns import SCHEMAS

    table = SCHEMAS["warehouse"]["events"]
    body = json.dumps(
        {"events": [event("2026-05-04T10:00:00Z")] * 2 + [event("2026-05-04T10:00:01Z")]}
    ).encode()

    def ids() -> list[str]:
        columns = read(body, "2026-05-05T00:00:00.000000Z")
        assert columns is not None
        return [row[0] for row in columns.rows(table)]

    assert [column.name for column in table] == [
        "event_id", "event_time", "processed_time", "updated_time", "device_id", "session_id", "view_id",
        "event_type", "event_properties", "source_type", "source_properties",
    ]  # fmt: skip
    assert ids() == ids()
    assert len(set(ids())) == 3


def test_rows_kept_as_columns_are_the_same_rows() -> None:
    plain = [(1, "a"), (2, "b"), (3, "c")]
    rows = ColumnRows(columns_of(plain, 2))
    assert list(rows) == plain
    assert rows[1] == plain[1]
    assert list(rows[1:]) == plain[1:]
    assert columns_of([], 2) == [(), ()]


@pytest.mark.parametrize(
    "last", ["2026-05-04T10:60:00.000Z", "2026-05-04T10:00:60.000Z", "2026-05-04T24:00:00.000Z"]
)
def test_a_time_that_no_clock_shows_is_read_as_it_is_alone(last: str) -> None:
    times = ["2026-05-04T10:00:00.000Z", last]
    assert canonical_times(times) == list(map(canonical_time, times))


@pytest.mark.parametrize("name", ["event_properties", "source_properties"])
@pytest.mark.parametrize("kind", ["click", "made_up"])
def test_slices_that_are_not_utf_8_are_no_columns(name: str, kind: str) -> None:
    one = event("2026-05-04T10:00:00Z", kind, {"note": "?"}, source_properties={"note": "?"})
    body = json.dumps({"events": [one]}, separators=(",", ":")).encode()
    assert read(body)
    before, found, after = body.partition(f'"{name}":{{"note":"'.encode())
    assert found
    assert read(before + found + b"\xff" + after) is None


def test_a_visit_has_its_first_title_that_is_not_empty() -> None:
    titles = ("", "Cart", "Cart (1)")
    events = [
        event("2026-05-04T10:00:00Z", view_id="v", source_properties={"url": {"path": "/"}, "title": title})
        for title in titles
    ]
    columns = read(json.dumps({"events": events}).encode())
    assert columns is not None
    assert [(visit.title, visit.events) for visit in visits_of(columns)[0]] == [("Cart", 3)]
