"""Slack on a local port: sends signed slash commands to a bot, and receives what the bot posts."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import attrs
from aiohttp import web
from aiohttp.test_utils import TestServer
from slack_bolt.async_app import AsyncApp
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient

from examples import slack_bot
from fullstory_async import FullStoryClient

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


class Posted(NamedTuple):
    """A message of the bot: who asked, and whether everybody in the channel sees it."""

    person: str
    text: str
    is_public: bool


@attrs.define
class Slack:
    bot: str
    """The bot's URL."""
    own: str
    http: aiohttp.ClientSession
    posted: list[Posted] = attrs.field(factory=list)

    async def command(self, text: str, person: str = "U1", secret: str = SECRET) -> tuple[int, Any]:
        """Send a person's slash command; return the status and the body of the bot's immediate response."""
        form = aiohttp.FormData(
            {
                "command": "/session", "text": text, "user_id": person, "team_id": "T1", "channel_id": "C1",
                "response_url": f"{self.own}/respond/{person}", "trigger_id": "1.2", "api_app_id": "A1",
            }
        )  # fmt: skip
        body = form()._value
        assert isinstance(body, bytes)
        when = str(int(time.time()))
        signature = SignatureVerifier(secret).generate_signature(timestamp=when, body=body)
        assert signature is not None
        headers = {
            "Content-Type": "application/x-www-form-urlencoded", "X-Slack-Request-Timestamp": when,
            "X-Slack-Signature": signature,
        }  # fmt: skip
        async with self.http.post(f"{self.bot}/slack/events", data=body, headers=headers) as response:
            return response.status, await response.text()


@asynccontextmanager
async def slack_with_a_bot(client: FullStoryClient) -> AsyncIterator[Slack]:
    """Run the example's bot, with the real library, as Slack's only app."""
    async with aiohttp.ClientSession() as http:
        slack = Slack("", "", http)

        async def authorise(_: web.Request) -> web.Response:
            return web.json_response({"ok": True, "bot_id": "B1", "user_id": "U0", "team_id": "T1"})

        async def receive(request: web.Request) -> web.Response:
            message = await request.json()
            is_public = {"in_channel": True, "ephemeral": False}[message["response_type"]]
            slack.posted.append(Posted(request.match_info["person"], message["text"], is_public))
            return web.Response(text="ok")

        service = web.Application()
        service.add_routes([web.post("/api/auth.test", authorise), web.post("/respond/{person}", receive)])
        async with TestServer(service) as own:
            slack.own = str(own.make_url("")).rstrip("/")
            api = AsyncWebClient("xoxb-1", base_url=f"{slack.own}/api/")
            app = AsyncApp(signing_secret=SECRET, client=api)
            async with TestServer(slack_bot.serve(app, client)) as bot:
                slack.bot = str(bot.make_url("")).rstrip("/")
                yield slack
