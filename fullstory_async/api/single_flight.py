"""Single flight: equal calls that run at the same time share one request.

A summary takes long and costs an activation, and several people may ask a chat bot for the same one at once.
The first caller starts the request, the others join it. It belongs to none of them: it runs as long as
anybody waits for it, and is cancelled when the last waiter has left. The same holds for its place in the
queue of the rate limiter: a priority call that joins a request without priority waits at that request's pace,
because a request of its own would cost another activation.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Coroutine, Hashable
from functools import partial
from types import FunctionType
from typing import Any, Generic, TypeVar, cast

import attrs

from fullstory_async.concurrency import Alarm
from fullstory_async.errors import APITimeoutError, FullStoryError
from fullstory_async.http.call import Call

__all__ = ["SharedCall", "SharedCalls", "Waiter"]

E = TypeVar("E", bound=BaseException)
T = TypeVar("T")


@attrs.define(eq=False)
class Waiter(Generic[T]):
    """One caller that waits for a shared call, with a timeout of its own."""

    started: float
    """Loop time at which it started to wait."""
    timeout: float = math.inf
    """Seconds it waits."""
    stopping: bool = attrs.field(default=False, init=False)
    """Set by the caller to wait for no further attempt."""
    gave_up: bool = attrs.field(default=False, init=False)
    """Whether it stopped waiting because it was stopping."""
    call: SharedCall[T] | None = attrs.field(default=None, init=False)
    result: asyncio.Future[T] | None = attrs.field(default=None, init=False)
    attempts_before: int = attrs.field(default=0, init=False)
    """Attempts that had ended before it joined."""

    @property
    def deadline(self) -> float:
        """Loop time at which it stops waiting."""
        return self.started + self.timeout

    @property
    def attempts(self) -> int:
        """Attempts while it waited."""
        return 0 if self.call is None else self.call.attempts - self.attempts_before

    @property
    def at_risk(self) -> int:
        """Activations that the shared call may have cost so far."""
        return 0 if self.call is None else self.call.at_risk

    def dismiss(self, error: FullStoryError) -> None:
        """End this wait with an error of its own; others may wait on and get another result."""
        error.attempts, error.elapsed = self.attempts, asyncio.get_running_loop().time() - self.started
        if self.result is not None and not self.result.done():
            self.result.set_exception(error)


@attrs.define(eq=False)
class SharedCall(Call, Generic[T]):
    """A call with any number of waiters."""

    waiters: list[Waiter[T]] = attrs.field(factory=list, init=False, repr=False)
    task: asyncio.Task[T] | None = attrs.field(default=None, init=False, repr=False)

    def wants_retry(self, error: FullStoryError, delay: float) -> bool:
        """Dismiss the waiters that have no time for another attempt, and return whether any are left."""
        next_attempt = asyncio.get_running_loop().time() + delay
        for waiter in [each for each in self.waiters if each.stopping or each.deadline < next_attempt]:
            self.waiters.remove(waiter)
            waiter.gave_up = waiter.stopping
            waiter.dismiss(separate(error))
        return bool(self.waiters)

    def settle(self, task: asyncio.Task[T]) -> None:
        """Pass the result, or an error of its own, to every waiter."""
        for waiter in self.waiters:
            if waiter.result is None or waiter.result.done():
                continue
            if task.cancelled():
                waiter.result.cancel()
            elif (error := task.exception()) is not None:
                waiter.result.set_exception(separate(error))
            else:
                waiter.result.set_result(task.result())
        if not self.waiters and not task.cancelled():
            task.exception()  # retrieve it, or asyncio reports it as never retrieved

    async def wait(self, waiter: Waiter[T]) -> T:
        """Wait for the result, as long as the waiter has time. The last waiter to leave cancels the call."""
        waiter.call, waiter.result = self, asyncio.get_running_loop().create_future()
        # an attempt in flight counts for those who join during it: they get its result
        waiter.attempts_before = self.attempts - self.in_flight
        self.waiters.append(waiter)
        timer = (
            None if waiter.timeout == math.inf else Alarm(waiter.deadline, partial(self._out_of_time, waiter))
        )
        try:
            return await waiter.result
        finally:
            if timer is not None:
                timer.cancel()
            if waiter.result.done() and not waiter.result.cancelled():
                waiter.result.exception()  # retrieved, in case this wait is cancelled at the same moment
            if waiter in self.waiters:
                self.waiters.remove(waiter)
            if not self.waiters and self.task is not None and not self.task.done():
                self.task.cancel()
                await asyncio.wait([self.task])

    def _out_of_time(self, waiter: Waiter[T]) -> None:
        text = f"the call's time was over while it waited for {self.waits_for or 'the response'}"
        waiter.dismiss(APITimeoutError(text, request=self.request, sent=self.at_risk > 0))


def separate(error: E) -> E:
    """Return an equal error with a traceback, notes and causes of its own.

    Callers raise it through their own frames and note on it what they know, which is nobody else's business.
    """
    copies: dict[int, BaseException] = {}
    return cast("E", _copy(error, copies))


def _copy(error: BaseException, copies: dict[int, BaseException]) -> BaseException:
    """Copy an exception and its causes, which may form a circle; ``copies`` are those so far, by `id`."""
    if id(error) in copies:
        return copies[id(error)]
    try:
        mine = _same_again(error, copies)
    except Exception:  # noqa: BLE001  (of a program's own class, which can be made in its own way only)
        return copies.setdefault(id(error), error)
    copies[id(error)] = mine
    mine.__dict__.update(vars(error))
    if "__notes__" in vars(error):
        mine.__notes__ = list(error.__notes__)
    if error.__cause__ is not None:
        mine.__cause__ = _copy(error.__cause__, copies)
    mine.__suppress_context__ = True
    return mine.with_traceback(error.__traceback__)


def _same_again(error: BaseException, copies: dict[int, BaseException]) -> BaseException:
    cls = type(error)
    if isinstance(error, BaseExceptionGroup):
        return cls.__new__(cls, error.message, [_copy(each, copies) for each in error.exceptions])
    if isinstance(cls.__init__, FunctionType):
        # without it: its arguments are not known; ``__new__`` keeps the ``args``
        return cls.__new__(cls, *error.args)
    # a built-in one, such as an `OSError`, keeps more than its ``args``
    return copy.copy(error)


class SharedCalls(Generic[T]):
    """The shared calls in flight, by what makes two of them equal."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: dict[Hashable, SharedCall[T]] = {}

    def get(self, key: Hashable) -> SharedCall[T] | None:
        """Return the call in flight that a caller with this key can join."""
        call = self._calls.get(key)
        if call is None or call.task is None or call.task.done() or not call.waiters:
            return None
        return call

    def start(self, key: Hashable, call: SharedCall[T], run: Coroutine[Any, Any, T]) -> None:
        """Start a call for this key; it runs while anybody waits for it."""
        self._calls[key] = call
        call.task = asyncio.ensure_future(run)
        call.task.add_done_callback(call.settle)

    async def wait(self, key: Hashable, waiter: Waiter[T]) -> T:
        """Wait for the call of this key. Raises whatever the call raises."""
        call = self._calls[key]
        try:
            return await call.wait(waiter)
        finally:
            if not call.waiters and self._calls.get(key) is call:
                del self._calls[key]
