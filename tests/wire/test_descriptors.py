"""File descriptors: no more connections than the process may have open."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from fullstory_async.http.transport import descriptors
from fullstory_async.http.transport.descriptors import connection_limit
from tests.limits import SECONDS
from tests.wire.servers import ServerInThread, client_of

CLIENT = """
import asyncio, resource, sys
from fullstory_async import ClientConfig, FullStoryClient, RateLimit

async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    config = ClientConfig(api_key="na1.x", base_url=sys.argv[1], rate_limit=RateLimit(10_000, 10_000))
    async with FullStoryClient(config=config) as client:
        await client.sessions.events("1:0")
        async with client.sessions.events_many([f"1:{n}" for n in range(400)], concurrency=200) as results:
            errors = [outcome.error async for outcome in results]
        streams = [client.sessions.stream_events(f"1:{n}") for n in range(100)]
        await asyncio.gather(*(consume(stream) for stream in streams))
    print(len(errors), [error for error in errors if error], client.stats.requests)

async def consume(stream):
    async for _ in stream:
        pass

asyncio.run(main())
"""


@pytest.mark.row(69)
async def test_row_69_a_fan_out_with_more_workers_than_descriptors() -> None:
    with ServerInThread() as server:
        ended = subprocess.run(
            [sys.executable, "-c", CLIENT, server.url],
            capture_output=True, text=True, timeout=SECONDS, check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert (ended.stdout, ended.stderr) == ("400 [] 501\n", "")
        assert len(server.requests) == 501


@pytest.mark.row(69)
def test_row_69_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for soft, count in ((64, 10), (256, 100), (1024, 0), (20, 18), (1_048_576, 10), (-1, 10)):
        limits: Any = SimpleNamespace(
            getrlimit=lambda _, soft=soft: (soft, -1), RLIMIT_NOFILE=0, RLIM_INFINITY=-1
        )
        monkeypatch.setattr(descriptors, "resource", limits)
        monkeypatch.setattr(os, "listdir", lambda _, count=count: [""] * count)
        found[soft] = connection_limit()
    assert found == {64: 32, 256: 140, 1024: 992, 20: 1, 1_048_576: None, -1: None}

    def no_such_folder(_: str) -> list[str]:
        raise FileNotFoundError

    monkeypatch.setattr(os, "listdir", no_such_folder)
    monkeypatch.setattr(descriptors, "resource", None)
    assert connection_limit() is None


@pytest.mark.row(69)
async def test_row_69_calls_queue_for_the_last_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bulk call queues as long as it takes; a single one has its timeout."""
    monkeypatch.setattr("fullstory_async.http.transport.session.connection_limit", lambda: 1)
    with ServerInThread() as server:
        async with client_of(server.url, overall_timeout=5) as client:
            async with client.sessions.events_many([f"1:{n}" for n in range(8)]) as results:
                assert [outcome.error async for outcome in results] == [None] * 8
            stream = client.sessions.stream_events("1:1")
            _ = [event async for event in stream]
            await client.sessions.events("1:2")
        assert len(server.connections) <= 1
        assert len(server.requests) == client.stats.activations == 10
