"""File systems that lack hard links, locks or permissions: network shares, memory cards, buckets behind FUSE."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fullstory_async import (
    ActivationLedger,
    ClientConfig,
    FullStoryClient,
    JobError,
    JobLockedError,
    ResponseCache,
)
from fullstory_async.files.lock_file import Holder, LockFile, LockFileHeld, holder_of
from fullstory_async.files.private_database import make_private_file
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.storage.lock import JobLock, lock_holder, raise_if_locked
from fullstory_async.sandbox import Sandbox
from tests.jobs.test_job import opened, run_once

NUMBERS = [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOLCK]
"""How file systems say that they lack something."""


def without(monkeypatch: pytest.MonkeyPatch, number: int, *names: str) -> None:
    """Take features away, as a file system does that answers with this error number."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    for name in names:
        monkeypatch.setattr(fcntl if name == "flock" else os, name, refused)


def names(folder: Path) -> set[str]:
    return {each.name for each in folder.rglob("*")}


def dead_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


@pytest.mark.row(88)
@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
async def test_a_job_a_ledger_and_a_cache_work_without_links_locks_and_permissions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    without(monkeypatch, number, "link", "flock", "chmod")
    folder = tmp_path / "j"
    folder.mkdir(mode=0o755)
    async with Sandbox(users=1, sessions=3, mean_events=3) as sandbox:
        ledger, cache = ActivationLedger(tmp_path / "ledger"), ResponseCache(tmp_path / "cache")
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url)
        async with FullStoryClient(config=config, ledger=ledger, cache=cache) as client:
            async with Job.open(folder, client=client, plan=JobPlan(events=True)) as job:
                await job.add(sandbox.session_ids)
                with pytest.raises(
                    JobLockedError, match=rf"process {os.getpid()} on .*\(flock\).*lock\.held"
                ):
                    await Job.open(folder, client=client).__aenter__()
                report = await job.run()
                holder = JobReader(folder).status().holder
            await client.sessions.summary(sandbox.session_ids[0])
            await client.sessions.summary(sandbox.session_ids[0])
            assert (report.reason, report.done, sandbox.activations) == ("finished", 3, 4)
            assert await ledger.spent(client.config.key_fingerprint) == 4
    assert str(os.getpid()) in str(holder)
    assert JobReader(folder).status().holder is None
    assert len([each async for each in JobReader(folder).results()]) == 3
    async with Job.open(folder) as job:
        for name in ("out.jsonl", "out.sqlite", "out.jsonl"):
            await job.export(tmp_path / name)
    warned = [record.getMessage() for record in caplog.records if record.name == "fullstory_async.files"]
    assert sum(f"{folder} can't be made private (chmod)" in text for text in warned) == 3  # once an opening
    assert names(tmp_path) == {
        "cache", "j", "job.sqlite3", "job.sqlite3-commits", "ledger", "lock", "out.failures.jsonl", "out.jsonl", "out.pages.jsonl", "out.sessions.jsonl", "out.sqlite", "spare-room"
    }  # fmt: skip


@pytest.mark.row(88)
@pytest.mark.parametrize("number", NUMBERS)
def test_a_lock_is_a_file_where_there_are_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    without(monkeypatch, number, "flock")
    path = tmp_path / "lock"
    lock = JobLock(path)
    with pytest.raises(JobLockedError, match=f"process {os.getpid()} "):
        JobLock(path)
    with pytest.raises(JobLockedError, match=f"process {os.getpid()} "):
        raise_if_locked(path)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    lock.release()  # in a forked child, whose it is not
    monkeypatch.undo()
    assert (tmp_path / "lock.held").exists()
    without(monkeypatch, number, "flock")
    lock.release()
    assert lock_holder(path) is None
    JobLock(path).release()


@pytest.mark.row(88)
def test_the_lock_file_of_a_dead_process_is_taken_over_and_a_foreign_one_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, errno.ENOSYS, "flock")
    path, held = tmp_path / "lock", tmp_path / "lock.held"
    me = Holder.this_process()
    JobLock(path).release()

    held.write_text(f'{{"pid": {dead_process()}, "host": "{me.host}", "since": "then"}}')
    assert lock_holder(path) is None
    lock = JobLock(path)
    assert holder_of(held) == me
    lock.release()

    for note in (f'{{"pid": {dead_process()}, "host": "elsewhere", "since": "then"}}', "", "[]"):
        held.write_text(note)
        assert lock_holder(path) is not None
        for refused in (JobLock, raise_if_locked):
            with pytest.raises(JobLockedError, match=r"if that process has ended, delete .*lock\.held$"):
                refused(path)
        assert held.read_text() == note


