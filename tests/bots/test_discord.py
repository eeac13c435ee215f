"""The Discord bot of examples/ with discord.py itself, Discord being a server on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from fullstory_async import ActivationLedger, ClientConfig, FullStoryClient, ResponseCache
from fullstory_async.sandbox import Sandbox, SandboxSession
from tests.bots.discord_service import discord_service, discord_with_a_bot, main
from tests.limits import until


async def test_a_response_is_deferred_and_followed_up_with_the_summary(
    fullstory_sandbox: Sandbox, fullstory_client: FullStoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = fullstory_sandbox.add_session(SandboxSession(summary="@everyone " + "x" * 3000))
    async with discord_with_a_bot(fullstory_client, monkeypatch) as discord:
        await discord.command(f"https://app.fullstory.com/ui/ORG/session/{session_id}")
        await until(partial(discord.has_sent, 1))
    assert [name for name, _ in discord.calls] == ["register", "respond", "follow up"]
    assert discord.made("register") == [["session"]]
    assert discord.made("respond")[0]["type"] == 5  # deferred: the person sees that the bot is thinking
    [message] = discord.made("follow up")
    assert message["content"] == ("@everyone " + "x" * 3000)[:2000]
    assert message["allowed_mentions"]["parse"] == []  # nobody is notified
    fullstory_sandbox.assert_paid(1)


async def test_many_who_ask_the_same_pay_once(
    fullstory_sandbox: Sandbox,
    fullstory_config: ClientConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = FullStoryClient(config=fullstory_config, cache=ResponseCache(tmp_path / "cache"))
    async with discord_with_a_bot(client, monkeypatch) as discord:
        for number in range(10):
            await discord.command(fullstory_sandbox.session_ids[0], number)
        await until(partial(discord.has_sent, 10))
    assert len(set(discord.messages())) == 1
    fullstory_sandbox.assert_paid(1)


async def test_what_went_wrong_is_shown_to_one_person_with_its_cost(
    fullstory_sandbox: Sandbox,
    fullstory_config: ClientConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = ActivationLedger(tmp_path / "ledger", monthly_cap=1)
    client = FullStoryClient(config=fullstory_config, ledger=ledger)
    expected = {
        "yesterday's": ("There is no such session. It cost nothing.", True),
        "9:9": ("There is no such session. It may have cost an activation.", True),
        fullstory_sandbox.session_ids[0]: ("The budget is used up. It cost nothing.", True),
    }
    async with discord_with_a_bot(client, monkeypatch) as discord:
        for number, (text, message) in enumerate(expected.items()):
            await discord.command(text, number)
            await until(partial(discord.has_sent, number + 1))
            assert discord.messages()[number] == message
    # the public "thinking" of each is gone
    assert discord.made("delete") == [f"token{number}" for number in range(len(expected))]
    fullstory_sandbox.assert_paid(0)


@pytest.mark.fullstory(latency=0.3)
async def test_questions_are_answered_when_the_program_is_stopped(
    fullstory_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISCORD_TOKEN", "a token")
    async with discord_service(monkeypatch) as discord:
        program = asyncio.create_task(main())
        await until(lambda: discord.is_ready or program.done())
        await discord.command(fullstory_sandbox.session_ids[0])
        await until(lambda: bool(discord.made("respond")))
        os.kill(os.getpid(), signal.SIGTERM)
        await program
    assert [only_one for _, only_one in discord.messages()] == [False]
    fullstory_sandbox.assert_paid(1)
