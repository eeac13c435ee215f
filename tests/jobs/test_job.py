"""Durable jobs against the sandbox: what they keep, what they spend, why they stop, and that they go on."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from fullstory_async import (
    ClientConfig,
    ClientStateError,
    ConfigurationError,
    FullStoryClient,
    JobError,
    JobLockedError,
    RateLimit,
    RetryPolicy,
    Session,
    SessionId,
)
from fullstory_async.jobs import Job, JobPlan, JobReader, StopReason, circuit_breaker, run_state
from fullstory_async.jobs.report import JobProgress, JobReport
from fullstory_async.jobs.storage.lock import JobLock, lock_holder
from fullstory_async.sandbox import Fault, Sandbox
from tests.cli.forked import Forks
from tests.limits import SECONDS, until, wait_until

BOTH = JobPlan(events=True, summary="support")


QUICK = RetryPolicy(wait_initial=0.05, wait_jitter=0.05)


@asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[tuple[Sandbox, FullStoryClient]]:
    given = settings.pop("client", {})
    client_settings = {"rate_limit": RateLimit(100_000, 100_000), "retry": QUICK, **given}
    async with Sandbox(**{"users": 5, "sessions": 40, "mean_events": 10, **settings}) as sandbox:
        config = ClientConfig(**{"api_key": sandbox.api_key, "base_url": sandbox.url, **client_settings})
        async with FullStoryClient(config=config) as client:
            yield sandbox, client


async def run_once(
    folder: Path,
    client: FullStoryClient,
    plan: JobPlan,
    ids: Sequence[SessionId | Session | str] = (),
    **options: Any,
) -> JobReport:
    async with Job.open(folder, client=client, plan=plan) as job:
        await job.add(ids)
        return await job.run(**options)


@pytest.mark.smoke
async def test_the_example(tmp_path: Path) -> None:
    seen: list[JobProgress] = []
    async with opened() as (sandbox, client):
        ids = [
            *sandbox.session_ids,
            sandbox.session_ids[0],
            "../nonsense",
            sandbox.session_ids[3].replace(":", "!"),
        ]
        async with Job.open(
            tmp_path / "a.job",
            client=client,
            plan=JobPlan(events=True, summary="support", max_activations=5_000),
        ) as job:
            added = await job.add(ids)
            assert (added.new, added.duplicates, added.unusable) == (41, 2, 1)
            estimate = job.estimate()
            assert (estimate.sessions, estimate.calls, estimate.activations) == (41, 80, 80)
            assert estimate.seconds == pytest.approx(80 / 100_000)
            report = await job.run(progress=seen.append)
            assert (report.reason, report.done, report.left, report.spent) == ("finished", 80, 0, 80)
            results = [result async for result in job.results()]
        assert [result.session_id for result in results] == [*sandbox.session_ids, "../nonsense"]
        counts = sandbox.event_counts
        for result in results[:-1]:
            assert result.events is not None
            assert result.summary is not None
            assert len(result.events) == counts[SessionId(result.session_id)]
            assert "support agent" in result.summary.text
            assert result.summary.config_profile_id == "support"
        assert {failure.operation: failure.error for failure in results[-1].failures} == dict.fromkeys(
            ("events", "summary"), "InvalidSessionId"
        )
        assert (len(seen), seen[0].done, seen[-1].done, seen[-1].spent, seen[-1].calls) == (81, 0, 80, 80, 82)
        assert sandbox.activations == 80


@pytest.mark.row(38)
async def test_ids_come_from_anywhere_and_are_one_item_each(tmp_path: Path) -> None:
    async def later() -> AsyncIterator[str]:
        for n in range(2500):
            yield f"1:{n % 1250}"

    async with opened() as (_, client):
        async with Job.open(tmp_path / "j", client=client, plan=BOTH) as job:
            added = await job.add(later())
            assert (added.new, added.duplicates) == (1250, 1250)
            assert (await job.add(f"1:{n}" for n in range(1300))).new == 50
            wrongs: tuple[Any, ...] = ("1:2", 5, None, b"1:2")
            for wrong in wrongs:
                with pytest.raises(ConfigurationError, match="iterable of session ids"):
                    await job.add(wrong)
        async with Job.open(tmp_path / "j", client=client) as job:
            assert job.counts.items == 1300


@pytest.mark.parametrize("cap", [1, 7, 33, 79, 80, 200])
async def test_the_budget_is_never_passed_whatever_goes_wrong(tmp_path: Path, cap: int) -> None:
    async with opened() as (sandbox, client):
        sandbox.inject(Fault.status(500, charged=True), share=0.2, times=None)
        sandbox.inject(Fault.drop(), share=0.1, times=None)
        plan = attrs.evolve(BOTH, max_activations=cap)
        reports = []
        for _ in range(3):
            reports.append(await run_once(tmp_path / "j", client, plan, sandbox.session_ids))
            assert sandbox.activations <= reports[-1].spent <= cap
        assert reports[-1].spent == cap or reports[-1].reason is StopReason.FINISHED


async def test_a_retry_that_may_cost_is_set_aside_beforehand(tmp_path: Path) -> None:
    retry = RetryPolicy(repeat_metered=True, wait_initial=0, wait_jitter=0)
    async with opened(client={"retry": retry}) as (sandbox, client):
        sandbox.inject(Fault.status(500, charged=True), share=0.5, times=None)
        report = await run_once(
            tmp_path / "j", client, attrs.evolve(BOTH, max_activations=30), sandbox.session_ids
        )
        assert report.reason is StopReason.BUDGET_REACHED
        assert sandbox.activations <= report.spent <= 30
        assert 30 - report.spent < retry.attempts


@pytest.mark.smoke
async def test_a_budget_can_be_raised_and_the_job_goes_on(tmp_path: Path) -> None:
    async with opened() as (sandbox, client):
        first = await run_once(
            tmp_path / "j", client, attrs.evolve(BOTH, max_activations=30), sandbox.session_ids
        )
        assert (first.reason, first.done, first.left, "is 30: 30 activations spent" in first.detail) == (
            "budget reached",
            30,
            50,
            True,
        )
        again = await run_once(tmp_path / "j", client, BOTH)  # no number leaves the cap as it was
        assert (again.reason, again.done) == ("budget reached", 30)
        last = await run_once(tmp_path / "j", client, attrs.evolve(BOTH, max_activations=100))
        assert (last.reason, last.done, sandbox.activations) == ("finished", 80, 80)


@pytest.mark.row(24)
async def test_passing_failures_are_tried_again_and_permanent_ones_when_asked(tmp_path: Path) -> None:
    async with opened(sessions=10) as (sandbox, client):
        plan = JobPlan(events=True)
        sandbox.inject(Fault.status(503), operation="events", times=4)
        sandbox.inject(Fault.status(200, body=b'{"events": [', charged=True), operation="events", times=2)
        # one at a time, so that the unknown id comes last and meets no fault
        first = await run_once(tmp_path / "j", client, plan, [*sandbox.session_ids, "1:2"], concurrency=1)
        assert first.failed == {"ServerError": 4, "DecodeError": 2, "NotFoundError": 1}
        assert (first.reason, first.done, first.left) == ("finished", 4 + 0, 4)
        kept = [
            failure
            async for failure in JobReader(tmp_path / "j").failures()
            if failure.error == "DecodeError"
        ]
        assert [failure.body for failure in kept] == [b'{"events": ['] * 2  # it was paid for
        second = await run_once(tmp_path / "j", client, plan)
        assert (second.done, second.left, second.failed) == (8, 0, {})
        third = await run_once(tmp_path / "j", client, plan, retry_failed=True)
        assert (third.done, third.failed) == (10, {"NotFoundError": 1})


async def test_sessions_that_always_fail_keep_no_other_from_being_fetched(tmp_path: Path) -> None:
    async with opened(sessions=30) as (sandbox, client):
        bad = sandbox.session_ids[:12]
        for session_id in bad:
            sandbox.inject(Fault.status(500), session_id=session_id, times=None)
        first = await run_once(
            tmp_path / "j", client, BOTH, sandbox.session_ids, concurrency=1, network_patience=0
        )
        assert (first.reason, first.done, first.failed) == ("network down", 0, {"ServerError": 10})
        second = await run_once(tmp_path / "j", client, BOTH, concurrency=1, network_patience=0)
        assert (second.reason, second.done) == (
            "network down",
            0,
        )  # of the bad ones 14 calls had not been made
        third = await run_once(tmp_path / "j", client, BOTH, concurrency=1, network_patience=0)
        assert (third.done, third.left) == (36, 24)
        spent = Counter(request.session_id for request in sandbox.requests if request.session_id)
        assert {spent[str(session_id)] for session_id in sandbox.session_ids[12:]} == {2}


@pytest.mark.row(22)
async def test_a_rejected_key_ends_it_at_once_and_says_nothing_of_sessions(tmp_path: Path) -> None:
    async with opened() as (sandbox, client):
        sandbox.inject(Fault.status(401), skip=11, times=None)
        report = await run_once(tmp_path / "j", client, BOTH, sandbox.session_ids, concurrency=1)
        assert (report.reason, report.done, report.failed) == ("key rejected", 10, {})
        assert "401" in report.detail
        assert len(sandbox.requests) == 12


@pytest.mark.row(23)
async def test_three_denials_end_it(tmp_path: Path) -> None:
    async with opened() as (sandbox, client):
        sandbox.inject(Fault.status(403), skip=6, times=1)
        sandbox.inject(Fault.status(403), skip=10, times=None)
        report = await run_once(tmp_path / "j", client, BOTH, sandbox.session_ids, concurrency=1)
        assert (report.reason, report.failed) == ("key rejected", {"PermissionDeniedError": 4})


@pytest.mark.row(30)
async def test_a_used_up_quota_ends_it_and_the_next_month_goes_on(tmp_path: Path) -> None:
    async with opened(activation_quota=25) as (sandbox, client):
        report = await run_once(tmp_path / "j", client, BOTH, sandbox.session_ids)
        assert (report.reason, report.done, report.spent) == ("rate limited", 25, 25)
        sandbox._service.meter.quota = None
        client.limiter._not_before = 0.0
        report = await run_once(tmp_path / "j", client, BOTH)
        assert (report.reason, report.done, report.spent, sandbox.activations) == ("finished", 80, 80, 80)


async def test_short_throttling_is_waited_out(tmp_path: Path) -> None:
    async with opened() as (sandbox, client):
        sandbox.inject(Fault.retry_after(1), operation="events", times=1)
        report = await run_once(tmp_path / "j", client, JobPlan(events=True), sandbox.session_ids)
        assert (report.reason, report.done, report.spent) == ("finished", 40, 40)


@pytest.mark.row(2)
async def test_a_network_that_is_down_ends_it_without_a_cost(tmp_path: Path) -> None:
    retry = RetryPolicy(attempts=1)
    async with opened(client={"base_url": "http://127.0.0.1:9", "retry": retry}) as (sandbox, client):
        report = await run_once(
            tmp_path / "j", client, BOTH, sandbox.session_ids, network_patience=0.2, concurrency=1
        )
        assert report.reason in (StopReason.NETWORK_DOWN, StopReason.FINISHED)
        assert (report.spent, report.done) == (0, 0)
        report = await run_once(tmp_path / "j", client, BOTH, network_patience=0, concurrency=1)
        assert (report.reason, report.left) == ("network down", 80)


async def test_stop_lets_calls_on_their_way_finish(tmp_path: Path) -> None:
    async with opened(latency=0.3) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=BOTH) as job:
            await job.add(sandbox.session_ids)
            run = asyncio.create_task(job.run(concurrency=8))
            while len(sandbox.requests) < 13:  # one of them asked whose key it is
                await asyncio.sleep(0.01)
            job.stop()
            report = await run
        assert report.reason is StopReason.INTERRUPTED
        assert report.done == report.spent == sandbox.activations >= 12
        assert len(asyncio.all_tasks()) < 20
        assert (await run_once(tmp_path / "j", client, BOTH)).done == 80
        assert sandbox.activations == 80


async def test_a_second_stop_drops_them_and_counts_what_they_may_have_cost(tmp_path: Path) -> None:
    async with opened() as (sandbox, client):
        for operation in ("events", "summary"):
            sandbox.inject(Fault.stall(), operation=operation, times=None)
        async with Job.open(tmp_path / "j", client=client, plan=BOTH) as job:
            await job.add(sandbox.session_ids)
            run = asyncio.create_task(job.run(concurrency=4))
            while len(sandbox.requests) < 5:  # one of them asked whose key it is
                await asyncio.sleep(0.01)
            job.stop()
            job.stop(at_once=True)
            report = await run
        assert (report.reason, report.done, report.spent) == ("interrupted", 0, 4)


async def test_stopping_before_running_and_cancelling_in_the_middle(tmp_path: Path) -> None:
    async with opened(latency=0.2) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=BOTH) as job:
            await job.add(sandbox.session_ids)
            job.stop()
            assert (await job.run()).reason is StopReason.INTERRUPTED
            assert sandbox.requests == []
            run = asyncio.create_task(job.run(concurrency=4))
            while len(sandbox.requests) < 4:
                await asyncio.sleep(0.01)
            with pytest.raises(ClientStateError, match="being run already"):
                await job.run()
            run.cancel()
            await asyncio.wait([run])
            assert run.cancelled()
            assert job.counts.spent <= 8
        report = await run_once(tmp_path / "j", client, BOTH)
        assert report.done == 80
        assert sandbox.activations <= report.spent


async def test_a_plan_may_only_grow(tmp_path: Path) -> None:
    async with opened() as (sandbox, client):
        await run_once(tmp_path / "j", client, JobPlan(events=True), sandbox.session_ids)
        for plan, said in ((JobPlan(summary="support"), "can't give that up"),):
            with pytest.raises(JobError, match=said):
                await run_once(tmp_path / "j", client, plan)
        report = await run_once(tmp_path / "j", client, BOTH)
        assert (report.done, sandbox.activations) == (80, 80)
        with pytest.raises(JobError, match="profile 'support', and its plan can't change that to 'sales'"):
            await run_once(tmp_path / "j", client, JobPlan(events=True, summary="sales"))
        async with Job.open(tmp_path / "j", client=client) as job:
            assert job.plan == BOTH


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({}, "events, a summary profile"), ({"summary": ""}, "events, a summary"), ({"events": 1}, "events"), ({"events": True, "max_activations": -1}, "max_activations"), ({"summary": 5}, "summary")],
)  # fmt: skip
def test_a_plan_that_makes_no_sense_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        JobPlan(**arguments)


async def test_misuse_says_what_to_do(tmp_path: Path) -> None:
    async with opened() as (_, client):
        job = Job.open(tmp_path / "j", client=client, plan=BOTH)
        with pytest.raises(ClientStateError, match="async with"):
            await job.run()
        with pytest.raises(TypeError, match="async with"):
            job.__enter__()
        with pytest.raises(JobError, match="new, so it needs a plan"):
            async with Job.open(tmp_path / "k", client=client):
                pass
        with pytest.raises(JobError, match="there is no folder"):
            JobReader(tmp_path / "l")
        wrongs: tuple[dict[str, Any], ...] = ({"client": "x"}, {"client": client, "plan": "x"})
        for wrong in wrongs:
            with pytest.raises(ConfigurationError, match="must be"):
                Job.open(tmp_path / "j", **wrong)
        async with Job.open(tmp_path / "j", plan=BOTH) as job:
            with pytest.raises(ClientStateError, match="needs a client"):
                job.estimate()
        async with Job.open(tmp_path / "j", client=client) as job:
            wrongs = ({"concurrency": 0}, {"network_patience": -1}, {"network_patience": "x"})
            for options in wrongs:
                with pytest.raises(ConfigurationError):
                    await job.run(**options)


HOLDER = """
import asyncio, sys
from fullstory_async.jobs import Job, JobPlan

