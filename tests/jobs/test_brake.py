"""The brake: until a job has its first success, only a few calls may be started."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fullstory_async import (
    ConfigurationError,
    FullStoryClient,
    NoSessionFoundError,
    RateLimit,
    RetryPolicy,
)
from fullstory_async.config import ClientConfig
from fullstory_async.jobs import Job, JobPlan, JobReader, JobReport
from fullstory_async.sandbox import Fault, Sandbox
from tests.limits import until

EVENTS = JobPlan(events=True)
BOTH = JobPlan(events=True, summary="support")
WRONG = [f"{n}:{n}" for n in range(1, 1001)]
"""Ids of the right form that no session has."""
ONCE = RetryPolicy(attempts=1)


@asynccontextmanager
async def opened(latency: float = 0.0) -> AsyncIterator[tuple[Sandbox, FullStoryClient]]:
    async with Sandbox(users=5, sessions=60, mean_events=5, latency=latency) as sandbox:
        config = ClientConfig(
            api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(100_000, 100_000), retry=ONCE
        )
        async with FullStoryClient(config=config) as client:
            yield sandbox, client


async def run(
    folder: Path,
    client: FullStoryClient,
    plan: JobPlan | None,
    ids: Sequence[str] = (),
    *,
    retry_failed: bool = False,
    concurrency: int = 32,
) -> JobReport:
    async with Job.open(folder, client=client, plan=plan) as job:
        await job.add(ids)
        return await job.run(retry_failed=retry_failed, concurrency=concurrency)


def calls(sandbox: Sandbox) -> int:
    return sum(request.operation in ("events", "summary") for request in sandbox.requests)


@pytest.mark.row(65)
@pytest.mark.parametrize("plan", [EVENTS, BOTH])
@pytest.mark.parametrize("concurrency", [1, 7, 32, 200])
@pytest.mark.parametrize("latency", [0.0, 0.03])
async def test_a_thousand_wrong_ids_start_twenty_calls(
    tmp_path: Path, plan: JobPlan, concurrency: int, latency: float
) -> None:
    async with opened(latency=latency) as (sandbox, client):
        report = await run(tmp_path / "j", client, plan, WRONG, concurrency=concurrency)
        assert (report.reason, report.failed) == ("no session found", {"NotFoundError": 20})
        assert report.newly_spent == calls(sandbox) == 20
        assert report.left == 1000 * len(plan.operations) - 20
        assert "none of the 20 calls so far found a session" in report.detail
        # a second run, in another process too, starts none
        again = await run(tmp_path / "j", client, None)
        assert (again.reason, again.newly_spent, calls(sandbox)) == ("no session found", 0, 20)


@pytest.mark.row(65)
async def test_consent_is_saved_in_the_job(tmp_path: Path) -> None:
    async with opened() as (sandbox, client):
        ids = WRONG[:100]
        assert (await run(tmp_path / "j", client, EVENTS, ids)).reason == "no session found"
        for given, made in ((30, 30), ("42.1%", 43)):
            plan = JobPlan(events=True, max_failures=given)
            assert (await run(tmp_path / "j", client, plan)).reason == "no session found"
            assert calls(sandbox) == made
            assert JobReader(tmp_path / "j").plan.max_failures == given
        # neither a run without a plan nor one with another budget changes it
        assert (await run(tmp_path / "j", client, JobPlan(events=True, max_activations=500))).newly_spent == 0
        await run(tmp_path / "j", client, JobPlan(events=True, max_failures="100%", max_activations=70))
        assert calls(sandbox) == 70
        report = await run(tmp_path / "j", client, JobPlan(events=True, max_activations=500))
        assert (report.reason, calls(sandbox), report.left) == ("finished", 100, 0)


async def test_a_limit_below_twenty_holds_too(tmp_path: Path) -> None:
    async with opened(latency=0.02) as (sandbox, client):
        report = await run(tmp_path / "j", client, JobPlan(events=True, max_failures=3), WRONG[:50])
        assert (report.reason, calls(sandbox)) == ("no session found", 3)
        share = JobPlan(events=True, max_failures="0.001%")
        report = await run(tmp_path / "k", client, share, WRONG[:50])
        assert (report.reason, calls(sandbox)) == ("no session found", 4)


@pytest.mark.row(65)
async def test_bad_requests_count_as_unknown_sessions_do(tmp_path: Path) -> None:
    async with opened() as (sandbox, client):
        for number, session_id in enumerate(sandbox.session_ids):
            sandbox.inject(
                Fault.status(400 if number % 2 else 404), operation="events", session_id=session_id
            )
        report = await run(tmp_path / "j", client, EVENTS, list(sandbox.session_ids))
        assert (report.reason, calls(sandbox)) == ("no session found", 20)
        assert report.failed == {"NotFoundError": 10, "BadRequestError": 10}


async def test_the_first_success_releases_it_for_good(tmp_path: Path) -> None:
    async with opened(latency=0.02) as (sandbox, client):
        right = list(sandbox.session_ids)
        report = await run(tmp_path / "j", client, EVENTS, [*WRONG[:19], right[0], *WRONG[19:200]])
        assert (report.reason, report.done, calls(sandbox)) == ("finished", 1, 201)
        # the folder holds a success, so later runs are past it
        report = await run(tmp_path / "j", client, EVENTS, WRONG[200:300])
        assert (report.reason, calls(sandbox)) == ("finished", 301)


@pytest.mark.parametrize("count", [1, 19, 20])
async def test_a_job_that_small_finishes(tmp_path: Path, count: int) -> None:
    async with opened() as (_, client):
        report = await run(tmp_path / "j", client, EVENTS, WRONG[:count])
        assert (report.reason, report.left) == ("finished", 0)


async def test_retry_failed_has_none(tmp_path: Path) -> None:
    async with opened() as (sandbox, client):
        await run(tmp_path / "j", client, EVENTS, WRONG[:60])
        report = await run(tmp_path / "j", client, None, retry_failed=True)
        assert (report.reason, report.failed) == ("finished", {"NotFoundError": 60})
        assert calls(sandbox) == 80


async def test_other_failures_say_nothing_of_the_ids(tmp_path: Path) -> None:
    """A call that failed otherwise gives its place to another one, and is neither a refusal nor a success."""
    async with opened() as (sandbox, client):
        ids = list(sandbox.session_ids)
        for number, session_id in enumerate(ids):
            fault = Fault.status(500 if number % 4 == 0 else 404)
            sandbox.inject(fault, operation="events", session_id=session_id, times=None)
        report = await run(tmp_path / "j", client, EVENTS, ids, concurrency=1)
        assert (report.reason, report.failed) == (
            "no session found",
            {"NotFoundError": 20, "ServerError": 7},
        )


async def test_invalid_ids_take_no_place(tmp_path: Path) -> None:
    async with opened() as (sandbox, client):
        report = await run(tmp_path / "j", client, EVENTS, [f"../{n}" for n in range(50)] + WRONG[:50])
        assert (report.reason, calls(sandbox)) == ("no session found", 20)


async def test_erased_sessions_are_no_success(tmp_path: Path) -> None:
    """A call whose session was erased since the tasks were read ends without a request or an error."""
    plan = JobPlan(events=True, max_failures=60)
    async with opened() as (sandbox, client), Job.open(tmp_path / "j", client=client, plan=plan) as job:
        await job.add(WRONG[:100])
        running = asyncio.create_task(job.run(concurrency=1))
        await until(lambda: calls(sandbox) > 0)
        for session_id in WRONG[50:55]:
            assert await job.purge(session_id)
        assert calls(sandbox) < 50
        report = await running
        assert (report.reason, calls(sandbox)) == ("no session found", 60)


@pytest.mark.parametrize(
    "wrong", [0, -1, True, 1.5, "", "%", "0%", "101%", "20", "-5%", "5 %", "1e1%", "nan%", b"5%", "\u0665%"]
)
def test_wrong_limits_are_refused(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="max_failures must be a whole number, 1 or more, or a perc"):
        JobPlan(events=True, max_failures=wrong)  # type: ignore[arg-type]


def test_a_plan_without_consent_is_saved_as_earlier_versions_know_it() -> None:
    assert json.loads(EVENTS.to_json()) == {"events": True}
    assert JobPlan.from_json('{"events": true, "summary": null, "max_activations": null}') == EVENTS
    assert JobPlan.from_json(JobPlan(events=True, max_failures="5%").to_json()).max_failures == "5%"


async def test_a_fan_out_has_one_on_request() -> None:
    async with opened(latency=0.02) as (sandbox, client):
        sessions = client.sessions
        async with sessions.events_many(WRONG[:60]) as results:
            assert len([outcome async for outcome in results]) == 60
        outcomes = []
        with pytest.raises(NoSessionFoundError, match="none of the 5 calls") as raised:
            async with sessions.events_many(WRONG, max_failures=5) as results:
                async for outcome in results:
                    outcomes.append(outcome.session_id)
        assert sorted(outcomes) == sorted(WRONG[:5])
        # no frame of a call is left, whose locals hold its session
        assert not {"__aenter__", "_call"} & {entry.name for entry in raised.traceback}
        with pytest.raises(NoSessionFoundError, match="none of the 7 calls"):
            async with sessions.contexts_many(WRONG, max_failures=7) as contexts:
                async for _ in contexts:
                    pass
        assert sum(request.operation != "whoami" for request in sandbox.requests) == 60 + 5 + 7
        right = sandbox.session_ids[0]
        async with sessions.summaries_many([right, *WRONG[:40]], max_failures=5) as summaries:
            assert len([outcome async for outcome in summaries]) == 41
        with pytest.raises(ConfigurationError, match="max_failures"):
            sessions.events_many(WRONG, max_failures=0)
