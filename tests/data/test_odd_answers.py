"""Odd answers: the same rows in every format and in Arrow, and the stored responses byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import re
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from fullstory_async import ClientConfig, FullStoryClient, RateLimit
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.export import export
from fullstory_async.sandbox import Fault, Sandbox

Rows = list[dict[str, Any]]


def event(when: Any, kind: str = "custom", properties: Any = None, **others: Any) -> dict[str, Any]:
    return {
        "device_id": "DEVICE", "session_id": "SESSION", "view_id": "7311205441002331001",
        "event_time": when, "event_type": kind, "event_properties": properties or {}, "source_type": "web",
        "source_properties": {"url": {"full_url": "https://x.test/"}}, **others,
    }  # fmt: skip


def custom(**properties: Any) -> dict[str, Any]:
    return event("2026-05-04T10:00:00.001Z", properties={"event_name": "a", "event_properties": properties})


TIMES = {
    "2026-05-04T10:00:00Z": "2026-05-04T10:00:00.000000Z", "2026-05-04T10:00:00.500Z": "2026-05-04T10:00:00.500000Z",
    "2026-05-04T12:00:02.25+02:00": "2026-05-04T10:00:02.250000Z", "2026-05-04T10:00:03.123456789Z": "2026-05-04T10:00:03.123456Z",
    "1777888804": "2026-05-04T10:00:04.000000Z", 1777888805123: "2026-05-04T10:00:05.123000Z",
    "2026-05-04 10:00:06": "2026-05-04T10:00:06.000000Z", "20260504T100007Z": "2026-05-04T10:00:07.000000Z",
    None: None, "": None, "0001-01-01T00:00:00+14:00": None, "9999-12-31T23:59:59.999-12:00": None,
    "1677-01-01T00:00:00Z": "1677-01-01T00:00:00.000000Z", "2300-01-01T00:00:00Z": "2300-01-01T00:00:00.000000Z",
    "2026-06-30T23:59:60Z": None,
}  # fmt: skip
"""Time as it was sent → the column ``event_time``."""

BODIES = [
    json.dumps({"events": [event(when, view_id=str(n)) for n, when in enumerate(TIMES)]}),
    json.dumps({"events": [
        custom(price=1, n=None, mix=[1, "a", None, {"x": 1}], deep={"a": {"b": {"c": {"d": 1}}}}),
        custom(**{"price": 1.5, "mix": [], "Price": 2, "": 3, "a.b": 4, "a b": 5, "ключ": 6, "\U0001f600": 7}),
        custom(price="1,50", big=9007199254740993, big2=18446744073709551616, neg=-9223372036854775808),
        custom(price={"amount": 1}, mix=None),
    ]}),
    ('{"events":[{"device_id":"DEVICE","event_time":"2026-05-04T10:00:00.001Z","event_type":"custom","event_properties":{"a":1,"a":2,"nan":NaN,"inf":-Infinity,'
    '"f":1e400,"u2028":"x\u2028y\u2029z\u0085w","nl":"l1\\nl2\\r\\nl3\\tt","nul":"a\\u0000b"},"source_properties":{}}]}'),
    '{"events":[{"event_time":"2026-05-04T10:00:00Z","event_type":"custom","event_properties":{"f":1e400,"a":[1,2]}},\n{"event_type":"x\\ud800"}]}',
    '{"events": []}',
    json.dumps({"events": [
        event("2026-05-04T10:00:00.001Z", "=cmd|' /C calc'!A0", {"text": "=1+1"}, view_id='=HYPERLINK("x")', source_type="@SUM(1)"),
        *(event("2026-05-04T10:00:00.002Z", text) for text in ("\t=1+1", "\r=1+1", "\u200b=1+1", "-1+1|x", "\ufeff=1+1", " ", "\n", "")),
    ]}),
    json.dumps({"events": [event("2026-05-04T10:00:00Z", device_id=None, view_id=None), event("2026-05-04T10:00:00Z", view_id=9007199254740993)]}),
    json.dumps({"events": [event("2026-05-04T10:00:00Z", "click", {"target": {"text": "Zoë – 東京 \U0001f600"}, "fs_rage_count": "3", "fs_dead_count": 1})]}, ensure_ascii=False),
    '{"events":[{"type":"click","timestamp":"2026-05-04T10:00:00Z","data":{"target":{"text":5}}}]}',
]  # fmt: skip


def bodies(ids: Sequence[str]) -> list[bytes]:
    """Return the answer of each session; a client refuses one that is about another session."""
    halves = (each.split(":") for each in ids)
    pairs = zip(BODIES, halves, strict=True)
    return [body.replace("DEVICE", one).replace("SESSION", two).encode() for body, (one, two) in pairs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")

    async def fetch() -> None:
        async with Sandbox(sessions=len(BODIES), mean_events=1) as sandbox:
            config = ClientConfig(
                api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(1000, 1000)
            )
            for session_id, body in zip(sandbox.session_ids, bodies(sandbox.session_ids), strict=True):
                sandbox.inject(Fault.status(200, body=body), session_id=session_id)
            async with (
                FullStoryClient(config=config) as client,
                Job.open(folder / "a.job", client=client, plan=JobPlan(events=True)) as job,
            ):
                await job.add(sandbox.session_ids)
                await job.run()

    asyncio.run(fetch())
    return folder


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with times as texts, JSON parsed, and lists as tuples."""
    found = {}
    for name, value in row.items():
        if name in ("event_properties", "source_properties") and isinstance(value, str):
            value = json.loads(value)
        elif isinstance(value, datetime):
            when = value if value.tzinfo else value.replace(tzinfo=UTC)
            value = when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        elif name == "frustrations":
            value = value.split("|") if value and isinstance(value, str) else list(value or ())
        elif name == "is_error":
            value = bool(value)
        found[name] = value
    return found


