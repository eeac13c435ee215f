"""Paid responses while the job's file can't be written: held, saved when the disk recovers, or rescued."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from fullstory_async import (
    ActivationLedger,
    ClientConfig,
    ConfigurationError,
    DecodeError,
    FullStoryClient,
    JobLockedError,
    RateLimit,
    StorageError,
)
from fullstory_async.files.ledger import LedgerAccount
from fullstory_async.jobs import Job, JobPlan, JobReader, run_state
from fullstory_async.jobs.ledger_floor import raise_ledger
from fullstory_async.jobs.report import JobProgress, JobReport
from fullstory_async.jobs.storage import group_commit, schema
from fullstory_async.jobs.storage.inputs import NewItem
from fullstory_async.jobs.storage.rescue import HeldResult, RescueFile
from fullstory_async.jobs.storage.statements import FailureRow, get_meta
from fullstory_async.jobs.storage.store import JobStore
from fullstory_async.sandbox import Fault, Sandbox
from tests.jobs.test_job import opened
from tests.jobs.test_lost_log import store_in
from tests.jobs.test_storage_faults import sqlite_error

EVENTS = JobPlan(events=True)
DECEMBER = 1_796_083_200.0
CONCURRENCY = 8


@attrs.define
class Disk:
    """Whether the writes of all jobs fail, and with which error of SQLite's."""

    error: sqlite3.Error | None = None
    failures: int = 0
    soon: sqlite3.Error | None = None
    """The error that begins with the answer after the first ``CONCURRENCY``, while others are on their way."""
    answers: int = 0


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    state, write, save = Disk(), JobStore._write_counters, JobStore._save_response

    def write_or_fail(self: JobStore) -> None:
        write(self)
        if state.error is not None:
            state.failures += 1
            raise state.error

    def save_and_count(self: JobStore, *arguments: Any) -> None:
        save(self, *arguments)
        state.answers += 1
        if state.answers > CONCURRENCY and state.soon is not None:
            state.error, state.soon = state.soon, None

    monkeypatch.setattr(JobStore, "_write_counters", write_or_fail)
    monkeypatch.setattr(JobStore, "_save_response", save_and_count)
    monkeypatch.setattr(run_state, "_FIRST_PAUSE", 0.01)
    return state


async def run_into(
    folder: Path, disk: Disk, error: sqlite3.Error, *, recovers: bool
) -> tuple[JobReport, int]:
    """Run a job whose disk fails with calls in flight; return its report and what was charged."""
    async with opened(sessions=30, latency=0.05) as (sandbox, client):
        async with Job.open(folder, client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids)
            disk.soon = error
            running = asyncio.create_task(job.run(concurrency=CONCURRENCY))
            while disk.error is None:
                await asyncio.sleep(0.002)
            while recovers and disk.failures < 4:
                await asyncio.sleep(0.002)
            if recovers:
                disk.error = None
            return await running, sandbox.activations


@pytest.mark.row(105)
@pytest.mark.parametrize("name", ["SQLITE_IOERR_WRITE", "SQLITE_READONLY", "SQLITE_FULL"])
async def test_responses_are_held_until_the_disk_recovers(tmp_path: Path, disk: Disk, name: str) -> None:
    report, charged = await run_into(tmp_path / "j", disk, sqlite_error(name), recovers=True)
    assert report.dropped == 0
    assert report.done == report.spent == charged
    # a full disk ends the run, once its spare room was used
    assert report.reason == ("storage failed" if name == "SQLITE_FULL" else "finished")
    assert not (tmp_path / "j.rescue").exists()


@pytest.mark.row(105)
async def test_responses_that_the_disk_never_takes_are_rescued_and_taken_in(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_state, "STORAGE_PATIENCE", 0.05)
    report, charged = await run_into(tmp_path / "j", disk, sqlite_error("SQLITE_IOERR_WRITE"), recovers=False)
    assert (report.reason, report.dropped) == ("storage failed", 0)
    rescued = charged - report.done
    assert rescued > 0
    assert f"{rescued} paid results are in {tmp_path / 'j.rescue'}" in report.detail
    assert stat.S_IMODE((tmp_path / "j.rescue").stat().st_mode) == 0o600
    disk.error = None
    async with opened(sessions=30) as (sandbox, client), Job.open(tmp_path / "j", client=client) as job:
        second = await job.run()
    assert (second.reason, second.done, second.at_risk) == ("finished", 30, 0)
    assert second.spent == charged + sandbox.activations == 30
    assert not (tmp_path / "j.rescue").exists()
    assert [len(each.events or ()) > 0 async for each in JobReader(tmp_path / "j").results()] == [True] * 30


