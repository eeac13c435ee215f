"""Exports: each format, read back by a reader of its own, equals the job.

Nothing is half-written, and no cell runs as a formula.
"""

from __future__ import annotations

import asyncio
import csv
import gc
import gzip
import io
import json
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fullstory_async import ClientConfig, ConfigurationError, FullStoryClient
from fullstory_async.files.compression import zstd
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.export import export, export_in_thread, text
from fullstory_async.jobs.storage.reader import RecordReader
from fullstory_async.sandbox import Sandbox
from tests.exported import expected_rows, iso, make_job, names, same
from tests.limits import until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jobs") / "a.job"
    asyncio.run(make_job(path))
    return path


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Any]:
    return expected_rows(folder)


def tables_of(written: list[Path], expected: dict[str, Any]) -> list[tuple[Path, str]]:
    """Return the files of the tables that are compared, each with its table."""
    return [(path, name) for path, name in zip(written, TABLES, strict=True) if name in expected]


TABLES = ("events", "summaries", "sessions", "pages", "failures")
OPENERS: dict[str, Callable[[Path], bytes]] = {
    "": lambda path: path.read_bytes(), ".gz": lambda path: gzip.decompress(path.read_bytes()),
    ".zst": lambda path: zstd.decompress(path.read_bytes()),
}  # fmt: skip


@pytest.mark.smoke
@pytest.mark.parametrize("compression", ["", ".gz", ".zst"])
def test_json_lines(folder: Path, expected: dict[str, Any], tmp_path: Path, compression: str) -> None:
    written = export(JobReader(folder), tmp_path / f"out.jsonl{compression}")
    assert written == names(tmp_path / f"out.jsonl{compression}")
    for path, table in tables_of(written, expected):
        rows = [json.loads(line) for line in OPENERS[compression](path).decode("utf-8").splitlines()]
        same(rows, expected[table], times=iso)


@pytest.mark.parametrize("compression", ["", ".gz", ".zst"])
def test_csv(folder: Path, expected: dict[str, Any], tmp_path: Path, compression: str) -> None:
    written = export(JobReader(folder), tmp_path / f"out.csv{compression}")
    for path, table in tables_of(written, expected):
        text = OPENERS[compression](path).decode("utf-8")
        assert "\r\n" not in text
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        for row in rows:
            for cell in row.values():
                assert not cell.lstrip().startswith(("=", "+", "@")), cell
                assert not cell.startswith("-") or cell[1:].isdigit()
            if "permanent" in row:
                row["permanent"] = row["permanent"] == "true"
            if "seq" in row:
                row["seq"] = int(row["seq"])
            row.update({name: None for name, cell in row.items() if cell == ""})
        same(rows, expected[table], times=iso, formula=escaped)


def escaped(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith("=") else value


def test_sqlite(folder: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    export(JobReader(folder), tmp_path / "out.sqlite")
    with closing(sqlite3.connect(tmp_path / "out.sqlite")) as database:
        database.row_factory = sqlite3.Row
        for table, wanted in expected.items():
            same([dict(row) for row in database.execute(f"SELECT * FROM {table}")], wanted, times=iso)
        assert database.execute("PRAGMA user_version").fetchone()[0] == 2
        assert [tuple(row) for row in database.execute("SELECT * FROM fullstory_export")] == [("v2", 2)]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "sqlite"])
def test_exports_are_private_repeatable_and_replace_what_was_there(
    folder: Path, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"out.{suffix}"
    path.write_text("something older")
    counted: list[int] = []
    export(JobReader(folder), path, progress=counted.append)
    first = path.read_bytes()
    assert counted == list(range(1, 15))
    export(JobReader(folder), path)
    assert path.read_bytes() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]


async def test_the_event_loop_is_not_woken_for_each_session(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    monkeypatch.setattr("fullstory_async.jobs.export._REPORT_SECONDS", 3600.0)
    await export_in_thread(RecordReader(folder), tmp_path / "out.jsonl", progress=counted.append)
    assert counted == [1, 14]
    monkeypatch.setattr("fullstory_async.jobs.export._REPORT_SECONDS", 0.0)
    counted.clear()
    await export_in_thread(RecordReader(folder), tmp_path / "out.jsonl", progress=counted.append)
    assert counted == [*range(1, 15), 14]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "sqlite"])
def test_only_its_owner_can_read_an_export_while_it_is_made(
    folder: Path, tmp_path: Path, suffix: str
) -> None:
    seen: list[tuple[str, int]] = []

    def look(_: int) -> None:
        seen.extend((path.name, stat.S_IMODE(path.stat().st_mode) & 0o077) for path in tmp_path.iterdir())

    before = os.umask(0)
    try:
        export(JobReader(folder), tmp_path / f"out.{suffix}", progress=look)
    finally:
        os.umask(before)
    assert seen
    assert not [name for name, open_to_others in seen if open_to_others]


