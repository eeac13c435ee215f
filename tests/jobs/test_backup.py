"""Backups of a job, also while it runs: the copy is a job as of one moment, and nothing is paid for twice."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from fullstory_async import ConfigurationError, JobError, JobIncompleteError, JobStorageError
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.storage.backup import BackupStopped, back_up
from fullstory_async.jobs.storage.inputs import NewItem
from fullstory_async.jobs.storage.rescue import HeldResult, RescueFile, rescue_path
from fullstory_async.jobs.storage.store import JobStore
from fullstory_async.jobs.storage.tasks import JobTask

PLAN = JobPlan(events=True, max_activations=50)


def new_store(folder: Path) -> JobStore:
    folder.mkdir()
    return JobStore(folder, PLAN)


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def running(folder: Path) -> JobStore:
    """Return a job with 4 responses, and with 2 activations reserved for calls in flight."""
    store = new_store(folder)
    await store.add([NewItem(f"1:{n}") for n in range(1, 10)])
    for seq in range(1, 7):
        assert await store.reserve(JobTask(seq, f"1:{seq}", "events"), 1)
    for seq in range(1, 5):
        await store.save_response(JobTask(seq, f"1:{seq}", "events"), b"[]", attempts=1, spent=1)
    return store


async def test_a_running_job_is_copied_as_of_one_moment(tmp_path: Path) -> None:
    store = await running(tmp_path / "j")
    try:
        copy = JobReader(tmp_path / "j").backup(tmp_path / "copy")
        # the original goes on
        await store.save_response(JobTask(5, "1:5", "events"), b"[]", attempts=1, spent=1)
    finally:
        store.close()
    assert copy == tmp_path / "copy"
    assert names_in(copy) == ["job.sqlite3"]
    assert [stat.S_IMODE(each.stat().st_mode) for each in (copy, copy / "job.sqlite3")] == [0o700, 0o600]
    status = JobReader(copy).status()
    assert (status.done, status.spent, status.at_risk, status.holder, status.missing) == (4, 6, 2, None, None)
    async with Job.open(copy, plan=PLAN) as job:
        assert (job.counts.answered, job.counts.spent, job.counts.at_risk) == (4, 6, 2)
    assert JobReader(tmp_path / "j").status().done == 5


async def test_an_open_job_copies_itself(tmp_path: Path) -> None:
    async with Job.open(tmp_path / "j", plan=PLAN) as job:
        await job.add([{"id": "1234567890:1234567890", "ticket": "T"}])
        assert await job.backup(tmp_path / "copy") == tmp_path / "copy"
    assert [each.input_columns for each in JobReader(tmp_path / "copy").records()] == [{"ticket": "T"}]


async def test_a_commit_in_the_middle_does_not_begin_it_anew(tmp_path: Path) -> None:
    store = await running(tmp_path / "j")
    await store.save_response(JobTask(5, "1:5", "events"), os.urandom(12_000_000), attempts=1, spent=1)
    store.close()
    writer = sqlite3.connect(tmp_path / "j" / "job.sqlite3", isolation_level=None)

    class Commits(threading.Event):
        steps = 0

        def is_set(self) -> bool:
            self.steps += 1
            writer.execute("REPLACE INTO meta VALUES ('test', ?)", (self.steps,))
            return self.steps > 9

    with closing(writer):
        back_up(tmp_path / "j", tmp_path / "copy", stopped=Commits())
        assert writer.execute("SELECT value FROM meta WHERE name = 'test'").fetchone()[0] >= 3
    with closing(sqlite3.connect(tmp_path / "copy" / "job.sqlite3")) as copy:
        assert copy.execute("SELECT COUNT(*) FROM meta WHERE name = 'test'").fetchone() == (0,)
    assert JobReader(tmp_path / "copy").status().done == 5


async def test_rescued_responses_are_copied_too(tmp_path: Path) -> None:
    store = await running(tmp_path / "j")
    secret = store.secret
    store.close()
    RescueFile.of_job(tmp_path / "j", secret, None).append([HeldResult(6, "1:6", "events", 0.0, 1, b"[]")])
    JobReader(tmp_path / "j").backup(tmp_path / "copy")
    assert [each.seq for each in RescueFile.of_job(tmp_path / "copy", secret, None).read()] == [6]
    assert stat.S_IMODE(rescue_path(tmp_path / "copy").stat().st_mode) == 0o600


async def test_what_exists_is_never_replaced(tmp_path: Path) -> None:
    (await running(tmp_path / "j")).close()
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "b.rescue").write_text("x")
    for target in ("folder", "file", "link", "b", "j"):
        with pytest.raises(ConfigurationError, match="exists; name a new folder"):
            JobReader(tmp_path / "j").backup(tmp_path / target)
    with pytest.raises(ConfigurationError, match="doesn't exist"):
        JobReader(tmp_path / "j").backup(tmp_path / "missing" / "b")
    assert (tmp_path / "file").read_text() == (tmp_path / "b.rescue").read_text() == "x"
    assert list((tmp_path / "folder").iterdir()) == []


async def test_a_backup_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    stopped = threading.Event()
    stopped.set()
    (await running(tmp_path / "j")).close()
    rescue_path(tmp_path / "j").write_text("x")
    with pytest.raises(BackupStopped):
        back_up(tmp_path / "j", tmp_path / "copy", stopped=stopped)
    assert names_in(tmp_path) == ["j", "j.rescue"]


async def test_a_damaged_or_incomplete_job_is_not_copied(tmp_path: Path) -> None:
    store = await running(tmp_path / "j")
    shutil.copytree(tmp_path / "j", tmp_path / "half")
    (tmp_path / "half" / "job.sqlite3-wal").unlink()
    store.close()
    with pytest.raises(JobIncompleteError):
        JobReader(tmp_path / "half").backup(tmp_path / "copy")
    with closing(sqlite3.connect(tmp_path / "j" / "job.sqlite3")) as database:
        page = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'answers'").fetchone()[0]
        size = database.execute("PRAGMA page_size").fetchone()[0]
    with (tmp_path / "j" / "job.sqlite3").open("rb+") as file:
        file.seek((page - 1) * size)
        file.write(bytes(100))
    with pytest.raises(JobError, match="damaged"):
        JobReader(tmp_path / "j").backup(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


async def test_a_target_that_can_not_be_written_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    store = await running(tmp_path / "j")
    await store.save_response(JobTask(5, "1:5", "events"), os.urandom(500_000), attempts=1, spent=1)
    store.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(
            JobStorageError, match="copy can't be used: the disk reports an input/output error"
        ):
            JobReader(tmp_path / "j").backup(tmp_path / "copy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names_in(tmp_path) == ["j"]