def as_typed(row: dict[str, str | None]) -> dict[str, Any]:
    """Return a row of CSV with the types of the other formats, and formulas as they were."""
    changed: dict[str, Any] = dict(row)
    for name, cell in row.items():
        if cell is not None and cell[:1] == "'" and re.match(r"[\s\u200b\ufeff]*[=+@-]", cell[1:]):
            changed[name] = cell[1:]
    return {**changed, "seq": int(row["seq"] or 0), "is_error": row["is_error"] == "true"}


def read_csv(path: Path) -> Rows:
    """Read CSV in which only an unquoted empty cell is missing, as Python's csv module reads it from 3.12 on."""
    with path.open(encoding="utf-8", newline="") as file:
        marked = re.sub(r'(?:(?<=,)|(?<=\n))""(?=[,\n])', '"\x01"', file.read())
    rows = csv.DictReader(marked.splitlines(keepends=True))
    return [
        as_typed({name: None if cell == "" else cell.replace("\x01", "") for name, cell in row.items()})
        for row in rows
    ]


def exported(folder: Path, suffix: str) -> Rows:
    """Return the rows of the table ``events`` of an export."""
    path = folder / f"a.{suffix}"
    if not path.exists():
        export(JobReader(folder / "a.job"), path)
    if suffix == "jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    if suffix == "csv":
        return read_csv(path)
    if suffix == "parquet":
        rows: Rows = pq.read_table(path).to_pylist()
        return rows
    order = "SELECT * FROM events ORDER BY full_session_id, seq"
    if suffix == "sqlite":
        with contextlib.closing(sqlite3.connect(path)) as database:
            cursor = database.execute(order)
            return [dict(zip([each[0] for each in cursor.description], row, strict=True)) for row in cursor]
    with duckdb.connect(str(path), read_only=True) as database:
        found = database.execute(order)
        return [
            dict(zip([each[0] for each in found.description], row, strict=True)) for row in found.fetchall()
        ]


def normal(rows: Rows) -> Rows:
    return sorted(map(plain, rows), key=lambda row: (row["full_session_id"], row["seq"]))


@pytest.fixture(scope="module")
def in_arrow(folder: Path) -> Rows:
    return normal(JobReader(folder / "a.job").to_arrow("events").read_all().to_pylist())


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "duckdb", "sqlite"])
def test_each_format_holds_the_rows_that_arrow_holds(folder: Path, in_arrow: Rows, suffix: str) -> None:
    found = normal(exported(folder, suffix))
    assert len(found) == len(in_arrow)
    for row, expected in zip(found, in_arrow, strict=True):
        assert row == expected


def test_the_stored_responses_are_what_was_sent(folder: Path) -> None:
    records = list(JobReader(folder / "a.job").records())
    stored = [record.bodies["events"] for record in records]
    assert stored == bodies([record.session_id for record in records])


def test_the_events_of_a_session_are_the_rows_of_its_job(folder: Path, in_arrow: Rows) -> None:
    found = []
    for result in JobReader(folder / "a.job").results():
        assert result.events is not None
        rows = result.events.to_arrow().to_pylist()
        found += rows
        for each, row in zip(result.events, rows, strict=True):
            assert (each.timestamp, each.view_id, each.source_type) == (
                row["event_time"],
                row["view_id"],
                row["source_type"],
            )
            assert (each.is_error, each.frustrations) == (row["is_error"], tuple(row["frustrations"]))
            assert (
                each.description.encode("utf-8", "replace")
                == row["description"].replace("\ufffd", "?").encode()
            )
    assert [{**row, "fetched_at": None} for row in in_arrow] == normal(found)


def test_times_have_one_form_and_keep_what_was_sent(in_arrow: Rows, folder: Path) -> None:
    first = next(iter(JobReader(folder / "a.job").records())).session_id
    sent = list(TIMES)
    rows = [row for row in in_arrow if row["full_session_id"] == first]
    assert len(rows) == len(TIMES)
    for row in rows:
        when = sent[int(row["view_id"])]
        assert row["event_time"] == TIMES[when]
        assert row["event_time_raw"] == (None if when is None else str(when))


def test_numbers_that_json_lacks_are_null(in_arrow: Rows) -> None:
    [row] = [row for row in in_arrow if "u2028" in row["event_properties"]]
    assert row["event_properties"] == {
        "a": 2, "nan": None, "inf": None, "f": None, "u2028": "x\u2028y\u2029z\u0085w",
        "nl": "l1\nl2\r\nl3\tt", "nul": "a\0b",
    }  # fmt: skip
    assert {"f": None, "a": [1, 2]} in [row["event_properties"] for row in in_arrow]
