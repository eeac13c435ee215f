"""Measure what agents read and how long they wait; ``python -m benchmarks.agents`` renews docs/agents.md.

Tokens are this project's own estimate (`token_count`), which is a little higher than most tokenizers' count.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from mcp.client.client import Client
from mcp_types import TextContent

from fullstory_async import ClientConfig, FullStoryClient
from fullstory_async.agents.desk import AgentDesk
from fullstory_async.agents.reading import Reader
from fullstory_async.agents.server import Office, make_server
from fullstory_async.agents.spending import Terms
from fullstory_async.agents.store import FOREVER, AgentStore
from fullstory_async.agents.text import token_count
from fullstory_async.files.response_cache import ResponseCache
from fullstory_async.jobs.export import Redaction
from fullstory_async.sandbox import Sandbox

PAGE = Path(__file__).parent.parent / "docs" / "agents.md"
BEGIN, END = "<!-- measured: begins -->\n", "<!-- measured: ends -->\n"
_STALL_TICK = 0.001
_ROUNDS = 9
"""The best of them counts: other programs on the machine only ever add to it."""

Call = Callable[..., Awaitable[str]]
"""Calls a tool by its name with arguments."""


async def stall_during(call: Callable[[], Awaitable[str]]) -> tuple[str, float, float]:
    """Return a call's text, its seconds, and the longest time for which it held up the event loop."""
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(_STALL_TICK)
            longest = max(longest, time.perf_counter() - before - _STALL_TICK)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    before = time.perf_counter()
    text = await call()
    took = time.perf_counter() - before
    # a tick that the end of the call held up is measured only when it comes
    await asyncio.sleep(2 * _STALL_TICK)
    ticking.cancel()
    return text, took, longest


@asynccontextmanager
async def caller(desk: AgentDesk) -> AsyncIterator[Call]:
    """Connect to a server that has decoded nothing yet; gives a function that returns a tool's text."""
    server = make_server(Office(desk, Reader(Redaction.of([], ""))))
    async with Client(server, mode="legacy") as agent:

        async def call(tool: str, **arguments: object) -> str:
            [content] = (await agent.call_tool(tool, arguments)).content
            assert isinstance(content, TextContent)
            return content.text

        yield call


async def measure(mean_events: int) -> list[str]:
    """Return the table's row for the largest of some sessions."""
    async with Sandbox(sessions=12, mean_events=mean_events) as sandbox:
        counts = sandbox.event_counts
        wanted = max(counts, key=counts.__getitem__)
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url)
        with tempfile.TemporaryDirectory() as folder:
            async with FullStoryClient(config=config) as client:
                raw = (await client.sessions.events(wanted)).raw.decode()
                cache = ResponseCache(Path(folder, "store"), ttl=FOREVER, events_ttl=FOREVER)
                desk = AgentDesk(client, AgentStore(cache, client.api.name), Terms(ask_from=None), None)
                async with caller(desk) as call:
                    await call("open_session", session_id=wanted)
                rounds = []
                for _ in range(_ROUNDS):
                    async with caller(desk) as call:
                        opened = partial(call, "open_session", session_id=wanted)
                        text, *times = await stall_during(opened)
                        rounds.append(times)
                async with caller(desk) as call:
                    errors = await call("session_timeline", session_id=wanted, only="errors")
                    page = await call("session_timeline", session_id=wanted)
    took, stall = map(min, zip(*rounds, strict=True))
    return [
        f"{counts[wanted]:,}".replace(",", " "), f"{token_count(raw):,}".replace(",", " "),
        str(token_count(text)), str(token_count(errors)), str(token_count(page)),
        f"{took:.2f} s", f"{stall * 1000:.0f} ms",
    ]  # fmt: skip


async def definitions() -> int:
    """Return the tokens of the tools' definitions."""
    async with FullStoryClient("na1.x", config=ClientConfig(base_url="https://example.test")) as client:
        cache = ResponseCache(Path(tempfile.gettempdir(), "unused"))
        desk = AgentDesk(client, AgentStore(cache, ""), Terms(), None)
        server = make_server(Office(desk, Reader(Redaction.of([], ""))))
        tools = [
            each.model_dump(mode="json", by_alias=True, exclude_none=True)
            for each in await server.list_tools()
        ]
    return token_count(json.dumps(tools))


async def table() -> str:
    """Return the measured part of the page."""
    head = [
        "events",
        "raw JSON",
        "map",
        "page of errors",
        "page of timeline",
        "opening it again",
        "event loop held",
    ]
    rows = [await measure(mean) for mean in (200, 2000, 20_000)]
    lines = [head, ["--:"] * len(head), *rows]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{text}\nThe definitions of the six tools have {await definitions()} tokens together.\n"


def main() -> None:
    """Write the table into the page, and print it."""
    measured = asyncio.run(table())
    print(measured)
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(head + BEGIN + measured + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
