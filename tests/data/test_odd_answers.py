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
from tests.odd_answers import ODD_BODIES

Rows = list[dict[str, Any]]


def bodies(ids: Sequence[str]) -> list[bytes]:
    """Return the odd answers for sessions; a client refuses an answer that is about another session."""
    found = []
    for body, name in zip(ODD_BODIES.values(), ids, strict=True):
        device, session = (half.encode() for half in name.split(":"))
        own = b'"device_id":"%s","session_id":"%s"' % (device, session)
        named = body.replace(b'"device_id":"1","session_id":"2"', own)
        named = named.replace(b"5736495272951808", device).replace(b"5629499534213120", session)
        found.append(named)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")

    async def fetch() -> None:
        async with Sandbox(sessions=len(ODD_BODIES), mean_events=1) as sandbox:
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