async def main():
    async with Job.open(sys.argv[1], plan=JobPlan(events=True)):
        print("held", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.row(45)
async def test_one_process_at_a_time_and_a_dead_ones_lock_is_none(forks: Forks, tmp_path: Path) -> None:
    with forks.start(str(tmp_path / "j"), script=HOLDER, cwd=tmp_path) as holder:
        await until(lambda: holder.out == "held\n")
        with pytest.raises(JobLockedError, match=rf"process {holder.pid} on .* since"):
            async with Job.open(tmp_path / "j", plan=JobPlan(events=True)):
                pass
        status = JobReader(tmp_path / "j").status()  # reading is allowed
        assert status.holder is not None
        assert (status.sessions, f"process {holder.pid} on" in status.holder) == (0, True)
        os.kill(holder.pid, signal.SIGKILL)
    assert JobReader(tmp_path / "j").status().holder is None
    async with Job.open(tmp_path / "j", plan=JobPlan(events=True)) as job:
        assert job.counts.items == 0


FORKED = """
import os, sys, time
from pathlib import Path
from fullstory_async.jobs.storage.lock import JobLock

lock = JobLock(Path(sys.argv[1]))
if os.fork() == 0:
    lock.release()  # which is not its own to release
    print(os.getpid(), flush=True)
    time.sleep(60)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="run it on a system with os.fork, such as Linux")
def test_a_forked_child_does_not_keep_the_lock_of_a_dead_parent(forks: Forks, tmp_path: Path) -> None:
    with forks.start(str(tmp_path / "lock"), script=FORKED, cwd=tmp_path) as parent:
        wait_until(lambda: parent.out.endswith("\n"))
        child = int(parent.out)
    try:
        assert lock_holder(tmp_path / "lock") is None
        JobLock(tmp_path / "lock").release()
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="run it on a system with modes of files, such as Linux")
async def test_folder_and_files_are_for_their_owner_only(tmp_path: Path) -> None:
    async with opened(sessions=3) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=BOTH) as job:
            await job.add(sandbox.session_ids)
            await job.run()
            assert stat.S_IMODE((tmp_path / "j").stat().st_mode) == 0o700
            files = list((tmp_path / "j").iterdir())
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
            assert len(files) >= 4
        assert client.config.api_key is not None
        for file in (tmp_path / "j").iterdir():
            assert client.config.api_key.reveal().encode() not in file.read_bytes()


async def test_an_erased_session_is_gone_and_stays_away(tmp_path: Path) -> None:
    async with opened(sessions=5, mean_events=5) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=BOTH) as job:
            await job.add(sandbox.session_ids)
            await job.run()
            one = sandbox.session_ids[1]
            assert await job.purge(one.replace(":", "%3A"))
            assert not await job.purge("9:9")
            assert (job.counts.items, job.counts.answered, job.counts.spent) == (4, 8, 10)
            assert (await job.add([one, "9:9"])).new == 0
            assert one not in [result.session_id async for result in job.results()]
            files = [(tmp_path / "j" / name).read_bytes() for name in ("job.sqlite3", "job.sqlite3-wal")]
            assert not any(one.encode() in data for data in files)
            report = await job.run()
            assert (report.left, sandbox.activations) == (0, 10)


@pytest.mark.row(46)
async def test_what_is_no_job_or_a_later_one_is_refused(tmp_path: Path) -> None:
    async with Job.open(tmp_path / "later", plan=BOTH):
        pass
    with closing(sqlite3.connect(tmp_path / "later" / "job.sqlite3")) as database:
        database.execute("PRAGMA user_version = 2")
    (tmp_path / "other").mkdir()
    with closing(sqlite3.connect(tmp_path / "other" / "job.sqlite3")) as database:
        database.execute("CREATE TABLE t (a)")
    (tmp_path / "file").write_text("x")
    for name, said in (
        ("later", "format 2.*knows only 1"),
        ("other", "something else"),
        ("file", "can't be used"),
    ):
        with pytest.raises(JobError, match=said):
            async with Job.open(tmp_path / name, plan=BOTH):
                pass
    for name in ("later", "other"):
        with pytest.raises(JobError):
            JobReader(tmp_path / name)


async def filled(tmp_path: Path, sandbox: Sandbox, client: FullStoryClient) -> Path:
    await run_once(tmp_path / "j", client, BOTH, sandbox.session_ids)
    return tmp_path / "j" / "job.sqlite3"


@pytest.mark.row(46)
async def test_a_cut_off_file_is_refused_and_what_is_intact_is_exported(tmp_path: Path) -> None:
    async with opened(sessions=60, mean_events=100) as (sandbox, client):
        path = await filled(tmp_path, sandbox, client)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * 2 // 3])
        with pytest.raises(JobError, match="what is intact in it can still be exported"):
            async with Job.open(tmp_path / "j", client=client):
                pass
        reader = JobReader(tmp_path / "j")
        intact = [record async for record in reader.results() if record.events is not None]
        assert 0 < len(intact) < 60
        assert reader.damaged > 0
        for result in intact:
            assert result.events is not None
            assert len(result.events) == sandbox.event_counts[SessionId(result.session_id)]


@pytest.mark.row(46)
async def test_flipped_bits_cost_only_what_they_hit(tmp_path: Path) -> None:
    async with opened(sessions=60, mean_events=100) as (sandbox, client):
        path = await filled(tmp_path, sandbox, client)
        data = bytearray(path.read_bytes())
        for place in range(len(data) // 2, len(data), len(data) // 12):
            data[place] ^= 0xFF
        path.write_bytes(data)
        reader = JobReader(tmp_path / "j")
        intact = [result async for result in reader.results() if result.events is not None]
        assert len(intact) > 20
        for result in intact:
            assert result.events is not None
            assert len(result.events) == sandbox.event_counts[SessionId(result.session_id)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB."""
    mount = shutil.which("mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        mount is None
        or os.name != "posix"
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], capture_output=True
        ).returncode
    ):
        pytest.skip("run the tests as root to run it: only an administrator can make a small file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.row(44)
async def test_a_full_disk_ends_it_and_loses_no_answer(small_disk: Path) -> None:
    async with opened(sessions=300, mean_events=60) as (sandbox, client):
        report = await run_once(small_disk / "j", client, BOTH, sandbox.session_ids, concurrency=4)
        assert report.reason is StopReason.STORAGE_FAILED
        assert "full" in report.detail
        assert 0 < report.done < 600
        assert report.done == sandbox.activations  # all that was paid for is there
        subprocess.run(["mount", "-o", "remount,size=50M", str(small_disk)], check=True)
        report = await run_once(small_disk / "j", client, BOTH)
        assert (report.reason, report.done) == ("finished", 600)
        assert sandbox.activations <= 600 + 4
        assert report.spent >= sandbox.activations


@pytest.fixture
def failing_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], bool]]]:
    """A file system, and a call that makes it read-only while files are open, as Linux does when a disk fails."""
    image, disk = tmp_path / "image", tmp_path / "disk"
    image.write_bytes(bytes(16 * 1024 * 1024))
    disk.mkdir()

    def command(*words: str) -> bool:
        path = shutil.which(words[0], path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        return path is not None and subprocess.run([path, *words[1:]], capture_output=True).returncode == 0

    if not (command("mkfs.ext4", "-q", str(image)) and command("mount", "-o", "loop", str(image), str(disk))):
        pytest.skip("run the tests as root to run it: only an administrator can make a file system")
    yield disk, lambda: command("mount", "-o", "remount,abort", str(disk))
    command("umount", "-l", str(disk))


@pytest.mark.row(44)
async def test_a_disk_that_becomes_read_only_ends_it_and_loses_nothing_that_was_kept(
    failing_disk: tuple[Path, Callable[[], bool]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_state, "STORAGE_PATIENCE", 0.2)
    disk, fail = failing_disk
    failed: list[bool] = []

    def progress(now: JobProgress) -> None:
        if now.done >= 20 and not failed:
            failed.append(fail())

    async with opened(sessions=200, latency=0.01) as (sandbox, client):
        report = await run_once(
            disk / "j", client, BOTH, sandbox.session_ids, concurrency=8, progress=progress
        )
        assert failed == [True]
        assert report.reason is StopReason.STORAGE_FAILED
        assert 20 <= report.done < 60
        await asyncio.sleep(0.1)  # what was sent and dropped arrives, if it has not been taken back
        charged = sandbox.activations
        assert report.done <= charged <= report.spent == report.done + report.dropped <= report.done + 8
        # what is there can be read all the same: also what was written when the disk failed, and not reported as kept
        kept = JobReader(disk / "j").status().done
        assert report.done <= kept <= report.done + report.dropped
        shutil.copytree(disk / "j", tmp_path / "j")
        last = await run_once(tmp_path / "j", client, BOTH)
        assert (last.reason, last.done) == ("finished", 400)
        assert sandbox.activations == charged + 400 - kept
        # what was set aside when the disk failed could not be given back, and counts as spent
        assert sandbox.activations <= last.spent <= sandbox.activations + 8


@pytest.mark.row(44)
async def test_a_job_on_a_disk_that_can_only_be_read_can_be_read(small_disk: Path) -> None:
    async with opened(sessions=3) as (sandbox, client):
        await run_once(small_disk / "j", client, BOTH, sandbox.session_ids)
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        assert JobReader(small_disk / "j").status().done == 6
        assert len([result async for result in JobReader(small_disk / "j").results()]) == 3
        with pytest.raises(JobError, match="Read-only"):
            async with Job.open(small_disk / "j", client=client):
                pass


async def test_a_folder_that_can_not_be_written_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "j").mkdir()
    (tmp_path / "j" / "job.sqlite3").mkdir()
    with pytest.raises(JobError, match="can't be used"):
        async with Job.open(tmp_path / "j", plan=BOTH):
            pass


@pytest.mark.row(14)
async def test_odd_bodies_survive_the_way_through_the_file(tmp_path: Path) -> None:
    bodies = [
        b'\xef\xbb\xbf{"events": []}', '{"events": [{"event_type": "ü"}]}'.encode(), b'{"events": [{"x": NaN}]}',
        b'{"events": null}', b"{}", b'{"events": [{"event_type": "\\ud800"}]}',
    ]  # fmt: skip
    async with opened(sessions=len(bodies)) as (sandbox, client):
        for session_id, body in zip(sandbox.session_ids, bodies, strict=True):
            sandbox.inject(Fault.status(200, body=body, charged=True), session_id=session_id)
        report = await run_once(tmp_path / "j", client, JobPlan(events=True), sandbox.session_ids)
        assert (report.done, report.failed) == (len(bodies), {})
        kept = {record.session_id: record.bodies["events"] for record in JobReader(tmp_path / "j").records()}
        assert kept == dict(zip(map(str, sandbox.session_ids), bodies, strict=True))


@pytest.mark.row(13)
async def test_answers_that_are_no_objects_or_cut_off_are_failures(tmp_path: Path) -> None:
    bodies = [b"", b"[]", b"5", b'{"events": [', b'{"a": }', b"<html>", b'{"events": []} x', b'{"a": "\xff"}']
    async with opened(sessions=len(bodies)) as (sandbox, client):
        for session_id, body in zip(sandbox.session_ids, bodies, strict=True):
            sandbox.inject(Fault.status(200, body=body, charged=True), session_id=session_id)
        report = await run_once(tmp_path / "j", client, JobPlan(events=True), sandbox.session_ids)
        # the others can't be FullStory's: nothing is recorded for their sessions
        damaged = {b'{"events": [', b'{"a": }', b'{"events": []} x'}
        assert report.failed == {"DecodeError": len(damaged)}
        assert report.spent == sandbox.activations == len(bodies)
        assert report.at_risk == report.left == len(bodies) - len(damaged)
        kept = {failure.session_id: failure.body async for failure in JobReader(tmp_path / "j").failures()}
        sent = zip(map(str, sandbox.session_ids), bodies, strict=True)
        assert kept == {session_id: body for session_id, body in sent if body in damaged}


async def test_json_that_is_no_answer_is_a_failure_of_its_result(tmp_path: Path) -> None:
    async with opened(sessions=1) as (sandbox, client):
        sandbox.inject(Fault.status(200, body=b'{"events": 5}', charged=True), operation="events")
        await run_once(tmp_path / "j", client, JobPlan(events=True), sandbox.session_ids)
        (result,) = [result async for result in JobReader(tmp_path / "j").results()]
        assert result.events is None
        assert [(failure.error, json.loads(failure.body or b"")) for failure in result.failures] == [
            ("DecodeError", {"events": 5})
        ]


async def test_another_organisations_key_is_refused_before_it_costs(tmp_path: Path) -> None:
    async with opened() as (sandbox, client):
        await run_once(tmp_path / "j", client, attrs.evolve(BOTH, max_activations=10), sandbox.session_ids)
        before = sandbox.activations
        sandbox.inject(Fault.status(200, body=b'{"orgId": "OTHER"}'), operation="whoami")
        with pytest.raises(JobError, match="of the organisation SANDBOX, and the key of OTHER"):
            await run_once(tmp_path / "j", client, BOTH)
        assert sandbox.activations == before


@pytest.mark.row(33)
async def test_an_outage_of_the_service_ends_it_before_it_eats_the_budget(tmp_path: Path) -> None:
    async with opened() as (sandbox, client):
        sandbox.inject(Fault.status(503), operation="events", times=None)
        report = await run_once(
            tmp_path / "j",
            client,
            JobPlan(events=True),
            sandbox.session_ids,
            concurrency=1,
            network_patience=0,
        )
        assert (report.reason, report.spent) == ("network down", 10)


@pytest.mark.row(33)
async def test_an_outage_of_the_service_is_waited_for_and_asked_by_one_call_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit_breaker, "_FIRST_PAUSE", 0.1)
    shown: list[JobProgress] = []
    async with opened(sessions=60) as (sandbox, client):
        sandbox.inject(Fault.status(503), operation="events", times=15)
        report = await run_once(
            tmp_path / "j",
            client,
            JobPlan(events=True),
            sandbox.session_ids,
            concurrency=8,
            progress=shown.append,
        )
        assert (report.reason, report.done, report.failed) == ("finished", 45, {"ServerError": 15})
        assert any((each.last_error or "").endswith("waiting for the service") for each in shown)
        calls = [request for request in sandbox.requests if request.operation == "events"]
        asking = calls[
            13:16
        ]  # ten in a row, three that were in flight beside them, and then one after the other
        waits = [later.at - earlier.at for earlier, later in itertools.pairwise([calls[12], *asking])]
        assert waits[0] >= 0.1
        assert waits[1] >= 0.2
        again = await run_once(tmp_path / "j", client, JobPlan(events=True))
        assert (again.reason, again.done) == ("finished", 60)


