"""Shared calls: those that ask the same at the same time are one request ("single flight").

A summary takes long and costs an activation, and a chat bot is asked the same thing by several people at once.
The first caller starts the request, the others join it. It belongs to none of them: it goes on as long as
anybody waits for it, and is cancelled when the last one has gone. So is its place in the queue of the rate limiter: a call with priority
that joins a request without waits at that one's pace, since a request of its own would be another activation.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import attrs

from fullstory_async.errors import APITimeoutError, FullStoryError
from fullstory_async.http.call import Call

__all__ = ["SharedCall", "SharedCalls", "Waiter"]

T = TypeVar("T")


@attrs.define(eq=False)
class Waiter(Generic[T]):
    """One who waits for a shared call, and until when."""

    started: float
    """The loop time at which it began to wait."""
    timeout: float = math.inf
    stopping: bool = attrs.field(default=False, init=False)
    gave_up: bool = attrs.field(default=False, init=False)
    call: SharedCall[T] | None = attrs.field(default=None, init=False)
    answer: asyncio.Future[T] | None = attrs.field(default=None, init=False)
    attempts_before: int = attrs.field(default=0, init=False)

    @property
    def deadline(self) -> float:
        """The loop time at which it no longer waits."""
        return self.started + self.timeout

    @property
    def attempts(self) -> int:
        """Attempts that it has seen."""
        return 0 if self.call is None else self.call.attempts - self.attempts_before

    @property
    def at_risk(self) -> int:
        """Activations that the call may have cost so far."""
        return 0 if self.call is None else self.call.at_risk

    def dismiss(self, error: FullStoryError) -> None:
        """End the wait with an error of its own: others may go on waiting, and come to have another."""
        error.attempts, error.elapsed = self.attempts, asyncio.get_running_loop().time() - self.started
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)


@attrs.define(eq=False)
class SharedCall(Call, Generic[T]):
    """A call that several may wait for."""

    waiters: list[Waiter[T]] = attrs.field(factory=list, init=False, repr=False)
    task: asyncio.Task[T] | None = attrs.field(default=None, init=False, repr=False)

    def wants_retry(self, error: FullStoryError, delay: float) -> bool:
        """Send those away whose time would be over before another attempt; tell whether anybody is left."""
        again = asyncio.get_running_loop().time() + delay
        for waiter in [each for each in self.waiters if each.stopping or each.deadline < again]:
            self.waiters.remove(waiter)
            waiter.gave_up = waiter.stopping
            waiter.dismiss(copy.copy(error))
        return bool(self.waiters)

    def settle(self, task: asyncio.Task[T]) -> None:
        """Give everybody the answer, or the error."""
        for waiter in self.waiters:
            if waiter.answer is None or waiter.answer.done():
                continue
            if task.cancelled():
                waiter.answer.cancel()
            elif (error := task.exception()) is not None:
                waiter.answer.set_exception(error)
            else:
                waiter.answer.set_result(task.result())
        if not self.waiters and not task.cancelled():
            task.exception()  # looked at: nobody is there who could

    async def wait(self, waiter: Waiter[T]) -> T:
        """Wait for the answer, as long as the waiter has time. The last one to leave cancels the call."""
        loop = asyncio.get_running_loop()
        waiter.call, waiter.answer = self, loop.create_future()
        waiter.attempts_before = self.attempts - self.in_flight
        self.waiters.append(waiter)
        timer = (
            loop.call_at(waiter.deadline, self._out_of_time, waiter) if waiter.timeout != math.inf else None
        )
        try:
            return await waiter.answer
        finally:
            if timer is not None:
                timer.cancel()
            if waiter.answer.done() and not waiter.answer.cancelled():
                waiter.answer.exception()  # looked at, also where this wait is cancelled in the same moment
            if waiter in self.waiters:
                self.waiters.remove(waiter)
            if not self.waiters and self.task is not None and not self.task.done():
                self.task.cancel()
                await asyncio.wait([self.task])

    def _out_of_time(self, waiter: Waiter[T]) -> None:
        waiter.dismiss(
            APITimeoutError("the call's time was over", request=self.request, sent=self.at_risk > 0)
        )


class SharedCalls(Generic[T]):
    """The shared calls that are under way now, by what makes two of them the same."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: dict[Hashable, SharedCall[T]] = {}

    def joins(self, key: Hashable) -> bool:
        """Tell whether `run` would join a call that somebody else has started."""
        call = self._calls.get(key)
        return call is not None and call.task is not None and not call.task.done() and bool(call.waiters)

    async def run(
        self,
        key: Hashable,
        waiter: Waiter[T],
        make: Callable[[], SharedCall[T]],
        start: Callable[[SharedCall[T]], Awaitable[T]],
    ) -> T:
        """Wait for the call of this key; make and start it if there is none.

        Raises:
            BaseException: whatever the call raises, to everybody who waits.
        """
        if self.joins(key):
            call = self._calls[key]
        else:
            call = self._calls[key] = make()
            call.task = asyncio.ensure_future(start(call))
            call.task.add_done_callback(call.settle)
        try:
            return await call.wait(waiter)
        finally:
            if not call.waiters and self._calls.get(key) is call:
                del self._calls[key]
