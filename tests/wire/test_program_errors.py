"""Exceptions of the program's own code in the middle of a call: trace hooks, meters, patched modules."""

from __future__ import annotations

import asyncio
import json
import traceback
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import pytest

from fullstory_async import (
    ActivationLedger,
    APITimeoutError,
    ConnectError,
    FullStoryClient,
    FullStoryError,
    ProgramError,
)
from fullstory_async.jobs import Job, JobPlan
from tests.limits import until
from tests.wire.servers import KEY, Connection, client_of, http, raw_server
from tests.wire.test_transport import hang

RAISED: tuple[Exception, ...] = (
    RuntimeError("broken"), ValueError("broken"), KeyError("broken"), OSError(28, "No space left"),
    TimeoutError("broken"), aiohttp.ClientError("broken"), aiohttp.InvalidURL("http://broken"),
    aiohttp.ServerDisconnectedError("broken"), ConnectError("broken"), FullStoryError("broken"),
)  # fmt: skip
"""What a hook may raise; some of it looks like the network's, or ours: a hook may use another client."""
HOOKS = {
    "on_request_start": False, "on_connection_create_start": False, "on_connection_create_end": False,
    "on_connection_reuseconn": False, "on_request_headers_sent": False, "on_request_end": True,
}  # fmt: skip
"""aiohttp's hooks, and whether the request has left by then."""


async def respond(connection: Connection) -> None:
    await connection.send(http())


def tracing(hook: str, raised: Exception) -> tuple[aiohttp.TraceConfig, list[bool]]:
    """Return hooks of which one raises an exception once the list holds something."""
    config, armed = aiohttp.TraceConfig(), list[bool]()

    async def the_programs_hook(_: object, __: object, params: Any) -> None:
        if armed and "/me" not in str(getattr(params, "url", "")):
            raise type(raised)(*raised.args)

    getattr(config, hook).append(the_programs_hook)
    return config, armed


@pytest.mark.row(70)
@pytest.mark.parametrize("raised", RAISED, ids=lambda raised: type(raised).__name__)
async def test_row_70_a_trace_hook_raises(raised: Exception, tmp_path: Path) -> None:
    ledger = ActivationLedger(tmp_path / "ledger")
    for hook, has_left in HOOKS.items():
        trace, armed = tracing(hook, raised)
        async with raw_server(respond) as server, aiohttp.ClientSession(trace_configs=[trace]) as session:
            async with client_of(server.url, session=session, ledger=ledger) as client:
                if hook == "on_connection_reuseconn":
                    await client.sessions.events("1:2")
                spent, seen = await ledger.spent(client.config.key_fingerprint), len(server.requests)
                armed.append(True)
                with pytest.raises(ProgramError) as caught:
                    await client.sessions.events("1:2")
                error = caught.value
                assert (len(server.requests) - seen, error.may_have_cost, error.attempts) == (
                    has_left, has_left, 1
                )  # fmt: skip
                assert await ledger.spent(client.config.key_fingerprint) - spent == has_left
                assert client.stats.activations_at_risk == has_left
        cause = error.__cause__
        assert cause is not None
        assert (type(cause), cause.args) == (type(raised), raised.args)
        assert type(raised).__name__ in str(error)
        # its frames are the program's, and nobody else's
        frames = [frame.name for frame in traceback.extract_tb(cause.__traceback__)]
        assert frames == ["the_programs_hook"]


@pytest.mark.row(70)
@pytest.mark.parametrize("raised", RAISED, ids=lambda raised: type(raised).__name__)
async def test_row_70_a_trace_hook_raises_while_a_body_is_sent(raised: Exception) -> None:
    """aiohttp sends bodies in a task of its own, and wraps what fails there once more."""
    trace, armed = tracing("on_request_chunk_sent", raised)
    armed.append(True)
    async with raw_server(hang) as server, aiohttp.ClientSession(trace_configs=[trace]) as session:
        async with client_of(server.url, session=session) as client:
            with pytest.raises(ProgramError) as caught:
                await client.sessions.context("1:2")
    error = caught.value
    assert (type(error.__cause__), error.may_have_cost) == (type(raised), True)
    assert client.stats.activations_at_risk == 1


@pytest.mark.row(70)
async def test_row_70_a_trace_hook_raises_in_bulk(tmp_path: Path) -> None:
    """The program's fault is none of the session's: the work ends after the calls that were sent."""
    for bulk in ("fan-out", "job"):
        trace, armed = tracing("on_request_end", RuntimeError("broken"))
        async with raw_server(whole) as server, aiohttp.ClientSession(trace_configs=[trace]) as session:
            async with client_of(server.url, session=session) as client:
                if bulk == "fan-out":
                    armed.append(True)
                    with pytest.raises(ProgramError):
                        await all_of(client)
                    assert len(server.requests) == client.stats.activations_at_risk < 6
                else:
                    async with Job.open(tmp_path / "j", client=client, plan=JobPlan(events=True)) as job:
                        await job.add(["1:1", "1:2"])
                        armed.append(True)
                        with pytest.raises(ProgramError):
                            await job.run(concurrency=1)
                    async with Job.open(tmp_path / "j") as job:
                        paid = sum(b"/events" in head for head in server.requests)
                        assert job.counts.spent == paid == 1


