"""A Discord bot: ``/session url:REPLAY-URL`` posts a summary of the session to the channel.

Run it as ``python -m examples.discord_bot`` with ``DISCORD_TOKEN`` and the key in ``FULLSTORY_API_KEY``.

* Discord waits three seconds for a response, so the bot defers it, and follows up within 15 minutes.
* Equal questions share one call, a person's question passes bulk work, and an error is shown only to the
  person who asked, with what it may have cost: as in examples/slack_bot.py.
* Under SIGTERM, questions that were asked have 25 seconds to be answered.
"""

from __future__ import annotations

import asyncio
import os
import signal

import discord
from discord import app_commands

from fullstory_async import (
    ActivationLedger,
    ClientConfig,
    FullStoryClient,
    FullStoryError,
    InvalidSessionId,
    ResponseCache,
    Scope,
    SessionId,
)

LONGEST = 2000
"""Characters of a message on Discord."""


class SummaryBot(discord.Client):
    """A bot with one command, whose FullStory client the caller opens and closes."""

    def __init__(self, client: FullStoryClient) -> None:
        """Define the command; nothing is connected yet."""
        # a summary quotes web pages: their text shall notify nobody
        super().__init__(
            intents=discord.Intents(guilds=True), allowed_mentions=discord.AllowedMentions.none()
        )
        self.tree, self._answering = app_commands.CommandTree(self), set[asyncio.Task[None]]()

        async def on_command(interaction: discord.Interaction, url: str) -> None:
            await interaction.response.defer(thinking=True)
            task = asyncio.create_task(answer(client, interaction, url))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
            await task

        self.tree.command(name="session", description="Summarise a session")(on_command)

    async def setup_hook(self) -> None:
        """Register the command, once the bot is logged in."""
        await self.tree.sync()

    async def close(self) -> None:
        """Disconnect, after the questions that were asked."""
        if self._answering:
            await asyncio.wait(self._answering, timeout=25)
        await super().close()


async def answer(client: FullStoryClient, interaction: discord.Interaction, url: str) -> None:
    """Follow up a question with a session's summary, or with what went wrong."""
    try:
        session_id = SessionId(url.strip())
        if not session_id.is_pair:  # any text might be an id, and looking for it may cost an activation
            raise InvalidSessionId(f"no replay's link: {url}")
        summary = await client.sessions.summary(session_id, priority=True)
    except FullStoryError as error:
        words = {Scope.SESSION: "There is no such session.", Scope.BUDGET: "The budget is used up."}
        cost = "It may have cost an activation." if error.may_have_cost else "It cost nothing."
        text = f"{words.get(error.scope, 'Please ask again later.')} {cost}"
        # the response that was deferred is public, and can't become private
        await interaction.delete_original_response()
        await interaction.followup.send(text, ephemeral=True)
    else:
        await interaction.followup.send(summary.text[:LONGEST])


async def main() -> None:
    """Serve Discord until the process is stopped."""
    cache, ledger = (
        ResponseCache("discord_bot.cache"),
        ActivationLedger("discord_bot.ledger", monthly_cap=500),
    )
    client = FullStoryClient(config=ClientConfig.from_env(), cache=cache, ledger=ledger)
    async with client, SummaryBot(client) as bot:
        running = asyncio.create_task(bot.start(os.environ["DISCORD_TOKEN"]))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        await asyncio.wait([running])
    if not running.cancelled():
        running.result()


if __name__ == "__main__":
    asyncio.run(main())
