"""Durable jobs at their edges: repeated charges, shared files, early crashes, cancelled openings."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from fullstory_async import (
    ActivationLedger,
    FullStoryClient,
    JobError,
    JobLockedError,
    JobStorageError,
    RetryPolicy,
)
from fullstory_async.errors import ConnectError
from fullstory_async.files import compression
from fullstory_async.http.call import Attempt
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.storage import group_commit, schema
from fullstory_async.jobs.storage.inputs import NewItem
from fullstory_async.jobs.storage.store import JobStore
from fullstory_async.jobs.storage.tasks import JobTask
from fullstory_async.messages import Request, Response
from fullstory_async.sandbox import Fault
from tests.jobs.test_job import opened, run_once
from tests.limits import SECONDS

EVENTS = JobPlan(events=True)
REPEATING = RetryPolicy(repeat_metered=True, wait_initial=0, wait_jitter=0)


class Wrapped:
    """A transport around a client's own, whose metered requests a test may delay or refuse."""

    def __init__(self, client: FullStoryClient, before: Callable[[Request], Awaitable[None]]) -> None:
        pipeline = client.api.pipeline
        self._real, self._before = pipeline._transport, before
        pipeline._transport = self

    def check(self) -> object:
        return self._real.check()

    slots: asyncio.Semaphore | None = None

    async def send(
        self, request: Request, deadline: float, attempt: Attempt, *, streamed: bool = False
    ) -> Response:
        if request.metered:
            await self._before(request)
        return await self._real.send(request, deadline, attempt, streamed=streamed)


@pytest.mark.row(32)
async def test_a_call_that_may_have_been_charged_is_not_made_again_while_the_network_is_down(
    tmp_path: Path,
) -> None:
    async with opened(client={"retry": REPEATING}) as (sandbox, client):
        sandbox.inject(Fault.status(500, charged=True), operation="events", times=None)
        asked = 0

        async def refuse(request: Request) -> None:
            nonlocal asked
            asked += 1
            if asked % 3 != 1:  # after each 500 no connection is had, twice
                raise ConnectError("refused", request=request, sent=False)

        Wrapped(client, refuse)
        plan = attrs.evolve(EVENTS, max_activations=3)
        report = await run_once(tmp_path / "j", client, plan, sandbox.session_ids[:5], concurrency=1)
        assert sandbox.activations <= report.spent <= 3


async def test_what_was_charged_before_the_months_cap_was_reached_counts(tmp_path: Path) -> None:
    ledger = ActivationLedger(tmp_path / "ledger", monthly_cap=5)
    async with opened(client={"retry": REPEATING}) as (sandbox, client):
        client.api.pipeline.ledger = None
        from fullstory_async.files.ledger import LedgerAccount

        client.api.pipeline.ledger = LedgerAccount(ledger, client.config.key_fingerprint)
        sandbox.inject(Fault.status(500, charged=True), operation="events", times=None)
        report = await run_once(tmp_path / "j", client, EVENTS, sandbox.session_ids, concurrency=1)
        assert (report.reason, report.spent, sandbox.activations) == ("budget reached", 5, 5)


async def test_a_call_is_made_once_in_a_run_whatever_becomes_of_older_failures(tmp_path: Path) -> None:
    async with opened(sessions=12) as (sandbox, client):
        ids, second_run = sandbox.session_ids, False

        async def wait(request: Request) -> None:
            slow: dict[str | None, float]
            slow = {ids[11]: 0.5, **dict.fromkeys(ids[1:4], 0.3)} if second_run else {ids[0]: 0.3}
            await asyncio.sleep(slow.get(request.session_id, 0))

        Wrapped(client, wait)
        for session_id in ids[:4]:
            sandbox.inject(Fault.status(500, charged=True), session_id=session_id)
        sandbox.inject(Fault.status(500, charged=True), session_id=ids[11], times=None)
        plan = attrs.evolve(EVENTS, max_activations=4)
        await run_once(tmp_path / "j", client, plan, ids, concurrency=4)
        second_run, before = True, len(sandbox.requests)
        report = await run_once(
            tmp_path / "j", client, attrs.evolve(EVENTS, max_activations=99), concurrency=2
        )
        asked = Counter(request.session_id for request in sandbox.requests[before:] if request.session_id)
        assert set(asked.values()) == {1}
        assert (report.done, report.failed) == (11, {"ServerError": 1})