@pytest.mark.row(105)
async def test_the_program_says_where_responses_are_rescued(tmp_path: Path, disk: Disk) -> None:
    """An error that time does not heal is not waited for."""
    place = tmp_path / "elsewhere"
    async with opened(sessions=4) as (sandbox, client):
        job = Job.open(tmp_path / "j", client=client, plan=EVENTS, rescue_file=place)
        async with job:
            await job.add(sandbox.session_ids)
            write = JobStore._save_response

            def save_and_break(self: JobStore, *arguments: Any) -> None:
                write(self, *arguments)
                disk.error = sqlite3.OperationalError("its folder was removed while it ran")

            with pytest.MonkeyPatch.context() as broken:
                broken.setattr(JobStore, "_save_response", save_and_break)
                first = await job.run()
            assert (first.reason, first.dropped) == ("storage failed", 0)
            assert str(place) in first.detail
            disk.error = None
            second = await job.run()
        assert (second.reason, second.done, sandbox.activations) == ("finished", 4, 4)
    assert not place.exists()


@pytest.mark.row(105)
async def test_a_lock_that_outlasts_the_writer_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.02)
    monkeypatch.setattr(group_commit, "_PATIENCE", 0.02)
    monkeypatch.setattr(run_state, "_FIRST_PAUSE", 0.01)
    async with opened(sessions=20, latency=0.05) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids)
            running = asyncio.create_task(job.run(concurrency=10))
            while job.counts.answered < 4:
                await asyncio.sleep(0.002)
            with closing(sqlite3.connect(tmp_path / "j" / "job.sqlite3", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                await asyncio.sleep(0.3)
                other.execute("ROLLBACK")
            report = await running
    assert (report.reason, report.done, report.spent, sandbox.activations) == ("finished", 20, 20, 20)


async def test_closing_rescues_what_a_cancelled_run_has_left(tmp_path: Path, disk: Disk) -> None:
    async with opened(sessions=30, latency=0.05) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids)
            disk.soon = sqlite_error("SQLITE_IOERR_WRITE")
            running = asyncio.create_task(job.run(concurrency=CONCURRENCY))
            while disk.error is None:
                await asyncio.sleep(0.002)
            assert job._store is not None
            while not any(change.rescue for change in job._store.writer._retried):
                await asyncio.sleep(0.002)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            done = job.counts.answered
        disk.error = None
        assert (tmp_path / "j.rescue").exists()
        async with Job.open(tmp_path / "j", client=client) as job:
            report = await job.run()
        assert report.done == 30
        assert sandbox.activations < 2 * 30 - done


def results(count: int) -> list[HeldResult]:
    return [HeldResult(n, f"1:{n}", "events", 1.5, 1, b"\xff{}" * n) for n in range(1, count + 1)]


@pytest.mark.row(113)
def test_damaged_and_foreign_lines_of_a_rescue_file_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another job's lines stay until it takes them in itself."""
    file, another = (RescueFile(tmp_path / "rescue", secret) for secret in ("ours", "another"))
    failure = FailureRow.of(DecodeError("odd"), permanent=True)
    kept = [*results(3), HeldResult(4, "1:4", "summary", 2.5, 2, None, failure)]
    file.append(kept[:1])
    another.append(kept[1:2])
    with file.path.open("ab") as other:
        other.write(b'{"seq": 7, "session')
    file.append(kept[1:])
    damaged = file.path.read_bytes().replace(b'"1:3"', b'"1:5"')
    assert list(file.read()) == kept
    file.path.write_bytes(damaged)
    assert list(file.read()) == [*kept[:2], kept[3]]
    assert caplog.text.count("is damaged, and can't be taken in") == 3  # the line that broke off, twice
    assert "1 results in" in caplog.text
    file.remove()
    assert list(file.read()) == []
    assert list(another.read()) == kept[1:2]
    another.remove()
    assert list(tmp_path.iterdir()) == []
    another.remove()


def test_one_session_is_erased_from_a_rescue_file(tmp_path: Path) -> None:
    file, another = (RescueFile(tmp_path / "rescue", secret) for secret in ("ours", "another"))
    file.append(results(3))
    another.append(results(3))
    file.erase("1:2")
    assert [each.session_id for each in file.read()] == ["1:1", "1:3"]
    assert len(list(another.read())) == 3
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


@pytest.mark.row(113)
def test_a_rescue_file_is_no_link_no_pipe_and_nobody_elses_to_read(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    place = tmp_path / "j.rescue"
    place.symlink_to(tmp_path / "victim")
    file = RescueFile.of_job(tmp_path / "j", "ours", None)
    assert file.path == place
    with pytest.raises(OSError, match="symbolic"):
        file.append(results(1))
    assert (tmp_path / "victim").read_bytes() == b"precious"
    place.unlink()
    os.mkfifo(place)
    with pytest.raises(OSError, match="not a regular file"):
        file.append(results(1))
    place.unlink()
    place.touch(0o644)
    file.append(results(1))
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    # a link that the program names itself is followed
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    named = RescueFile.of_job(tmp_path / "j", "ours", tmp_path / "link")
    named.append(results(1))
    named.remove()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.row(113)
async def test_a_rescue_file_that_can_not_be_read_keeps_its_job_from_paying_again(tmp_path: Path) -> None:
    async with opened(sessions=3) as (sandbox, client):
        (tmp_path / "j.rescue").mkdir()
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids)
            report = await job.run()
            assert (report.reason, sandbox.activations) == ("storage failed", 0)
            assert f"the rescue file {tmp_path / 'j.rescue'}, which may hold paid results" in report.detail
            (tmp_path / "j.rescue").rmdir()
            assert (await job.run()).reason == "finished"


@pytest.mark.row(105)
async def test_failures_that_may_have_been_paid_for_are_held_and_rescued_too(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among them a response that can't be read; none of these calls is made again."""
    monkeypatch.setattr(run_state, "STORAGE_PATIENCE", 0.05)
    async with opened(sessions=3) as (sandbox, client):
        unreadable, unknown, _ = sandbox.session_ids
        sandbox.inject(Fault.invalid_json(), session_id=unreadable)
        sandbox.inject(Fault.status(404), session_id=unknown)
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids)
            save = JobStore.save_failure

            async def break_and_save(self: JobStore, *arguments: Any, **options: Any) -> None:
                disk.error = sqlite_error("SQLITE_IOERR_WRITE")
                await save(self, *arguments, **options)

            monkeypatch.setattr(JobStore, "save_failure", break_and_save)
            first = await job.run()
        assert (first.reason, first.dropped) == ("storage failed", 0)
        disk.error = None
        asked = len(sandbox.requests)
        monkeypatch.setattr(JobStore, "save_failure", save)
        async with Job.open(tmp_path / "j", client=client) as job:
            second = await job.run()
            assert (second.reason, job.counts.answered, job.counts.permanent) == ("finished", 1, 2)
            bodies = {each.session_id: each.body async for each in job.failures()}
        again = [each.session_id for each in sandbox.requests[asked:] if each.session_id]
        assert unreadable not in again
        assert bodies[unreadable]
        assert second.spent == len(again) + first.spent
        assert not (tmp_path / "j.rescue").exists()


async def test_a_purge_erases_what_was_rescued_of_the_session(tmp_path: Path) -> None:
    store = store_in(tmp_path / "j", EVENTS)
    await store.add([NewItem("1:1"), NewItem("1:2")])
    store.writer.rescue_file.append(results(2))
    assert await store.purge("1:2")
    assert b"1:2" not in (tmp_path / "j.rescue").read_bytes()
    await store.spend_reserved()
    assert store.counts.answered == 1
    store.close()
    assert not (tmp_path / "j.rescue").exists()


@asynccontextmanager
async def opened_with(ledger: ActivationLedger) -> AsyncIterator[tuple[Sandbox, FullStoryClient]]:
    async with Sandbox(users=5, sessions=30, mean_events=10, latency=0.02) as sandbox:
        config = ClientConfig(
            api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(100_000, 100_000)
        )
        async with FullStoryClient(config=config, ledger=ledger) as client:
            yield sandbox, client


@pytest.mark.row(106)
@pytest.mark.parametrize("how", ["unmounted", "cannot open"])
async def test_a_ledger_that_can_not_be_opened_for_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(run_state, "_FIRST_PAUSE", 0.01)
    folder, away = tmp_path / "mount", tmp_path / "away"
    folder.mkdir()
    ledger = ActivationLedger(folder / "ledger", monthly_cap=1000)
    connect, broken, waited = sqlite3.connect, asyncio.Event(), asyncio.Event()

    def connect_or_fail(path: Path, **options: Any) -> Any:
        if path == ledger.path and broken.is_set() and how == "cannot open":
            raise sqlite_error("SQLITE_CANTOPEN")
        return connect(path, **options)

    def break_it(now: JobProgress) -> None:
        if now.done >= 4 and not broken.is_set():
            broken.set()
            if how == "unmounted":
                folder.rename(away)
                folder.mkdir()
        if "waiting for the disk" in (now.last_error or ""):
            waited.set()

    monkeypatch.setattr(sqlite3, "connect", connect_or_fail)
    async with opened_with(ledger) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids)
            running = asyncio.create_task(job.run(concurrency=4, progress=break_it))
            await waited.wait()
            if how == "unmounted":
                assert list(folder.iterdir()) == []  # no second count begins at zero
                folder.rmdir()
                away.rename(folder)
            how = ""
            report = await running
    assert (report.reason, report.done, report.spent, sandbox.activations) == ("finished", 30, 30, 30)
    assert await ledger.spent(client.config.key_fingerprint) == 30