async def test_a_service_that_does_not_come_back_ends_it_when_patience_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit_breaker, "_FIRST_PAUSE", 0.05)
    async with opened(sessions=60) as (sandbox, client):
        sandbox.inject(Fault.reset(), operation="events", times=None)
        report = await run_once(
            tmp_path / "j",
            client,
            JobPlan(events=True),
            sandbox.session_ids,
            concurrency=8,
            network_patience=0.5,
        )
        assert (report.reason, report.done, report.left) == ("network down", 0, 60)
        assert sandbox.activations == report.spent
        assert 11 <= report.spent <= 23  # 10 to 17, and then 0.05, 0.15, 0.35, 0.75 s after them


@pytest.mark.row(2)
async def test_a_network_that_comes_back_is_waited_for(tmp_path: Path) -> None:
    from fullstory_async.sandbox.server import Sandbox as Server

    async with Sandbox(users=2, sessions=20, mean_events=5) as first:
        port = int(first.url.rsplit(":", 1)[1])
        ids = first.session_ids
    config = ClientConfig(
        api_key=first.api_key,
        base_url=f"http://127.0.0.1:{port}",
        rate_limit=RateLimit(10_000, 10_000),
        retry=RetryPolicy(attempts=1),
    )
    async with FullStoryClient(config=config) as client:
        run = asyncio.create_task(run_once(tmp_path / "j", client, JobPlan(events=True), ids))
        await asyncio.sleep(0.7)
        async with Server(users=2, sessions=20, mean_events=5, port=port) as back:
            report = await run
            assert (report.reason, report.done, report.failed, back.activations) == ("finished", 20, {}, 20)