async def test_a_file_that_another_program_locks_for_a_while_loses_no_response(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.1)
    async with opened(sessions=20, latency=0.2) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids)
            run = asyncio.create_task(job.run(concurrency=10))
            while len(sandbox.requests) < 11:
                await asyncio.sleep(0.005)
            with closing(sqlite3.connect(tmp_path / "j" / "job.sqlite3", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                await asyncio.sleep(0.7)
                other.execute("ROLLBACK")
            report = await run
        assert (report.reason, report.done, report.spent, sandbox.activations) == ("finished", 20, 20, 20)


async def test_a_file_that_stays_locked_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "_PATIENCE", 0.1)
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.1)
    async with Job.open(tmp_path / "j", plan=EVENTS) as job:
        with closing(sqlite3.connect(tmp_path / "j" / "job.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(JobStorageError, match="locked"):
                await job.add(["1:2"])
            other.execute("ROLLBACK")
        assert (await job.add(["1:2"])).new == 1


async def test_a_reservation_made_before_a_file_is_locked_is_released_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "_PATIENCE", 0.0)
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.05)
    task = JobTask(1, "1:2", "events")
    (tmp_path / "j").mkdir()
    store = JobStore(tmp_path / "j", attrs.evolve(EVENTS, max_activations=1))
    with closing(sqlite3.connect(tmp_path / "j" / "job.sqlite3", isolation_level=None)) as other:
        assert await store.reserve(task, 1)
        other.execute("BEGIN IMMEDIATE")
        store.release_later(task, spent=0)
        with pytest.raises(JobStorageError, match="locked"):
            await store.flush()
        other.execute("ROLLBACK")
    assert await store.reserve(attrs.evolve(task, seq=2), 1)
    store.close()


async def test_an_opening_that_is_cancelled_holds_nothing(tmp_path: Path) -> None:
    async def hold() -> None:
        async with Job.open(tmp_path / "j", plan=EVENTS):
            await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.0005):
            await hold()
    await open_when_free(tmp_path / "j")


