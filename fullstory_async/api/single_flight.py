"""Single flight: equal calls that run at the same time share one request.

A call costs an activation, a summary takes long, and several people may ask a chat bot for the same one at
once. The first caller starts the request, the others join it. It belongs to none of them: it runs in a task
of its own as long as a caller waits for it, and is cancelled when the last waiter has left. The calls of a
fan-out, which are rarely joined, run in the tasks of its workers; the first that joins one makes it have
the task for itself (`Host.hand_over`).

All callers of a request share its place in the queue of the rate limiter too: a priority call that joins a
request without priority waits at that request's pace, because a request of its own would cost another
activation.

A call that no other has joined ends at its caller's deadline. The first that joins it gives it the longer
time of both (`Call.extend`), and a timer to each of them.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

import attrs

from fullstory_async.api.error_copies import separate
from fullstory_async.concurrency import Alarm
from fullstory_async.errors import APITimeoutError, FullStoryError
from fullstory_async.fanout import Host
from fullstory_async.http.call import Call

__all__ = ["SharedCall", "SharedCalls", "Waiter"]

T = TypeVar("T")


@attrs.define(eq=False)
class Waiter(Generic[T]):
    """One caller that waits for a shared call, with a timeout of its own."""

    started: float
    """Loop time at which it started to wait."""
    timeout: float = math.inf
    """Seconds it waits."""
    stopping: bool = False
    """Set by the caller to wait for no further attempt."""
    gave_up: bool = attrs.field(default=False, init=False)
    """Whether it stopped waiting because it was stopping."""
    call: SharedCall[T] | None = attrs.field(default=None, init=False)
    result: asyncio.Future[T] | None = attrs.field(default=None, init=False)
    timer: Alarm | None = attrs.field(default=None, init=False)
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

    def stop(self) -> None:
        """Wait for no further attempt. A call that no other caller waits for starts none."""
        self.stopping = True
        call = self.call
        if call is None or call.task is None or not call.droppable:
            return
        if all(each.stopping for each in call.waiters):
            # now: a cancellation of the waiter reaches the task only after its next step, which may send
            call.task.cancel()

    def dismiss(self, error: FullStoryError) -> None:
        """End this wait with an error of its own; others may wait on and get another result."""
        error.attempts, error.elapsed = self.attempts, asyncio.get_running_loop().time() - self.started
        if self.result is not None and not self.result.done():
            self.result.set_exception(error)


@attrs.define(eq=False)
class SharedCall(Call, Generic[T]):
    """A call with any number of waiters."""

    key: Hashable = attrs.field(default=(), init=False, repr=False)
    """What makes another call equal to it."""
    waiters: list[Waiter[T]] = attrs.field(factory=list, init=False, repr=False)
    task: asyncio.Task[T] | None = attrs.field(default=None, init=False, repr=False)
    host: Host | None = attrs.field(default=None, init=False, repr=False)
    """Who lends it its task; ``None`` if the task is its own."""
    cancelled_before: int = attrs.field(default=0, init=False, repr=False)
    """Cancellations of a lent task that other code has caught before."""

    @property
    def is_open(self) -> bool:
        """Whether another caller can still join it."""
        ending = self.task is None or self.task.done() or self.task.cancelling() > self.cancelled_before
        return not ending and bool(self.waiters)

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
                waiter.result.set_exception(error if len(self.waiters) == 1 else separate(error))
            else:
                waiter.result.set_result(task.result())
        if not self.waiters and not task.cancelled():
            task.exception()  # retrieve it, or asyncio reports it as never retrieved

    def prepare_wait(self, waiter: Waiter[T]) -> None:
        """Prepare the wait of a caller beside those that wait already."""
        self._take_task()
        # an attempt in flight counts for those who join during it: they get its result
        waiter.attempts_before = self.attempts - self.in_flight
        self.extend(waiter.deadline)
        for each in (*self.waiters, waiter):
            self.set_timer(each)

    def set_timer(self, waiter: Waiter[T]) -> None:
        """End the wait of a caller at its own deadline, whatever becomes of the call."""
        if waiter.timer is None and waiter.timeout != math.inf:
            waiter.timer = Alarm(waiter.deadline, partial(self._out_of_time, waiter))

    async def run_here(
        self, work: Coroutine[Any, Any, T], waiter: Waiter[T], shared: SharedCalls, host: Host
    ) -> T:
        """Run in the first caller's task, and return the result, also when others have joined meanwhile."""
        self.task, self.host, waiter.call = asyncio.current_task(), host, self
        self.cancelled_before = 0 if self.task is None else self.task.cancelling()
        self.waiters.append(waiter)
        try:
            return await work
        finally:
            # otherwise the waiters leave it one by one
            if self.host is not None:
                self.waiters.clear()
                if shared.get(self.key) is self:  # another one has taken its place if it was cancelled
                    del shared[self.key]

    async def wait(self, waiter: Waiter[T], shared: SharedCalls) -> T:
        """Wait for the result, as long as the waiter has time. The last waiter to leave cancels the call."""
        if (result := waiter.result) is None:
            waiter.call, result = self, asyncio.get_running_loop().create_future()
            waiter.result = result
            self.waiters.append(waiter)
        try:
            return await result
        finally:
            if waiter.timer is not None:
                waiter.timer.cancel()
                waiter.timer = None
            if result.done() and not result.cancelled():
                result.exception()  # retrieved, in case this wait is cancelled at the same moment
            waiter.result = None  # it may join another call after this one
            if waiter in self.waiters:
                self.waiters.remove(waiter)
            if not self.waiters:
                if shared.get(self.key) is self:
                    del shared[self.key]
                if self.task is not None and not self.task.done():
                    self.task.cancel()
                    await asyncio.wait([self.task])

    def _take_task(self) -> None:
        """Take a task that was lent, and let the first caller wait in another one, as all do."""
        if self.host is None or self.task is None:
            return
        self.task.add_done_callback(self.settle)
        for waiter in self.waiters:
            waiter.result = asyncio.get_running_loop().create_future()
        self.host.hand_over(self.task)
        self.host = None

    def _out_of_time(self, waiter: Waiter[T]) -> None:
        text = f"the call's time was over while it waited for {self.waits_for or 'the response'}"
        waiter.dismiss(APITimeoutError(text, request=self.request, sent=self.at_risk > 0))


SharedCalls = dict[Hashable, SharedCall[Any]]
"""The shared calls that others can join, by what makes two of them equal."""