async def test_a_broken_display_does_not_lose_what_was_paid_for(tmp_path: Path) -> None:
    def broken(now: JobProgress) -> None:
        if now.done:
            raise BrokenPipeError

    async with opened(latency=0.05) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=BOTH) as job:
            await job.add(sandbox.session_ids)
            with pytest.raises(BrokenPipeError):
                await job.run(progress=broken, concurrency=8)
            assert job.counts.answered == job.counts.spent == sandbox.activations > 0
            assert (await job.run()).done == 80


async def test_leaving_the_block_while_it_runs_ends_the_run(tmp_path: Path) -> None:
    async with opened(latency=0.5) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=BOTH) as job:
            await job.add(sandbox.session_ids)
            run = asyncio.create_task(job.run(concurrency=4))
            while len(sandbox.requests) < 5:
                await asyncio.sleep(0.01)
        report = await asyncio.wait_for(run, SECONDS)
        assert (report.reason, report.spent, report.dropped) == ("interrupted", 4, 4)
        with pytest.raises(ClientStateError):
            await job.add(["1:2"])
        await asyncio.sleep(0.7)


async def test_erasing_while_it_runs_loses_nothing_else_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    async with opened(sessions=60, latency=0.02) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=JobPlan(events=True)) as job:
            await job.add(sandbox.session_ids)
            run = asyncio.create_task(job.run(concurrency=4))
            while len(sandbox.requests) < 6:
                await asyncio.sleep(0.005)
            gone = [sandbox.session_ids[n] for n in (4, 5, 6, 59)]
            for each in gone:
                assert await job.purge(each)
            assert (await job.add(["7:7"])).new == 1
            report = await run
            assert (report.reason, report.left) == ("finished", 0)
            kept = {record.session_id for record in JobReader(tmp_path / "j").records() if record.bodies}
            assert kept == set(map(str, sandbox.session_ids)) - set(map(str, gone))
            assert sandbox.stats()["by_session"].get(str(gone[3])) is None
            assert {f.session_id async for f in job.failures()} == {"7:7"}