async def test_a_ledger_that_never_worked_is_a_wrong_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be used"):
        await ActivationLedger(tmp_path / "gone" / "ledger").spent("key")
    ledger = ActivationLedger(tmp_path / "ledger")
    assert await ledger.spent("key") == 0
    (tmp_path / "ledger").unlink()
    with pytest.raises(StorageError, match="it is gone"):
        await ledger.spent("key")


@pytest.mark.row(114)
async def test_a_ledger_that_is_removed_between_runs_does_not_begin_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = ActivationLedger(tmp_path / "ledger", monthly_cap=12)
    async with opened_with(ledger) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids[:10])
            assert (await job.run()).reason == "finished"
            await job.add(sandbox.session_ids)
        ledger.path.unlink()
        again = ActivationLedger(ledger.path, monthly_cap=12)
        client.api.pipeline.ledger = LedgerAccount(again, client.config.key_fingerprint)
        async with Job.open(tmp_path / "j", client=client) as job:
            report = await job.run(concurrency=1)
        assert (report.reason, report.spent, sandbox.activations) == ("budget reached", 12, 12)
        assert await again.spent(client.config.key_fingerprint) == 12
        assert "counted 0 activations this month" in caplog.text
        caplog.clear()
        async with Job.open(tmp_path / "j", client=client) as job:
            assert (await job.run()).reason == "budget reached"
        assert caplog.text == ""