async def open_when_free(folder: Path) -> None:
    """Open a job that a cancelled opening may still be closing."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                async with Job.open(folder, plan=EVENTS):
                    return
            except JobLockedError:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("turns", range(12))
async def test_an_opening_that_is_cancelled_twice_holds_nothing(tmp_path: Path, turns: int) -> None:
    opening = asyncio.create_task(Job.open(tmp_path / "j", plan=EVENTS).__aenter__())
    await asyncio.sleep(0)
    opening.cancel()
    while not opening.done():
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.sleep(0)
    await open_when_free(tmp_path / "j")


@pytest.mark.row(44)
async def test_the_disk_reserve_is_completed_again_and_needs_room_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(sessions=2) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids)
        reserve = tmp_path / "j" / "spare-room"
        size = reserve.stat().st_size
        assert len(zlib.compress(reserve.read_bytes())) >= size  # it takes its room on any file system
        reserve.write_bytes(b"")  # as a process killed while creating it may leave it
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS):
            assert reserve.stat().st_size == size
        reserve.unlink()
        full = type(shutil.disk_usage(tmp_path))(10**9, 10**9 - 1000, 1000)
        with monkeypatch.context() as patched:
            patched.setattr(shutil, "disk_usage", lambda _: full)
            report = await run_once(tmp_path / "j", client, EVENTS)
        assert (report.reason, report.done, sandbox.activations) == ("storage failed", 0, 0)
        report = await run_once(tmp_path / "j", client, EVENTS)
        assert (report.reason, report.done) == ("finished", 2)


async def test_responses_are_stored_with_and_without_zstd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(sessions=6) as (sandbox, client):
        with monkeypatch.context() as without:
            without.setattr(compression, "zstd", None)
            await run_once(tmp_path / "j", client, EVENTS, sandbox.session_ids[:3])
            assert len([each async for each in JobReader(tmp_path / "j").results() if each.events]) == 3
        await run_once(tmp_path / "j", client, EVENTS, sandbox.session_ids)
        found = [each async for each in JobReader(tmp_path / "j").results()]
        assert [len(each.events or ()) for each in found] == [
            sandbox.event_counts[each] for each in sandbox.session_ids
        ]
        monkeypatch.setattr(compression, "zstd", None)
        with pytest.raises(JobError, match=r"pip install 'fullstory-async\[zstd\]'"):
            _ = [each async for each in JobReader(tmp_path / "j").results()]
        assert JobReader(tmp_path / "j").status().done == 6


async def test_bad_ids_are_tried_again_without_a_budget(tmp_path: Path) -> None:
    async with opened(sessions=2) as (sandbox, client):
        plan = attrs.evolve(EVENTS, max_activations=2)
        await run_once(tmp_path / "j", client, plan, [*sandbox.session_ids, "../x"])
        report = await run_once(tmp_path / "j", client, plan, retry_failed=True)
        assert (report.reason, report.done, report.failed) == ("finished", 2, {"InvalidSessionId": 1})
        assert JobReader(tmp_path / "j").status().spent == 2


@pytest.mark.parametrize("ending", ["finished", "budget", "stopped", "dropped", "cancelled"])
async def test_nothing_stays_reserved_however_a_run_ends(tmp_path: Path, ending: str) -> None:
    plan = JobPlan(events=True, max_activations=50 if ending == "budget" else None)
    async with opened(sessions=300) as (sandbox, client):
        sandbox.inject(Fault.stall(0.01), times=None, operation="events")
        async with Job.open(tmp_path / "j", client=client, plan=plan) as job:
            await job.add(sandbox.session_ids)
            running = asyncio.create_task(job.run(concurrency=16))
            if ending in ("stopped", "dropped", "cancelled"):
                while job.counts.answered < 40:
                    await asyncio.sleep(0.005)
                job.stop(at_once=ending == "dropped") if ending != "cancelled" else running.cancel()
            await asyncio.wait([running])
            assert running.cancelled() == (ending == "cancelled")
            await job.add([])  # behind everything else that is to be written
            spent = job.counts.spent
        with closing(sqlite3.connect(tmp_path / "j" / "job.sqlite3")) as database:
            assert dict(database.execute("SELECT name, value FROM meta"))["set_aside"] == 0
        assert sandbox.activations <= spent <= sandbox.activations + 16
        if ending in ("finished", "budget", "stopped"):
            assert spent == sandbox.activations


async def test_an_estimate_counts_what_a_killed_run_had_reserved(tmp_path: Path) -> None:
    """The next run counts it as spent before anything else."""
    plan = JobPlan(events=True, max_activations=40)
    async with Job.open(tmp_path / "j", plan=plan) as job:
        await job.add(f"1:{n}" for n in range(100))
    with closing(sqlite3.connect(tmp_path / "j" / "job.sqlite3")) as database, database:
        database.execute("REPLACE INTO meta VALUES ('set_aside', 15)")
    estimate = JobReader(tmp_path / "j").estimate(plan)
    assert (estimate.spent, estimate.activations) == (15, 25)


async def test_what_one_run_could_not_save_is_not_counted_by_the_next_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_broken, write = False, JobStore._write_counters

    def write_or_fail(self: JobStore) -> None:
        write(self)
        if is_broken:
            raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(JobStore, "_write_counters", write_or_fail)
    async with opened(sessions=20, latency=0.05) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids)
            running = asyncio.create_task(job.run(concurrency=4))
            while len(sandbox.requests) < 5:  # one of them asked whose key it is
                await asyncio.sleep(0.005)
            is_broken = True
            first = await running
            is_broken = False
            second = await job.run(concurrency=4)
    assert (first.reason, second.reason) == ("storage failed", "finished")
    assert first.newly_spent > 0
    assert first.newly_spent + second.newly_spent == second.spent


async def test_a_failed_transaction_leaves_the_state_in_memory_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever has changed before the failure: counts, reservations, the last number."""
    (tmp_path / "j").mkdir()
    store, write = JobStore(tmp_path / "j", attrs.evolve(EVENTS, max_activations=1)), JobStore._write_counters

    seen: list[tuple[int, int]] = []

    def fail(self: JobStore) -> None:
        write(self)
        seen.append((self.counts.items, self.activations.reserved))
        raise sqlite3.OperationalError("disk I/O error")

    task = JobTask(1, "1:1", "events")
    await store.add([NewItem("1:1")])
    before = store._state.copy()
    with monkeypatch.context() as broken:
        broken.setattr(JobStore, "_write_counters", fail)
        with pytest.raises(JobStorageError, match="disk I/O error"):
            await store.add([NewItem("1:2"), NewItem("1:3")])
        assert store._state == before
        with pytest.raises(JobStorageError, match="disk I/O error"):
            await store.reserve(task, 1)
        assert store._state == before
        with pytest.raises(JobStorageError, match="disk I/O error"):
            await store.purge("1:1")
        assert store._state == before
    assert set(seen) == {(1, 0)}  # what others saw meanwhile: nothing that was not on disk
    assert await store.reserve(task, 1)
    await store.save_response(task, b"{}", attempts=1, spent=1)
    store.close()
    assert JobReader(tmp_path / "j").status().done == 1


async def test_the_old_name_of_reserved_warns_and_works(tmp_path: Path) -> None:
    async with Job.open(tmp_path / "j", plan=EVENTS):
        pass
    status = JobReader(tmp_path / "j").status()
    with pytest.warns(DeprecationWarning, match=r"JobStatus\.set_aside is now called reserved"):
        assert status.set_aside == status.reserved == 0
    assert "set_aside" not in attrs.asdict(status)
