"""Fan-out without a network: what an id costs, in time and memory, at a hundred ids and at a million."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from benchmarks.report import Section, peak_memory, table
from fullstory_async import RateLimit, RateLimiter, RetryPolicy
from fullstory_async.api import ApiContext, SessionsAPI
from fullstory_async.http.pipeline import Pipeline
from fullstory_async.messages import Request, Response

__all__ = ["NoNetwork", "fan_out", "sessions_without_a_network"]


class NoNetwork:
    """A transport that answers at once, so that only this package's own work is measured."""

    answer = Response(status=200, body=b'{"events":[]}')

    def check(self) -> None:
        """Accept everything."""

    async def send(
        self,
        request: Request,  # noqa: ARG002
        *,
        deadline: float,  # noqa: ARG002
        begun: Callable[[], None],
        unsent: Callable[[], None],  # noqa: ARG002
    ) -> Response:
        """Answer in the loop's next turn, as a network would at the earliest."""
        begun()
        await asyncio.sleep(0)
        return self.answer


def sessions_without_a_network() -> SessionsAPI:
    limiter = RateLimiter(RateLimit(1e6, 1e6))
    return SessionsAPI(ApiContext(Pipeline(NoNetwork(), limiter, RetryPolicy(), timeout=600)))


def fan_out(quick: bool) -> Section:
    """Cost of an id by their number, and of a single call."""
    section = Section("Fan-out and corridor without a network")
    rows, grown = [], 0.0
    asyncio.run(walk(1000))
    for count in (100, 10_000) if quick else (100, 10_000, 1_000_000):
        before = peak_memory()
        seconds, first = asyncio.run(walk(count))
        grown = (peak_memory() - before) / 2**20
        rows.append((f"{count:,}", f"{seconds / count * 1e6:.0f}", f"{first * 1e3:.2f}", f"{grown:.1f}"))
    section.say(table(("ids", "µs of CPU for one", "first result after, ms", "memory, MiB"), rows))
    section.promise(f"memory of {rows[-1][0]} ids above the start", grown, 5, unit=" MiB")
    section.promise("CPU of one call beside the network", asyncio.run(single(20_000)) * 1e6, 100, unit=" µs")
    return section


async def walk(count: int) -> tuple[float, float]:
    """Walk so many ids through everything but the network; return the seconds of CPU, and those to the first result."""
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
