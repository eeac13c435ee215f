"""A job's files that another program removes or cuts off while the job runs, and processes that are forked then."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fullstory_async import ClientStateError, JobIncompleteError, JobStorageError
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.storage.inputs import NewItem
from fullstory_async.jobs.storage.store import JobStore
from fullstory_async.jobs.storage.tasks import JobTask
from tests.jobs.test_lost_log import LOG, MAIN, RECORD, opened_for_writing, store_in

EVENTS = JobPlan(events=True, max_activations=60)


async def save(store: JobStore, *numbers: int) -> None:
    for seq in numbers:
        task = JobTask(seq, f"1:{seq}", "events")
        assert await store.reserve(task, 1)
        await store.save_response(
            task, b'{"events": ["%s"]}' % os.urandom(2000).hex().encode(), attempts=1, spent=1
        )


async def started(folder: Path) -> JobStore:
    """Return a store with 20 items and 5 responses."""
    store = store_in(folder, EVENTS)
    await store.add([NewItem(f"1:{n}") for n in range(1, 21)])
    await save(store, *range(1, 6))
    return store


def as_killed(folder: Path) -> Path:
    """Return a copy of a folder as a kill of its process leaves it now."""
    return Path(shutil.copytree(folder, folder.with_name("killed")))


@pytest.mark.row(115)
@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_kill_loses_nothing_after_the_log_was_removed(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = await started(tmp_path / "j")
    (tmp_path / "j" / LOG).unlink()
    if how == "replaced":
        (tmp_path / "j" / LOG).touch()
    await save(store, 6, 7)
    assert await store.reserve(JobTask(8, "1:8", "events"), 1)
    killed = as_killed(tmp_path / "j")
    await save(store, 9)
    store.close()
    assert caplog.text.count("was removed while the job runs") == 1
    assert await opened_for_writing(killed) == (7, 8)
    assert await opened_for_writing(tmp_path / "j") == (8, 9)


@pytest.mark.row(115)
@pytest.mark.parametrize(("name", "share", "kept"), [(LOG, 0.0, 0), (LOG, 0.6, 1), (MAIN, 0.5, 0)])
async def test_a_file_that_is_cut_off_ends_the_run_and_is_not_damaged_further(
    tmp_path: Path, name: str, share: float, kept: int
) -> None:
    folder = tmp_path / "j"
    store = await started(folder)
    await store.reserve(JobTask(6, "1:6", "events"), 1)
    os.truncate(folder / name, int((folder / name).stat().st_size * share))
    for _ in range(2):
        with pytest.raises(JobStorageError, match="its files were cut off") as raised:
            await save(store, 7)
        assert raised.value.permanent
    with pytest.raises(JobStorageError):
        await store.save_response(JobTask(6, "1:6", "events"), b"{}", attempts=1, spent=1)
    store.close()
    if name == MAIN:
        return
    with pytest.raises(JobIncompleteError):
        await opened_for_writing(folder)
    answered, spent = await opened_for_writing(folder, accept_loss=True)
    assert (answered >= kept, answered < 5, spent) == (True, True, 6)
    reopened = JobStore(folder, None)
    await reopened.spend_reserved()
    assert reopened.counts.answered == answered + 1  # the response that was rescued
    reopened.close()
    assert len([record for record in JobReader(folder).records() if record.bodies]) == answered + 1


async def test_a_log_that_another_program_empties_into_the_file_is_not_cut_off(tmp_path: Path) -> None:
    store = await started(tmp_path / "j")
    with closing(sqlite3.connect(tmp_path / "j" / MAIN)) as other:
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    assert (tmp_path / "j" / LOG).stat().st_size == 0
    await save(store, 6, 7)
    store.close()
    assert await opened_for_writing(tmp_path / "j") == (7, 7)


@pytest.mark.row(116)
async def test_a_forked_process_leaves_the_job_to_its_parent(tmp_path: Path) -> None:
    folder = tmp_path / "j"
    async with Job.open(folder, plan=EVENTS) as job:
        await job.add([f"1:{n}" for n in range(1, 21)])
        store = job._store
        assert store is not None
        await save(store, 1, 2, 3)
        if (pid := os.fork()) == 0:
            code = 1
            try:
                asyncio.events._set_running_loop(None)
                try:
                    asyncio.run(asyncio.wait_for(save(store, 4), 5))
                except ClientStateError:
                    code = 0
                job._close_files()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1]) == 0
        await save(store, 4, 5)
        assert (folder / "spare-room").stat().st_size == store.writer.room.size
        copy = as_killed(folder)
    for name in (LOG, RECORD):
        (copy / name).unlink()
    assert JobReader(copy).missing is not None  # the child did not mark the file as complete
    assert await opened_for_writing(folder) == (5, 5)
