"""Events and jobs in memory: Arrow tables with the rows of an export, which other programs take as they are."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fullstory_async import ConfigurationError, SessionEvent, SessionEvents
from fullstory_async.jobs import JobReader
from fullstory_async.jobs.export import export, parquet
from fullstory_async.jobs.storage.records import Record
from tests.exported import make_job, names

TABLES = ("events", "summaries", "sessions", "pages", "failures")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jobs") / "a.job"
    asyncio.run(make_job(path))
    return path


@pytest.fixture(scope="module")
def events(folder: Path) -> SessionEvents:
    """Return the longest session of the job."""
    found = (result.events for result in JobReader(folder).results())
    return max((each for each in found if each is not None), key=len)


def rows(table: Any, *without: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in without} for row in table.to_pylist()]


def test_a_job_in_arrow_has_the_rows_of_its_export(folder: Path, tmp_path: Path) -> None:
    export(JobReader(folder), tmp_path / "a.parquet")
    for table, path in zip(TABLES, names(tmp_path / "a.parquet"), strict=True):
        found = JobReader(folder).to_arrow(table).read_all()  # type: ignore[arg-type]
        assert found.num_rows > 0
        assert rows(found) == rows(pq.read_table(path))
        assert found.schema.equals(pq.read_schema(path))


def test_the_events_of_each_session_are_those_of_its_job(folder: Path) -> None:
    of_job = rows(JobReader(folder).to_arrow("events").read_all(), "fetched_at")
    results = [result.events for result in JobReader(folder).results() if result.events is not None]
    assert [row for each in results for row in rows(each.to_arrow(), "fetched_at")] == of_job
    assert results[0].to_arrow().schema == JobReader(folder).to_arrow("events").schema


def test_a_job_is_read_batch_by_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = JobReader(folder).to_arrow("events").read_all()
    monkeypatch.setattr(parquet, "_GROUP", 20)
    monkeypatch.setattr("fullstory_async.jobs.export.tables._PORTION", 2)
    reader = JobReader(folder)
    read: list[str] = []
    records = reader.records

    def noted() -> Iterator[Record]:
        for record in records():
            read.append(record.session_id)
            yield record

    # a generator, as the reader closes it
    monkeypatch.setattr(reader, "records", noted)
    stream = reader.to_arrow("events")
    assert read == []
    first = stream.read_next_batch()
    assert 20 <= first.num_rows < whole.num_rows
    assert 0 < len(read) < 10
    assert rows(pa.Table.from_batches([first, *stream])) == rows(whole)
    # each batch has a dictionary of its own
    types = [row["event_type"] for row in rows(whole)]
    assert pd.DataFrame.from_arrow(JobReader(folder).to_arrow("events"))["event_type"].tolist() == types
    assert pl.DataFrame(JobReader(folder).to_arrow("events"))["event_type"].to_list() == types
    by_duckdb = duckdb.connect().from_arrow(JobReader(folder).to_arrow("events"))
    assert sorted(name for (name,) in by_duckdb.select("event_type").fetchall()) == sorted(types)


def test_pandas_polars_and_duckdb_take_the_events_as_they_are(events: SessionEvents) -> None:
    expected = [(event.type, event.description, event.is_error) for event in events]
    columns = ["event_type", "description", "is_error"]
    by_pandas = pd.DataFrame.from_arrow(events)
    assert list(by_pandas[columns].itertuples(index=False, name=None)) == expected
    by_polars = pl.from_dataframe(events)
    assert by_polars.select(columns).rows() == expected
    assert (
        duckdb.connect().execute(f"SELECT {', '.join(columns)} FROM events ORDER BY seq").fetchall()
        == expected
    )  # finds the variable
    assert pa.table(events).column("seq").to_pylist() == list(range(len(events)))
    assert str(by_pandas["event_time"].dtype) == "datetime64[us, UTC]"
    assert by_polars.schema["event_time"] == pl.Datetime("us", "UTC")


def test_a_stream_of_a_job_is_taken_as_it_is_too(folder: Path) -> None:
    count = len(list(JobReader(folder).results()))
    sessions = JobReader(folder).to_arrow("sessions")
    assert len(pd.DataFrame.from_arrow(sessions)) == count
    assert pl.DataFrame(JobReader(folder).to_arrow("sessions")).height == count
    sessions = JobReader(folder).to_arrow("sessions")
    assert duckdb.connect().execute("SELECT count(*) FROM sessions").fetchall() == [(count,)]


def test_a_selection_has_the_rows_that_its_events_have_in_their_session(events: SessionEvents) -> None:
    whole = events.to_arrow()
    selected = events.of_type("click").to_arrow()
    assert selected.schema == whole.schema
    assert rows(selected) == [row for row in rows(whole) if row["event_type"] == "click"]
    assert rows(events.of_type("click").frustrations().to_arrow()) == [
        row for row in rows(selected) if row["frustrations"]
    ]
    apart = SessionEvents(events.session_id, list(events.of_type("click"))).to_arrow()
    assert apart["seq"].to_pylist() == list(range(apart.num_rows))
    same = ("event_time", "description", "page_url", "frustrations")
    assert apart.select(same).equals(selected.select(same))


def test_events_that_a_program_made_have_the_normal_form_too() -> None:
    made = SessionEvents(
        "1:2", [SessionEvent(type="x\ud800", data={"n": math.nan, "big": 2**70, "s": "\ud800"})]
    )
    [row] = rows(made.to_arrow())
    assert (row["event_type"], row["event_time"], row["event_time_raw"]) == ("x\ufffd", None, None)
    assert json.loads(row["event_properties"]) == {"n": None, "big": 2**70, "s": "\ufffd"}
    assert SessionEvents("1:2").to_arrow().num_rows == 0


def test_a_table_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(
        ConfigurationError,
        match="must be one of events, sessions, pages, summaries, failures, not 'clicks'",
    ):
        JobReader(folder).to_arrow("clicks")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="takes 'text' or 'struct', not 'dict'"):
        JobReader(folder).to_arrow("events", json="dict")  # type: ignore[arg-type]
