"""The reservations of a job: few more than the calls in flight, whatever a process waits for when it is killed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from fullstory_async import RateLimit, RetryPolicy
from fullstory_async.errors import ConnectError
from fullstory_async.http.metering import Admission
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.report import JobReport
from fullstory_async.messages import Request
from fullstory_async.sandbox import Fault
from tests.jobs.test_edges import Wrapped
from tests.jobs.test_job import QUICK, opened, run_once
from tests.limits import SECONDS

EVENTS = JobPlan(events=True)


async def most_reserved(folder: Path, job: Job, **options: Any) -> tuple[int, JobReport]:
    """Run a job; return the largest number of activations that a kill would have counted, and the report."""
    run = asyncio.create_task(job.run(**options))
    most = 0
    while not run.done():
        most = max(most, JobReader(folder).status().reserved)
        await asyncio.sleep(0.01)
    return most, await run


@pytest.mark.row(43)
async def test_calls_that_wait_for_the_rate_limit_are_not_counted_by_a_kill(tmp_path: Path) -> None:
    slow = {"rate_limit": RateLimit(20, 1)}
    async with opened(client=slow) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids[:14])
            most, report = await most_reserved(tmp_path / "j", job, concurrency=16)
        assert report.done == 14
        assert 1 <= most <= 4  # two that wait, and those on their way


async def test_calls_that_wait_for_the_network_are_not_counted_by_a_kill(tmp_path: Path) -> None:
    async with opened() as (sandbox, client):
        down = True

        async def refuse(request: Request) -> None:
            if down:
                raise ConnectError("refused", request=request, sent=False)

        Wrapped(client, refuse)
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids[:20])
            run = asyncio.create_task(job.run(concurrency=4))
            while client.stats.retries < 4 * (QUICK.attempts - 1):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            waiting = JobReader(tmp_path / "j").status()
            down = False
            report = await run
        assert (waiting.reserved, waiting.spent) == (0, 0)
        assert (report.done, report.spent, sandbox.activations) == (20, 20, 20)


@pytest.mark.row(32)
async def test_an_outage_finds_few_calls_on_their_way_to_the_limiter(tmp_path: Path) -> None:
    slow = {"rate_limit": RateLimit(50, 1), "retry": RetryPolicy(attempts=1)}
    async with opened(client=slow) as (sandbox, client):
        sandbox.inject(Fault.status(503, charged=True), operation="events", times=None)
        report = await run_once(
            tmp_path / "j", client, EVENTS, sandbox.session_ids, concurrency=32, network_patience=1.0
        )
        assert report.reason == "network down"
        assert 10 <= sandbox.activations == report.spent <= 10 + 5 + 2


async def test_what_was_refused_after_a_lost_attempt_is_not_counted(tmp_path: Path) -> None:
    retry = RetryPolicy(repeat_metered=True, wait_initial=0, wait_jitter=0)
    async with opened(client={"retry": retry}) as (sandbox, client):
        sandbox.inject(Fault.status(503, charged=True), operation="events", times=1)
        sandbox.inject(Fault.retry_after(0.1), operation="events", times=1)
        report = await run_once(tmp_path / "j", client, EVENTS, sandbox.session_ids[:1])
        assert (report.done, report.spent, sandbox.activations) == (1, 2, 2)


async def test_calls_that_wait_for_the_budget_miss_nothing_that_is_settled_on_a_slow_disk(
    tmp_path: Path,
) -> None:
    retry = RetryPolicy(attempts=3, repeat_metered=True, wait_initial=0, wait_jitter=0)
    slow = {"rate_limit": RateLimit(10, 100), "retry": retry}  # so that two are let in
    async with opened(client=slow, sessions=4) as (sandbox, client):
        plan = JobPlan(events=True, max_activations=6)  # two calls of three attempts each
        async with Job.open(tmp_path / "j", client=client, plan=plan) as job:
            await job.add(sandbox.session_ids)
            assert job._store is not None
            transaction, unlucky, tries = job._store.writer._transaction, sandbox.session_ids[0], 0

            def begin_slowly() -> Any:
                time.sleep(0.1)
                return transaction()

            async def refuse(request: Request) -> None:
                nonlocal tries
                if request.session_id != unlucky or tries == 3:
                    return
                while job.counts.answered == 0:
                    await asyncio.sleep(0.001)
                if tries == 0:
                    await asyncio.sleep(0.05)  # two others ask for the budget that the first answer left
                tries += 1
                raise ConnectError("refused", request=request, sent=False)

            Wrapped(client, refuse)
            job._store.writer._transaction = begin_slowly
            async with asyncio.timeout(SECONDS):
                report = await job.run(concurrency=4)
        assert (report.reason, report.done, report.spent, tries) == ("finished", 4, 4, 3)


async def test_admission_follows_the_rate() -> None:
    rate = 10.0
    admission = Admission(lambda: rate)

    async def enter_all() -> int:
        count = 0
        while True:
            try:
                async with asyncio.timeout(0.01):
                    await admission.__aenter__()
                    count += 1
            except TimeoutError:
                return count

    async def leave(count: int) -> None:
        for _ in range(count):
            await admission.__aexit__()

    for rate, size in ((10.0, 2), (200.0, 20), (1e6, 100_000), (50.0, 5), (1.0, 2)):  # noqa: B007  (read above)
        if size > 1000:
            continue
        async with admission:
            pass
        await leave(await enter_all())  # those of before, so that the change shows
        inside = await enter_all()
        assert inside == size
        await leave(inside)
