"""Cancel whatever runs, at any of its awaits: afterwards nothing is left of it, on either side, and no activation went uncounted.

FULLSTORY_CANCELLATIONS sets how often; ``nox -s cancellations`` does it ten thousand times.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import random
import time
import types
from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fullstory_async import ClientConfig, FullStoryClient, RateLimit, RateLimiter, RetryPolicy, SessionId
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.ratelimit.bucket import MARGIN
from fullstory_async.sandbox import Fault, Sandbox
from tests.limits import A_TEST, FACTOR, SECONDS
from tests.virtual_time import now
from tests.wire.servers import Connection, client_of, raw_server

CANCELLATIONS = int(os.environ.get("FULLSTORY_CANCELLATIONS", "250"))
AT_A_TIME = 50
LIMIT = RateLimit(1000, 60)
"""Less at once than there are tasks, so that many wait for the limiter when they are cancelled."""
PLACES = 30
"""Connections of the given session; others wait for one."""
PAUSES = max(1, CANCELLATIONS // 200)
"""Answers 429: each is a second in which calls are cancelled that wait for its end."""
TURNS = 20
"""Turns of the loop in which what was cancelled twice, and so was not waited for, comes to its end."""
PLAN = JobPlan(events=True, summary="support")


class Program:
    """What a program does with a client: each method is something that may be cancelled."""

    def __init__(
        self, client: FullStoryClient, ids: list[SessionId], folder: Path, rng: random.Random
    ) -> None:
        self.client, self.folder, self.rng = client, folder, rng
        self.ids, self.ids_of_jobs = ids[:40], ids[40:]
        self.jobs: list[Path] = []

    async def call(self) -> None:
        await self.client.sessions.events(self.rng.choice(self.ids))

    async def shared_call(self) -> None:
        await self.client.sessions.summary(self.rng.choice(self.ids[:3]), config_profile_id="support")

    async def listing(self) -> None:
        assert [session async for session in self.client.sessions.list(uid="u-1", limit=30)]

    async def fan_out(self) -> None:
        async with self.client.sessions.events_many(self.rng.sample(self.ids, 8), concurrency=4) as results:
            assert all([outcome.error is None async for outcome in results])

    async def stream(self) -> None:
        events = self.client.sessions.stream_events(self.rng.choice(self.ids))
        async with aclosing(events):
            assert [event async for event in events]

    async def job(self) -> None:
        self.jobs.append(self.folder / f"{len(self.jobs)}.job")
        async with Job.open(self.jobs[-1], client=self.client, plan=PLAN) as job:
            await job.add(self.rng.sample(self.ids_of_jobs, 4))
            await job.run()

    def anything(self) -> Coroutine[Any, Any, None]:
        """Begin one of them; jobs, which wait for the disk all the time, less often."""
        kinds = [self.call, self.shared_call, self.listing, self.fan_out, self.stream, self.job]
        return self.rng.choices(kinds, [30, 20, 10, 20, 20, 4])[0]()


@types.coroutine
def counting_awaits(
    work: Coroutine[Any, Any, None], waiting: Callable[[], None]
) -> Generator[Any, Any, None]:
    """Do the work, and call ``waiting`` each time that it has to wait."""
    step: Callable[[Any], Any] = work.send
    value: Any = None
    while True:
        try:
            awaited = step(value)
        except StopIteration:
            return
        waiting()
        try:
            step, value = work.send, (yield awaited)
        except BaseException as error:  # noqa: BLE001  (it is cancelled, and told so)
            step, value = work.throw, error


async def cancelled_somewhere(work: Coroutine[Any, Any, None], rng: random.Random) -> None:
    """Cancel the task that runs this at one of the work's awaits, an early one more often, and sometimes twice."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    awaits, chosen = itertools.count(1), 1 + int(rng.expovariate(1 / 2))
    delay = rng.choice([0, 0, rng.uniform(0, 0.02)])

    def waiting() -> None:
        if next(awaits) == chosen:
            loop.call_later(delay, task.cancel)
            if rng.random() < 0.1:
                loop.call_later(delay + rng.uniform(0, 0.005), task.cancel)

    await counting_awaits(work, waiting)


async def settled(condition: Callable[[], bool], seconds: float = SECONDS) -> bool:
    """Wait until something is so; tell whether it came to be."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return condition()


def connections_of(sandbox: Sandbox) -> int:
    assert sandbox._runner is not None
    assert sandbox._runner.server is not None
    return len(sandbox._runner.server.connections)


def tasks_of_ours() -> list[asyncio.Task[Any]]:
    """All but those in which the sandbox waits for requests, and this one."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    return [task for task in others if "RequestHandler" not in repr(task)]


async def passes_at_its_full_rate(limiter: RateLimiter) -> bool:
    """Tell whether a rested limiter gives its whole burst at once, and then its rate."""
    await asyncio.sleep(limiter.paused_for + LIMIT.burst / LIMIT.rate)
    assert limiter.paused_for == 0
    burst = 0
    while await limiter.try_acquire():
        burst += 1
    started = now()
    await asyncio.gather(*(limiter.acquire() for _ in range(300)))
    took = now() - started
    return burst >= LIMIT.burst - LIMIT.rate * MARGIN - 1 and took <= 2.5 * 300 / LIMIT.rate


