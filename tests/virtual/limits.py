"""Servers that limit requests in several ways, in the time of the running loop."""

from __future__ import annotations

import math

from fullstory_async.http.messages import Request, Response
from tests.fakes import json_response
from tests.virtual_time import now


class LimitedServer:
    """A strict token bucket; refuses with 429 and whole seconds to wait, or without that header."""

    def __init__(self, rate: float, burst: float | None = None, *, tells: bool = True) -> None:
        self.rate = rate
        self.burst = max(2.0, 0.2 * rate) if burst is None else burst
        self.accepted: list[float] = []
        self.refused: list[float] = []
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


class FixedWindow(LimitedServer):
    """So many requests in each second of the clock."""

    def wait(self) -> float:
        second = math.floor(now())
        taken = sum(1 for at in self.accepted[-math.ceil(self.rate) :] if at >= second)
        return 0.0 if taken < self.rate else second + 1 - now()


class SlidingWindow(LimitedServer):
    """So many requests in any second."""

    def wait(self) -> float:
        if len(self.accepted) < self.rate:
            return 0.0
        return max(0.0, self.accepted[-int(self.rate)] + 1 - now())
