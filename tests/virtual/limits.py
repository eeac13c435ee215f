"""Servers that limit requests in several ways, and a job that finds the limit, in the loop's time."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Iterator

from fullstory_async import Outcome, RateLimit, RateLimiter, SessionEvents
from fullstory_async.messages import Request, Response
from fullstory_async.testing import json_response
from tests.fakes import FarTransport, make_sessions
from tests.virtual_time import now


class BucketServer:
    """A strict token bucket; refuses with 429 and whole seconds to wait, or without that header."""

    def __init__(self, rate: float, burst: float | None = None, *, tells: bool = True) -> None:
        self.rate = rate
        self.burst = max(2.0, 0.2 * rate) if burst is None else burst
        self.accepted: list[float] = []
        self.refused: list[float] = []
        self.began = now()
        self._tells = tells
        self._tokens = self.burst
        self._at = now()

    def answer(self, _: Request) -> Response:
        wait = self.wait()
        if wait <= 0:
            self.accepted.append(now())
            return json_response({"events": []})
        self.refused.append(now())
        seconds = {"retry_after": str(max(1, math.ceil(wait)))} if self._tells else {}
        return json_response(status=429, **seconds)

    def wait(self) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        self._tokens = min(self.burst, self._tokens + (now() - self._at) * self.rate)
        self._at = now()
        if self._tokens < 1:
            return (1 - self._tokens) / self.rate
        self._tokens -= 1
        return 0.0

    def used(self, start: float, end: float) -> float:
        """Return the part of the limit that was used between two times after the beginning."""
        served = sum(start <= at - self.began < end for at in self.accepted)
        return served / (self.rate * (end - start))

    def refusals(self, start: float, end: float) -> float:
        """Return the part of the requests that was refused between two times after the beginning."""
        refused = sum(start <= at - self.began < end for at in self.refused)
        served = sum(start <= at - self.began < end for at in self.accepted)
        return refused / max(1, refused + served)


class FixedWindow(BucketServer):
    """So many requests in each second of the clock."""

    def wait(self) -> float:
        second = math.floor(now())
        taken = sum(at >= second for at in self.accepted[-math.ceil(self.rate) :])
        return 0.0 if taken < self.rate else second + 1 - now()


class SlidingWindow(BucketServer):
    """So many requests in any second."""

    def wait(self) -> float:
        if len(self.accepted) < self.rate:
            return 0.0
        return max(0.0, self.accepted[-int(self.rate)] + 1 - now())


class BulkJob:
    """A fan-out over the real pipeline, against a server that is 80 ms away, more or less, there and back."""

    def __init__(
        self, server: BucketServer, limiter: RateLimiter, *, workers: int = 50, seed: int = 1
    ) -> None:
        rng = random.Random(seed)
        transport = FarTransport(server.answer, lambda: rng.uniform(0.03, 0.05))
        self.sessions = make_sessions(transport, limiter)
        self.limiter = limiter
        self.failed: list[Outcome[SessionEvents]] = []
        self.by_worker: Counter[str] = Counter()
        self.longest = 0.0
        self._workers = workers

    async def run(self, seconds: float) -> None:
        """Work for so many seconds."""
        end = now() + seconds

        def ids() -> Iterator[str]:
            number = 0
            while now() < end:
                number += 1
                task = asyncio.current_task()
                self.by_worker[task.get_name() if task else ""] += 1
                yield f"1:{number}"

        async with self.sessions.events_many(ids(), concurrency=self._workers) as outcomes:
            async for outcome in outcomes:
                if outcome.error is not None:
                    self.failed.append(outcome)
                self.longest = max(self.longest, outcome.elapsed)


def adaptive(start: float = 2.0, ceiling: float = 1000.0) -> RateLimiter:
    return RateLimiter(RateLimit.adaptive(start=start, ceiling=ceiling))
