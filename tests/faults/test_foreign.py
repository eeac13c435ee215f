"""Rows 49 to 55: somebody else answers, and errors where a result should be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from fullstory_async import (
    APIStatusError,
    ErrorInSuccess,
    FullStoryClient,
    FullStoryError,
    GatewayThrottledError,
    UnexpectedRedirect,
    UnexpectedResponseError,
)
from fullstory_async.jobs import Job, JobPlan, JobReader, JobReport
from fullstory_async.sandbox import Fault, Sandbox
from tests.faults.calls import QUICK, REPEATING, ask, error_of, spoiled
from tests.virtual_time import now
from tests.wire.servers import ONCE, connected

PAGE = Fault.sign_in_page()


async def run_job(
    folder: Path, client: FullStoryClient, ids: Sequence[str] = (), concurrency: int = 8
) -> JobReport:
    async with Job.open(folder, client=client, plan=JobPlan(events=True)) as job:
        if ids:
            await job.add(ids)
        report = await job.run(concurrency=concurrency)
        assert job.counts.failed == 0
        return report


async def fanned_out(
    sandbox: Sandbox, client: FullStoryClient, concurrency: int = 32
) -> tuple[int, list[FullStoryError], FullStoryError | None]:
    """Return the number of results, the failures, and what ended the fan-out."""
    results, failures, ended = 0, list[FullStoryError](), None
    try:
        async with client.sessions.events_many(sandbox.session_ids, concurrency=concurrency) as outcomes:
            async for outcome in outcomes:
                results += outcome.error is None
                failures += [] if outcome.error is None else [outcome.error]
    except FullStoryError as error:
        ended = error
    return results, failures, ended


@pytest.mark.row(49)
@pytest.mark.parametrize("code", [200, 401, 403, 404, 511])
async def test_row_49_a_sign_in_page(code: int) -> None:
    for operation, retry, requests in (("list", QUICK, 2), ("events", REPEATING, 1), ("events", QUICK, 1)):
        async with spoiled(Fault.sign_in_page(code), retry=retry) as (sandbox, client):
            error = await error_of(ask(sandbox, client, operation))
            assert type(error) is UnexpectedResponseError
            assert f"a sign-in page probably answered at {sandbox.url} (status {code}, text/html" in str(
                error
            )
            assert error.attempts == len(sandbox.requests) == requests
            at_risk = operation == "events" and code != 511
            assert (error.may_have_cost, client.stats.activations_at_risk) == (at_risk, int(at_risk))
            assert client.stats.activations == 0
            with pytest.raises(UnexpectedResponseError):
                await client.whoami()
            if code == 200:
                with pytest.raises(UnexpectedResponseError):
                    [event async for event in client.sessions.stream_events(sandbox.session_ids[0])]
                assert client.stats.activations == 0
                assert client.stats.activations_at_risk == int(at_risk) + 1


@pytest.mark.row(50)
async def test_row_50_another_api() -> None:
    async with spoiled(Fault.foreign_json()) as (sandbox, client):
        session_id = sandbox.session_ids[0]
        for call in (client.sessions.events, client.sessions.summary, client.sessions.context):
            error = await error_of(call(session_id))
            assert type(error) is UnexpectedResponseError
            assert "another API probably answered" in str(error)
        with pytest.raises(UnexpectedResponseError):
            [event async for event in client.sessions.stream_events(session_id)]
        with pytest.raises(UnexpectedResponseError):
            await client.whoami()
        assert (client.stats.activations, client.stats.activations_at_risk) == (0, 4)


@pytest.mark.row(51)
@pytest.mark.parametrize(
    "fault",
    [PAGE, Fault.foreign_json(), Fault.sign_in_page(403), Fault.sign_in_page(400), Fault.empty_body()],
    ids=str,
)
async def test_row_51_from_the_start(fault: Fault, tmp_path: Path) -> None:
    sandbox = Sandbox(users=2, sessions=60, mean_events=3, latency=0.01)
    async with connected(sandbox, retry=QUICK) as client:
        rule = sandbox.inject(fault, times=None)
        results, failures, ended = await fanned_out(sandbox, client)
        assert (results, type(ended)) == (0, UnexpectedResponseError)
        assert len(failures) <= 5
        assert client.stats.activations == 0
        assert client.stats.activations_at_risk == len(sandbox.requests) == 5
        report = await run_job(tmp_path / "j", client, sandbox.session_ids, 32)
        assert (report.reason, report.spent, report.left) == ("not_fullstory", 0, 60)
        assert sandbox.url in report.detail
        rule.share = 0
        report = await run_job(tmp_path / "j", client)
        assert (report.reason, report.done, report.spent, report.at_risk) == ("finished", 60, 60, 0)


@pytest.mark.row(51)
async def test_row_51_a_status_that_the_service_does_not_send(tmp_path: Path) -> None:
    sandbox = Sandbox(users=2, sessions=60, mean_events=3, latency=0.01)
    async with connected(sandbox, retry=ONCE) as client:
        rule = sandbox.inject(Fault.status(451, body="Policy"), times=None)
        results, failures, ended = await fanned_out(sandbox, client)
        assert (results, len(failures), type(ended)) == (0, 5, APIStatusError)
        assert client.stats.activations_at_risk == len(sandbox.requests) == 5
        rule.share = 0
        assert (await run_job(tmp_path / "j", client, sandbox.session_ids)).done == 60


@pytest.mark.row(51)
async def test_row_51_from_the_start_of_the_paid_calls(tmp_path: Path) -> None:
    """The free questions are let through: only the response to a paid call says who responds to those."""
    sandbox = Sandbox(users=2, sessions=60, mean_events=3, latency=0.01)
    async with connected(sandbox, retry=QUICK) as client:
        rule = sandbox.inject(PAGE, operation="events", times=None)
        await client.sessions.list(uid="u-1")
        report = await run_job(tmp_path / "j", client, sandbox.session_ids, 32)
        assert report.reason == "not_fullstory"
        assert report.at_risk == report.spent == JobReader(tmp_path / "j").status().at_risk == 5
        assert "GET /me to the same address now responds as FullStory (organisation SANDBOX)" in report.detail
        rule.share = 0
        at_risk = report.at_risk
        report = await run_job(tmp_path / "j", client)
        assert (report.reason, report.done, report.at_risk, report.spent) == (
            "finished",
            60,
            at_risk,
            60 + at_risk,
        )


@pytest.mark.row(52)
@pytest.mark.parametrize(
    ("fault", "concurrency"),
    [(PAGE, 1), (PAGE, 8), (Fault.empty_body(), 8), (Fault.sign_in_page(451), 8)], ids=str,
)  # fmt: skip
async def test_row_52_in_the_middle(fault: Fault, concurrency: int, tmp_path: Path) -> None:
    sandbox = Sandbox(users=2, sessions=60, mean_events=3, latency=0.01)
    async with connected(sandbox, retry=QUICK) as client:
        rule = sandbox.inject(fault, skip=31, times=None)
        report = await run_job(tmp_path / "j", client, sandbox.session_ids, concurrency)
        assert report.reason == "not_fullstory"
        assert report.done == 30
        assert 5 <= report.at_risk <= concurrency + 4
        assert client.stats.activations == report.spent - report.at_risk == 30
        assert "GET /me to the same address now fails: UnexpectedResponseError" in report.detail
        rule.share = 0
        at_risk = report.at_risk
        report = await run_job(tmp_path / "j", client)
        assert (report.reason, report.done, report.at_risk) == ("finished", 60, at_risk)
        assert report.spent == 60 + at_risk


@pytest.mark.row(52)
@pytest.mark.parametrize("status", [402, 405, 408, 410, 418, 451])
async def test_row_52_a_status_that_the_service_does_not_send(status: int, tmp_path: Path) -> None:
    sandbox = Sandbox(users=2, sessions=60, mean_events=3, latency=0.01)
    async with connected(sandbox, retry=ONCE) as client:
        rule = sandbox.inject(Fault.status(status, body="Policy"), skip=31, times=None)
        async with Job.open(tmp_path / "j", client=client, plan=JobPlan(events=True)) as job:
            await job.add(sandbox.session_ids)
            report = await job.run(concurrency=8)
            assert (report.reason, report.done, job.counts.permanent) == ("not_fullstory", 30, 0)
            assert 5 <= report.at_risk <= 8 + 4
            assert "GET /me to the same address now responds" in report.detail
        rule.share = 0
        assert (await run_job(tmp_path / "j", client)).done == 60


@pytest.mark.row(52)
async def test_row_52_for_a_moment(tmp_path: Path) -> None:
    sandbox = Sandbox(users=2, sessions=60, mean_events=3)
    async with connected(sandbox, retry=QUICK) as client:
        sandbox.inject(PAGE, operation="events", skip=20, times=4)
        report = await run_job(tmp_path / "j", client, sandbox.session_ids)
        assert (report.reason, report.done, report.left, report.at_risk) == ("finished", 56, 4, 4)
        assert not report.failed
        report = await run_job(tmp_path / "j", client)
        assert (report.reason, report.done, report.spent) == ("finished", 60, 64)


@pytest.mark.row(53)
async def test_row_53_redirects(tmp_path: Path) -> None:
    sandbox = Sandbox(users=2, sessions=60, mean_events=3, latency=0.01)
    async with connected(sandbox, retry=QUICK) as client:
        rule = sandbox.inject(Fault.redirect_to("https://login.invalid/x?u=ada"), times=None)
        results, _, ended = await fanned_out(sandbox, client)
        assert (results, type(ended)) == (0, UnexpectedRedirect)
        assert "a redirect to login.invalid, which" in str(ended)
        assert "ada" not in str(ended)
        assert len(sandbox.requests) <= 5
        assert (client.stats.activations, client.stats.activations_at_risk) == (0, 0)
        rule.share = 0
        await client.whoami()
        rule = sandbox.inject(Fault.redirect_to("https://login.invalid/"), operation="events", times=None)
        report = await run_job(tmp_path / "j", client, sandbox.session_ids)
        assert (report.reason, report.spent, report.at_risk, report.left) == ("not_fullstory", 0, 0, 60)
        rule.share = 0
        assert (await run_job(tmp_path / "j", client)).done == 60


@pytest.mark.row(54)
@pytest.mark.parametrize("form", ["code", "error"])
async def test_row_54_an_error_in_a_success(form: str, tmp_path: Path) -> None:
    fault = Fault.error_in_success("error" if form == "error" else "code")
    for operation, retry, requests in (("list", QUICK, 3), ("events", REPEATING, 3), ("events", QUICK, 1)):
        async with spoiled(fault, retry=retry) as (sandbox, client):
            error = await error_of(ask(sandbox, client, operation))
            assert (type(error), error.status, error.code) == (ErrorInSuccess, 200, "internal")
            assert error.attempts == len(sandbox.requests) == requests
            assert error.may_have_cost is (operation == "events")
            assert client.stats.activations == 0
    async with spoiled(fault, times=1) as (sandbox, client):
        with pytest.raises(ErrorInSuccess):
            [event async for event in client.sessions.stream_events(sandbox.session_ids[0])]
    sandbox = Sandbox(users=1, sessions=5, mean_events=3)
    async with connected(sandbox, retry=QUICK) as client:
        sandbox.inject(fault, operation="events", times=1)
        async with Job.open(tmp_path / "j", client=client, plan=JobPlan(events=True)) as job:
            await job.add(sandbox.session_ids)
            report = await job.run()
            assert (report.done, dict(report.failed), report.left) == (4, {"ErrorInSuccess": 1}, 1)
            assert (await job.run()).done == 5


@pytest.mark.row(55)
async def test_row_55_a_503_page_between_good_responses(tmp_path: Path) -> None:
    sandbox = Sandbox(users=1, sessions=20, mean_events=3)
    async with connected(sandbox, retry=QUICK) as client:
        sandbox.inject(Fault.html_503(), operation="events", skip=5, times=1)
        started = now()
        report = await run_job(tmp_path / "j", client, sandbox.session_ids, 2)
        assert (report.reason, report.done, report.spent, report.at_risk) == ("finished", 20, 20, 0)
        assert now() - started > 0.9  # the limiter paused
        assert sandbox.stats()["requests"] == 22  # whose key it is, and one again


@pytest.mark.row(55)
async def test_row_55_one_that_may_be_the_services(tmp_path: Path) -> None:
    sandbox = Sandbox(users=1, sessions=20, mean_events=3)
    async with connected(sandbox, retry=QUICK) as client:
        sandbox.inject(Fault.html_503(None), operation="events", skip=5, times=1)
        started = now()
        report = await run_job(tmp_path / "j", client, sandbox.session_ids, 2)
        assert (report.reason, report.done, report.left, report.at_risk) == ("finished", 19, 1, 1)
        assert now() - started > 0.9
        assert (await run_job(tmp_path / "j", client)).done == 20
    async with spoiled(Fault.html_503(None)) as (sandbox, client):
        error = await error_of(ask(sandbox, client))
        assert not isinstance(error, GatewayThrottledError)  # nothing good was heard before
