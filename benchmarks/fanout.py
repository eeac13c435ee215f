"""Fan-out without a network: CPU time and memory per id, for 100 to 1 000 000 ids."""

from __future__ import annotations

import asyncio
import time

from benchmarks.report import Section, peak_memory, table
from fullstory_async import RateLimit, RateLimiter, RetryPolicy
from fullstory_async.api import ApiContext, SessionsAPI
from fullstory_async.http.call import Attempt
from fullstory_async.http.pipeline import Pipeline
from fullstory_async.messages import Request, Response

__all__ = ["NoNetwork", "fan_out", "sessions_without_a_network"]


class NoNetwork:
    """A transport that responds at once, so that only this package's own work is measured."""

    slots = None
    response = Response(status=200, body=b'{"events":[]}')
    key_owner = Response(status=200, body=b'{"orgId":"o"}')

    def check(self) -> None:
        """Accept everything."""

    async def send(
        self,
        request: Request,
        deadline: float,  # noqa: ARG002
        attempt: Attempt,  # noqa: ARG002
        *,
        streamed: bool = False,  # noqa: ARG002
    ) -> Response:
        """Respond in the event loop's next iteration, the earliest that a network could."""
        await asyncio.sleep(0)
        return self.key_owner if request.operation == "whoami" else self.response


def sessions_without_a_network() -> SessionsAPI:
    limiter = RateLimiter(RateLimit(1e6, 1e6))
    return SessionsAPI(ApiContext(Pipeline(NoNetwork(), limiter, RetryPolicy(), timeout=600)))


def fan_out(quick: bool) -> Section:
    """Measure the cost per id by number of ids, and the cost of a single call."""
    section = Section("Fan-out and single calls without a network")
    rows, grown = [], 0.0
    asyncio.run(walk(1000))
    for count in (100, 10_000) if quick else (100, 10_000, 1_000_000):
        before = peak_memory()
        seconds, first = asyncio.run(walk(count))
        grown = (peak_memory() - before) / 2**20
        rows.append((f"{count:,}", f"{seconds / count * 1e6:.0f}", f"{first * 1e3:.2f}", f"{grown:.1f}"))
    section.say(table(("ids", "CPU per id, µs", "first result after, ms", "memory growth, MiB"), rows))
    section.promise(f"memory growth over {rows[-1][0]} ids", grown, 5, unit=" MiB")
    section.promise("CPU of one call, network excluded", asyncio.run(single(20_000)) * 1e6, 100, unit=" µs")
    return section


async def walk(count: int) -> tuple[float, float]:
    """Fetch ``count`` ids without a network.

    Return the CPU time and the time to the first result, in seconds.
    """
    began, cpu, first = time.perf_counter(), time.process_time(), 0.0
    async with sessions_without_a_network().events_many(
        (f"1:{n}" for n in range(count)), concurrency=64
    ) as results:
        async for outcome in results:
            first = first or time.perf_counter() - began
            assert outcome.error is None
    return time.process_time() - cpu, first


async def single(count: int) -> float:
    sessions, cpu = sessions_without_a_network(), time.process_time()
    for n in range(count):
        await sessions.events(f"1:{n}")
    return (time.process_time() - cpu) / count
