"""Discord on a local port: its gateway and its HTTP API, as far as a bot with one command needs them."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fullstory_async import FullStoryClient
from tests.limits import until

with warnings.catch_warnings():
    # discord.py plays sounds too, for which Python 3.13 has no module any more
    warnings.filterwarnings("ignore", "'audioop' is deprecated", DeprecationWarning)
    from discord import gateway, http

    from examples.discord_bot import SummaryBot, main

__all__ = ["Discord", "discord_service", "discord_with_a_bot", "main"]

_BOT = {"id": "1", "username": "bot", "discriminator": "0", "avatar": None, "bot": True}
_PERSON = {"id": "7", "username": "ada", "discriminator": "0", "avatar": None}
_APPLICATION: dict[str, Any] = {
    "id": "1", "name": "bot", "description": "", "icon": None, "bot_public": True, "flags": 0,
    "bot_require_code_grant": False, "verify_key": "", "owner": _PERSON, "rpc_origins": [], "hook": False,
}  # fmt: skip
_EPHEMERAL = 64


def _json(content: Any) -> web.Response:
    """Return a response without a charset, as the library expects it."""
    return web.Response(body=json.dumps(content).encode(), content_type="application/json")


@attrs.define
class Discord:
    calls: list[tuple[str, Any]] = attrs.field(factory=list)
    """What the bot did, with what it sent."""
    is_ready: bool = False
    """Whether a bot is logged in."""
    _socket: web.WebSocketResponse | None = None

    async def command(self, url: str, number: int = 1) -> None:
        """Let a person use the bot's command."""
        options = [{"name": "url", "type": 3, "value": url}]
        await self._dispatch(
            "INTERACTION_CREATE",
            {
                "id": f"{number}", "application_id": "1", "type": 2, "token": f"token{number}", "version": 1,
                "attachment_size_limit": 1, "entitlements": [], "locale": "en-US", "app_permissions": "0",
                "channel": {"id": "5", "type": 1, "recipients": [_PERSON]}, "channel_id": "5", "user": _PERSON,
                "data": {"id": "3", "name": "session", "type": 1, "options": options},
            },
        )  # fmt: skip

    def made(self, name: str) -> list[Any]:
        """Return what the bot sent with its calls of one name."""
        return [content for called, content in self.calls if called == name]

    def messages(self) -> list[tuple[str, bool]]:
        """Return the texts of the follow-ups, and whether only one person sees them."""
        return [(each["content"], each.get("flags") == _EPHEMERAL) for each in self.made("follow up")]

    def has_sent(self, number: int) -> bool:
        """Return whether the bot has sent this many follow-ups."""
        return len(self.messages()) >= number

    async def _dispatch(self, name: str, content: dict[str, Any]) -> None:
        assert self._socket is not None
        await self._socket.send_str(json.dumps({"op": 0, "t": name, "s": len(self.calls), "d": content}))

    async def gateway(self, request: web.Request) -> web.WebSocketResponse:
        self._socket = socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(json.dumps({"op": 10, "d": {"heartbeat_interval": 1e6}}))
        async for message in socket:
            if json.loads(message.data)["op"] == 2:
                ready = {"v": 10, "user": _BOT, "guilds": [], "session_id": "s", "application": _APPLICATION}
                await self._dispatch("READY", ready | {"resume_gateway_url": str(request.url)})
                self.is_ready = True
        return socket

    async def me(self, _: web.Request) -> web.Response:
        return _json(_BOT)

    async def application(self, _: web.Request) -> web.Response:
        return _json(_APPLICATION)

    async def register(self, request: web.Request) -> web.Response:
        commands = await request.json()
        self.calls.append(("register", [each["name"] for each in commands]))
        extra = {"id": "3", "application_id": "1", "version": "1", "default_member_permissions": None}
        return _json([each | extra for each in commands])

    async def respond(self, request: web.Request) -> web.Response:
        self.calls.append(("respond", await request.json()))
        return _json({"interaction": {"id": request.match_info["id"], "type": 2}})

    async def delete(self, request: web.Request) -> web.Response:
        self.calls.append(("delete", request.match_info["token"]))
        return web.Response(status=204)

    async def follow_up(self, request: web.Request) -> web.Response:
        content = await request.json()
        self.calls.append(("follow up", content))
        empty: dict[str, Any] = {name: [] for name in ("mentions", "mention_roles", "attachments", "embeds")}
        known = {"id": "9", "channel_id": "5", "author": _BOT, "content": content["content"], "type": 0}
        when = {"timestamp": "2026-05-04T10:00:00+00:00", "edited_timestamp": None}
        return _json(empty | known | when | {"tts": False, "mention_everyone": False, "pinned": False})


@asynccontextmanager
async def discord_service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Discord]:
    """Let the library find this Discord in place of the real one."""
    discord, application = Discord(), web.Application()
    application.add_routes(
        [
            web.get("/gateway", discord.gateway),
            web.get("/users/@me", discord.me),
            web.get("/oauth2/applications/@me", discord.application),
            web.put("/applications/1/commands", discord.register),
            web.post("/interactions/{id}/{token}/callback", discord.respond),
            web.post("/webhooks/1/{token}", discord.follow_up),
            web.delete("/webhooks/1/{token}/messages/@original", discord.delete),
        ]
    )
    async with TestServer(application) as server:
        monkeypatch.setattr(http.Route, "BASE", str(server.make_url("")).rstrip("/"))
        address = server.make_url("/gateway").with_scheme("ws")
        monkeypatch.setattr(gateway.DiscordWebSocket, "DEFAULT_GATEWAY", address)
        yield discord
    # the library waits two seconds for descriptions of servers, also once the bot is closed
    left = [task for task in asyncio.all_tasks() if "_delay_ready" in repr(task.get_coro())]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@asynccontextmanager
async def discord_with_a_bot(
    client: FullStoryClient, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Discord]:
    """Run the example's bot, with the real library, until the block ends."""
    async with discord_service(monkeypatch) as discord, client, SummaryBot(client) as bot:
        running = asyncio.create_task(bot.start("a token"))
        await until(lambda: discord.is_ready or running.done())
        yield discord
        await bot.close()
        await running
