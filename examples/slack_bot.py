"""A Slack bot: ``/session REPLAY-URL`` posts a summary of the session to the channel.

Run it as ``python -m examples.slack_bot`` with ``SLACK_BOT_TOKEN``, ``SLACK_SIGNING_SECRET`` and the key in
``FULLSTORY_API_KEY``, and let the slash command's Request URL lead to ``/slack/events`` on port 3000.

* Slack waits three seconds for a response, so the bot acknowledges first and posts the summary later.
* Equal questions at the same time share one call, and later ones are free for a day, because of the cache.
* A person's question passes a bulk job that runs on the same client, because of ``priority``.
* An error is shown only to the person who asked, and says whether it may have cost an activation.
* Under SIGTERM, questions that were asked have 25 seconds to be answered.
"""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator

from aiohttp import web
from slack_bolt.async_app import AsyncAck, AsyncApp, AsyncRespond

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

WORDS = {
    Scope.SESSION: "There is no such session. Give the link of its replay.",
    Scope.BUDGET: "This month's budget is used up.",
    Scope.RATE: "FullStory is busy. Please ask again in a minute.",
}


async def answer(client: FullStoryClient, respond: AsyncRespond, question: str) -> None:
    """Answer a question with a session's summary, or with what went wrong."""
    try:
        session_id = SessionId(question.strip())
        if not session_id.is_pair:  # any text might be an id, and looking for it may cost an activation
            raise InvalidSessionId(f"no replay's link: {question}")
        summary = await client.sessions.summary(session_id, priority=True)
    except FullStoryError as error:
        words = WORDS.get(error.scope, "FullStory can't answer now. Please ask again later.")
        cost = "It may have cost an activation." if error.may_have_cost else "It cost nothing."
        await respond(f"{words} {cost}", response_type="ephemeral")
    else:
        # a summary quotes web pages: escaped, their text sends no notifications and makes no links
        await respond(html.escape(summary.text, quote=False), response_type="in_channel")


def serve(slack: AsyncApp, client: FullStoryClient) -> web.Application:
    """Add the command to an app; return its web application, which opens and closes the client."""
    answering = set[asyncio.Task[None]]()

    async def on_command(ack: AsyncAck, respond: AsyncRespond, command: dict[str, str]) -> None:
        await ack("Reading the session …")
        task = asyncio.create_task(answer(client, respond, command.get("text", "")))
        answering.add(task)
        task.add_done_callback(answering.discard)
        await task

    async def run_client(_: web.Application) -> AsyncIterator[None]:
        async with client:
            yield
            if answering:
                await asyncio.wait(answering, timeout=25)

    slack.command("/session")(on_command)
    application = slack.web_app("/slack/events")
    application.cleanup_ctx.append(run_client)
    return application


def main() -> None:
    """Serve Slack until the process is stopped."""
    cache, ledger = ResponseCache("slack_bot.cache"), ActivationLedger("slack_bot.ledger", monthly_cap=500)
    client = FullStoryClient(config=ClientConfig.from_env(), cache=cache, ledger=ledger)
    web.run_app(serve(AsyncApp(), client), port=3000)


if __name__ == "__main__":
    main()
