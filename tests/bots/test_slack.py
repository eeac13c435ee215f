"""The Slack bot of examples/ with slack_bolt itself, Slack being a server on this machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import attrs
import pytest

from examples import slack_bot
from fullstory_async import (
    ActivationLedger,
    ClientConfig,
    FullStoryClient,
    RateLimit,
    ResponseCache,
    RetryPolicy,
)
from fullstory_async.jobs import Job, JobPlan
from fullstory_async.sandbox import Fault, Sandbox, SandboxSession
from tests.bots.counting import lines_of_code
from tests.bots.slack_service import Posted, slack_with_a_bot
from tests.examples import ROOT, blocks
from tests.limits import until


async def test_a_summary_is_posted_to_the_channel(
    fullstory_sandbox: Sandbox, fullstory_client: FullStoryClient
) -> None:
    session_id = fullstory_sandbox.add_session(SandboxSession(summary="She bought <!channel> shoes & left."))
    async with slack_with_a_bot(fullstory_client) as slack:
        link = f"https://app.fullstory.com/ui/ORG/session/{session_id.replace(':', '%3A')}"
        assert await slack.command(f" {link} ") == (200, "Reading the session …")
        await until(lambda: bool(slack.posted))
    assert slack.posted == [Posted("U1", "She bought &lt;!channel&gt; shoes &amp; left.", is_public=True)]
    fullstory_sandbox.assert_paid(1)


async def test_the_command_is_acknowledged_although_fullstory_does_not_answer(
    fullstory_sandbox: Sandbox, fullstory_config: ClientConfig
) -> None:
    fullstory_sandbox.inject(Fault.stall(), operation="summary")
    # longer than the three seconds that the library, as Slack, gives the acknowledgement
    config = attrs.evolve(fullstory_config, summary_read_timeout=3.5)
    async with slack_with_a_bot(FullStoryClient(config=config)) as slack:
        assert (await slack.command(fullstory_sandbox.session_ids[0]))[0] == 200
        assert slack.posted == []
        await until(lambda: bool(slack.posted))
    words = "FullStory can't answer now. Please ask again later. It may have cost an activation."
    assert slack.posted == [Posted("U1", words, is_public=False)]


async def test_forty_people_who_ask_the_same_pay_once(
    fullstory_sandbox: Sandbox, fullstory_config: ClientConfig, tmp_path: Path
) -> None:
    client = FullStoryClient(config=fullstory_config, cache=ResponseCache(tmp_path / "cache"))
    people = [f"U{number}" for number in range(40)]
    async with slack_with_a_bot(client) as slack:
        session_id = fullstory_sandbox.session_ids[0]
        replies = await asyncio.gather(*(slack.command(session_id, person) for person in people))
        assert {status for status, _ in replies} == {200}
        await until(lambda: len(slack.posted) == len(people))
    assert {each.person for each in slack.posted} == set(people)
    assert len({(each.text, each.is_public) for each in slack.posted}) == 1
    fullstory_sandbox.assert_paid(1)


@pytest.mark.fullstory(sessions=60, mean_events=3)
async def test_a_person_passes_a_bulk_job_of_the_same_process(
    fullstory_sandbox: Sandbox, fullstory_config: ClientConfig, tmp_path: Path
) -> None:
    config = attrs.evolve(fullstory_config, rate_limit=RateLimit(5, 1))
    ledger = ActivationLedger(tmp_path / "ledger", monthly_cap=1000)
    client = FullStoryClient(config=config, ledger=ledger)
    asked, *others = fullstory_sandbox.session_ids
    async with slack_with_a_bot(client) as slack:
        async with Job.open(tmp_path / "bulk.job", client=client, plan=JobPlan(events=True)) as job:
            await job.add(others)
            bulk = asyncio.create_task(job.run())
            await until(lambda: fullstory_sandbox.activations > 4)
            await slack.command(asked)
            await until(lambda: bool(slack.posted))
            job.stop()
            await bulk
    operations = [each.operation for each in fullstory_sandbox.requests]
    # without priority it would come after 30 calls of the job
    assert operations.index("summary") < 25


async def test_what_went_wrong_is_shown_to_one_person_with_its_cost(
    fullstory_sandbox: Sandbox, fullstory_config: ClientConfig, tmp_path: Path
) -> None:
    ledger = ActivationLedger(tmp_path / "ledger", monthly_cap=2)
    config = attrs.evolve(fullstory_config, max_wait=1, retry=RetryPolicy(attempts=1))
    first, second = fullstory_sandbox.session_ids[:2]
    async with slack_with_a_bot(FullStoryClient(config=config, ledger=ledger)) as slack:

        async def ask(text: str) -> str:
            await slack.command(text)
            await until(lambda: bool(slack.posted))
            message = slack.posted.pop()
            return "posted" if message.is_public else message.text

        unknown = "There is no such session. Give the link of its replay."
        assert await ask("yesterday's session") == f"{unknown} It cost nothing."
        assert await ask("") == f"{unknown} It cost nothing."
        assert await ask("9:9") == f"{unknown} It may have cost an activation."
        assert await ask(first) == "posted"
        assert await ask(second) == "This month's budget is used up. It cost nothing."
    fullstory_sandbox.assert_paid(1)


async def test_a_429_asks_for_patience(fullstory_sandbox: Sandbox, fullstory_client: FullStoryClient) -> None:
    fullstory_sandbox.inject(Fault.retry_after(3600))
    async with slack_with_a_bot(fullstory_client) as slack:
        await slack.command(fullstory_sandbox.session_ids[0])
        await until(lambda: bool(slack.posted))
    words = "FullStory is busy. Please ask again in a minute. It cost nothing."
    assert slack.posted == [Posted("U1", words, is_public=False)]
    fullstory_sandbox.assert_paid(0)


@pytest.mark.fullstory(latency=0.2)
async def test_questions_are_answered_before_the_bot_ends(
    fullstory_sandbox: Sandbox, fullstory_client: FullStoryClient
) -> None:
    async with slack_with_a_bot(fullstory_client) as slack:
        await slack.command(fullstory_sandbox.session_ids[0])
    assert [each.is_public for each in slack.posted] == [True]


async def test_a_command_that_slack_did_not_sign_is_refused(
    fullstory_sandbox: Sandbox, fullstory_client: FullStoryClient
) -> None:
    async with slack_with_a_bot(fullstory_client) as slack:
        status, _ = await slack.command(fullstory_sandbox.session_ids[0], secret="another")
    assert status == 401
    assert fullstory_sandbox.requests == []


def test_the_test_of_the_docs(fullstory_sandbox: Sandbox, fullstory_client: FullStoryClient) -> None:
    texts = blocks((ROOT / "docs" / "testing.md").read_text(encoding="utf-8"), "python")
    [recipe] = [text for text in texts if "slack_bot" in text]
    names: dict[str, Any] = {}
    exec(recipe, names)
    names["test_summary"](fullstory_sandbox, fullstory_client)


def test_the_bot_has_forty_lines() -> None:
    assert lines_of_code(slack_bot) <= 40
