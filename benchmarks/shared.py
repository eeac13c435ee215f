"""The CPU time of a call whose rate limiter is shared with other processes, relative to a local one.

``python -m benchmarks.shared KIND URL SERVER CALLS`` is one measurement.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.clients import KEY
from benchmarks.report import Section, table
from benchmarks.server import pin, running
from fullstory_async import ClientConfig, FullStoryClient, RateLimit, RateLimiter
from fullstory_async.cluster import PostgresRateLimiter, RedisRateLimiter
from tests.cluster.postgres_servers import Server
from tests.faults.redis_servers import RealServer

__all__ = ["shared"]

_LIMIT = RateLimit(100, 10)
_ALLOWED = 1.3
"""CPU of a call with a shared limiter, relative to a local one."""


def shared(quick: bool) -> Section:
    """Measure the CPU time of a fan-out at 100 requests/s, in turns with a local limiter."""
    section = Section("A rate limiter that processes share")
    section.say(
        "CPU of the client's process for each call of a fan-out at 100 requests/s, with 20 calls at once "
        "and sessions of 10 events."
    )
    took: dict[str, list[float]] = {}
    rate: dict[str, float] = {}
    with running((10,)) as url, servers() as places:
        for _ in range(1 if quick else 7):
            for kind, place in places.items():
                cpu, rate[kind] = measure(kind, url, place, 50 if quick else 500)
                took.setdefault(kind, []).append(cpu)
    local = took["local"]
    ratios = {
        kind: statistics.median(one / other for one, other in zip(each, local, strict=True))
        for kind, each in took.items()
    }
    rows = [
        (kind, f"{statistics.median(each) * 1e3:.2f}", f"{ratios[kind]:.2f}", f"{rate[kind]:.0f}")
        for kind, each in took.items()
    ]
    section.say(table(("limiter", "ms of CPU", "× local", "calls/s"), rows))
    for kind in ("Redis", "Postgres"):
        section.promise(f"CPU per call with a limiter in {kind}, × a local one", ratios[kind], _ALLOWED)
    return section


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Run a Redis and a Postgres; yield where the bucket of each kind of limiter is."""
    with tempfile.TemporaryDirectory() as folder:
        redis, postgres = RealServer(Path(folder)), Server()
        try:
            redis.start()
            postgres.start()
            yield {"local": "", "Redis": redis.url, "Postgres": postgres.dsn()}
        finally:
            redis.kill()
            postgres.remove()


def measure(kind: str, url: str, place: str, calls: int) -> tuple[float, float]:
    """Return the CPU seconds of a call and the calls a second, in a new process."""
    command = [sys.executable, "-m", "benchmarks.shared", kind, url, place, str(calls)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{kind}: {done.stderr[-2000:]}")
    cpu, rate = map(float, done.stdout.split())
    return cpu, rate


async def fan_out(kind: str, url: str, place: str, calls: int) -> tuple[float, float]:
    config = ClientConfig(api_key=KEY, base_url=f"{url}/live", rate_limit=_LIMIT)
    limiter: RateLimiter
    if kind == "local":
        limiter = RateLimiter(_LIMIT)
    elif kind == "Redis":
        limiter = RedisRateLimiter(place, config, timeout=10)
    else:
        limiter = PostgresRateLimiter(place, config, timeout=10)
    async with FullStoryClient(config=config, limiter=limiter) as client:

        async def walk(count: int) -> None:
            ids = (f"10:{n}" for n in range(count))
            async with client.sessions.events_many(ids, concurrency=20) as results:
                async for outcome in results:
                    if outcome.error is not None:
                        raise outcome.error

        await walk(40)  # warm-up
        started, cpu = time.perf_counter(), time.process_time()
        await walk(calls)
        cpu, took = time.process_time() - cpu, time.perf_counter() - started
    if isinstance(limiter, (RedisRateLimiter, PostgresRateLimiter)):
        await limiter.aclose()
    return cpu / calls, calls / took


if __name__ == "__main__":
    pin(1)
    kind, url, place, calls = sys.argv[1:]
    print(*asyncio.run(fan_out(kind, url, place, int(calls))))