@pytest.mark.timeout(900 * FACTOR if CANCELLATIONS > 250 else A_TEST)
@pytest.mark.row(39)
async def test_random_cancellations_leave_nothing_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng, ended = random.Random(CANCELLATIONS), Counter[str]()
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    sandbox = Sandbox(users=1, sessions=60, mean_events=15, latency=0.002)
    limiter = RateLimiter(LIMIT, max_wait=600)
    async with sandbox, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=PLACES)) as session:
        quick = RetryPolicy(attempts=5, wait_initial=0.01, wait_jitter=0.01)
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, retry=quick)
        sandbox.inject(Fault.status(429), times=PAUSES, share=0.04)
        async with FullStoryClient(config=config, session=session, limiter=limiter) as client:
            program = Program(client, sandbox.session_ids, tmp_path, rng)
            while ended["cancelled"] < CANCELLATIONS:
                works: list[Any] = [program.anything() for _ in range(AT_A_TIME)]
                names = [work.__name__ for work in works]
                tasks = [asyncio.create_task(cancelled_somewhere(work, rng)) for work in works]
                for name, task in zip(
                    names, await asyncio.gather(*tasks, return_exceptions=True), strict=True
                ):
                    assert task is None or isinstance(task, asyncio.CancelledError), (name, task)
                    ended["cancelled" if task else "done"] += 1
                    ended[name] += task is not None
                for _ in range(TURNS):
                    await asyncio.sleep(0)
                assert not tasks_of_ours(), tasks_of_ours()  # not even for as long as an answer takes
            print(dict(ended))  # noqa: T201

            connector = session.connector
            assert connector is not None
            assert await settled(lambda: not tasks_of_ours()), tasks_of_ours()
            assert await settled(lambda: not connector._acquired)
            pool = connector._conns
            assert await settled(lambda: connections_of(sandbox) == sum(map(len, pool.values())))
            assert await passes_at_its_full_rate(limiter)
            await asyncio.gather(*(program.call() for _ in range(PLACES + 1)))
            sandbox.inject(Fault.stall(0.5), times=PLACES)
            started = now()
            await asyncio.gather(*(program.call() for _ in range(PLACES)))
            assert now() - started < 1  # at the same time: every place is free

            stats = (
                client.stats
            )  # the sandbox charges for calls that nobody waits for any more, as a service would
            assert stats.activations <= sandbox.activations <= stats.activations + stats.activations_at_risk
            charged = sandbox.stats()["by_session"]
            of_jobs = sum(charged[i]["activations"] for i in program.ids_of_jobs if i in charged)
            folders = [folder for folder in program.jobs if (folder / "job.sqlite3").exists()]
            assert of_jobs <= sum(JobReader(folder).status().spent for folder in folders)
        await session.close()
        assert await settled(lambda: connections_of(sandbox) == 0)
    gc.collect()
    assert complaints == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert all(ended[name] > 0 for name in ("call", "shared_call", "listing", "fan_out", "stream", "job"))


async def streamed(client: FullStoryClient) -> None:
    async with aclosing(client.sessions.stream_events("1:2")) as events:
        async for _ in events:
            pass


async def fanned_out(client: FullStoryClient) -> None:
    async with client.sessions.events_many(["1:2"]) as results:
        await anext(results)


async def shared(client: FullStoryClient) -> None:
    await asyncio.gather(*(client.sessions.summary("1:2") for _ in range(3)))


KINDS = {
    "call": lambda client: client.sessions.events("1:2"),
    "listing": lambda client: client.sessions.list(uid="u")._first(),
    "fan-out": fanned_out,
    "stream": streamed,
    "shared summary": shared,
}
EVENT = b'{"event_type":"click","event_time":"2026-05-04T10:00:00Z"}'


@pytest.mark.parametrize("head", [True, False], ids=["in mid-answer", "before the answer"])
@pytest.mark.parametrize("given", [True, False], ids=["given session", "own session"])
@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_cancelled_lets_its_connection_go_there_and_then(
    kind: str, given: bool, head: bool
) -> None:
    """By closing it, and not by being forgotten: in debug mode aiohttp complains of answers that the collector finds."""
    begun, gone, complaints = asyncio.Event(), asyncio.Event(), []
    asyncio.get_running_loop().set_debug(True)
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def handler(connection: Connection) -> None:
        if head:
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            await connection.send(b'{"events":[' + EVENT + b"," + EVENT)
        begun.set()
        try:
            while head:
                await connection.send(b" ")
                await asyncio.sleep(0.01)
            protocol: Any = connection.writer.transport.get_protocol()
            while protocol._stream_reader._eof is False:
                await asyncio.sleep(0.01)
        finally:
            gone.set()

    limit = aiohttp.TCPConnector(limit=1)
    async with raw_server(handler) as server, aiohttp.ClientSession(connector=limit) as session:
        async with client_of(server.url, session=session if given else None) as client:
            task = asyncio.ensure_future(KINDS[kind](client))
            await begun.wait()
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(gone.wait(), SECONDS)
            assert complaints == []
            again = asyncio.ensure_future(client.sessions.events("1:2"))  # the one place is free
            async with asyncio.timeout(SECONDS):
                while len(server.requests) < 2:
                    await asyncio.sleep(0.01)
            again.cancel()
            await asyncio.wait([again])