def test_the_parts_of_a_killed_export_are_removed_later(folder: Path, tmp_path: Path) -> None:
    old, fresh = (tmp_path / f".out.sqlite.{name}.part" for name in ("0ld", "new"))
    for part in (old, fresh):
        part.write_text("")
        part.with_name(f"{part.name}.folder").mkdir()
        (part.with_name(f"{part.name}.folder") / "events.jsonl").write_text("{}")
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        if "0ld" not in str(path):
            continue
        os.utime(path, (0, 0))
    export(JobReader(folder), tmp_path / "out.sqlite")
    assert {path.name for path in tmp_path.iterdir()} == {
        "out.sqlite", ".out.sqlite.new.part", ".out.sqlite.new.part.folder",
    }  # fmt: skip


@pytest.mark.parametrize("suffix", ["jsonl", "sqlite"])
def test_redaction_reaches_every_depth(folder: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out.{suffix}"
    reader = JobReader(folder)
    export(reader, path, redact={"user_email": "drop", "device_id": "hash", "ip_address": "hash"})
    if suffix == "jsonl":
        rows = [json.loads(line) for line in path.read_text(errors="replace").splitlines()]
        assert not [row for row in rows if "@example.com" in json.dumps(row)]
        assert {len(row["device_id"]) for row in rows if row["device_id"]} == {16}
        assert len({row["device_id"] for row in rows}) > 2  # the same stays the same, others differ
    assert b"a@b.c" not in path.read_bytes()
    export(reader, tmp_path / "again.jsonl", redact=["device_id"])
    assert {
        json.loads(line)["device_id"]
        for line in (tmp_path / "again.jsonl").read_text(errors="replace").splitlines()
    } == {None}


def test_a_field_that_is_there_without_a_value_is_found(folder: Path, tmp_path: Path) -> None:
    reader = JobReader(folder)
    with pytest.raises(ConfigurationError, match="nothing in the job is called 'a.b', 'zip', so"):
        export(reader, tmp_path / "out.jsonl", redact=["zip", "share", "a.b"])
    assert list(tmp_path.iterdir()) == []
    export(reader, tmp_path / "out.jsonl", redact=["zip", "share", "a.b"], allow_missing=True)


@pytest.mark.parametrize("redact", ["user_email", {"a": "encrypt"}, [5], {"": "drop"}])
def test_a_redaction_that_makes_no_sense_is_refused(folder: Path, tmp_path: Path, redact: Any) -> None:
    with pytest.raises(ConfigurationError, match="redact"):
        export(JobReader(folder), tmp_path / "out.jsonl", redact=redact)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["T.CSV", "T.Jsonl.GZ", "T.SQLITE"])
def test_a_suffix_may_be_written_in_capitals(folder: Path, tmp_path: Path, name: str) -> None:
    written = export(JobReader(folder), tmp_path / name)
    export(JobReader(folder), tmp_path / f"a{name.lower()}")
    assert written[0].read_bytes() == (tmp_path / f"a{name.lower()}").read_bytes()
    assert [path.name for path in written[1:]] in ([], [path.name for path in names(tmp_path / name)[1:]])


@pytest.mark.parametrize("name", ["out.xlsx", ".CSV", ".jsonl", "out.jsonl.bz2"])
def test_an_unknown_format_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="format of"):
        export(JobReader(folder), tmp_path / name)


def test_an_export_that_can_not_be_written_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be written"):
        export(JobReader(folder), tmp_path / "no" / "out.jsonl")
    (tmp_path / "out.jsonl").mkdir()
    with pytest.raises(ConfigurationError, match="is a folder"):
        export(JobReader(folder), tmp_path / "out.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


async def test_a_cancelled_export_leaves_nothing_behind_and_no_complaint(
    folder: Path, tmp_path: Path
) -> None:
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with Job.open(folder) as job:
        work = asyncio.create_task(job.export(tmp_path / "out.jsonl"))
        await asyncio.sleep(0)
        work.cancel()
        await asyncio.wait([work])
    assert work.cancelled()
    await until(lambda: not list(tmp_path.iterdir()))  # the thread may take longer
    del work
    gc.collect()
    assert (list(tmp_path.iterdir()), complaints) == ([], [])  # noqa: ASYNC240  # nothing else runs


@pytest.mark.parametrize(
    ("module", "suffix"), [("zstd", "jsonl.zst"), ("pyarrow", "parquet"), ("duckdb", "duckdb")]
)
def test_without_the_extra_it_says_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, suffix: str
) -> None:
    import sys

    if module == "zstd":
        monkeypatch.setattr(text, "zstd", None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=r"pip install 'fullstory-async\["):
        export(JobReader(folder), tmp_path / f"out.{suffix}")
    assert list(tmp_path.iterdir()) == []


async def test_a_plan_of_summaries_alone(tmp_path: Path) -> None:
    async with Sandbox(users=1, sessions=2, mean_events=5) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url)
        async with (
            FullStoryClient(config=config) as client,
            Job.open(tmp_path / "j", client=client, plan=JobPlan(summary="support")) as job,
        ):
            await job.add(sandbox.session_ids)
            await job.run()
            written = await job.export(tmp_path / "out.jsonl")
    assert [path.name for path in written] == ["out.jsonl", "out.sessions.jsonl", "out.failures.jsonl"]
    assert all(json.loads(line)["summary"] for line in written[0].read_text().splitlines())
