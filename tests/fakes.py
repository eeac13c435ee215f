"""The parts around `FakeTransport`, without a client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, overload

from fullstory_async import RateLimit, RateLimiter, RetryPolicy
from fullstory_async.api import ApiContext, SessionsAPI
from fullstory_async.http.call import Attempt, Call, Transport
from fullstory_async.http.pipeline import Pipeline
from fullstory_async.http.transport.unopened import State
from fullstory_async.messages import Request, Response
from fullstory_async.testing import FakeTransport

T = TypeVar("T")


class FarTransport(FakeTransport):
    """A transport whose requests take ``one_way()`` seconds to the server and their responses as many back."""

    def __init__(self, respond: Callable[[Request], Response], one_way: Callable[[], float]) -> None:
        super().__init__(respond=respond)
        self._one_way = one_way

    async def send(
        self, request: Request, deadline: float, attempt: Attempt, *, streamed: bool = False
    ) -> Response:
        self.sent.append((asyncio.get_running_loop().time(), request))
        await asyncio.sleep(self._one_way())
        response = self.next_response(request)
        await asyncio.sleep(self._one_way())
        return response


def make_pipeline(transport: Transport, limiter: RateLimiter | None = None, **settings: Any) -> Asked:
    if isinstance(transport, FakeTransport):
        transport.state = State.OPEN
    policy = settings.pop("retry", RetryPolicy(wait_jitter=0))
    limiter = limiter or RateLimiter(RateLimit(1000, 1000))
    return Asked(transport, limiter, policy, timeout=settings.pop("timeout", 600.0), **settings)


class Asked(Pipeline):
    """A pipeline that is given requests too; it answers with the value and the number of attempts."""

    @overload
    async def fetch(self, call: Call, decode: Callable[[Response], T], *, streamed: bool = False) -> T: ...

    @overload
    async def fetch(
        self, call: Request, decode: Callable[[Response], T], **options: Any
    ) -> tuple[T, int]: ...

    async def fetch(self, call: Call | Request, decode: Callable[[Response], T], **options: Any) -> Any:
        if isinstance(call, Call):
            return await super().fetch(call, decode, **options)
        made = Call(call, **options)
        value = await super().fetch(made, decode)
        return value, made.attempts


def make_sessions(transport: Transport, limiter: RateLimiter | None = None, **settings: Any) -> SessionsAPI:
    return SessionsAPI(ApiContext(make_pipeline(transport, limiter, **settings)))
