"""The path of one request stays short: functions, modules and depth of a plain `events` call."""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from pathlib import Path
from types import FrameType

import fullstory_async
from fullstory_async import ClientConfig, FullStoryClient, RateLimit
from fullstory_async.sandbox import Sandbox

PACKAGE = f"{Path(fullstory_async.__file__).parent}/"
SANDBOX = f"{PACKAGE}sandbox/"


def is_ours(frame: FrameType) -> bool:
    """Return whether a frame runs code of the package; the sandbox is the other end of the wire."""
    name = frame.f_code.co_filename
    return name.startswith(PACKAGE) and not name.startswith(SANDBOX)


async def traced(call: Awaitable[object]) -> tuple[set[tuple[str, str]], int]:
    """Run a call; return the functions that it ran, as module and name, and the depth of their stack."""
    functions: set[tuple[str, str]] = set()
    deepest = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal deepest
        if event != "call" or not is_ours(frame):
            return
        code = frame.f_code
        functions.add((code.co_filename.removeprefix(PACKAGE), code.co_qualname))
        depth = 0
        caller: FrameType | None = frame
        while caller is not None:
            depth, caller = depth + is_ours(caller), caller.f_back
        deepest = max(deepest, depth)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        await call
    finally:
        sys.setprofile(before)
    return functions, deepest


async def test_a_plain_call_takes_a_short_path() -> None:
    async with Sandbox(sessions=2, mean_events=5) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(1000, 1000))
        async with FullStoryClient(config=config) as client:
            first, second = sandbox.session_ids[:2]
            await client.sessions.events(first)  # the first call opens the connection
            functions, depth = await traced(client.sessions.events(second))
    modules = {module for module, _ in functions}
    assert ("http/pipeline.py", "Pipeline.fetch") in functions
    assert len(functions) <= 65, sorted(functions)
    assert len(modules) <= 20, sorted(modules)
    assert depth <= 13
