"""``fullstory-async mcp`` as agents' programs start it: over standard input and output, and over HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from fullstory_async.sandbox import Sandbox
from tests.agents.programs import GENERATIONS, Agent, Generation, Person, command, process
from tests.limits import SECONDS

both = pytest.mark.parametrize("generation", GENERATIONS)
TOKEN = "a-token-of-the-tests"


@both
async def test_a_person_decides(tmp_path: Path, generation: Generation) -> None:
    store = f"--store={tmp_path / 'store'}"
    async with Sandbox(sessions=2) as sandbox:
        one, two = sandbox.session_ids
        person = Person()
        async with process(sandbox, generation, store, "--budget=1", person=person) as agent:
            assert (await agent.call("open_session", session_id=one)).endswith("cost: 1 (1 of 1 spent)")
            assert len(person.asked) == 1
            assert "larger --budget" in await agent.refused("open_session", session_id=two)
        person = Person(action="decline")
        async with process(sandbox, generation, store, person=person) as agent:
            assert (await agent.call("open_session", session_id=one)).endswith("cost: 0")
            assert not person.asked
            assert "a person declined" in await agent.refused("open_session", session_id=two)
        async with process(sandbox, generation, store) as agent:
            assert "--ask-from never" in await agent.refused("open_session", session_id=two)
        assert sandbox.activations == 1


@both
async def test_two_processes_that_ask_at_once_pay_once(tmp_path: Path, generation: Generation) -> None:
    options = (f"--store={tmp_path / 'store'}", "--ask-from=never")
    async with Sandbox(sessions=1, latency=0.5) as sandbox:
        [wanted] = sandbox.session_ids
        async with (
            process(sandbox, generation, *options) as one,
            process(sandbox, generation, *options) as two,
        ):
            texts = await asyncio.gather(
                *(agent.call("open_session", session_id=wanted) for agent in (one, two, one))
            )
        assert sandbox.activations == 1
        assert sorted(text.rpartition("\n")[2] for text in texts)[:2] == ["cost: 0", "cost: 0"]


@both
async def test_a_call_that_is_cancelled_in_the_middle(tmp_path: Path, generation: Generation) -> None:
    options = (f"--store={tmp_path / 'store'}", "--ask-from=never")
    async with Sandbox(sessions=1, latency=0.6) as sandbox:
        [wanted] = sandbox.session_ids
        async with process(sandbox, generation, *options) as agent:
            await agent.call("budget")  # the process has started
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await agent.call("open_session", session_id=wanted)
            # the program leaves before the response is there
        async with process(sandbox, generation, *options) as agent:
            assert (await agent.call("open_session", session_id=wanted)).endswith("cost: 0")
        assert sandbox.activations == 1


async def test_a_signal_ends_it_in_order(tmp_path: Path) -> None:
    async with Sandbox(sessions=1) as sandbox:
        parameters = command(sandbox)
        running = await asyncio.create_subprocess_exec(
            parameters.command, *parameters.args, env={**os.environ, **(parameters.env or {})},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert running.stdin is not None
        assert running.stdout is not None
        hello = (
            b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",'
            b'"capabilities":{},"clientInfo":{"name":"t","version":"1"}}}\n'
        )
        running.stdin.write(hello)
        assert b"fullstory-async" in await running.stdout.readline()
        running.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(running.communicate(), SECONDS)
        assert (running.returncode, errors) == (0, b"")


@asynccontextmanager
async def over_http(sandbox: Sandbox, *options: str) -> AsyncIterator[str]:
    """Serve over HTTP; gives the URL."""
    settings = {
        "FULLSTORY_API_KEY": sandbox.api_key,
        "FULLSTORY_BASE_URL": sandbox.url,
        "FULLSTORY_MCP_TOKEN": TOKEN,
    }
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fullstory_async", "mcp", "--transport=http", "--port=0", *options,
        env={**os.environ, **settings}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert running.stderr is not None
        line = (await running.stderr.readline()).decode()
        assert line.startswith("serving http://127.0.0.1:"), line
        yield line.split()[1].rstrip(";")
    finally:
        running.send_signal(signal.SIGINT)
        await asyncio.wait_for(running.communicate(), SECONDS)
    assert running.returncode == 0


async def test_a_place_that_is_taken_is_named(tmp_path: Path) -> None:
    """And the port, or the file, can be chosen anew: nothing was served."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for options, said in (
            ((f"--port={port}",), f"can't listen on 127.0.0.1:{port}: Address already in use"),
            ((f"--store={tmp_path}",), "can't be used: it is a folder; name a file"),
        ):
            running = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "fullstory_async", "mcp", "--transport=http", "--sandbox", *options,
                env={**os.environ, "FULLSTORY_MCP_TOKEN": TOKEN}, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            _, err = await asyncio.wait_for(running.communicate(), SECONDS)
            assert (running.returncode, said in err.decode()) == (2, True), err


@both
async def test_over_http_a_token_is_required(tmp_path: Path, generation: Generation) -> None:
    person = Person()
    async with Sandbox(sessions=1) as sandbox, over_http(sandbox, f"--store={tmp_path / 'store'}") as url:
        async with httpx2.AsyncClient(trust_env=False) as stranger:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
                response = await stranger.post(url, json={}, headers=headers)
                assert response.status_code == 401
            forged = {"Authorization": f"Bearer {TOKEN}", "Host": "evil.test"}
            assert (await stranger.post(url, json={}, headers=forged)).status_code in (400, 403, 421)
            # HTTP's schemes have no case
            scheme = {"Authorization": f"bearer {TOKEN}"}
            assert (await stranger.post(url, json={}, headers=scheme)).status_code != 401
        known = httpx2.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {TOKEN}"})
        async with known:
            transport = streamable_http_client(url, http_client=known)
            async with Client(transport, mode=generation, elicitation_callback=person) as client:
                agent = Agent(client)
                text = await agent.call("open_session", session_id=sandbox.session_ids[0])
                assert text.endswith("cost: 1 (1 of 10 spent)")
                assert len(person.asked) == 1
        assert sandbox.activations == 1