@pytest.mark.row(114)
async def test_another_month_another_ledger_and_another_key_begin_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does what was possibly not charged count: the ledger may never have counted it."""
    store, now = store_in(tmp_path / "j", EVENTS), [DECEMBER - 60]
    ledgers = [ActivationLedger(tmp_path / name, clock=lambda: now[0]) for name in ("one", "two")]
    for ledger, key, seconds in (
        (ledgers[0], "a", -60), (ledgers[0], "b", -60), (ledgers[1], "b", -60), (ledgers[1], "b", 60),
    ):  # fmt: skip
        now[0] = DECEMBER + seconds
        await raise_ledger(store, LedgerAccount(ledger, key))
        store._state.counts.spent += 7
        store._state.counts.at_risk += 4
        await store.flush()
        assert await ledger.spent(key) == 0
    await raise_ledger(store, LedgerAccount(ledger, key))
    assert await ledger.spent(key) == 3
    assert caplog.text.count("alone has spent 3") == 1
    store.close()


async def test_a_month_that_ends_while_the_ledger_is_compared_is_not_counted_in_the_next(
    tmp_path: Path,
) -> None:
    times = [DECEMBER - 60.0]
    ledger = ActivationLedger(tmp_path / "ledger", clock=lambda: times.pop() if len(times) > 1 else times[0])
    with closing(store_in(tmp_path / "j", EVENTS)) as store:
        await raise_ledger(store, LedgerAccount(ledger, "a"))
        store._state.counts.spent += 7
        await store.flush()
        times[:] = [DECEMBER + 60.0, DECEMBER - 60.0]  # from the end: the month ends when it was read once
        await raise_ledger(store, LedgerAccount(ledger, "a"))
    assert await ledger.spent("a") == 0
    times[:] = [DECEMBER - 60.0]
    assert await ledger.spent("a") == 7


async def test_a_job_that_another_process_has_opened_gets_no_note_of_the_ledger(tmp_path: Path) -> None:
    ledger = LedgerAccount(ActivationLedger(tmp_path / "ledger"), "a")
    with (
        closing(store_in(tmp_path / "j", EVENTS)) as first,
        closing(JobStore(tmp_path / "j", None)) as second,
    ):
        with pytest.raises(JobLockedError):
            await raise_ledger(first, ledger)
        assert await second.writer.run(lambda database: get_meta(database, "ledger")) is None
