"""What a failing disk is called, and job folders that are named relative to a directory that changes."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fullstory_async import ConfigurationError, JobError, JobStorageError
from fullstory_async.files import storage_faults
from fullstory_async.files.storage_faults import StorageFault, describe_fault, fault_of
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.export.files import atomic
from fullstory_async.jobs.export.found import Found
from fullstory_async.jobs.storage.in_place import FilesInPlace
from fullstory_async.jobs.storage.inputs import NewItem
from fullstory_async.jobs.storage.schema import RESERVE_NAME, as_job_error
from fullstory_async.jobs.storage.store import JobStore
from fullstory_async.jobs.storage.tasks import JobTask
from tests.jobs.test_lost_log import store_in

resource = pytest.importorskip("resource", reason="run it on a system with resource limits, such as Linux")

EVENTS = JobPlan(events=True)
Limit = Callable[[int, int], None]


@pytest.fixture
def limit() -> Iterator[Limit]:
    """Set a soft limit of this process, until the end of the test."""
    before: list[tuple[int, tuple[int, int]]] = []

    def lower(kind: int, value: int) -> None:
        before.append((kind, resource.getrlimit(kind)))
        resource.setrlimit(kind, (value, before[-1][1][1]))

    yield lower
    for kind, limits in reversed(before):
        resource.setrlimit(kind, limits)


def sqlite_error(name: str, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> sqlite3.Error:
    error = kind("disk I/O error")
    error.sqlite_errorname = name
    return error


@pytest.mark.row(97)
def test_each_error_is_called_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "job.sqlite3"
    path.touch()
    system = {
        errno.ENOSPC: StorageFault.FULL, errno.EDQUOT: StorageFault.FULL, errno.EIO: StorageFault.INPUT_OUTPUT,
        errno.EACCES: StorageFault.DENIED, errno.EPERM: StorageFault.DENIED, errno.EROFS: StorageFault.READ_ONLY,
        errno.ENOENT: StorageFault.REMOVED, errno.ESTALE: StorageFault.REMOVED,
        errno.EMFILE: StorageFault.TOO_MANY_FILES, errno.ENOTDIR: StorageFault.OTHER,
    }  # fmt: skip
    for number, fault in system.items():
        error = OSError(number, os.strerror(number))
        assert fault_of(error, path) is fault
        said = str(as_job_error(tmp_path, error))
        assert ("disk is full" in said) == (fault is StorageFault.FULL)
        assert ("removed" in said) == (fault is StorageFault.REMOVED)

        # SQLite hides the error of the system, so the folder is tried.
        def refuse(*_: object, error: OSError = error) -> int:
            raise error

        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", refuse)
            for name in ("SQLITE_IOERR_WRITE", "SQLITE_CANTOPEN", "SQLITE_READONLY_DIRECTORY"):
                found = fault_of(sqlite_error(name), path)
                assert found is fault or fault is StorageFault.OTHER
    assert [each.name for each in tmp_path.iterdir()] == [path.name]  # nothing is left of the trials
    named = {
        "SQLITE_FULL": StorageFault.FULL, "SQLITE_BUSY_SNAPSHOT": StorageFault.LOCKED, "SQLITE_LOCKED": StorageFault.LOCKED,
        "SQLITE_CORRUPT_INDEX": StorageFault.DAMAGED, "SQLITE_NOTADB": StorageFault.DAMAGED,
        "SQLITE_READONLY_DBMOVED": StorageFault.REMOVED, "SQLITE_READONLY": StorageFault.READ_ONLY,
        "SQLITE_IOERR_FSYNC": StorageFault.INPUT_OUTPUT, "SQLITE_CANTOPEN": StorageFault.OTHER, "SQLITE_NOMEM": StorageFault.OTHER,
    }  # fmt: skip
    for name, fault in named.items():
        assert fault_of(sqlite_error(name), path) is fault
    assert fault_of(sqlite_error("SQLITE_CANTOPEN"), tmp_path / "gone") is StorageFault.REMOVED
    own = sqlite3.DatabaseError("it is cut off")
    assert describe_fault(own, fault_of(own, path)) == "it is cut off"


@pytest.mark.row(97)
async def test_a_write_that_the_system_refuses_is_no_full_disk(
    tmp_path: Path, limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of the file's size makes SQLite report what it reports for a broken disk, or for a quota."""
    store = store_in(tmp_path / "j", EVENTS)
    await store.add([NewItem(f"1:{n}") for n in range(9)])
    limit(resource.RLIMIT_FSIZE, 400_000)
    with pytest.raises(JobStorageError, match="the disk reports an input/output error"):
        await store.save_response(JobTask(1, "1:1", "events"), os.urandom(500_000), attempts=1, spent=1)
    assert (tmp_path / "j" / RESERVE_NAME).exists()
    limit(resource.RLIMIT_FSIZE, 2_000_000)
    assert await store.writer.rescue_held() == (1, 0)
    limit(resource.RLIMIT_FSIZE, 400_000)
    await store.save_response(JobTask(2, "1:2", "events"), b"{}", attempts=1, spent=1)  # it works again
    monkeypatch.setattr(storage_faults, "_probe", lambda _: StorageFault.FULL)
    with pytest.raises(JobStorageError, match="the disk is full, or a quota is used up"):
        await store.save_response(JobTask(3, "1:3", "events"), os.urandom(500_000), attempts=1, spent=1)
    assert not (tmp_path / "j" / RESERVE_NAME).exists()
    store.close()
    assert JobReader(tmp_path / "j").status().done == 1


