"""What stands at an export's target: it is written, replaced, appended to or refused, and never harmed."""

from __future__ import annotations

import csv
import inspect
import json
import os
import select
import shutil
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from fullstory_async import ConfigurationError, JobStorageError
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.export import ExportOptions, ExportStopped, export, inspection
from fullstory_async.jobs.export import files as export_files
from fullstory_async.jobs.export.destination import Destination
from fullstory_async.jobs.export.folders import foreign_files
from fullstory_async.jobs.export.found import Found, Occupant
from fullstory_async.jobs.export.target import Action, decide
from tests.jobs.stored import event, stored_job
from tests.limits import SECONDS, wait_until

OUT = Path("/out")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobReader:
    return stored_job(
        tmp_path_factory.mktemp("jobs") / "a.job",
        {
            "1:1": [event("2026-05-04T10:00:00.5Z", n=1), event("2026-05-05T00:00:00Z", n=2)],
            "2:2": [event("2026-05-04T23:59:59.999999Z", n=3), event("never", n=4)],
            "-3:3": [event("2026-05-06T12:00:00Z", n=5)],
            "4:4": None,
        },
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> JobReader:
    """A job with more text than a pipe holds."""
    folder = tmp_path_factory.mktemp("jobs") / "large.job"
    return stored_job(folder, {"1:1": [event("2026-05-04T10:00:00Z", text="x" * 200_000)]})


def count(path: Path, table: str = "events") -> int:
    """Return the number of rows in a SQLite file, after a check of all its pages."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def a_database(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE orders (id INTEGER)")
        database.execute("INSERT INTO orders VALUES (7)")
        for statement in statements:
            database.execute(statement)
        database.commit()


SQLITE = Destination(OUT, ".sqlite")
CSV = Destination(OUT, ".csv")
FOLDER = Destination(OUT, ".parquet", is_folder=True)
APPEND = Destination(OUT, ".sqlite", append=True)
OVER = Destination(OUT, ".sqlite", overwrite=True)
OURS: dict[str, Any] = {"occupant": Occupant.FILE, "database": "sqlite", "schema": "v2"}


@pytest.mark.parametrize(
    ("wanted", "found", "outcome"),
    [
        (SQLITE, {}, Action.WRITE),
        (SQLITE, {"occupant": Occupant.FILE}, Action.WRITE),
        (SQLITE, OURS, Action.WRITE),
        (SQLITE, {**OURS, "schema": "v1"}, Action.WRITE),
        (SQLITE, {**OURS, "foreign": ("orders",)}, r"holds what no export made \(orders\); append"),
        (SQLITE, {**OURS, "schema": None}, r"a database that no export made; overwrite \(--overwrite\)"),
        (SQLITE, {**OURS, "schema": None, "database": "duckdb"}, "a database that no export made"),
        (CSV, {**OURS, "schema": None}, "a database that no export made"),
        (SQLITE, {**OURS, "schema": None, "problem": "can't be opened"}, "/out can't be opened; overwrite"),
        (SQLITE, {"orphans": (Path("/out-wal"),)}, "out-wal beside /out was left by another database"),
        (SQLITE, {"occupant": Occupant.FILE, "is_read_only": True}, "is read-only; overwrite"),
        (CSV, {"occupant": Occupant.FILE, "is_of_another_user": True}, "belongs to another user; overwrite"),
        (OVER, {**OURS, "schema": None, "is_read_only": True, "orphans": (OUT,)}, Action.WRITE),
        (OVER, {"occupant": Occupant.OTHER}, "neither a file, a folder nor a pipe"),
        (OVER, {"occupant": Occupant.FOLDER}, r"is a folder; out_dir \(--out-dir\)"),
        (APPEND, {}, Action.WRITE),
        (APPEND, {"orphans": (Path("/out-wal"),)}, "out-wal beside"),
        (APPEND, OURS, Action.APPEND),
        (APPEND, {**OURS, "foreign": ("orders",), "is_of_another_user": True}, Action.APPEND),
        (APPEND, {"occupant": Occupant.FILE}, "is not a sqlite database"),
        (APPEND, {**OURS, "database": "duckdb"}, "is not a sqlite database"),
        (APPEND, {**OURS, "problem": "is locked"}, "is locked, so nothing can be appended"),
        (APPEND, {**OURS, "schema": None}, "holds no tables of an export"),
        (APPEND, {**OURS, "schema": "v1"}, "has the tables of schema v1, to which rows of schema v2"),
        (APPEND, {**OURS, "is_read_only": True}, "is read-only"),
        (APPEND, {**OURS, "names": 2}, "has 2 names"),
        (APPEND, {"occupant": Occupant.STREAM}, "is a pipe or a terminal"),
        (Destination(OUT, ".csv", append=True), {}, r"is for .duckdb and .sqlite files"),
        (Destination(OUT, ".csv", is_folder=True, append=True), {}, "not for folders"),
        (CSV, {"occupant": Occupant.STREAM}, Action.STREAM),
        (SQLITE, {"occupant": Occupant.STREAM}, "takes JSON Lines or CSV only"),
        (Destination(OUT, ".parquet"), {"occupant": Occupant.STREAM}, "takes JSON Lines or CSV only"),
        (FOLDER, {"occupant": Occupant.STREAM}, "is a pipe or a terminal, and not a folder"),
        (FOLDER, {}, Action.WRITE),
        (FOLDER, {"occupant": Occupant.FOLDER}, Action.WRITE),
        (FOLDER, {"occupant": Occupant.FILE}, "is a file, not a folder"),
        (FOLDER, {"occupant": Occupant.FOLDER, "foreign": tuple("abcde")}, r"\(a, b, c and more\): choose a folder"),
        (FOLDER, {"occupant": Occupant.FOLDER, "is_of_another_user": True}, "belongs to another user"),
    ],
)  # fmt: skip
def test_what_stands_at_the_target_decides(
    wanted: Destination, found: dict[str, Any], outcome: Action | str
) -> None:
    if isinstance(outcome, Action):
        assert decide(Found(OUT, OUT, **found), wanted) is outcome
    else:
        with pytest.raises(ConfigurationError, match=outcome):
            decide(Found(OUT, OUT, **found), wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs a file or a folder"),
        ({"path": "a.csv", "out_dir": "b"}, "and not both"),
        ({"path": "a.csv", "rows_per_file": 5}, "are for folders"),
        ({"path": "a.csv", "partition_by": "date"}, "are for folders"),
        ({"out_dir": "a", "rows_per_file": 0}, "must be 1 or more"),
        ({"out_dir": "a", "partition_by": "month"}, "takes 'date', not 'month'"),
        ({"out_dir": "a", "file_format": "sqlite"}, "must be one of jsonl, jsonl.gz"),
        ({"out_dir": "a", "file_format": 5}, "must be one of jsonl, jsonl.gz"),
        ({"path": "a.csv", "schema": "v3"}, "must be one of v2, v1, warehouse, not 'v3'"),
        ({"path": "a.csv", "schema": ["v2"]}, "must be one of v2, v1, warehouse"),
        ({"path": "a.parquet", "json": "dict"}, "takes 'text' or 'struct', not 'dict'"),
        ({"path": "a.parquet", "json": "struct", "schema": "v1"}, "are not for schema='v1'"),
        ({"path": "a.csv", "file_format": "jsonl"}, "is named as .csv"),
        ({"path": "a.jsonl", "bom": True}, "is for CSV"),
        ({"path": "a.sqlite", "append": True, "overwrite": True}, "exclude each other"),
        ({"path": "/dev/null"}, "is a pipe or a terminal, which needs"),
        ({"path": "nul\0.csv"}, "null"),
        ({"path": "x" * 300 + ".csv"}, "File name too long"),
        ({"path": "x" * 250 + ".csv"}, "File name too long"),
        ({"path": "no/out.csv"}, "can't be written: the folder .*no doesn.t exist"),
        ({"out_dir": "no/out"}, "can't be written: the folder .*no doesn.t exist"),
        ({"out_dir": "a", "partition_by": "date", "redact": {"event_time": "hash"}}, "needs the events' times"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(
    job: JobReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        export(job, **options)
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", ["shop.sqlite", "shop.db", "shop.csv"])
def test_a_database_of_another_program_is_refused_and_kept(job: JobReader, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    a_database(path, "CREATE VIEW broken AS SELECT * FROM missing")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="is a database that no export made"):
        export(job, path)
    assert (path.read_bytes(), left(tmp_path)) == (before, [name])
    export(job, path, overwrite=True)
    assert b"orders" not in path.read_bytes()


def test_an_export_with_a_table_of_the_user_is_kept(job: JobReader, tmp_path: Path) -> None:
    path = tmp_path / "out.sqlite"
    export(job, path)
    export(job, path)  # its own earlier file
    a_database(path)
    with pytest.raises(ConfigurationError, match=r"holds what no export made \(orders\)"):
        export(job, path)
    assert count(path, "orders") == 1


def test_an_empty_file_is_nothing_to_keep(job: JobReader, tmp_path: Path) -> None:
    (tmp_path / "out.sqlite").touch()
    export(job, tmp_path / "out.sqlite")
    assert count(tmp_path / "out.sqlite") == 5


def test_a_log_in_use_is_refused_and_one_of_a_dead_program_is_merged(job: JobReader, tmp_path: Path) -> None:
    path, dead = tmp_path / "out.sqlite", tmp_path / "dead.sqlite"
    export(job, path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("DELETE FROM failures")
        database.commit()
        assert left(tmp_path) == ["out.sqlite", "out.sqlite-shm", "out.sqlite-wal"]
        for ending in ("", "-wal", "-shm"):
            shutil.copy(f"{path}{ending}", f"{dead}{ending}")
        with pytest.raises(ConfigurationError, match="another program has it open"):
            export(job, path)
        assert database.execute("SELECT count(*) FROM events").fetchone() == (5,)
    export(job, dead)
    assert left(tmp_path) == ["dead.sqlite", "out.sqlite"]
    assert (count(dead), count(dead, "failures"), count(path, "failures")) == (5, 1, 0)


def test_the_journal_of_a_killed_program_is_undone_first(job: JobReader, tmp_path: Path) -> None:
    path, dead = tmp_path / "out.sqlite", tmp_path / "dead.sqlite"
    export(job, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA cache_size = 1")
        database.execute("BEGIN")
        database.execute("CREATE TABLE mine AS SELECT a.* FROM events a, events b, events c, events d")
        database.execute("DELETE FROM events")
        for ending in ("", "-journal"):
            shutil.copy(f"{path}{ending}", f"{dead}{ending}")
    export(job, dead)
    assert left(tmp_path) == ["dead.sqlite", "out.sqlite"]
    assert count(dead) == 5


@pytest.mark.parametrize("ending", ["-wal", "-shm", "-journal"])
def test_a_side_file_without_its_database_is_refused(job: JobReader, tmp_path: Path, ending: str) -> None:
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE orders (id)")
        shutil.copy(f"{other}-wal", tmp_path / f"out.sqlite{ending}")
    other.unlink()
    with pytest.raises(ConfigurationError, match=f"out.sqlite{ending} beside .* delete it"):
        export(job, tmp_path / "out.sqlite")
    assert left(tmp_path) == [f"out.sqlite{ending}"]
    export(job, tmp_path / "out.sqlite", overwrite=True)
    assert (left(tmp_path), count(tmp_path / "out.sqlite")) == (["out.sqlite"], 5)
    (tmp_path / f"out.csv{ending}").touch()
    export(job, tmp_path / "out.csv")  # no program reads a table with it


def test_a_side_file_that_can_not_be_merged_is_refused(job: JobReader, tmp_path: Path) -> None:
    path = tmp_path / "out.sqlite"
    path.write_bytes(b"SQLite format 3\0" + b"garbage" * 100)
    (tmp_path / "out.sqlite-wal").write_bytes(b"x")
    for overwrite in (False, True):
        with pytest.raises(ConfigurationError, match=r"can't be (opened as a database|replaced)"):
            export(job, path, overwrite=overwrite)
    assert path.read_bytes().endswith(b"garbage")


def test_links_are_followed_and_stay(job: JobReader, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "out.sqlite"
    link.symlink_to("../data/first.sqlite")
    for real in ("first", "second"):  # the first does not exist yet
        export(job, link)
        assert (link.is_symlink(), count(tmp_path / "data" / f"{real}.sqlite")) == (True, 5)
        (tmp_path / "data" / "first.sqlite").rename(tmp_path / "data" / "second.sqlite")
        (tmp_path / "data" / "first.sqlite").symlink_to("second.sqlite")
    assert left(tmp_path / "data") == ["first.sqlite", "second.sqlite"]
    (tmp_path / "out.jsonl").symlink_to("links/../data/events.json")
    export(job, tmp_path / "out.jsonl")
    assert len(lines(tmp_path / "data" / "events.json")) == 5
    (tmp_path / "links" / "folder").symlink_to(tmp_path / "data" / "set")
    export(job, out_dir=tmp_path / "links" / "folder", file_format="csv")
    assert (tmp_path / "data" / "set" / "events" / "part-0000.csv").exists()
    (tmp_path / "circle.csv").symlink_to("circle.csv")
    with pytest.raises(ConfigurationError, match="symbolic links"):
        export(job, tmp_path / "circle.csv")


def test_a_link_to_a_foreign_database_is_no_way_to_lose_it(job: JobReader, tmp_path: Path) -> None:
    a_database(tmp_path / "shop.sqlite")
    (tmp_path / "out.csv").symlink_to("shop.sqlite")
    with pytest.raises(ConfigurationError, match=r"out.csv is a database that no export made"):
        export(job, tmp_path / "out.csv")
    with pytest.raises(ConfigurationError, match=r"out.failures.jsonl is a database that no export made"):
        (tmp_path / "out.failures.jsonl").symlink_to("shop.sqlite")
        export(job, tmp_path / "out.jsonl")
    assert count(tmp_path / "shop.sqlite", "orders") == 1


def test_another_name_of_a_file_keeps_its_content(job: JobReader, tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("earlier")
    (tmp_path / "out.csv").hardlink_to(tmp_path / "old.csv")
    export(job, tmp_path / "out.csv")
    assert (tmp_path / "old.csv").read_text() == "earlier"


def test_files_that_others_own_or_that_are_protected_are_kept(
    job: JobReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.csv"
    path.write_text("mine")
    path.chmod(0o444)
    with pytest.raises(ConfigurationError, match="is read-only"):
        export(job, path)
    path.chmod(0o644)
    with monkeypatch.context() as other:
        other.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
        with pytest.raises(ConfigurationError, match="belongs to another user"):
            export(job, path)
    assert path.read_text() == "mine"
    export(job, path, overwrite=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


NAMES = ['what?#50%41 it\'s "so"\n[x]*', "file:a", ":memory:", os.fsdecode(b"-\xff\xfe")]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_work(job: JobReader, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for _ in range(2):
        export(job, folder / f"{name}.sqlite")
        export(job, folder / f"{name}.csv")
        export(job, out_dir=folder / name, file_format="jsonl")
    assert count(folder / f"{name}.sqlite") == 5
    assert len(lines(folder / name / "events" / "part-0000.jsonl")) == 5
    ends = ("csv", "failures.csv", "pages.csv", "sessions.csv", "sqlite")
    assert left(folder) == sorted([name, *(f"{name}.{end}" for end in ends)])


def test_the_longest_names_work(job: JobReader, tmp_path: Path) -> None:
    for name in ("x" * 248 + ".sqlite", "é" * 124 + ".sqlite"):
        export(job, tmp_path / name)
        export(job, tmp_path / name)
        assert count(tmp_path / name) == 5
    (killed := tmp_path / f"{export_files._part_of(tmp_path / name).name}").touch()
    os.utime(killed, (0, 0))
    export(job, tmp_path / name)
    assert not killed.exists()


@pytest.mark.parametrize("as_file", [False, True])
def test_a_pipe_gets_the_main_table(job: JobReader, tmp_path: Path, *, as_file: bool) -> None:
    os.mkfifo(pipe := tmp_path / ("pipe.jsonl" if as_file else "pipe"))
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    assert export(job, pipe, file_format=None if as_file else "jsonl") == [pipe]
    reader.join(SECONDS)
    export(job, tmp_path / "out.jsonl")
    assert got == [(tmp_path / "out.jsonl").read_bytes()]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@contextmanager
def stoppable(job: JobReader, path: Path) -> Iterator[threading.Event]:
    """Run an export in a thread; the block has to set the event that stops it."""
    stopped = threading.Event()
    ended: list[Exception] = []

    def run() -> None:
        try:
            export(job, path, stopped=stopped)
        except Exception as error:  # noqa: BLE001  (the test looks at it)
            ended.append(error)

    (thread := threading.Thread(target=run)).start()
    yield stopped
    thread.join(SECONDS)
    assert [type(error) for error in ended] == [ExportStopped]


def test_a_pipe_without_a_reader_is_waited_for_until_the_export_is_stopped(
    job: JobReader, tmp_path: Path
) -> None:
    os.mkfifo(pipe := tmp_path / "pipe.csv")
    with stoppable(job, pipe) as stopped:
        stopped.set()


def test_a_reader_that_takes_nothing_does_not_keep_a_stopped_export(large: JobReader, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe.jsonl")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with stoppable(large, pipe) as stopped:
        wait_until(lambda: bool(select.select([reader], [], [], 0)[0]))
        stopped.set()
    os.close(reader)


def test_a_reader_that_leaves_breaks_the_pipe(large: JobReader, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe.csv")

    def read() -> None:
        with pipe.open("rb") as file:
            file.read(10)

    (reader := threading.Thread(target=read)).start()
    with pytest.raises(BrokenPipeError):
        export(large, pipe)
    reader.join(SECONDS)


def test_nothing_reaches_a_pipe_under_a_misspelt_name(job: JobReader, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe.jsonl")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(ConfigurationError, match="nothing in the job is called 'user_emial'"):
        export(job, pipe, redact=["user_emial"])
    assert os.read(reader, 10) == b""
    os.close(reader)


def test_a_folder_for_each_table(job: JobReader, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert export(job, folder, file_format="jsonl", rows_per_file=2) == [folder]
    assert left(folder) == ["_export.json", *sorted(path.name for path in folder.iterdir() if path.is_dir())]
    assert [len(lines(path)) for path in sorted((folder / "events").iterdir())] == [2, 2, 1]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")} == {0o600, 0o700}
    export(job, tmp_path / "flat.jsonl")
    parts = [row for path in sorted((folder / "events").iterdir()) for row in lines(path)]
    assert parts == lines(tmp_path / "flat.jsonl")
    export(job, folder, file_format="csv.gz")
    assert left(folder / "events") == ["part-0000.csv.gz"]
    assert [name for name in left(tmp_path) if not name.startswith("flat")] == ["out"]


def test_a_folder_for_each_date(job: JobReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(job, out_dir=tmp_path / "out", file_format="csv", partition_by="date")
    events = tmp_path / "out" / "events"
    assert left(events) == [
        "event_date=2026-05-04", "event_date=2026-05-05", "event_date=2026-05-06",
        "event_date=__HIVE_DEFAULT_PARTITION__",
    ]  # fmt: skip
    rows = list(csv.DictReader((events / "event_date=2026-05-04" / "part-0000.csv").read_text().splitlines()))
    assert [row["event_time_raw"] for row in rows] == [
        "2026-05-04T10:00:00.5Z",
        "2026-05-04T23:59:59.999999Z",
    ]
    assert left(tmp_path / "out" / "failures") == ["part-0000.csv"]
    # with few files open at once and nothing held back, a date that comes again gets a second file
    monkeypatch.setattr("fullstory_async.jobs.export.tables._PORTION", 1)
    monkeypatch.setattr("fullstory_async.jobs.export.folders._WAITING_BYTES", 0)
    monkeypatch.setattr("fullstory_async.jobs.export.folders._OPEN_DATES", 1)
    export(job, out_dir=tmp_path / "out", file_format="csv", partition_by="date")
    assert left(events / "event_date=2026-05-04") == ["part-0000.csv", "part-0001.csv"]


@pytest.mark.parametrize("name", ["notes.txt", "events/notes.txt", "_export.json", "events/part-0000.csv"])
def test_a_folder_with_other_things_is_never_replaced(job: JobReader, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("{}")
    for overwrite in (False, True):
        with pytest.raises(ConfigurationError, match="holds what no export made"):
            export(job, folder, overwrite=overwrite)
    assert (folder / name).read_text() == "{}"


def test_only_the_first_files_of_a_large_folder_are_looked_at(tmp_path: Path) -> None:
    for n in range(20):
        (tmp_path / str(n)).mkdir()
        (tmp_path / str(n) / "mine").touch()
    assert len(foreign_files(tmp_path)) == 4


def test_a_file_added_to_an_exported_folder_is_kept(job: JobReader, tmp_path: Path) -> None:
    export(job, tmp_path / "out", file_format="csv")
    (tmp_path / "out" / "events" / "mine.csv").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"holds what no export made \(events/mine.csv\)"):
        export(job, tmp_path / "out", file_format="csv")


def test_a_folder_is_as_before_when_the_new_one_fails(
    job: JobReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    export(job, folder, file_format="csv")
    before = {path: path.read_bytes() for path in folder.rglob("*.csv")}
    (stopped := threading.Event()).set()
    with pytest.raises(ExportStopped):
        export(job, folder, file_format="jsonl", partition_by="date", stopped=stopped)
    with pytest.raises(ConfigurationError, match="nothing in the job"):
        export(job, folder, file_format="jsonl", redact=["zzz"])
    # killed between the two renames: the next export finds the old folder under its hidden name
    old = export_files._part_of(folder).name.removesuffix(".part") + ".old.part"
    folder.rename(tmp_path / old)
    monkeypatch.setattr(export_files, "is_dead", lambda _: True)
    with pytest.raises(ExportStopped):
        export(job, folder, file_format="jsonl", stopped=stopped)
    assert left(tmp_path) == ["out"]
    assert {path: path.read_bytes() for path in folder.rglob("*.csv")} == before


def test_a_mount_point_is_refused_before_the_work(
    job: JobReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda _: True)
    with pytest.raises(ConfigurationError, match="is a mount point: choose a folder in it"):
        export(job, out_dir=tmp_path)


def test_csv_for_excel_begins_with_its_mark_and_ids_stay_ids(job: JobReader, tmp_path: Path) -> None:
    export(job, tmp_path / "out.csv", bom=True)
    raw = (tmp_path / "out.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(raw.decode("utf-8-sig").splitlines()))
    assert "-3:3" in {value for row in rows for value in row.values()}


def test_a_reader_exports_with_every_option(job: JobReader, tmp_path: Path) -> None:
    taken = get_type_hints(export)
    options = {
        name: taken[name] for name in taken.keys() - {"source", "path", "progress", "stopped", "return"}
    }
    assert get_type_hints(ExportOptions) == options
    for method in (JobReader.export, Job.export):
        written = inspect.signature(method).parameters.keys() - {"self", "path", "progress"}
        assert written == options.keys()
    documented = inspect.getdoc(Job.export) or ""
    assert [name for name in options if f"\n    {name}: " not in documented] == []
    with pytest.deprecated_call(match="schema v1"):
        assert job.export(tmp_path / "out.sqlite", schema="v1") == [tmp_path / "out.sqlite"]
    assert count(tmp_path / "out.sqlite", "failures") == 1


def test_descriptors_have_names() -> None:
    names = ["/dev/stdout", "/dev/fd/7", "/proc/self/fd/5", "/dev/null", "/dev/fd/x"]
    assert [inspection.descriptor_of(Path(name)) for name in names] == [1, 7, 5, None, None]


def table(path: Path, name: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT * FROM {name} ORDER BY full_session_id, 4, 5").fetchall()


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> JobReader:
    """A job with a session of the other job, which has other events by now, and a new one."""
    return stored_job(
        tmp_path_factory.mktemp("jobs") / "b.job",
        {"1:1": [event("2026-05-07T10:00:00Z", n=6)], "5:5": [event("2026-05-08T10:00:00Z", n=7)]},
    )


def test_an_export_is_appended_to_by_session_as_often_as_you_like(
    job: JobReader, newer: JobReader, tmp_path: Path
) -> None:
    path, alone = tmp_path / "all.sqlite", tmp_path / "alone.sqlite"
    export(job, path, append=True)  # nothing is there yet
    a_database(path)
    first = {name: table(path, name) for name in ("events", "sessions", "pages", "failures")}
    export(job, path, append=True)
    assert {name: table(path, name) for name in first} == first
    export(newer, alone)
    for _ in range(2):
        assert export(newer, path, append=True) == [path]
        for name, rows in first.items():
            old = [row for row in rows if row[0] != "1:1"]
            assert table(path, name) == sorted(old + table(alone, name), key=lambda row: row[0])
    assert count(path, "orders") == 1
    with pytest.raises(ConfigurationError, match="holds what no export made"):
        export(newer, path)


def test_tables_and_columns_that_are_missing_are_added(
    job: JobReader, newer: JobReader, tmp_path: Path
) -> None:
    path = tmp_path / "all.sqlite"
    export(job, path)
    with closing(sqlite3.connect(path)) as database:
        for each in ("VIEW rage_clicks", "VIEW page_flow", "TABLE pages", "TABLE failures"):
            database.execute(f"DROP {each}")
        database.execute("ALTER TABLE sessions DROP COLUMN replay_url")
        database.commit()
        database.execute("PRAGMA journal_mode = WAL")
        assert database.execute("SELECT count(*) FROM events").fetchone() == (5,)
        export(newer, path, append=True)  # also while another program has it open
    assert (count(path, "failures"), count(path, "pages"), count(path, "rage_clicks")) == (0, 0, 0)
    assert (count(path, "page_flow"), count(path, "sessions WHERE replay_url IS NULL")) == (0, 3)


async def test_jobs_with_other_columns_of_inputs_share_a_table(tmp_path: Path) -> None:
    for name, row in (("a", {"session_id": "1:1", "ticket": "A"}), ("b", {"session_id": "2:2", "team": "x"})):
        async with Job.open(tmp_path / name, plan=JobPlan(events=True)) as opened:
            await opened.add([row])
            await opened.export(tmp_path / "all.sqlite", append=True)
    with closing(sqlite3.connect(tmp_path / "all.sqlite")) as database:
        query = "SELECT full_session_id, input_ticket, input_team FROM sessions ORDER BY 1"
        assert database.execute(query).fetchall() == [("1:1", "A", None), ("2:2", None, "x")]


def test_an_append_that_fails_or_is_killed_leaves_the_old_state(
    job: JobReader, newer: JobReader, tmp_path: Path
) -> None:
    path, killed = tmp_path / "all.sqlite", tmp_path / "killed.sqlite"
    export(job, path)
    before = table(path, "events")
    (stopped := threading.Event()).set()
    with pytest.raises(ExportStopped):
        export(newer, path, append=True, stopped=stopped)
    with pytest.raises(ConfigurationError, match="nothing in the job"):
        export(newer, path, append=True, redact=["zzz"])
    assert (table(path, "events"), left(tmp_path)) == (before, ["all.sqlite"])

    def kill(_: int) -> None:
        shutil.copy(path, killed)
        shutil.copy(f"{path}-journal", f"{killed}-journal")

    export(newer, path, append=True, progress=kill)
    assert (count(killed), table(killed, "events")) == (5, before)


def test_what_can_not_be_appended_to_is_refused(job: JobReader, tmp_path: Path) -> None:
    path, old = tmp_path / "all.sqlite", tmp_path / "old.sqlite"
    export(job, old, schema="v1")
    with closing(sqlite3.connect(old)) as database:
        database.execute("DROP TABLE fullstory_export")  # as earlier versions left it
    before = old.read_bytes()
    for schema in ("v2", "v1"):
        with pytest.raises(ConfigurationError, match="has the tables of schema v1"):
            export(job, old, append=True, schema=schema)
    assert old.read_bytes() == before
    export(job, old, schema="warehouse")  # an export of ours is replaced, whatever its schema
    with pytest.raises(ConfigurationError, match="which is not in the table events"):
        export(job, old, append=True, schema="warehouse")
    export(job, path)
    with pytest.raises(ConfigurationError, match="or is redacted"):
        export(job, path, append=True, redact={"full_session_id": "hash"})
    before = path.read_bytes()
    with pytest.raises(
        ConfigurationError, match="the column is_error of the table events has the type INTEGER"
    ):
        export(job, path, append=True, redact={"is_error": "hash"})
    assert path.read_bytes() == before
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE fullstory_export SET version = 9")
        database.commit()
    with pytest.raises(ConfigurationError, match="tables of schema v2 of version 9"):
        export(job, path, append=True)
    export(job, path)


def test_a_locked_database_is_not_appended_to(
    job: JobReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "all.sqlite"
    export(job, path)
    monkeypatch.setattr("fullstory_async.jobs.export.append._PATIENCE", 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(JobStorageError, match="nothing was appended to .* database is locked"):
            export(job, path, append=True)


async def test_the_warehouse_gets_nothing_of_a_job_without_events(tmp_path: Path) -> None:
    async with Job.open(tmp_path / "a.job", plan=JobPlan(summary="support")) as opened:
        with pytest.raises(ConfigurationError, match="has events only"):
            await opened.export(tmp_path / "out.jsonl", schema="warehouse")
    assert left(tmp_path) == ["a.job"]
