"""The MCP server in this process, with the SDK's own client in both generations of the protocol."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import pytest

from fullstory_async import ClientConfig, FullStoryClient, ResponseCache, StorageError
from fullstory_async.agents.text import token_count
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.sandbox import Fault, Sandbox
from tests.agents.programs import GENERATIONS, Generation, Person, house, text_of

both = pytest.mark.parametrize("generation", GENERATIONS)


@both
async def test_a_session_is_paid_for_once_and_read_for_free(tmp_path: Path, generation: Generation) -> None:
    async with Sandbox(sessions=3) as sandbox, house(sandbox, tmp_path) as served:
        async with served.agent(generation) as agent:
            user = sandbox.users[0]
            found = await agent.call("find_sessions", email=user.email)
            session_id = found.split()[0]
            assert await agent.refused("session_timeline", session_id=session_id) == (
                "Error executing tool session_timeline: This session is not stored yet: open_session first "
                "(1 activation, once)."
            )
            first = await agent.call("open_session", session_id=session_id)
            assert first.endswith("cost: 1 (1 of 10 spent)")
            assert f"{sandbox.event_counts[sandbox.session_ids[0]]} events" in first or "events," in first
            again = await agent.call("open_session", session_id=session_id)
            assert again == first.replace("cost: 1 (1 of 10 spent)", "cost: 0")
            assert "stored: free to open" in await agent.call("find_sessions", email=user.email)
            assert "## " in await agent.call("session_timeline", session_id=session_id)
            assert sandbox.activations == 1
        async with served.agent(generation) as another:
            assert await another.call("open_session", session_id=session_id) == again
            assert (await another.call("open_session", session_id=session_id, refresh=True)).endswith(
                "cost: 1 (2 of 10 spent)"
            )
            assert sandbox.activations == 2


@both
async def test_context_and_summary_are_paid_for_once(tmp_path: Path, generation: Generation) -> None:
    async with Sandbox(sessions=1) as sandbox, house(sandbox, tmp_path) as served:
        async with served.agent(generation) as agent:
            [wanted] = sandbox.session_ids
            for tool in ("session_context", "session_summary"):
                first = await agent.call(tool, session_id=wanted, max_tokens=200)
                assert first.startswith("<session-data>")
                assert token_count(first) < 300
                assert (await agent.call(tool, session_id=wanted, max_tokens=200)).endswith("cost: 0")
            assert sandbox.activations == 2
            budget = await agent.call("budget")
            assert budget == (
                "This run: 2 of 10 activations spent. No person is asked. What is stored is free."
            )


@both
@pytest.mark.parametrize(
    ("person", "ending"),
    [
        (Person(), None),
        (Person(action="decline"), "a person declined"),
        (Person(action="cancel"), "a person declined"),
        (Person(spend=False), "a person declined"),
        (None, "--ask-from never"),
    ],
    ids=["agrees", "declines", "cancels", "says no in the form", "can't be asked"],
)
async def test_a_person_is_asked_first(
    tmp_path: Path, generation: Generation, person: Person | None, ending: str | None
) -> None:
    person = None if person is None else Person(person.action, person.spend)
    async with Sandbox(sessions=1) as sandbox, house(sandbox, tmp_path, ask_from=0) as served:
        async with served.agent(generation, person) as agent:
            [wanted] = sandbox.session_ids
            if ending is None:
                assert "cost: 1" in await agent.call("open_session", session_id=wanted)
                await agent.call("open_session", session_id=wanted)
            else:
                text = await agent.refused("open_session", session_id=wanted)
                assert "Nothing was spent" in text
                assert ending in text
    assert sandbox.activations == (ending is None)
    if person is not None:
        assert person.asked == [
            f"Spend 1 FullStory activation on the events of session {wanted}? This run has spent 0 of 10."
        ]


@both
async def test_the_budget_and_the_month_bound_what_is_spent(tmp_path: Path, generation: Generation) -> None:
    async with Sandbox(sessions=3) as sandbox:
        one, two, three = sandbox.session_ids
        async with house(sandbox, tmp_path, budget=1, monthly_cap=2) as served:
            async with served.agent(generation) as agent:
                await agent.call("open_session", session_id=one)
                assert "larger --budget" in await agent.refused("open_session", session_id=two)
                assert (await agent.call("open_session", session_id=one)).endswith("cost: 0")
        async with house(sandbox, tmp_path, monthly_cap=2) as served:
            async with served.agent(generation) as agent:
                await agent.call("open_session", session_id=two)
                assert "2 of 2 activations of this month" in await agent.refused(
                    "open_session", session_id=three
                )
                assert "This month: 2 of 2." in await agent.call("budget")
        assert sandbox.activations == 2


@both
async def test_agents_that_ask_at_once_pay_once(tmp_path: Path, generation: Generation) -> None:
    async with (
        Sandbox(sessions=1, latency=0.1) as sandbox,
        house(sandbox, tmp_path, budget=1, monthly_cap=1) as served,
    ):
        [wanted] = sandbox.session_ids
        async with served.agent(generation) as one, served.agent(generation) as two:
            texts = await asyncio.gather(
                *(agent.call("open_session", session_id=wanted) for agent in (one, two, one))
            )
        assert sandbox.activations == 1
        assert sorted(text.rpartition("\n")[2] for text in texts) == [
            "cost: 0",
            "cost: 0",
            "cost: 1 (1 of 1 spent)",
        ]


@both
async def test_nobody_has_declined_what_nobody_was_asked(tmp_path: Path, generation: Generation) -> None:
    person = Person()
    async with (
        Sandbox(sessions=2, latency=0.1) as sandbox,
        house(sandbox, tmp_path, ask_from=1) as served,
        served.agent(generation, person) as one,
        served.agent(generation, person) as two,
    ):
        first, second = sandbox.session_ids
        # the first activation is free of questions, and each of these calls may be the first
        results = await asyncio.gather(
            one.client.call_tool("open_session", {"session_id": first}),
            two.client.call_tool("open_session", {"session_id": second}),
        )
        [refused] = [text_of(result) for result in results if result.is_error]
        assert person.asked == []
        assert "declined" not in refused
        assert refused.endswith("Call the tool once more: then a person is asked.")
        for agent in (one, two):
            await agent.call("open_session", session_id=first)
            await agent.call("open_session", session_id=second)
        assert len(person.asked) == 1
    assert sandbox.activations == 2


@both
async def test_what_an_agent_makes_up_does_not_use_up_the_budget(
    tmp_path: Path, generation: Generation
) -> None:
    async with Sandbox(sessions=3) as sandbox, house(sandbox, tmp_path) as served:
        one, two, three = sandbox.session_ids
        async with served.agent(generation) as agent:
            for count in range(3):
                assert "may have cost" in await agent.refused("open_session", session_id=f"9:{count}")
            for invented in ("9:4", "9:0", two):
                assert (await agent.refused("open_session", session_id=invented)).endswith(
                    "Nothing was spent: the last 3 sessions or profiles don't exist, and looking up each may "
                    "have cost an activation. Take an id from find_sessions, and leave out the profile."
                )
            assert "3 of 10" in await agent.call("budget")
            emails = {user.email for user in sandbox.users}
            listed = "".join([await agent.call("find_sessions", email=email) for email in emails])
            assert one in listed
            await agent.refused("session_summary", session_id=one, profile="made-up")
            await agent.call("open_session", session_id=one)  # one that exists loosens the brake
            assert "no such profile" in await agent.refused(
                "session_summary", session_id=one, profile="made-up"
            )
            assert "5 of 10" in await agent.call("budget")
            await agent.call("open_session", session_id=three)


@both
async def test_what_a_cancelled_agent_paid_for_is_kept(tmp_path: Path, generation: Generation) -> None:
    async with Sandbox(sessions=1, latency=0.3) as sandbox, house(sandbox, tmp_path) as served:
        [wanted] = sandbox.session_ids
        async with served.agent(generation) as agent:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.15):
                    await agent.call("open_session", session_id=wanted)
            assert (await agent.call("open_session", session_id=wanted)).endswith("cost: 0")
        assert sandbox.activations == 1


@both
async def test_failures_say_what_they_cost_and_what_to_do(tmp_path: Path, generation: Generation) -> None:
    async with Sandbox(sessions=2) as sandbox, house(sandbox, tmp_path) as served:
        async with served.agent(generation) as agent:
            text = await agent.refused("open_session", session_id="1:1")
            assert "[may have cost an activation]. Check the id with find_sessions" in text
            text = await agent.refused("open_session", session_id="../x")
            assert "Nothing was spent. Take a session id from find_sessions" in text
            assert "cursor" in await agent.refused("session_timeline", session_id="1:1", cursor=-1)
            assert "needs an email" in await agent.refused("find_sessions")
            assert "1 of 10" in await agent.call("budget")
            sandbox.inject(Fault.status(503))
            text = await agent.refused("open_session", session_id=sandbox.session_ids[0])
            assert "may have cost" in text
            assert "FullStory has failed; try once more in a minute" in text
            assert "2 of 10" in await agent.call("budget")


async def test_the_newest_session_is_found_first(tmp_path: Path) -> None:
    async with Sandbox(sessions=8, users=1) as sandbox, house(sandbox, tmp_path) as served:
        async with served.agent("legacy") as agent:
            lines = (await agent.call("find_sessions", email=sandbox.users[0].email)).splitlines()
    times = [line.partition(" ")[2] for line in lines]
    assert len(times) == 8
    assert times == sorted(times, reverse=True)


async def test_redacted_fields_reach_no_tool(tmp_path: Path) -> None:
    names = ("user_email", "user_display_name", "display_name")
    async with Sandbox(sessions=8, users=1) as sandbox, house(sandbox, tmp_path, redact=names) as served:
        [user] = sandbox.users
        async with served.agent("legacy") as agent:
            texts = []
            for wanted in sandbox.session_ids[:3]:
                texts += [
                    await agent.call("open_session", session_id=wanted),
                    await agent.call("session_timeline", session_id=wanted, max_tokens=20_000),
                    await agent.call("session_context", session_id=wanted, max_tokens=20_000),
                ]
    assert user.email not in "".join(texts)
    assert any("User: " in text for text in texts)  # the user is there, without what was redacted
    assert user.name not in "".join(texts)


async def test_the_definitions_are_small(tmp_path: Path) -> None:
    async with Sandbox() as sandbox, house(sandbox, tmp_path) as served, served.agent("legacy") as agent:
        tools = (await agent.client.list_tools()).tools
        assert [tool.name for tool in tools] == [
            "find_sessions", "open_session", "session_timeline", "session_context", "session_summary", "budget",
        ]  # fmt: skip
        listed = json.dumps(
            [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]
        )
        assert token_count(listed) <= 1200
        assert all(tool.output_schema is None for tool in tools)
        # arguments that the server fills in are none of the model's business
        assert "consent" not in listed


async def test_pages_of_a_timeline_have_each_event_once(tmp_path: Path) -> None:
    async with Sandbox(sessions=1, mean_events=300) as sandbox, house(sandbox, tmp_path) as served:
        [wanted] = sandbox.session_ids
        async with served.agent("2026-07-28") as agent:
            await agent.call("open_session", session_id=wanted)
            count, cursor = 0, "0"
            while cursor:
                page = await agent.call(
                    "session_timeline", session_id=wanted, cursor=int(cursor), max_tokens=400
                )
                assert token_count(page) < 450
                repeats = sum(int(n) - 1 for n in re.findall(r" ×(\d+)$", page, re.MULTILINE))
                count += len(re.findall(r"^#\d+ ", page, re.MULTILINE)) + repeats
                cursor = next(iter(re.findall(r"^next page: cursor=(\d+)", page, re.MULTILINE)), "")
            assert count == sandbox.event_counts[wanted]


async def test_a_large_session_holds_up_nobody(tmp_path: Path) -> None:
    async with Sandbox(sessions=1, mean_events=5000) as sandbox, house(sandbox, tmp_path) as served:
        [wanted] = sandbox.session_ids
        async with served.agent("legacy") as agent:
            await agent.call("open_session", session_id=wanted)
            turns = 0

            async def count() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            counting = asyncio.create_task(count())
            started = time.perf_counter()
            await agent.call("open_session", session_id=wanted)
            counting.cancel()
            assert turns > 20, (turns, time.perf_counter() - started)


async def test_python_the_command_line_and_agents_share_what_was_paid_for(tmp_path: Path) -> None:
    async with Sandbox(sessions=2) as sandbox, house(sandbox, tmp_path) as served:
        one, two = sandbox.session_ids
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url)
        cache = ResponseCache(tmp_path / "store", events_ttl=86_400)  # as --cache of a command
        limiter = served.desk.client.limiter
        async with (
            FullStoryClient(config=config, cache=cache, limiter=limiter) as client,
            served.agent("legacy") as agent,
        ):
            for _ in range(2):
                await client.sessions.events(one)
                await client.sessions.context(one)
                await client.sessions.summary(one)
                for tool in ("open_session", "session_context", "session_summary"):
                    assert (await agent.call(tool, session_id=one)).endswith("cost: 0")
            assert sandbox.activations == 3
            await agent.call("open_session", session_id=two)
            assert (await client.sessions.events(two)).activations == 0
        assert sandbox.activations == 4


async def test_agents_read_the_sessions_of_a_job_for_free(tmp_path: Path) -> None:
    async with Sandbox(sessions=3) as sandbox:
        in_job, other = sandbox.session_ids[0], sandbox.session_ids[1]
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url)
        async with FullStoryClient(config=config) as client:
            async with Job.open(tmp_path / "j", client=client, plan=JobPlan(events=True)) as job:
                await job.add([in_job])
                await job.run()
        async with house(sandbox, tmp_path, budget=0, jobs=(JobReader(tmp_path / "j"),)) as served:
            async with served.agent("2026-07-28") as agent:
                assert (await agent.call("open_session", session_id=in_job)).endswith("cost: 0")
                assert "## " in await agent.call("session_timeline", session_id=in_job)
                assert "larger --budget" in await agent.refused("open_session", session_id=other)
        assert sandbox.activations == 1


async def test_what_was_received_counts_although_it_can_not_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Sandbox(sessions=1) as sandbox, house(sandbox, tmp_path) as served:

        async def full(*_: object) -> None:
            raise StorageError("the disk is full")

        monkeypatch.setattr(ResponseCache, "put", full)
        async with served.agent("legacy") as agent:
            text = await agent.refused("open_session", session_id=sandbox.session_ids[0])
            assert "the disk is full [may have cost an activation]. Trying again will not help" in text
            assert "1 of 10" in await agent.call("budget")
