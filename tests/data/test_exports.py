"""Exports to Parquet and DuckDB, read back by their own programs, equal the job."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from fullstory_async.jobs import JobReader
from fullstory_async.jobs.export import export
from fullstory_async.jobs.export.views import VIEWS
from tests.exported import expected_rows, make_job, names, same
from tests.jobs.stored import event, stored_job


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jobs") / "a.job"
    asyncio.run(make_job(path))
    return path


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Any]:
    return expected_rows(folder)


def test_parquet(folder: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    written = export(JobReader(folder), tmp_path / "out.parquet")
    assert written == names(tmp_path / "out.parquet")
    files = dict(zip(("events", "summaries", "sessions", "pages", "failures"), written, strict=True))
    for table, path in files.items():
        if table not in expected:
            continue
        found = pq.read_table(path)
        same(found.to_pylist(), expected[table])
    events = pq.ParquetFile(written[0])
    schema = events.schema_arrow
    assert str(schema.field("event_type").type) == "dictionary<values=string, indices=int32, ordered=0>"
    assert str(schema.field("event_time").type) == "timestamp[us, tz=UTC]"
    assert (str(schema.field("full_session_id").type), schema.field("full_session_id").nullable) == (
        "string",
        False,
    )
    assert events.metadata.row_group(0).column(0).compression == "ZSTD"
    odd = [row for row in pq.read_table(written[0]).to_pylist() if row["event_time_raw"] == "not a time"]
    assert [row["event_time"] for row in odd] == [None]


def test_duckdb(folder: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    assert export(JobReader(folder), tmp_path / "out.duckdb") == [tmp_path / "out.duckdb"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.duckdb"]
    with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as database:
        database.execute("SET TimeZone = 'UTC'")
        for table, wanted in expected.items():
            cursor = database.execute(
                f"SELECT * EXCLUDE (fetched_at), epoch_us(fetched_at) AS fetched_at FROM {table}"
                if table != "failures"
                else "SELECT * FROM failures"
            )
            columns = [column[0] for column in cursor.description]
            rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
            if table == "events":
                rows = [row for row in rows if row["event_time_raw"] != "not a time"]
                wanted = [row for row in wanted if row["event_time_raw"] != "not a time"]
            same(rows, wanted, times=lambda value: datetime.fromtimestamp(value / 1e6, UTC))


@pytest.mark.parametrize("suffix", ["parquet", "duckdb"])
def test_exports_are_private_and_replace_what_was_there(folder: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out.{suffix}"
    path.write_text("something older")
    seen: list[int] = []

    def look(_: int) -> None:
        seen.extend(stat.S_IMODE(each.stat().st_mode) & 0o077 for each in tmp_path.glob(".*"))

    export(JobReader(folder), path, progress=look, redact={"user_email": "drop"})
    assert (set(seen), stat.S_IMODE(path.stat().st_mode)) == ({0}, 0o600)
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]
    assert b"a@b.c" not in path.read_bytes()


def test_the_views_are_the_same_rows_in_both_databases(tmp_path: Path) -> None:
    job = stored_job(
        tmp_path / "a.job",
        {"1:1": [{**event("2026-05-04T10:00:00Z", fs_rage_count=3, target={"text": text}), "source_properties": source}
                 for text in ("b", None, "a") for source in ({"url": {"path": "/"}}, {})]},
    )  # fmt: skip
    paths = [tmp_path / "out.duckdb", tmp_path / "out.sqlite"]
    for path in paths:
        job.export(path)
    with duckdb.connect(str(paths[0]), read_only=True) as one, closing(sqlite3.connect(paths[1])) as other:
        for view in VIEWS:
            rows = one.execute(f"SELECT * FROM {view}").fetchall()
            assert rows == other.execute(f"SELECT * FROM {view}").fetchall()
        assert one.execute("SELECT count(*) FROM rage_clicks").fetchall() == [(6,)]


@pytest.mark.parametrize("name", ["*", "frustrations", "is_error", "number"])
def test_views_that_compute_with_hashed_columns_are_left_out(tmp_path: Path, name: str) -> None:
    job = stored_job(tmp_path / "a.job", {"1:1": [event("2026-05-04T10:00:00Z")]})
    for suffix in ("duckdb", "sqlite"):
        job.export(tmp_path / f"out.{suffix}", redact={name: "hash"})
    with duckdb.connect(str(tmp_path / "out.duckdb"), read_only=True) as database:
        views = [
            row[0]
            for row in database.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        ]
        assert len(views) == (0 if name == "*" else 2)
        for view in views:
            database.execute(f"SELECT * FROM {view}").fetchall()


@pytest.mark.parametrize("suffix", ["parquet", "duckdb"])
def test_the_command_does_without_pandas(folder: Path, tmp_path: Path, suffix: str) -> None:
    program = (
        "import sys\n"
        "from fullstory_async.cli import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit as ended:\n"
        "    imported = 'pandas' in sys.modules\n"
        "    import pandas\n"  # it can be imported afterwards, and pyarrow finds it
        "    import pyarrow\n"
        "    assert len(pyarrow.table({'a': [1]}).to_pandas()) == 1\n"
        "    print(ended.code, imported)\n"
    )
    command = [sys.executable, "-c", program, "job", "export", str(folder), str(tmp_path / f"out.{suffix}")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, imported = done.stdout.split()
    assert (int(code), imported) == (0, "False")
