"""Fan-out: memory over many ids, cost per call, and how well a rate limit is used.

Promises: a hundred thousand ids peak under 5 MB above the start, and a limit of 50 a second is used to 97 % without
a single 429 from a server that enforces exactly that limit.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import tracemalloc
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fullstory_async import ClientConfig, FullStoryClient, RateLimit, RateLimiter, RetryPolicy
from fullstory_async.api import Account, SessionsAPI
from fullstory_async.http.messages import Request, Response
from fullstory_async.http.pipeline import Pipeline

IDS = 100_000
MEMORY_LIMIT = 5_000_000
LIMIT = RateLimit(50, 50)
CALLS = 750
LEAST_USE = 0.97
RUNS = 3


class NoNetwork:
    """A transport that answers at once, so that only this package's own work is measured."""

    answer = Response(status=200, body=b'{"events":[]}')

    def check(self) -> None:
        """Accept everything."""

    async def send(self, request: Request, *, deadline: float, begun: Callable[[], None]) -> Response:  # noqa: ARG002
        """Answer in the loop's next turn, as a network would at the earliest."""
        begun()
        await asyncio.sleep(0)
        return self.answer


async def fan_out() -> int:
    """Walk all ids through everything but the network."""
    limiter = RateLimiter(RateLimit(1e6, 1e6))
    sessions = SessionsAPI(Account(Pipeline(NoNetwork(), limiter, RetryPolicy(), timeout=600)))
    done = 0
    async with sessions.events_many((f"1:{n}" for n in range(IDS)), concurrency=64) as results:
        async for outcome in results:
            done += outcome.error is None
    return done


def memory_and_cost() -> bool:
    started = time.process_time()
    asyncio.run(fan_out())
    cost = (time.process_time() - started) / IDS
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    asyncio.run(fan_out())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(
        f"fan-out of {IDS} ids without a network: {cost * 1e6:.0f} µs of CPU per id, peak {(peak - before) / 1e6:.2f} MB above the start"
    )
    return peak - before < MEMORY_LIMIT


@contextmanager
def sandbox_process() -> Iterator[tuple[str, str]]:
    """Run a sandbox on another core and give its URL and key."""
    command = [
        sys.executable,
        "-m",
        "fullstory_async",
        "sandbox",
        "--port",
        "0",
        "--sessions",
        str(CALLS),
        "--mean-events",
        "100",
    ]
    command += ["--rate", str(LIMIT.rate), "--burst", str(LIMIT.burst), "--latency", "0.08"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        url, key = (process.stdout.readline().strip().split("=", 1)[1] for _ in range(2))  # type: ignore[union-attr]
        yield url, key
    finally:
        process.terminate()
        process.communicate()


async def use_of_the_rate(url: str, key: str) -> float:
    """Return which share of the requests that the limit allowed in the time was made."""
    config = ClientConfig(api_key=key, base_url=url, rate_limit=LIMIT)
    ids = ask(url + "/_sandbox/sessions")["session_ids"]
    async with FullStoryClient(config=config) as client:
        started = time.monotonic()
        async with client.sessions.events_many(ids, concurrency=32) as results:
            failed = [outcome async for outcome in results if outcome.error is not None]
        took = time.monotonic() - started
    if failed:
        raise SystemExit(f"{len(failed)} calls failed, first: {failed[0].error}")
    return len(ids) / (LIMIT.burst + LIMIT.rate * took)


def ask(url: str) -> dict:
    with urllib.request.urlopen(url) as answer:  # noqa: S310
        return json.load(answer)


def rate() -> bool:
    kept = True
    for _ in range(RUNS):
        with sandbox_process() as (url, key):
            use = asyncio.run(use_of_the_rate(url, key))
            throttled = ask(url + "/_sandbox/stats")["by_status"].get("429", 0)
        print(
            f"{CALLS} calls at a limit of {LIMIT.rate:g}/s: {use:.1%} of what it allows, {throttled} answers 429"
        )
        kept = kept and use >= LEAST_USE and throttled == 0
    return kept


def main() -> bool:
    """Print the figures; return whether the promises are kept."""
    return all([memory_and_cost(), rate()])


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