async def test_a_text_that_is_no_id_can_be_erased_too(tmp_path: Path) -> None:
    async with Job.open(tmp_path / "j", plan=BOTH) as job:
        await job.add(["ada@example.com/x"])
        assert await job.purge("ada@example.com/x")
        assert job.counts.items == 0


async def test_a_folder_that_is_removed_ends_it(tmp_path: Path) -> None:
    async with opened(latency=0.05) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=BOTH) as job:
            await job.add(sandbox.session_ids)
            run = asyncio.create_task(job.run(concurrency=2))
            while len(sandbox.requests) < 6:
                await asyncio.sleep(0.01)
            shutil.rmtree(tmp_path / "j")
            report = await run
            assert (report.reason, "removed" in report.detail) == ("storage failed", True)


async def test_an_estimate_counts_what_is_tried_again(tmp_path: Path) -> None:
    async with opened(sessions=4) as (sandbox, client):
        await run_once(tmp_path / "j", client, JobPlan(events=True), [*sandbox.session_ids, "1:2", "3:4"])
        async with Job.open(tmp_path / "j", client=client) as job:
            assert (job.estimate().calls, job.estimate(retry_failed=True).calls) == (0, 2)
        reader = JobReader(str(tmp_path / "j"))
        grown = reader.estimate(BOTH, [SessionId("5:6"), "1:2"], retry_failed=True)
        assert (grown.sessions, grown.calls, reader.plan.summary) == (7, 7 * 2 - 4, None)