async def whole(connection: Connection) -> None:
    is_me = connection.head.startswith(b"GET /me")
    await connection.send(http(b'{"orgId":"o","email":"a@b.test","role":"ADMIN"}') if is_me else http())


async def all_of(client: FullStoryClient) -> None:
    async with client.sessions.events_many([f"1:{n}" for n in range(50)], concurrency=4) as results:
        async for _ in results:
            pass


@pytest.mark.row(70)
async def test_row_70_a_patched_module_raises(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ledger = ActivationLedger(tmp_path / "ledger")

    def loads(*_: Any, **__: Any) -> NoReturn:
        raise RuntimeError(f"patched for user ada@example.com, {KEY}")

    odd = b'{"events":[{"event_type":"x","event_properties":{"n":NaN}}]}'  # only Python's parser reads it

    async def respond_oddly(connection: Connection) -> None:
        await connection.send(http(odd))

    async with raw_server(respond_oddly) as server, client_of(server.url, ledger=ledger) as client:
        monkeypatch.setattr(json, "loads", loads)
        with pytest.raises(ProgramError) as caught:
            await client.sessions.events("1:2")
        error = caught.value
        assert error.response is not None
        assert error.response.body == odd
        assert (error.may_have_cost, isinstance(error.__cause__, RuntimeError)) == (True, True)
        with pytest.raises(ProgramError) as caught:
            _ = [event async for event in client.sessions.stream_events("1:2")]
        assert (caught.value.may_have_cost, caught.value.session_id) == (True, "1:2")
        assert KEY not in str(caught.value)
        assert await ledger.spent(client.config.key_fingerprint) == len(server.requests) == 2
    assert KEY not in str(error)


@pytest.mark.row(71)
async def test_row_71_a_given_sessions_pool_that_others_fill() -> None:
    """Nothing was sent, so nothing can have cost, whatever ends the wait."""

    async def hang_for_others(connection: Connection) -> None:
        if b"/other" in connection.head:
            await asyncio.sleep(600)
        await connection.send(http())

    async with raw_server(hang_for_others) as server:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
            others = asyncio.create_task(session.get(server.url + "/other"))
            await until(lambda: len(server.requests) == 1)
            async with client_of(
                server.url, session=session, connect_timeout=0.05, read_timeout=0.05
            ) as client:
                for timeout in (0.05, None):
                    with pytest.raises(APITimeoutError) as caught:
                        await client.sessions.events("1:2", timeout=timeout)
                    assert (caught.value.sent, caught.value.may_have_cost) == (False, False)
                async with client.sessions.events_many(["1:3"]) as results:
                    (outcome,) = [each async for each in results]
                assert outcome.error is not None
                assert not outcome.error.may_have_cost
                task = asyncio.create_task(client.sessions.events("1:4"))
                await until(lambda: client.stats.requests == 4)
                task.cancel()
                await asyncio.wait([task])
                async with client.sessions.events_many(["1:5", "1:6"]) as results:
                    await until(lambda: client.stats.requests == 5)
                    results.stop()  # both can be dropped without a loss
                    assert [each async for each in results] == []
                assert (len(server.requests), client.stats.activations_at_risk) == (1, 0)
                others.cancel()
                await asyncio.wait([others])
                await client.sessions.events("1:5", timeout=30)


async def test_a_given_sessions_own_class_of_requests_stays() -> None:
    class Marked(aiohttp.ClientRequest):
        async def send(self, conn: Any) -> aiohttp.ClientResponse:
            self.headers["X-Marked"] = "1"
            return await super().send(conn)

    async with raw_server(respond) as server, aiohttp.ClientSession(request_class=Marked) as session:
        async with client_of(server.url, session=session) as client:
            await client.sessions.events("1:2")
            with pytest.raises(ConnectError):
                async with client_of("http://127.0.0.1:1", session=session) as nowhere:
                    await nowhere.sessions.events("1:2")
    assert b"X-Marked: 1" in server.requests[0]


@pytest.mark.row(70)
async def test_row_70_its_text_names_neither_the_user_nor_the_key() -> None:
    trace, armed = tracing("on_request_start", RuntimeError(f"no log for ada@example.com with {KEY}"))
    async with raw_server(respond) as server, aiohttp.ClientSession(trace_configs=[trace]) as session:
        async with client_of(server.url, session=session) as client:
            armed.append(True)
            with pytest.raises(ProgramError) as caught:
                await client.sessions.list(email="ada@example.com")
    assert "no log for" in str(caught.value)
    assert "ada@" not in str(caught.value)
    assert KEY not in str(caught.value)
