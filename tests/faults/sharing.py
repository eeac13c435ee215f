"""Clients and processes that share one rate limiter, a load of calls, and what the service then saw."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs

from fullstory_async import ClientConfig, FullStoryClient, LimiterUnavailable, RateLimit
from fullstory_async.cluster.lease import LEASE, lease_size
from fullstory_async.cluster.limiter import SharedRateLimiter
from fullstory_async.sandbox import Sandbox
from tests.cli.forked import Forks
from tests.faults.calls import QUICK
from tests.limits import SECONDS, until
from tests.virtual.test_ratelimit import worst_excess

LIMIT = RateLimit(40, 8)


@asynccontextmanager
async def clients_sharing(
    make: Callable[..., SharedRateLimiter], *, processes: int = 2, limit: RateLimit = LIMIT, **settings: Any
) -> AsyncIterator[tuple[Sandbox, list[FullStoryClient]]]:
    """Run a sandbox and clients of it, each with a limiter of its own, as processes have."""
    async with Sandbox(users=1, sessions=4, mean_events=3) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=limit, retry=QUICK)
        settings = {"timeout": SECONDS, **settings}
        limiters = [make(config, **settings) for _ in range(processes)]
        clients = [FullStoryClient(config=config, limiter=limiter) for limiter in limiters]
        for client in clients:
            await client.__aenter__()
        try:
            yield sandbox, clients
        finally:
            for client, limiter in zip(clients, limiters, strict=True):
                await client.close()
                await limiter.aclose()


class Load:
    """Workers that call as fast as they can until `stop`; counts failures by attempts and whether sent."""

    def __init__(self, clients: list[FullStoryClient], workers: int = 4) -> None:
        self.failed: Counter[tuple[int, bool]] = Counter()
        self.standstill = 0.0
        """The most seconds that this process has stood still, as it does on a busy machine."""
        self._failures = [0] * (len(clients) * workers)
        self._over = False
        self._tasks = [
            asyncio.create_task(self._work(number, clients[number % len(clients)]))
            for number in range(len(self._failures))
        ]
        self._tasks.append(asyncio.create_task(self._watch()))

    async def _work(self, number: int, client: FullStoryClient) -> None:
        while not self._over:
            try:
                await client.whoami()
            except LimiterUnavailable as error:
                self.failed[error.attempts, error.sent] += 1
                self._failures[number] += 1
                await asyncio.sleep(0.02)

    async def _watch(self) -> None:
        while not self._over:
            began = time.monotonic()
            await asyncio.sleep(0.005)
            self.standstill = max(self.standstill, time.monotonic() - began - 0.005)

    async def until_each_has_failed(self) -> None:
        """Wait until each worker has failed once more; what it had sent before is answered then."""
        before = list(self._failures)
        await until(lambda: all(now > then for now, then in zip(self._failures, before, strict=True)))

    async def stop(self) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)


async def nothing_leaves_while_it_is_down(
    sandbox: Sandbox,
    clients: list[FullStoryClient],
    *,
    kill: Callable[[], object],
    start: Callable[[], object],
) -> None:
    """Kill the server behind the limiters of some clients under load, and start it again."""
    load = Load(clients)
    await until(lambda: len(sandbox.requests) > 10)
    assert load.failed.total() == 0
    await asyncio.to_thread(kill)
    await load.until_each_has_failed()
    before = len(sandbox.requests)
    await load.until_each_has_failed()
    assert len(sandbox.requests) == before
    await asyncio.to_thread(start)
    await until(lambda: len(sandbox.requests) > before + 5)
    await load.stop()
    assert set(load.failed) == {(0, False)}
    keeps_the_limit(arrivals(sandbox), load.standstill)


def between(sandbox: Sandbox, start: float, end: float) -> int:
    return sum(start <= request.at < end for request in sandbox.requests)


def arrivals(sandbox: Sandbox) -> list[float]:
    return sorted(request.at for request in sandbox.requests)


def keeps_the_limit(times: Sequence[float], standstill: float, limit: RateLimit = LIMIT) -> None:
    """Look at when requests arrived. A process that stood still may have sent late what it was let send in time."""
    late = 3 * standstill if standstill > 0.02 else 0.0
    leased = LEASE if lease_size(limit.rate, 1000) > 1 else 0.0
    assert worst_excess(sorted(times), limit) <= limit.rate * (leased + late)


WORKER = """
import asyncio, os, sys, time
from fullstory_async import ClientConfig, FullStoryClient, RateLimit
from fullstory_async import cluster

async def main(kind, where, url, key, rate, burst, seconds, ahead):
    real = time.time
    time.time = lambda: real() + float(ahead)  # this machine's clock is wrong
    config = ClientConfig(api_key=key, base_url=url, rate_limit=RateLimit(float(rate), float(burst)))
    limiter = getattr(cluster, kind)(where, config, timeout=60)
    async with limiter, FullStoryClient(config=config, limiter=limiter) as client:
        await client.whoami()
        print("ready", flush=True)
        os.read(0, 1)
        end = time.monotonic() + float(seconds)
        done = standstill = 0

        async def watch():
            nonlocal standstill
            while (began := time.monotonic()) < end:
                await asyncio.sleep(0.005)
                standstill = max(standstill, time.monotonic() - began - 0.005)

        async def work():
            nonlocal done
            while time.monotonic() < end:
                await client.whoami()
                done += 1

        await asyncio.gather(watch(), *(work() for _ in range(10)))
        print(done, standstill)

asyncio.run(main(*sys.argv[1:]))
"""


@attrs.frozen
class Seen:
    """What the service saw of four processes."""

    times: list[float]
    """When requests arrived."""
    done: list[int]
    """Calls of each process."""
    standstill: float
    """The most seconds that a process has stood still."""


async def four_processes(
    kind: str,
    where: str,
    limit: RateLimit,
    seconds: float,
    *,
    forks: Forks,
    folder: Path,
    ahead: Sequence[float] = (0, 0, 0, 0),
) -> Seen:
    """Let four processes call as fast as they may, with clocks that are some seconds ahead."""
    async with Sandbox(users=1, sessions=4, mean_events=3) as sandbox:
        arguments = (kind, where, sandbox.url, sandbox.api_key, limit.rate, limit.burst, seconds)
        reading, writing = os.pipe()
        with ExitStack() as stack:
            workers = [
                stack.enter_context(
                    forks.start(
                        *map(str, (*arguments, each)), script=WORKER, cwd=folder, streams={0: reading}
                    )
                )
                for each in ahead
            ]
            os.close(reading)
            await until(lambda: all(worker.out == "ready\n" for worker in workers))
            here = Load([])
            os.write(writing, b"\n\n\n\n")
            await until(lambda: not any(worker.exists() for worker in workers))
            os.close(writing)
            await here.stop()
        printed = [worker.wait().out.removeprefix("ready\n").split() for worker in workers]
        standstill = max(here.standstill, *(float(each) for _, each in printed))
        return Seen(arrivals(sandbox), [int(done) for done, _ in printed], standstill)