@pytest.mark.row(97)
async def test_a_process_without_free_descriptors_gets_that_as_the_reason(
    tmp_path: Path, limit: Limit
) -> None:
    store_in(tmp_path / "j", EVENTS).close()
    free = os.dup(0)
    os.close(free)
    limit(resource.RLIMIT_NOFILE, free)
    with pytest.raises(JobStorageError, match="too many files are open"):
        JobReader(tmp_path / "j")
    with pytest.raises(JobStorageError, match="too many files are open"):
        JobStore(tmp_path / "j", EVENTS)
    out = tmp_path / "out.jsonl"
    with pytest.raises(JobStorageError, match="Too many open files"), atomic(Found(out, out)):
        pass


@pytest.mark.row(97)
def test_a_folder_that_can_not_be_looked_into_was_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, away = tmp_path / "j", tmp_path / "away"
    folder.mkdir()
    (folder / "job.sqlite3").touch()
    files = FilesInPlace(folder)
    assert files.check()
    folder.rename(away)
    with pytest.raises(sqlite3.OperationalError, match="removed while it ran"):
        files.check()
    folder.mkdir()
    (folder / "job.sqlite3").touch()
    with pytest.raises(sqlite3.OperationalError, match="replaced while it ran"):
        files.check()

    def refuse(_: Path) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    assert not files.is_cut_off(1)
    assert files.check()  # the commit is in the open file


@pytest.mark.row(97)
async def test_a_relative_folder_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    job = Job.open("j", plan=EVENTS)
    monkeypatch.chdir("other")
    async with job:
        await job.add(["1:1"])
        assert [result.session_id async for result in job.results()] == ["1:1"]
        await job.purge("1:1")
        await job.add(["1:2"])
    monkeypatch.chdir(tmp_path)
    reader = JobReader(Path("j"))
    monkeypatch.chdir("other")
    assert reader.status().sessions == 1
    assert (job.folder, reader.folder) == (tmp_path / "j", tmp_path / "j")
    assert not (tmp_path / "other" / "j").exists()


def test_folders_that_are_no_paths_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: tuple[Any, ...] = (3, None, b"j", "a\0b")
    for folder in wrong:
        with pytest.raises(ConfigurationError, match="must be a path"):
            Job.open(folder)
        with pytest.raises(ConfigurationError, match="must be a path"):
            JobReader(folder)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(JobError, match="removed"):
        Job.open("j")
    store_in(tmp_path / "j", EVENTS).close()
    assert JobReader(tmp_path / "j").status().sessions == 0
