"""Agents' programs: the SDK's own client in memory, over standard input and output, with a person or without."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import attrs
import mcp_types
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

from fullstory_async import ActivationLedger, ClientConfig, FullStoryClient
from fullstory_async.agents.desk import AgentDesk
from fullstory_async.agents.reading import Reader
from fullstory_async.agents.server import Office, make_server
from fullstory_async.agents.spending import Terms
from fullstory_async.agents.store import FOREVER, AgentStore
from fullstory_async.files.response_cache import ResponseCache
from fullstory_async.jobs import JobReader
from fullstory_async.jobs.export import Redaction
from fullstory_async.sandbox import Sandbox

Generation = Literal["legacy", "2026-07-28"]
GENERATIONS: tuple[Generation, ...] = ("legacy", "2026-07-28")
"""How the client connects: by the handshake of 2025-11-25, or without one."""


@attrs.define
class Person:
    """Replies to the questions before an activation is spent."""

    action: Literal["accept", "decline", "cancel"] = "accept"
    spend: bool = True
    asked: list[str] = attrs.field(factory=list)

    async def __call__(self, context: Any, params: mcp_types.ElicitRequestParams) -> mcp_types.ElicitResult:
        self.asked.append(params.message)
        content: dict[str, Any] | None = {"spend": self.spend} if self.action == "accept" else None
        return mcp_types.ElicitResult(action=self.action, content=content)


@attrs.define
class Agent:
    """A connected client."""

    client: Client

    async def call(self, tool: str, **arguments: Any) -> str:
        """Return the text of a good result."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        return text_of(result)

    async def refused(self, tool: str, **arguments: Any) -> str:
        """Return the text of an error."""
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, result.content
        return text_of(result)


def text_of(result: mcp_types.CallToolResult) -> str:
    [content] = result.content
    assert isinstance(content, mcp_types.TextContent)
    assert result.structured_content is None, "the text would be sent twice"
    return content.text


@attrs.define
class House:
    """A server in this process; any number of agents connect to it."""

    sandbox: Sandbox
    desk: AgentDesk
    server: Any

    @asynccontextmanager
    async def agent(self, generation: Generation, person: Person | None = None) -> AsyncIterator[Agent]:
        async with Client(self.server, mode=generation, elicitation_callback=person) as client:
            assert (client.protocol_version == "2025-11-25") == (generation == "legacy")
            yield Agent(client)


@asynccontextmanager
async def house(
    sandbox: Sandbox,
    folder: Path,
    *,
    budget: int = 10,
    ask_from: int | None = None,
    monthly_cap: int | None = None,
    redact: tuple[str, ...] = (),
    jobs: tuple[JobReader, ...] = (),
) -> AsyncIterator[House]:
    """Serve a sandbox, which is started, in this process."""
    ledger = None if monthly_cap is None else ActivationLedger(folder / "ledger", monthly_cap=monthly_cap)
    config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url)
    async with FullStoryClient(config=config, ledger=ledger) as client:
        cache = ResponseCache(folder / "store", ttl=FOREVER, events_ttl=FOREVER)
        store = AgentStore(cache, client.api.name, jobs)
        desk = AgentDesk(client, store, Terms(budget=budget, ask_from=ask_from), ledger)
        yield House(sandbox, desk, make_server(Office(desk, Reader(Redaction.of(redact, "secret")))))
        await desk.finish()


def command(sandbox: Sandbox, *options: str) -> StdioServerParameters:
    """Return the command that serves a sandbox over standard input and output."""
    return StdioServerParameters(
        command=sys.executable,
        args=["-W", "error", "-m", "fullstory_async", "mcp", *options],
        env={"FULLSTORY_API_KEY": sandbox.api_key, "FULLSTORY_BASE_URL": sandbox.url},
    )


@asynccontextmanager
async def process(
    sandbox: Sandbox, generation: Generation, *options: str, person: Person | None = None
) -> AsyncIterator[Agent]:
    """Start the command, and connect to it."""
    async with Client(command(sandbox, *options), mode=generation, elicitation_callback=person) as client:
        yield Agent(client)
