"""JSON columns as structures in Parquet, DuckDB and Arrow, where a job's types agree."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from fullstory_async import ClientConfig, ConfigurationError, FullStoryClient
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.export import export
from fullstory_async.sandbox import Fault, Sandbox
from fullstory_async.tables.shapes import fit, merge, settled, shape_of
from tests.jobs.stored import stored_job
from tests.odd_answers import event

DATA = (
    {"price": 1, "Price": "a", "": True, "tags": ["x"], "deep": {"n": 1}, "mixed": 1, "none": None, "empty": {}},
    {"price": 1.5, "tags": [], "deep": {"n": None, "m": [{"k": 2}]}, "mixed": "x", "huge": 2**70},
    {"price": None, "mixed": {"a": [1, None]}, 'b"c': 5},
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jobs") / "a.job"
    apart: Any = {"device_id": None, "session_id": None}
    events = [event(f"2026-05-04T10:00:0{n}Z", data=data, **apart) for n, data in enumerate(DATA)]
    body = json.dumps({"events": events})

    async def make() -> None:
        async with Sandbox(users=1, sessions=2, mean_events=8) as sandbox:
            sandbox.inject(Fault.status(200, body=body.encode()), operation="events")
            config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url)
            async with (
                FullStoryClient(config=config) as client,
                Job.open(path, client=client, plan=JobPlan(events=True)) as job,
            ):
                await job.add(sandbox.session_ids)
                await job.run()

    asyncio.run(make())
    return path


def odd(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("price", "Price_2", "_", "tags", "deep", "mixed", "none", "empty", "huge", 'b"c')
    return [{name: row["event_properties"][name] for name in names} for row in rows][:3]


WANTED: list[dict[str, Any]] = [
    {"price": 1.0, "Price_2": "a", "_": True, "tags": ["x"], "deep": {"n": 1, "m": None}, "mixed": "1", "none": None, "empty": "{}", "huge": None, 'b"c': None},
    {"price": 1.5, "Price_2": None, "_": None, "tags": [], "deep": {"n": None, "m": [{"k": 2}]}, "mixed": '"x"', "none": None, "empty": None, "huge": str(2**70), 'b"c': None},
    {"price": None, "Price_2": None, "_": None, "tags": None, "deep": None, "mixed": '{"a":[1,null]}', "none": None, "empty": None, "huge": None, 'b"c': 5},
]  # fmt: skip


def test_structures_in_parquet_and_arrow(folder: Path, tmp_path: Path) -> None:
    export(JobReader(folder), tmp_path / "out.parquet", json="struct")
    table = pq.read_table(tmp_path / "out.parquet")
    first = next(n for n, row in enumerate(table["event_properties"].to_pylist()) if row["price"] == 1.0)
    assert odd(table.slice(first).to_pylist()) == WANTED
    assert (
        pl.read_parquet(tmp_path / "out.parquet")["source_properties"].struct.field("url").is_not_null().all()
    )
    assert JobReader(folder).to_arrow("events", json="struct").read_all().equals(table.cast(table.schema))


def test_structures_in_duckdb(folder: Path, tmp_path: Path) -> None:
    export(JobReader(folder), tmp_path / "out.duckdb", json="struct", redact={"n": "drop"})
    with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as database:
        query = "SELECT event_properties FROM events WHERE custom_name IS NULL AND event_properties.mixed IS NOT NULL"
        rows = [{"event_properties": row[0]} for row in database.execute(query).fetchall()]
        redacted = [{**row, "deep": row["deep"] and {**row["deep"], "n": None}} for row in WANTED]
        assert odd(rows) == redacted
        paths = database.execute("SELECT DISTINCT source_properties.url.full_url FROM events").fetchall()
        assert ("https://x.test/",) in paths


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.sqlite"])
def test_other_formats_have_no_structures(folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="struct"):
        export(JobReader(folder), tmp_path / name, json="struct")


def test_deep_values_end_in_text(tmp_path: Path) -> None:
    deep: Any = [1]
    for _ in range(240):
        deep = {"a": deep}
    job = stored_job(
        tmp_path / "a.job",
        {"1:1": [event("2026-05-04T10:00:00Z", data=deep, device_id=None, session_id=None)]},
    )
    for suffix in ("parquet", "duckdb"):
        job.export(tmp_path / f"out.{suffix}", json="struct")
    value = pq.read_table(tmp_path / "out.parquet")["event_properties"].to_pylist()[0]
    while isinstance(value, dict):
        value = value["a"]
    assert value.startswith('{"a":')
    with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as database:
        assert database.execute("SELECT event_properties.a.a IS NOT NULL FROM events").fetchall() == [(True,)]


def test_a_column_with_a_value_that_is_too_deep_stays_text(tmp_path: Path) -> None:
    deep: Any = [1]
    for _ in range(400):
        deep = {"a": deep}
    apart: Any = {"device_id": None, "session_id": None}
    events = [event("2026-05-04T10:00:00Z", data=data, **apart) for data in ({"a": 1}, deep)]
    job = stored_job(tmp_path / "a.job", {"1:1": events})
    job.export(tmp_path / "out.parquet", json="struct")
    table = pq.read_table(tmp_path / "out.parquet")
    assert [text[:5] for text in table["event_properties"].to_pylist()] == ['{"a":', '{"a":']
    assert table["source_properties"].to_pylist()[0]["url"] == {"full_url": "https://x.test/"}


def test_shapes() -> None:
    assert merge(shape_of([1]), shape_of([1.5, None])) == shape_of([2.5])
    assert merge(shape_of({"a": 1}), shape_of([1])) == "json"
    assert settled(shape_of({})) == settled(shape_of(None)) == "json"
    many = merge(shape_of({str(n): 1 for n in range(900)}), shape_of({str(n): 1 for n in range(500, 1500)}))
    assert many == "json"
    shape = settled(merge(shape_of({"a": {"x": True}}), shape_of({"A": 5})))
    assert fit(shape, {"a": {"x": False}}) == {"a": {"x": False}, "A_2": None}
