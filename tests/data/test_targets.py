"""Exports into folders, odd names and DuckDB files that are there already, read with other programs."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from fullstory_async import ConfigurationError
from fullstory_async.jobs import JobReader
from fullstory_async.jobs.export import export
from fullstory_async.jobs.export.sql_names import column_names
from tests.jobs.stored import event, stored_job

EVENTS = {
    "1:1": [event("2026-05-04T10:00:00.5Z", n=1), event("2026-05-05T00:30:00+02:00", n=2)],
    "2:2": [event("2026-05-05T23:59:59.999999Z", n=3), event("never", n=4)],
    "-3:3": [event("2026-05-06T12:00:00Z", n=5)],
    "4:4": None,
}
DATES = {"2026-05-04": 2, "2026-05-05": 1, "2026-05-06": 1, None: 1}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobReader:
    return stored_job(tmp_path_factory.mktemp("jobs") / "a.job", EVENTS)


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> JobReader:
    folder = tmp_path_factory.mktemp("jobs") / "b.job"
    return stored_job(folder, {"1:1": [event("2026-05-07T10:00:00Z", n=6)], "5:5": []})


def rows(path: Path, query: str) -> list[Any]:
    with duckdb.connect(str(path), read_only=True) as database:
        return database.execute(query).fetchall()


def selected(query: str) -> list[Any]:
    with duckdb.connect() as database:
        return database.execute(query).fetchall()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("rows_per_file", [None, 1])
def test_a_folder_is_one_data_set(job: JobReader, tmp_path: Path, rows_per_file: int | None) -> None:
    export(job, tmp_path / "out", rows_per_file=rows_per_file)
    events, glob = tmp_path / "out" / "events", f"{tmp_path}/out/events/*.parquet"
    assert len(left(events)) == (1 if rows_per_file is None else 5)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"events", "sessions", "pages", "failures"}
    export(job, tmp_path / "flat.parquet")
    flat = pq.read_table(tmp_path / "flat.parquet")
    assert ds.dataset(events).to_table().cast(flat.schema) == flat
    assert pl.scan_parquet(glob).collect().equals(pl.read_parquet(tmp_path / "flat.parquet"))
    assert selected(f"SELECT count(*) FROM '{glob}'") == [(5,)]
    assert pd.read_parquet(events)["full_session_id"].tolist() == flat["full_session_id"].to_pylist()


def test_dates_are_partitions_for_every_program(job: JobReader, tmp_path: Path) -> None:
    export(job, out_dir=tmp_path / "out", partition_by="date")
    events = tmp_path / "out" / "events"
    by_arrow = ds.dataset(events, partitioning="hive").to_table()
    assert dict(by_arrow.group_by("event_date").aggregate([([], "count_all")]).to_pandas(
        date_as_object=True).astype(object).where(lambda frame: frame.notna(), None).itertuples(index=False, name=None)
    ) == DATES  # fmt: skip
    by_polars = pl.scan_parquet(f"{events}/**/*.parquet", hive_partitioning=True).collect()
    assert {
        (date and str(date)): n for date, n in by_polars["event_date"].value_counts().iter_rows()
    } == DATES
    query = f"""
        SELECT CAST(event_date AS VARCHAR), count(*)
        FROM read_parquet('{events}/**/*.parquet', hive_partitioning = true) GROUP BY 1
    """
    assert dict(selected(query)) == DATES
    assert by_arrow.num_rows == 5


@pytest.mark.parametrize("events_without_times", [[], [event("never")]])
def test_without_a_date_it_is_a_data_set_too(
    tmp_path: Path, events_without_times: list[dict[str, Any]]
) -> None:
    job = stored_job(tmp_path / "none.job", {"1:1": events_without_times})
    export(job, out_dir=tmp_path / "out", partition_by="date")
    events = tmp_path / "out" / "events"
    count = len(events_without_times)
    assert ds.dataset(events, partitioning="hive").count_rows() == count
    by_polars = pl.scan_parquet(f"{events}/**/*.parquet", hive_partitioning=True).collect()
    assert by_polars.height == count
    assert by_polars.schema["event_date"] == pl.Date()
    query = f"SELECT count(*), count(event_date) FROM read_parquet('{events}/**/*.parquet', hive_partitioning = true)"
    assert selected(query) == [(count, 0)]


NAMES = ['a#50%41 it\'s "so"\n[x]*', "s3:", ":memory:", "md:x"]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_work(job: JobReader, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for _ in range(2):
        export(job, folder / f"{name}.duckdb")
        export(job, folder / f"{name}.duckdb", append=True)
        export(job, folder / f"{name}.parquet")
        export(job, out_dir=folder / name)
    assert rows(folder / f"{name}.duckdb", "SELECT count(*) FROM events") == [(5,)]
    for path in (folder / f"{name}.parquet", folder / name / "events" / "part-0000.parquet"):
        with path.open("rb") as file:
            assert pq.read_table(file).num_rows == 5
    ends = ("duckdb", "parquet", *(f"{table}.parquet" for table in ("failures", "pages", "sessions")))
    assert left(folder) == sorted([name, *(f"{name}.{end}" for end in ends)])


def test_a_question_mark_is_for_all_but_duckdb(job: JobReader, tmp_path: Path) -> None:
    (folder := tmp_path / "what?").mkdir()
    for append in (False, True):
        with pytest.raises(
            ConfigurationError, match=r"DuckDB takes a \? in its path for the end of the name"
        ):
            export(job, folder / "out.duckdb", append=append)
    assert left(folder) == []
    export(job, folder / "out?.parquet")
    assert pq.read_table(folder / "out?.parquet").num_rows == 5


def test_names_that_are_not_utf8_and_the_longest(job: JobReader, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff")
    export(job, odd.with_suffix(".parquet"))
    with odd.with_suffix(".parquet").open("rb") as file:
        assert pq.read_table(file).num_rows == 5
    for append in (False, True):
        with pytest.raises(ConfigurationError, match="DuckDB takes only names in UTF-8"):
            export(job, odd.with_suffix(".duckdb"), append=append)
    with pytest.raises(ConfigurationError, match=r"DuckDB adds .wal to its name \(File name too long\)"):
        export(job, tmp_path / ("x" * 248 + ".duckdb"))
    long = tmp_path / ("x" * 244 + ".duckdb")
    export(job, long)
    export(job, long, append=True)
    assert rows(long, "SELECT count(*) FROM events") == [(5,)]


def test_csv_is_the_same_instants_for_pandas_and_polars(job: JobReader, tmp_path: Path) -> None:
    export(job, tmp_path / "out.csv", bom=True)
    by_pandas = pd.read_csv(tmp_path / "out.csv", parse_dates=["event_time", "fetched_at"])
    by_polars = pl.read_csv(tmp_path / "out.csv", try_parse_dates=True)
    assert str(by_pandas["event_time"].dtype).endswith("UTC]")
    assert by_polars.schema["event_time"] == pl.Datetime("us", "UTC")
    instants = [None if pd.isna(each) else each.to_pydatetime() for each in by_pandas["event_time"]]
    assert instants == by_polars["event_time"].to_list()
    export(job, tmp_path / "out.parquet")
    assert instants == pq.read_table(tmp_path / "out.parquet")["event_time"].to_pylist()
    assert "-3:3" in by_polars["full_session_id"].to_list()
    assert by_pandas["full_session_id"].tolist() == by_polars["full_session_id"].to_list()


def a_warehouse(path: Path) -> None:
    with duckdb.connect(str(path)) as database:
        database.execute(
            "CREATE TABLE orders AS SELECT 7 AS id; CREATE SCHEMA other; CREATE TABLE other.events (a INT)"
        )


@pytest.mark.parametrize("name", ["w.duckdb", "w.db", "w.parquet"])
def test_a_warehouse_is_refused_and_kept(job: JobReader, tmp_path: Path, name: str) -> None:
    a_warehouse(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(ConfigurationError, match="is a database that no export made"):
        export(job, tmp_path / name)
    assert ((tmp_path / name).read_bytes(), left(tmp_path)) == (before, [name])
    export(job, tmp_path / name, overwrite=True)
    assert (tmp_path / name).read_bytes() != before


def test_an_export_with_tables_of_the_user_is_appended_to(
    job: JobReader, newer: JobReader, tmp_path: Path
) -> None:
    path = tmp_path / "all.duckdb"
    export(job, path)
    export(job, path)  # its own earlier file
    a_warehouse(path)
    with pytest.raises(ConfigurationError, match=r"holds what no export made \(orders, other.events\)"):
        export(job, path)
    query = "SELECT full_session_id, event_properties->>'n' FROM events ORDER BY ALL"
    for _ in range(2):
        export(newer, path, append=True)
        assert rows(path, query) == [("-3:3", "5"), ("1:1", "6"), ("2:2", "3"), ("2:2", "4")]
        assert rows(path, "SELECT count(*), count(DISTINCT full_session_id) FROM sessions") == [(5, 5)]
    assert rows(path, "SELECT count(*) FROM orders") == [(1,)]
    assert rows(path, "SELECT count(*) FROM errors_by_browser") == [(1,)]
    assert (left(tmp_path), stat.S_IMODE(path.stat().st_mode)) == (["all.duckdb"], 0o600)


def test_an_append_that_fails_or_is_killed_leaves_the_old_state(
    job: JobReader, newer: JobReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, killed = tmp_path / "all.duckdb", tmp_path / "killed.duckdb"
    export(job, path)
    before = rows(path, "SELECT * FROM events")

    def kill(columns: Any) -> str:
        assert not [name for name in left(tmp_path) if name.endswith(".wal")]  # all could read it
        shutil.copy(path, killed)
        return column_names(columns)

    monkeypatch.setattr("fullstory_async.jobs.export.append.column_names", kill)  # within the transaction
    export(newer, path, append=True)
    monkeypatch.undo()
    assert rows(killed, "SELECT * FROM events") == before
    with pytest.raises(ConfigurationError, match="nothing in the job"):
        export(newer, killed, append=True, redact=["zzz"])
    assert rows(killed, "SELECT * FROM events") == before
    export(job, path, schema="v1")
    with pytest.raises(ConfigurationError, match="has the tables of schema v1"):
        export(job, path, append=True)


def test_a_log_of_duckdb_is_merged_or_refused(job: JobReader, tmp_path: Path) -> None:
    path, dead = tmp_path / "all.duckdb", tmp_path / "dead.duckdb"
    export(job, path)
    with duckdb.connect(str(path)) as database:
        database.execute("CREATE TABLE orders AS SELECT 7 AS id")
        assert left(tmp_path) == ["all.duckdb", "all.duckdb.wal"]
        for ending in ("", ".wal"):
            shutil.copy(f"{path}{ending}", f"{dead}{ending}")
        for overwrite in (False, True):
            with pytest.raises(ConfigurationError, match="another program has it open"):
                export(job, path, overwrite=overwrite)
    with pytest.raises(ConfigurationError, match=r"holds what no export made \(orders\)"):
        export(job, dead)
    assert rows(dead, "SELECT * FROM orders") == [(7,)]
    export(job, dead, overwrite=True)
    assert left(tmp_path) == ["all.duckdb", "dead.duckdb"]
    assert rows(dead, "SELECT count(*) FROM events") == [(5,)]
    (tmp_path / "new.duckdb.wal").write_bytes(b"left")
    with pytest.raises(ConfigurationError, match=r"new.duckdb.wal beside .* delete it"):
        export(job, tmp_path / "new.duckdb")
    export(job, tmp_path / "new.duckdb", overwrite=True)
    assert rows(tmp_path / "new.duckdb", "SELECT count(*) FROM events") == [(5,)]


def test_a_database_that_another_process_has_open_is_refused(job: JobReader, tmp_path: Path) -> None:
    path = tmp_path / "all.duckdb"
    export(job, path)
    script = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        for options in ({}, {"overwrite": True}, {"append": True}):
            with pytest.raises(ConfigurationError, match="another program has it open"):
                export(job, path, **options)  # type: ignore[arg-type]
        process.stdin.close()
    export(job, path)


def test_columns_of_other_types_are_not_appended_to(job: JobReader, newer: JobReader, tmp_path: Path) -> None:
    plain, structures = tmp_path / "plain.duckdb", tmp_path / "structures.duckdb"
    job.export(plain)
    job.export(structures, json="struct")
    with pytest.raises(ConfigurationError, match="the column seq of the table events has the type BIGINT"):
        newer.export(plain, append=True, redact={"seq": "hash"})
    with pytest.raises(ConfigurationError, match="the column event_properties .* has the type STRUCT"):
        newer.export(structures, append=True)
    for path in (plain, structures):
        assert rows(path, "SELECT count(*) FROM events") == [(5,)]


def test_a_column_is_there_in_any_case(job: JobReader, newer: JobReader, tmp_path: Path) -> None:
    path = tmp_path / "all.duckdb"
    job.export(path)
    with duckdb.connect(str(path)) as database:
        database.execute("DROP VIEW rage_clicks; DROP VIEW errors_by_browser")
        database.execute("ALTER TABLE events RENAME browser TO Browser")
    newer.export(path, append=True)
    assert rows(path, "SELECT count(*) FROM events") == [(4,)]