async def test_a_job_whose_ids_were_still_being_added_says_so(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[str]:
        yield "1:2"
        raise OSError("the file is gone")

    async with Job.open(tmp_path / "j", plan=BOTH) as job:
        assert job.input_complete
        with pytest.raises(OSError, match="gone"):
            await job.add(broken())
    assert not JobReader(tmp_path / "j").input_complete
    async with Job.open(tmp_path / "j") as job:
        await job.add(["1:2"])
        assert job.input_complete


async def test_closing_comes_to_its_end_though_it_is_cancelled(tmp_path: Path) -> None:
    async with opened(latency=0.3) as (sandbox, client):
        for _ in range(3):

            async def hold() -> None:
                async with Job.open(tmp_path / "j", client=client, plan=BOTH) as job:
                    await job.add(sandbox.session_ids)
                    await job.run(concurrency=2)

            task = asyncio.create_task(hold())
            while not (tmp_path / "j" / "lock").exists() or len(sandbox.requests) % 4 != 3:
                await asyncio.sleep(0.005)
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            async with Job.open(tmp_path / "j", client=client) as job:  # the lock is free again
                assert job.plan == BOTH
            sandbox.requests.append(sandbox.requests[-1])
        await asyncio.sleep(0.5)


async def test_erased_texts_stay_away_and_odd_ones_are_failures(tmp_path: Path) -> None:
    async with Job.open(tmp_path / "j", plan=BOTH) as job:
        assert (await job.add(["a@b.c/x", "\udcffbad"])).unusable == 2
        assert job.counts.failed == 4
        assert await job.purge("a@b.c/x")
        assert await job.purge("\udcffbad")
        assert (await job.add(["a@b.c/x"])).new == 0
    reader = JobReader(tmp_path / "j")
    assert reader.estimate(BOTH, ["a@b.c/x"]).calls == 0


async def test_a_job_of_a_known_organisation_waits_for_nobody_elses_key(tmp_path: Path) -> None:
    async with opened() as (sandbox, client):
        await run_once(tmp_path / "j", client, attrs.evolve(BOTH, max_activations=4), sandbox.session_ids)
        sandbox.inject(Fault.status(503), operation="whoami", times=3)
        plan = attrs.evolve(BOTH, max_activations=100)
        report = await run_once(tmp_path / "j", client, plan, network_patience=0)
        assert (report.reason, report.newly_spent) == ("network down", 0)
        assert (await run_once(tmp_path / "j", client, BOTH)).done == 80
