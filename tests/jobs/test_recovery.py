"""Reading a damaged job file: intact items are yielded and the others counted, however the damage hides."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fullstory_async import JobError
from fullstory_async.cli import main
from fullstory_async.jobs import Job, JobPlan, JobReader
from tests.jobs.test_job import opened, run_once


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a job with a response for each of 100 sessions."""
    folder = tmp_path_factory.mktemp("recovery") / "j"

    async def make() -> None:
        async with opened(sessions=100, mean_events=3) as (sandbox, client):
            await run_once(folder, client, JobPlan(events=True), sandbox.session_ids)

    asyncio.run(make())
    return folder


@pytest.fixture
def job(made: Path, tmp_path: Path) -> Path:
    """Return the folder of a copy."""
    shutil.copytree(made, tmp_path / "j")
    return tmp_path / "j"


def last_cell(folder: Path, name: str) -> tuple[int, int]:
    """Return the offsets of the last leaf of a table or an index, and of its last cell."""
    with closing(sqlite3.connect(folder / "job.sqlite3")) as database:
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        page, size = database.execute(query, (name,)).fetchone()[0], 4096
        assert database.execute("PRAGMA page_size").fetchone()[0] == size
    raw = (folder / "job.sqlite3").read_bytes()
    while raw[base := (page - 1) * size] in (2, 5):  # not a leaf yet: continue with its last child
        page = int.from_bytes(raw[base + 8 : base + 12])
    cells = int.from_bytes(raw[base + 3 : base + 5])
    return base, base + int.from_bytes(raw[base + 6 + 2 * cells : base + 8 + 2 * cells])


def flip(folder: Path, place: int, bits: int) -> None:
    content = bytearray((folder / "job.sqlite3").read_bytes())
    content[place] ^= bits
    (folder / "job.sqlite3").write_bytes(content)


@pytest.mark.row(46)
@pytest.mark.parametrize("bit", range(7))
def test_a_flipped_bit_in_the_last_items_number_hides_no_other(job: Path, bit: int) -> None:
    _, cell = last_cell(job, "items")
    flip(job, cell + 1, 1 << bit)
    reader = JobReader(job)
    assert [record.seq for record in reader.records()] == [*range(1, 100)]
    assert reader.damaged == 1


@pytest.mark.row(46)
@pytest.mark.parametrize("recorded", [40, 0, 2**40, "x", None])
def test_a_wrong_record_of_the_last_number_hides_nothing(job: Path, recorded: int | str | None) -> None:
    with closing(sqlite3.connect(job / "job.sqlite3")) as database, database:
        database.execute("UPDATE meta SET value = ? WHERE name = 'last_seq'", (recorded,))
    reader = JobReader(job)
    assert len(list(reader.records())) == 100
    assert reader.damaged == (recorded not in (40, 0))


@pytest.mark.row(46)
@pytest.mark.parametrize("name", ["items", "sqlite_autoindex_answers_1"])
def test_cells_that_a_page_has_lost_are_counted(
    job: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page whose header gives fewer cells than it has looks like any other."""
    page, _ = last_cell(job, name)
    content = (job / "job.sqlite3").read_bytes()
    cells = int.from_bytes(content[page + 3 : page + 5])
    flip(job, page + 4, cells ^ (cells - 7))
    reader = JobReader(job)
    found = [record for record in reader.records() if record.bodies]
    assert (len(found), reader.damaged) == (93, 7)
    with pytest.raises(SystemExit) as ended:
        main(["job", "results", str(job)])
    assert ended.value.code == 3
    assert "7 sessions can't be read" in capsys.readouterr().err


def test_a_job_that_can_not_be_counted_can_still_be_exported(job: Path) -> None:
    content = (job / "job.sqlite3").read_bytes()
    (job / "job.sqlite3").write_bytes(content[:20_000])
    with pytest.raises(JobError, match="what is intact in it can still be exported"):
        JobReader(job).status()
    reader = JobReader(job)
    assert list(reader.records()) == []
    assert reader.damaged == 100


async def test_gaps_of_erased_sessions_are_no_damage(job: Path) -> None:
    async with Job.open(job) as opened_job:
        for record in [*JobReader(job).records()][10:60]:
            await opened_job.purge(record.session_id)
        reader = JobReader(job)
        assert len(list(reader.records())) == 50
        assert reader.damaged == 0


async def test_items_added_during_a_pass_are_no_damage(job: Path) -> None:
    async with Job.open(job) as opened_job:
        reader = JobReader(job)
        records = reader.records()
        next(records)
        await opened_job.add(f"1:{n}" for n in range(500))
        await opened_job.purge("1:2")
        assert len(list(records)) == 99
        assert reader.damaged == 0