@pytest.mark.row(88)
def test_of_many_that_take_over_a_dead_lock_one_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "held"
    me, dead = Holder.this_process(), dead_process()
    for _ in range(20):
        path.write_text(f'{{"pid": {dead}, "host": "{me.host}", "since": "then"}}')
        taken: list[LockFile] = []

        def take(taken: list[LockFile] = taken) -> None:
            with contextlib.suppress(LockFileHeld):
                taken.append(LockFile(path))

        together(8, take)
        assert len(taken) == 1
        taken[0].release()
    assert list(tmp_path.iterdir()) == []


def together(count: int, work: Callable[[], None]) -> None:
    """Run something in many threads at once."""
    gate = threading.Barrier(count)

    def run() -> None:
        gate.wait()
        work()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.row(88)
@pytest.mark.parametrize("number", [*NUMBERS, errno.EMLINK, errno.EACCES])
def test_without_hard_links_a_new_file_is_still_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    without(monkeypatch, number, "link")
    path = tmp_path / "ledger"
    seen: list[int] = []

    def make() -> None:
        make_private_file(path)
        seen.append(path.stat().st_ino)

    together(8, make)
    assert seen == [path.stat().st_ino] * 8, "a file was replaced by another"
    assert [each.name for each in tmp_path.iterdir()] == ["ledger"]


@pytest.mark.row(88)
def test_a_lock_that_a_dead_process_left_while_it_made_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, errno.EPERM, "link")
    monkeypatch.setattr("fullstory_async.files.private_database._BUSY_SECONDS", 0.0)
    (tmp_path / ".ledger.lock").write_text("")
    with pytest.raises(OSError, match=r"\.ledger\.lock is held by another process.*delete the file"):
        make_private_file(tmp_path / "ledger")
    assert not (tmp_path / "ledger").exists()


@pytest.mark.row(88)
async def test_a_change_of_permissions_without_an_effect_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """FAT and SMB accept it."""
    monkeypatch.setattr(os, "chmod", lambda *_, **__: None)
    (tmp_path / "j").mkdir(mode=0o755)
    async with Job.open(tmp_path / "j", plan=JobPlan(events=True)):
        pass
    [record] = [each for each in caplog.records if each.name == "fullstory_async.files"]
    assert "Other users of this machine may be able to read it" in record.getMessage()


@pytest.mark.row(88)
async def test_an_export_needs_no_synchronised_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(sessions=1) as (sandbox, client):
        await run_once(tmp_path / "j", client, JobPlan(events=True), sandbox.session_ids)
    real = os.fsync

    def fsync(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    async with Job.open(tmp_path / "j") as job:
        assert await job.export(tmp_path / "out.jsonl")


class NoLocks(sqlite3.Connection):
    """A connection to a file on which nobody can lock or share memory."""

    name = "SQLITE_IOERR_SHMMAP"

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if "writable_schema" in sql:
            return super().execute(sql, *parameters)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorname = self.name
        raise error


@pytest.mark.row(88)
async def test_readers_need_no_locks_and_writers_say_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(sessions=2) as (sandbox, client):
        await run_once(tmp_path / "j", client, JobPlan(events=True), sandbox.session_ids)
    real = sqlite3.connect

    def connect(path: Any, **options: Any) -> sqlite3.Connection:
        return real(path, factory=sqlite3.Connection if "immutable=1" in str(path) else NoLocks, **options)

    monkeypatch.setattr(sqlite3, "connect", connect)
    assert len([each async for each in JobReader(tmp_path / "j").results()]) == 2
    with pytest.raises(JobError, match="its file system lacks locks or shared memory .*local disk"):
        await Job.open(tmp_path / "j").__aenter__()
    # a log that was not emptied would be missing
    (tmp_path / "j" / "job.sqlite3-wal").write_bytes(b"something")
    with pytest.raises(JobError, match="its file system lacks locks or shared memory"):
        JobReader(tmp_path / "j")


@pytest.mark.row(88)
async def test_a_disk_that_does_not_tell_its_size_is_not_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = SimpleNamespace(total=0, used=0, free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: nothing)
    async with opened(sessions=1) as (sandbox, client):
        report = await run_once(tmp_path / "j", client, JobPlan(events=True), sandbox.session_ids)
    assert report.reason == "finished"
