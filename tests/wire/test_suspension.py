"""A process that was suspended, or whose loop was busy, for longer than its timeouts: what has arrived is taken."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fullstory_async import APITimeoutError, ClientConfig, FullStoryClient, Hooks, RetryPolicy
from fullstory_async.jobs import Job, JobPlan
from tests.limits import SECONDS, until, wait_until
from tests.wire.servers import ONCE, Connection, ServerInThread, client_of, http

LONG = 10_000.0
"""Seconds of a suspension: more than any timeout."""


@contextmanager
def suspendable() -> Iterator[Callable[[], None]]:
    """Yield a function that lets the clock of the running loop jump, as a suspension does that the clock counts."""
    loop = asyncio.get_running_loop()
    clock, passed = loop.time, 0.0

    def suspend() -> None:
        nonlocal passed
        passed += LONG

    loop.time = lambda: clock() + passed  # type: ignore[method-assign]
    yield suspend


class Held:
    """A server that answers when it is told to, while the client's loop stands still."""

    def __init__(self, body: bytes, *, started: bool = False, **headers: str) -> None:
        self._answer = http(body, **headers)
        self._sent_before = self._answer[:-10] if started else b""
        self._go = asyncio.Event()
        self.waiting = self.done = 0

    async def __call__(self, connection: Connection) -> None:
        if connection.head.startswith(b"GET /me"):
            await connection.send(http(b'{"orgId":"o","email":"a@b.test","role":"ADMIN"}'))
            return
        connection.writer.transport.set_write_buffer_limits(0)
        await connection.send(self._sent_before)
        self.waiting += 1
        await self._go.wait()
        # without waiting for the client: it does not read yet
        connection.writer.write(self._answer[len(self._sent_before) :])
        self.done += 1

    async def go(self) -> None:
        self._go.set()


BODY = b'{"events":[' + b" " * 50_000 + b"]}"
BODIES: dict[str, dict[str, Any]] = {
    "small": {"body": b'{"events":[]}'},
    "started": {"body": BODY, "started": True},
    "large": {"body": b'{"events":[' + b" " * 3_000_000 + b"]}"},
    "gzip": {"body": gzip.compress(BODY), "Content_Encoding": "gzip"},
}


async def one(client: FullStoryClient) -> None:
    await client.sessions.events("1:1")


async def stream(client: FullStoryClient) -> None:
    assert [event async for event in client.sessions.stream_events("1:1")] == []


async def summary(client: FullStoryClient) -> None:
    await client.sessions.summary("1:1")


async def fan_out(client: FullStoryClient) -> None:
    async with client.sessions.events_many([f"1:{n}" for n in range(4)], concurrency=4) as results:
        assert [outcome.error async for outcome in results] == [None] * 4


@pytest.mark.row(68)
@pytest.mark.parametrize("body", BODIES)
async def test_row_68_a_response_that_arrived_while_the_process_was_suspended(body: str) -> None:
    for work, calls in ((one, 1), (stream, 1), (fan_out, 4)):
        held = Held(**BODIES[body])
        with ServerInThread(held) as server, suspendable() as suspend:
            async with client_of(server.url, retry=RetryPolicy(repeat_metered=True)) as client:
                task = asyncio.create_task(work(client))
                await until(lambda: held.waiting == calls)  # noqa: B023
                server.run(held.go())
                wait_until(lambda: held.done == calls)  # noqa: B023
                suspend()
                async with asyncio.timeout(LONG + SECONDS):
                    await task
            assert len(server.requests) == client.stats.activations == calls
            assert client.stats.activations_at_risk == 0


@pytest.mark.row(68)
async def test_row_68_a_job_keeps_what_arrived_meanwhile(tmp_path: Path) -> None:
    held = Held(b'{"events":[]}')
    with ServerInThread(held) as server, suspendable() as suspend:
        async with client_of(server.url, retry=RetryPolicy(repeat_metered=True)) as client:
            async with Job.open(tmp_path / "job", client=client, plan=JobPlan(events=True)) as job:
                await job.add([f"1:{n}" for n in range(4)])
                task = asyncio.create_task(job.run(concurrency=4))
                await until(lambda: held.waiting == 4)
                server.run(held.go())
                wait_until(lambda: held.done == 4)
                suspend()
                report = await task
    assert (report.spent, report.at_risk) == (4, 0)
    assert len([head for head in server.requests if b"/events" in head]) == 4


@pytest.mark.row(68)
async def test_row_68_a_stopped_job_keeps_what_arrived_meanwhile(tmp_path: Path) -> None:
    """The seconds that its calls had to finish went by in the suspension."""
    held = Held(**BODIES["large"])
    with ServerInThread(held) as server, suspendable() as suspend:
        async with client_of(server.url) as client:
            async with Job.open(tmp_path / "job", client=client, plan=JobPlan(events=True)) as job:
                await job.add(["1:1", "1:2"])
                task = asyncio.create_task(job.run(concurrency=2))
                await until(lambda: held.waiting == 2)
                job.stop()
                server.run(held.go())
                wait_until(lambda: held.done == 2)
                suspend()
                report = await task
    assert (report.done, report.dropped, report.at_risk) == (2, 0, 0)


@pytest.mark.row(68)
async def test_row_68_a_summary_that_others_may_join() -> None:
    """Each of its callers has a timeout of its own, beside the request's."""
    held = Held(b'{"summary":"' + b"x" * 3_000_000 + b'"}')
    with ServerInThread(held) as server, suspendable() as suspend:
        async with client_of(server.url) as client:
            calls = [client.sessions.summary("1:1", timeout=60) for _ in range(2)]
            task = asyncio.gather(*calls)
            await until(lambda: held.waiting == 1)
            server.run(held.go())
            wait_until(lambda: held.done == 1)
            suspend()
            assert {summary.text[0] for summary in await task} == {"x"}
    assert len(server.requests) == client.stats.activations == 1


@pytest.mark.row(68)
async def test_row_68_without_a_response_the_deadline_ends_the_call() -> None:
    short: dict[str, Any] = {
        "read_timeout": 1.0,
        "summary_read_timeout": 1.0,
    }  # uvloop's timers don't know of the jump
    for operation in (one, stream, summary):
        held = Held(BODY, started=True)
        with ServerInThread(held) as server, suspendable() as suspend:
            async with client_of(server.url, **short) as client:
                task = asyncio.create_task(operation(client))
                await until(lambda: held.waiting == 1)  # noqa: B023
                suspend()
                with pytest.raises(APITimeoutError):
                    await task
            assert len(server.requests) == 1


@pytest.mark.row(68)
async def test_row_68_nothing_is_sent_after_the_deadline() -> None:
    """Neither over a new connection nor over one that is there already."""
    with ServerInThread() as server, suspendable() as suspend:
        hooks = Hooks(on_request=lambda request: None if request.call == 2 else suspend())
        config = ClientConfig(api_key="na1.x", base_url=server.url, retry=ONCE)
        async with FullStoryClient(config=config, hooks=hooks) as client:
            for _ in range(2):
                with pytest.raises(APITimeoutError) as caught:
                    await one(client)
                assert (caught.value.sent, caught.value.may_have_cost) == (False, False)
                if not server.requests:
                    await one(client)
        assert len(server.requests) == client.stats.activations == 1
