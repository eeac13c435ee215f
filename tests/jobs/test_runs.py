"""Runs of a job: what they ask first, how they are stopped, and what their reports and estimates say."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import pytest

from fullstory_async import (
    ActivationLedger,
    AuthenticationError,
    ClientConfig,
    ConnectError,
    FullStoryClient,
    JobError,
    PermissionDeniedError,
    RateLimit,
    RetryPolicy,
    SessionId,
)
from fullstory_async.jobs import Job, JobPlan, JobReader, JobReport, StopReason, circuit_breaker
from fullstory_async.jobs.report import JobProgress
from fullstory_async.messages import Request, Response
from fullstory_async.sandbox import Fault
from tests.jobs.test_edges import Wrapped
from tests.jobs.test_job import BOTH, opened, run_once
from tests.limits import SECONDS
from tests.wire.test_transport import silent_listener

EVENTS = JobPlan(events=True)


def organisation(body: bytes | str) -> Fault:
    return Fault.status(200, body=body)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.status(503), "network down"),
        (Fault.reset(), "network down"),
        (Fault.retry_after(10_000), "rate limited"),
    ],
)
async def test_nothing_is_bought_before_it_is_known_for_whom(
    tmp_path: Path, fault: Fault, reason: str
) -> None:
    async with opened() as (sandbox, client):
        rule = sandbox.inject(fault, operation="whoami", times=None)
        report = await run_once(tmp_path / "j", client, EVENTS, sandbox.session_ids[:3], network_patience=0.1)
        assert (report.reason, report.done, sandbox.activations) == (reason, 0, 0)
        assert "whose key it is could not be asked" in report.detail
        sandbox._rules.remove(rule)
    async with opened() as (sandbox, client):
        report = await run_once(tmp_path / "j", client, EVENTS)
        assert (report.reason, report.done) == ("finished", 3)
        sandbox.inject(organisation('{"orgId": "OTHER"}'), operation="whoami")
        with pytest.raises(JobError, match="of the organisation SANDBOX"):
            await run_once(tmp_path / "j", client, EVENTS)


async def test_a_service_that_is_down_at_the_beginning_is_waited_for(tmp_path: Path) -> None:
    shown: list[JobProgress] = []
    async with opened() as (sandbox, client):
        sandbox.inject(Fault.status(503), operation="whoami", times=4)  # which is more than one call tries
        report = await run_once(tmp_path / "j", client, EVENTS, sandbox.session_ids, progress=shown.append)
        assert (report.reason, report.done) == ("finished", 40)
        assert shown[0].last_error is not None
        assert shown[0].last_error.endswith("waiting for the service")


@pytest.mark.parametrize("status", [400, 403, 404, 405])
async def test_a_service_that_does_not_say_for_whom_it_works_is_used(tmp_path: Path, status: int) -> None:
    async with opened() as (sandbox, client):
        sandbox.inject(Fault.status(status), operation="whoami", times=None)
        report = await run_once(tmp_path / "j", client, EVENTS, sandbox.session_ids)
        assert (report.reason, report.done) == ("finished", 40)


async def test_an_odd_organisation_is_kept_and_an_empty_one_is_none(tmp_path: Path) -> None:
    odd = b'{"orgId": "\\ud800x"}'
    async with opened(sessions=3) as (sandbox, client):
        for body in (odd, odd, b'{"orgId": ""}', b'{"orgId": null}'):
            sandbox.inject(organisation(body), operation="whoami")
            report = await run_once(tmp_path / "j", client, EVENTS, sandbox.session_ids)
            assert (report.reason, report.done) == ("finished", 3)
        with pytest.raises(JobError, match=r"of the organisation \?x, and the key of SANDBOX"):
            await run_once(tmp_path / "j", client, EVENTS)
        sandbox.inject(organisation(b'{"orgId": ""}'), operation="whoami")
        assert (await run_once(tmp_path / "k", client, EVENTS, sandbox.session_ids)).done == 3
        assert (await run_once(tmp_path / "k", client, EVENTS)).reason == "finished"


async def test_answers_that_are_written_while_a_run_is_dropped_count_for_it(tmp_path: Path) -> None:
    async with opened(sessions=40) as (sandbox, client):
        for few in range(6):
            async with Job.open(tmp_path / str(few), client=client, plan=EVENTS) as job:
                await job.add(sandbox.session_ids)

                def stop(now: JobProgress) -> None:
                    if now.done > few:  # noqa: B023  (called before it changes)
                        job.stop(at_once=True)

                report = await job.run(concurrency=32, progress=stop)
                assert report.new_responses == report.done == job.counts.answered > few


async def test_a_run_is_not_told_what_a_cancelled_one_gives_back(tmp_path: Path) -> None:
    slow = {"rate_limit": RateLimit(20, 1)}
    async with opened(client=slow, sessions=6) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids)
            run = asyncio.create_task(job.run())
            assert job._store is not None
            while job._store.activations.reserved < 2:  # two wait for the rate limit
                await asyncio.sleep(0.001)
            transaction = job._store.writer._transaction

            def begin_slowly() -> Any:
                time.sleep(0.05)
                return transaction()

            job._store.writer._transaction = begin_slowly
            run.cancel()
            await asyncio.wait([run])
            before = sandbox.activations
            report = await job.run()
        assert (report.done, report.spent) == (6, sandbox.activations)
        assert report.newly_spent == report.new_responses == sandbox.activations - before


async def test_a_stop_ends_one_run_and_no_other(tmp_path: Path) -> None:
    async with opened(sessions=4) as (sandbox, client):
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids)
            job.stop()  # as a signal may that comes before the run
            assert (await job.run()).reason == "interrupted"
            job.stop()  # as a signal may that comes after it
            report = await job.run()
            assert (report.reason, report.done) == ("finished", 4)
            job.stop(at_once=True)
            assert (await job.run()).reason == "finished"


async def test_what_is_never_sent_is_no_call_of_an_estimate(tmp_path: Path) -> None:
    ids = ["../x", "a@b.c/x", "1:2"]  # and the last one is unknown
    async with opened(sessions=2) as (sandbox, client):
        await run_once(tmp_path / "j", client, BOTH, [*sandbox.session_ids, *ids])
        reader = JobReader(tmp_path / "j")
        assert reader.estimate(BOTH).calls == 0
        assert reader.estimate(BOTH, retry_failed=True).calls == 2
        async with Job.open(tmp_path / "j", client=client) as job:
            assert (job.estimate().calls, job.estimate(retry_failed=True).calls) == (0, 2)
            await job.add(["../y", "3:4"])
            assert (job.estimate().calls, job.estimate(retry_failed=True).calls) == (2, 4)
            before = len(sandbox.requests)
            await job.run(retry_failed=True)
            assert len(sandbox.requests) - before == 1 + 4  # one asked whose key it is
            await job.purge("../x")
            assert job.estimate(retry_failed=True).calls == 4


async def test_an_estimate_is_no_less_than_what_repeated_calls_cost(tmp_path: Path) -> None:
    retry = RetryPolicy(repeat_metered=True, wait_initial=0, wait_jitter=0)
    async with opened(sessions=10, client={"retry": retry}) as (sandbox, client):
        sandbox.inject(Fault.status(503, charged=True), operation="events", times=None, share=0.5)
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids)
            estimate = job.estimate()
            report = await job.run()
            assert 10 < sandbox.activations <= report.spent <= estimate.activations == 30
            assert (estimate.calls, estimate.seconds) == (10, 10 / client.limiter.rate)
        capped = attrs.evolve(EVENTS, max_activations=report.spent + 5)
        again = JobReader(tmp_path / "j").estimate(
            capped, [SessionId("1:2")], charges=retry.max_charges_per_call
        )
        assert (again.calls, again.activations) == (1 + report.left, min(3 + 3 * report.left, 5))


async def test_a_display_that_breaks_before_the_first_call_ends_the_wait_for_the_service(
    tmp_path: Path,
) -> None:
    def broken(now: JobProgress) -> None:
        raise ZeroDivisionError

    async with opened() as (sandbox, client):
        sandbox.inject(Fault.status(503), operation="whoami", times=None)
        async with asyncio.timeout(SECONDS):
            with pytest.raises(ZeroDivisionError):
                await run_once(tmp_path / "j", client, EVENTS, sandbox.session_ids, progress=broken)
        assert sandbox.activations == 0


async def test_what_is_not_sent_says_nothing_of_an_outage(tmp_path: Path) -> None:
    retry = RetryPolicy(attempts=1)
    async with opened(client={"retry": retry}, sessions=40) as (sandbox, client):
        sandbox.inject(Fault.status(404), operation="events", times=len(sandbox.session_ids))
        plan = JobPlan(events=True, max_failures="100%")
        async with Job.open(tmp_path / "j", client=client, plan=plan) as job:
            for start in range(0, 40, 5):
                await job.add([*sandbox.session_ids[start : start + 5], f"../{start}"])
            await job.run()
        sandbox.inject(Fault.status(503, charged=True), operation="events", times=None)
        again: dict[str, Any] = {"concurrency": 1, "retry_failed": True, "network_patience": 2.0}
        report = await run_once(tmp_path / "j", client, EVENTS, **again)
        assert report.reason == "network down"
        assert (
            circuit_breaker.FAILURE_THRESHOLD
            <= sandbox.activations
            == report.newly_spent
            <= circuit_breaker.FAILURE_THRESHOLD + 2
        )


@pytest.mark.row(23)
@pytest.mark.parametrize("bulk", ["fan-out", "job"])
@pytest.mark.parametrize(
    ("statuses", "made"), [((403,), 3), ((403, 404), 5), ((403, 200), 30), ((401,), 1), ((404,), 30)]
)
async def test_fan_outs_and_jobs_end_by_the_same_rule(
    tmp_path: Path, bulk: str, statuses: tuple[int, ...], made: int
) -> None:
    async with opened(sessions=30) as (sandbox, client):
        for session_id, status in zip(sandbox.session_ids, itertools.cycle(statuses), strict=False):
            if status != 200:
                sandbox.inject(Fault.status(status), operation="events", session_id=session_id, times=None)
        if bulk == "job":
            plan = JobPlan(events=True, max_failures="100%")
            report = await run_once(tmp_path / "j", client, plan, sandbox.session_ids, concurrency=1)
            assert (report.reason == "key rejected") is (made < 30)
        else:
            ended = pytest.raises((AuthenticationError, PermissionDeniedError))
            async with client.sessions.events_many(sandbox.session_ids, concurrency=1) as results:
                with ended if made < 30 else contextlib.nullcontext():
                    async for _ in results:
                        pass
        assert sum(request.operation == "events" for request in sandbox.requests) == made


async def test_a_call_that_is_stopped_while_it_connects_has_cost_nothing_anywhere(tmp_path: Path) -> None:
    listener, fillers = await silent_listener()
    ledger = ActivationLedger(tmp_path / "ledger")
    async with opened() as (sandbox, first):
        nowhere = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with (
            FullStoryClient(sandbox.api_key, config=ClientConfig(base_url=nowhere)) as unconnected,
            FullStoryClient(
                sandbox.api_key,
                config=ClientConfig(base_url=sandbox.url),
                ledger=ledger,
                limiter=first.limiter,
            ) as client,
        ):
            pipeline = client.api.pipeline
            transport, connecting = pipeline._transport, asyncio.Event()

            class Split:
                """Sends what is metered to where nothing connects."""

                slots: asyncio.Semaphore | None = None
                check = transport.check

                async def send(self, request: Request, *rest: Any, **options: Any) -> Response:
                    if not request.metered:
                        return await transport.send(request, *rest, **options)
                    connecting.set()
                    return await unconnected.api.pipeline._transport.send(request, *rest, **options)

            pipeline._transport = Split()
            async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
                await job.add(sandbox.session_ids[:1])
                run = asyncio.create_task(job.run())
                await connecting.wait()
                await asyncio.sleep(0.2)
                job.stop(at_once=True)
                report = await run
            assert (report.reason, report.spent, report.dropped) == ("interrupted", 0, 0)
            assert (client.stats.activations, client.stats.activations_at_risk) == (0, 0)
            assert await ledger.spent(client.config.key_fingerprint) == 0
    for each in (listener, *fillers):
        each.close()


async def test_a_stop_begins_no_further_call_for_one_that_could_not_leave(tmp_path: Path) -> None:
    """It was not droppable when the stop came, and no connection was to be had a moment later."""
    async with opened(client={"retry": RetryPolicy(attempts=1)}) as (sandbox, client):
        tries = 0
        async with Job.open(tmp_path / "j", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids[:1])

            async def refuse(request: Request) -> None:
                nonlocal tries
                tries += 1
                job.stop()
                raise ConnectError("refused", request=request, sent=False)

            Wrapped(client, refuse)
            report = await job.run()
        assert (report.reason, report.spent, report.failed, tries) == ("interrupted", 0, {}, 1)


def test_the_old_names_of_a_report_still_work() -> None:
    report = JobReport(
        reason=StopReason.FINISHED, detail="", done=3, failed=Counter(), spent=4, at_risk=1, new_responses=1,
        newly_spent=2, dropped=0, left=0, seconds=1.0,
    )  # fmt: skip
    with pytest.warns(DeprecationWarning, match="JobReport.done_now is now called new_responses"):
        assert report.done_now == 1
    with pytest.warns(DeprecationWarning, match="JobReport.spent_now is now called newly_spent"):
        assert report.spent_now == 2
