"""Durable jobs: what the store costs beside a plain fan-out, and that a million ids need no more memory than ten thousand.

Promises: at full speed a job is at most 15 % slower than the fan-out alone; the time for one id stays within 20 % from
ten thousand ids to a million, and the process within 150 MiB.

``python -m benchmarks.jobs million`` measures the million, which takes minutes; without it a hundred thousand stand for it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.fanout import NoNetwork
from fullstory_async import ClientConfig, FullStoryClient, RateLimit, RateLimiter, RetryPolicy
from fullstory_async.api import Account
from fullstory_async.http.pipeline import Pipeline
from fullstory_async.jobs import Job, JobPlan

CALLS = 3000
ROUNDS = 5
CONCURRENCY = 64
LARGEST_COST = 0.15
LARGEST_DRIFT = 0.2
LARGEST_RSS = 150 * 1024 * 1024
UNLIMITED = RateLimit(1e6, 1e6)

SERVER = """
import asyncio, json, sys
event = {"device_id": "5736495272951808", "session_id": "5629499534213120", "view_id": "7311205441002331001",
    "event_time": "2026-05-04T10:00:00.014Z", "event_type": "click", "event_properties": {"target": {"text": "Checkout",
    "raw_selector": "html > body > div#app > main.cart > form > button.btn.btn-primary"}, "fs_rage_count": 4},
    "source_type": "web", "source_properties": {"url": {"full_url": "https://shop.acme.test/cart?ref=mail"}}}
body = json.dumps({"events": [event] * 50}).encode()
answer = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body

class Answering(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(answer * data.count(b"\\r\\n\\r\\n"))

async def main():
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@contextmanager
def server() -> Iterator[str]:
    """Run a server that answers every request with the same fifty events."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


async def plain(client: FullStoryClient) -> None:
    """Fetch, and throw the answers away."""
    async with client.sessions.events_many(
        (f"1:{n}" for n in range(CALLS)), concurrency=CONCURRENCY
    ) as results:
        async for outcome in results:
            assert outcome.error is None


async def durable(client: FullStoryClient, folder: Path) -> float:
    """Fetch into a job, and return the seconds of the run alone."""
    async with Job.open(folder, client=client, plan=JobPlan(events=True, max_activations=10**9)) as job:
        await job.add(f"1:{n}" for n in range(CALLS))
        report = await job.run(concurrency=CONCURRENCY)
        assert report.done == CALLS
        return report.seconds


async def compare(url: str, scratch: Path) -> tuple[float, float]:
    """Return calls a second without and with the store, medians of rounds that take turns."""
    config = ClientConfig(api_key="na1.benchmark", base_url=url, rate_limit=UNLIMITED)
    without, with_store = [], []
    async with FullStoryClient(config=config) as client:
        await plain(client)
        for n in range(ROUNDS):
            started = time.perf_counter()
            await plain(client)
            without.append(CALLS / (time.perf_counter() - started))
            with_store.append(CALLS / await durable(client, scratch / f"{n}.job"))
    return statistics.median(without), statistics.median(with_store)


async def many(count: int, folder: Path) -> float:
    """Walk so many ids through a job without a network, and return the seconds for one."""
    client = FullStoryClient("na1.benchmark")
    client._account = Account(Pipeline(NoNetwork(), RateLimiter(UNLIMITED), RetryPolicy(), timeout=600))  # noqa: SLF001
    client.limiter = RateLimiter(UNLIMITED)
    async with Job.open(folder, client=client, plan=JobPlan(events=True)) as job:
        started = time.perf_counter()
        await job.add(f"1:{n}" for n in range(count))
        report = await job.run(concurrency=CONCURRENCY)
        assert report.done == count
        return (time.perf_counter() - started) / count


def measured(count: int) -> tuple[float, int]:
    """Do that in a process of its own; return the seconds for an id and the largest memory."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.jobs", "_many", str(count)], capture_output=True, check=True
    )
    seconds, memory = json.loads(run.stdout)
    return seconds, memory


def main(largest: int = 100_000) -> bool:
    with server() as url, tempfile.TemporaryDirectory() as scratch:
        without, with_store = asyncio.run(compare(url, Path(scratch)))
    cost = 1 - with_store / without
    print(f"job store: {without:.0f} calls/s without, {with_store:.0f} with it: it costs {cost:.1%}")
    small, _ = measured(10_000)
    large, memory = measured(largest)
    print(
        f"durable job without a network: {small * 1e6:.0f} µs an id at 10 000 ids, {large * 1e6:.0f} µs at {largest}, "
        f"{memory / 2**20:.0f} MiB at the most"
    )
    return cost <= LARGEST_COST and large <= small * (1 + LARGEST_DRIFT) and memory <= LARGEST_RSS


if __name__ == "__main__":
    if sys.argv[1:2] == ["_many"]:
        with tempfile.TemporaryDirectory() as place:
            took = asyncio.run(many(int(sys.argv[2]), Path(place) / "j"))
        print(json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
    else:
        sys.exit(0 if main(1_000_000 if "million" in sys.argv else 100_000) else 1)
