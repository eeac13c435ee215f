"""A transport without a network, and the parts around it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

from fullstory_async import FullStoryError, RateLimit, RateLimiter, RetryPolicy
from fullstory_async.api import ApiContext, SessionsAPI
from fullstory_async.http.call import Attempt, Call, Transport
from fullstory_async.http.pipeline import Pipeline
from fullstory_async.messages import Request, Response

Answer = Response | FullStoryError
T = TypeVar("T")


class FakeTransport:
    """Answers from a script, or by a function; notes what was sent and when.

    ``one_way`` gives the seconds that a request takes to the server and its answer back; the function is asked between the two.
    """

    def __init__(
        self,
        answers: Iterable[Answer] = (),
        *,
        answer: Callable[[Request], Answer] | None = None,
        seconds: float = 0.0,
        one_way: Callable[[], float] | None = None,
    ) -> None:
        self.sent: list[tuple[float, Request]] = []
        self._script: list[Answer] = list(answers)
        self._answer = answer
        self._seconds = seconds
        self._one_way = one_way

    def check(self) -> None:
        pass

    slots: asyncio.Semaphore | None = None

    async def send(
        self, request: Request, deadline: float, attempt: Attempt, *, streamed: bool = False
    ) -> Response:
        self.sent.append((asyncio.get_running_loop().time(), request))
        if self._seconds:
            await asyncio.sleep(self._seconds)
        if self._one_way is not None:
            await asyncio.sleep(self._one_way())
        answer = self._script.pop(0) if self._script or self._answer is None else self._answer(request)
        if isinstance(answer, FullStoryError):
            answer.request = request
            raise answer
        if self._one_way is not None:
            await asyncio.sleep(self._one_way())
        return answer


def json_response(value: object = None, status: int = 200, **headers: str) -> Response:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(status=status, headers=named, body=b"{}" if value is None else json.dumps(value).encode())


def make_pipeline(transport: Transport, limiter: RateLimiter | None = None, **settings: Any) -> Asked:
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
