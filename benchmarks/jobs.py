"""Durable jobs: the cost of the store, and memory that does not grow with the ids."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.fanout import NoNetwork
from benchmarks.report import Section, peak_memory, table
from benchmarks.server import running
from fullstory_async import ClientConfig, FullStoryClient, RateLimit, RateLimiter, RetryPolicy
from fullstory_async.api import ApiContext
from fullstory_async.http.pipeline import Pipeline
from fullstory_async.jobs import Job, JobPlan

CALLS = {10: 3000, 50: 3000, 200: 1500}
"""Number of calls, by events per session."""
USUAL = 200
"""Events per session in the promise; the smaller sizes are for comparison."""
ROUNDS = 7
CONCURRENCY = 64
UNLIMITED = RateLimit(1e6, 1e6)


async def plain(client: FullStoryClient, size: int) -> None:
    """Fetch typed events, and discard them."""
    async with client.sessions.events_many(
        (f"{size}:{n}" for n in range(CALLS[size])), concurrency=CONCURRENCY
    ) as results:
        async for outcome in results:
            assert outcome.error is None


async def durable(client: FullStoryClient, size: int, folder: Path) -> float:
    """Fetch into a job; return the duration of the run alone, in seconds."""
    async with Job.open(folder, client=client, plan=JobPlan(events=True, max_activations=10**9)) as job:
        await job.add(f"{size}:{n}" for n in range(CALLS[size]))
        report = await job.run(concurrency=CONCURRENCY)
        assert report.done == CALLS[size]
        return report.seconds


async def compare(url: str, size: int, scratch: Path, rounds: int) -> tuple[float, float]:
    """Return calls per second without the store, and the share of them that it costs.

    Both are medians of alternating rounds.
    """
    config = ClientConfig(api_key="na1.benchmark", base_url=url, rate_limit=UNLIMITED)
    without, with_store = [], []
    async with FullStoryClient(config=config) as client:
        await plain(client, size)
        for n in range(rounds):
            started = time.perf_counter()
            await plain(client, size)
            without.append(CALLS[size] / (time.perf_counter() - started))
            with_store.append(CALLS[size] / await durable(client, size, scratch / f"{n}.job"))
    shares = (1 - kept / alone for kept, alone in zip(with_store, without, strict=True))
    return statistics.median(without), statistics.median(shares)


async def many(count: int, folder: Path) -> float:
    """Run a job of ``count`` ids without a network; return the CPU seconds per id."""
    client = FullStoryClient("na1.benchmark")
    client.api = ApiContext(Pipeline(NoNetwork(), RateLimiter(UNLIMITED), RetryPolicy(), timeout=600))
    client.limiter = RateLimiter(UNLIMITED)
    async with Job.open(folder, client=client, plan=JobPlan(events=True)) as job:
        started = time.process_time()
        await job.add(f"1:{n}" for n in range(count))
        report = await job.run(concurrency=CONCURRENCY)
        assert report.done == count
        return (time.process_time() - started) / count


def in_a_process(*order: object) -> tuple[float, float]:
    """Run `main` in its own process, with a fresh heap; return its two figures."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.jobs", *map(str, order)], stdout=subprocess.PIPE, check=True
    )
    one, other = json.loads(run.stdout)
    return one, other


def jobs(quick: bool) -> Section:
    """Measure the cost of the store, and time and memory for a million ids."""
    section = Section("Durable jobs")
    largest = 20_000 if quick else 1_000_000
    section.say(
        "Without a rate limit, compared with a fan-out that decodes the events and discards them. A job does "
        "not decode events, which offsets much of the cost of writing. That cost is the same for a small "
        "response, so its share is larger there."
    )
    sizes, rows = (USUAL,) if quick else tuple(CALLS), []
    with running(sizes) as url:
        for size in sizes:
            without, cost = in_a_process("compare", url + "/live", size, 1 if quick else ROUNDS)
            rows.append((size, f"{without:.0f}", f"{cost:.1%}"))
    section.say(table(("events", "calls/s without the store", "reduction with it"), rows))
    section.promise(f"throughput lost to the store, sessions of {USUAL} events", cost, 0.15)
    small, _ = in_a_process("many", 10_000)
    large, memory = in_a_process("many", largest)
    section.say(
        f"Without a network: {small * 1e6:.0f} µs of CPU per id at 10 000 ids, "
        f"{large * 1e6:.0f} µs at {largest:,}."
    )
    section.promise(f"CPU time per id, {largest:,} ids relative to 10 000", large / small, 1.2)
    section.promise(f"memory of a job of {largest:,} ids", memory / 2**20, 150, unit=" MiB")
    return section


def main(order: str, *arguments: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as place:
        if order == "compare":
            url, size, rounds = arguments
            return asyncio.run(compare(url, int(size), Path(place), int(rounds)))
        (count,) = arguments
        return asyncio.run(many(int(count), Path(place) / "j")), peak_memory()


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
