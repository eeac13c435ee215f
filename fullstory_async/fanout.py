"""FanOut: one call for each of many ids, by N workers that pull from one iterator.

Not a task per id: at a hundred thousand ids that costs 150 MB and delays the first result, while workers cost
the same at any number. A worker takes an id when it is free, and results wait in a bounded queue, so a slow
consumer slows the fetching instead of filling the memory.

A call runs in the task of its worker. A task of its own would take more time, and make all calls proceed in
step, which triggers the garbage collector. If another caller joins a call (see `single_flight`), the task is
handed over to the call, which must not end with this fan-out, and a new task continues as the worker, in the
context of the block. A context variable that a hook sets in a call keeps its value in the worker's next call.

Every call gives exactly one `Outcome`; a failed call is a result, not an exception. Four things end the work
early: a failure after which all further calls would be refused (`StopRule`), ids that all seem to be wrong
(`Brake`), an id source or a program that fails, and `FanOut.stop`. Then no more ids are taken, and calls that
have not been sent yet are cancelled. Calls that were sent finish and are delivered, because they may have
been paid for, and only then is the error raised. Leaving the ``async with`` block cancels everything at once.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import attrs

from fullstory_async import validators
from fullstory_async.brake import Brake
from fullstory_async.concurrency import shielded
from fullstory_async.errors import (
    ClientStateError,
    FullStoryError,
    InvalidSessionId,
    NoSessionFoundError,
    Scope,
)
from fullstory_async.ids.source import End, IdSource
from fullstory_async.models import text_of
from fullstory_async.outcome import Failure, Outcome, Success
from fullstory_async.privacy import strip_traceback
from fullstory_async.stop_rule import StopRule

__all__ = ["FanOut", "Host", "Work"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Host(Protocol):
    """Who lends a call the task that it runs in."""

    def hand_over(self, task: asyncio.Task[Any]) -> None:
        """Leave a task to the call that runs in it; the caller gets the result from a second `Work.run`.

        The task ends with what the call returns or raises.
        """
        ...


class Work(Protocol[T_co]):
    """One call of a fan-out: made for an id, run once, and readable at any time."""

    @property
    def session_id(self) -> str:
        """The session that the call is about, a `SessionId`."""
        ...

    @property
    def attempts(self) -> int:
        """Number of times that the call was sent so far."""
        ...

    @property
    def droppable(self) -> bool:
        """Whether cancelling it now would lose nothing that may have been paid for."""
        ...

    @property
    def gave_up(self) -> bool:
        """Whether the call ended only because it was stopped."""
        ...

    def stop(self) -> None:
        """Start no further attempt, not even one that would begin before a cancellation arrives."""
        ...

    def run(self, host: Host | None = None) -> Coroutine[Any, Any, T_co]:
        """Make the call, in the current task if ``host`` lends it. After a hand-over, wait for the result."""
        ...


@attrs.define(eq=False)
class _Worker(Generic[T]):
    """What one of the workers does now."""

    task: asyncio.Task[Any] | None = None
    """The task that it runs in: another one after a hand-over."""
    call: Work[T] | None = None
    """Its call; ``None`` while it takes an id."""
    started: float = 0.0
    """Loop time at which the call started."""
    delivers: bool = False
    """Whether the call is over: a stop must not cancel the delivery of its outcome."""
    is_cancelled: bool = False
    """Whether the fan-out has cancelled it."""
    is_new: bool = False
    """Whether its task, which is to wait for a call, has not begun."""


class FanOut(Generic[T]):
    """Many concurrent calls; ``async with`` starts them, ``async for`` gives their outcomes.

    Outcomes come in the order of completion. The end of the block cancels calls that are still running.
    """

    def __init__(
        self,
        ids: Iterable[Any] | AsyncIterable[Any],
        make: Callable[[Any], Work[T]],
        *,
        concurrency: int,
        rule: StopRule | None = None,
        brake: Brake | None = None,
    ) -> None:
        """Prepare a fan-out; nothing starts before ``async with``.

        Args:
            ids: consumed lazily, by one worker at a time. Rows (mappings) follow the rules for files.
            make: prepares the call for an id; raises `InvalidSessionId`.
            concurrency: the number of workers.
            rule: decides which failures end the work; ``None`` for a `StopRule` with its defaults.
            brake: limits the calls before the first success; ``None`` for no limit.

        Raises:
            ConfigurationError: ``ids`` is not an iterable of ids or rows, or ``concurrency`` is below 1.
        """
        validators.positive_integer(concurrency, "concurrency")
        self._source = IdSource(ids)
        self._make = make
        self._concurrency = concurrency
        self._rule = StopRule() if rule is None else rule
        self._brake = Brake(None) if brake is None else brake
        self._workers: dict[asyncio.Task[Any], _Worker[T]] = {}
        self._running = 0
        self._stopping = False
        self._raised = False
        self._fatal: BaseException | None = None

    async def __aenter__(self) -> Self:
        if self._workers:
            raise ClientStateError("this FanOut has been entered before; make a new one")
        self._source.start()
        self._outcomes: asyncio.Queue[Outcome[T] | None] = asyncio.Queue(self._concurrency)
        self._running, self._context = self._concurrency, contextvars.copy_context()
        for _ in range(self._concurrency):
            self._start(_Worker())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        for task in self._workers:
            self._cancel(task)
        try:
            # nothing may be left running, so the workers end first
            if self._workers:
                await shielded(asyncio.wait(list(self._workers)))
        finally:
            await self._source.close()
        if error is None and not self._raised and not isinstance(self._fatal, FullStoryError | None):
            # a bug is not lost because the consumer left early
            raise self._fatal

    def __aiter__(self) -> Self:
        if not self._workers:
            raise _not_entered()
        return self

    async def __anext__(self) -> Outcome[T]:
        if not self._workers:
            raise _not_entered()
        outcome = await self._outcomes.get()
        if not self._running and self._outcomes.empty():
            # several consumers may iterate: each of them has to find the end
            self._outcomes.put_nowait(None)
        if outcome is not None:
            return outcome
        if self._fatal is not None:
            self._raised = True
            raise self._fatal
        raise StopAsyncIteration

    def __enter__(self) -> None:
        raise TypeError("a FanOut is asynchronous: use 'async with'")

    def __exit__(self, *_: object) -> None: ...

    def stop(self) -> None:
        """Take no more ids; cancel calls that were not sent yet, or were sent and refused.

        Calls that were sent finish, and iteration ends after their outcomes.
        """
        self._stopping = True
        for task, worker in list(self._workers.items()):
            call = worker.call
            is_droppable = not worker.delivers and (call is None or call.droppable)
            if call is not None and not worker.delivers:
                call.stop()
            if is_droppable:
                self._cancel(task)

    def hand_over(self, task: asyncio.Task[Any]) -> None:
        """Leave the task of a worker to its call, which another caller has joined; see `Host`."""
        worker = self._workers.pop(task)
        task.remove_done_callback(self._worker_ended)
        worker.task, worker.is_new = None, True
        self._start(worker)

    def _start(self, worker: _Worker[T]) -> None:
        # not the context of the caller that has joined a call
        # (a program's own task factory need not take one as an argument)
        task = self._context.copy().run(asyncio.get_running_loop().create_task, self._work(worker))
        self._workers[task] = worker
        task.add_done_callback(self._worker_ended)

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        worker = self._workers[task]
        if task.done():
            return
        worker.is_cancelled = True
        if worker.is_new:
            # a task that never begins would leave its call with a caller that never leaves
            asyncio.get_running_loop().call_soon(task.cancel)
        else:
            task.cancel()

    async def _work(self, worker: _Worker[T]) -> Any:
        """Make one call after the other. After a hand-over, end with what the call returns or raises."""
        task, source, clock = asyncio.current_task(), self._source, asyncio.get_running_loop().time
        worker.task = task
        waits_for_ids = source.is_async
        outcome: Outcome[T] | None
        while worker.call is not None or not self._stopping:
            worker.is_new = False
            if worker.call is None:
                ref = await source.next() if waits_for_ids else source.next_now()
                # the id source itself may have stopped the work
                if ref is End.END or self._stopping:
                    return None
                worker.started = clock()
                try:
                    worker.call = self._make(ref)
                except InvalidSessionId as error:
                    await self._deliver(
                        worker, Failure(session_id=text_of(ref), error=strip_traceback(error))
                    )
                    continue
            call = worker.call
            try:
                value = await (call.run(self) if self._brake.is_loose else self._run_braked(call))
            except FullStoryError as error:
                # the program or all ids are wrong, not this id
                if error.scope is Scope.PROGRAM or worker.task is not task:
                    raise
                outcome = self._failure(worker, call, error)
            else:
                if worker.task is not task:
                    return value
                worker.delivers, ended = True, clock()
                self._stop_by_rule(None, worker.started, ended)
                outcome = Success(
                    session_id=call.session_id, value=value, attempts=call.attempts,
                    elapsed=ended - worker.started,
                )  # fmt: skip
                del value
            # neither a call nor its outcome is kept while the worker waits for the next id
            del call
            if outcome is not None:
                await self._deliver(worker, outcome)
            del outcome
        return None

    async def _run_braked(self, call: Work[T]) -> T:
        async with self._brake:
            value = await call.run()
        # a call that nothing was sent for, such as a cached summary, says nothing about the other ids
        if call.attempts:
            self._brake.loosen()
        return value

    def _failure(self, worker: _Worker[T], call: Work[T], error: FullStoryError) -> Outcome[T] | None:
        """Return the outcome of a call that failed; None if it ended only because it was stopped."""
        if call.gave_up and call.droppable:
            worker.call = None
            return None
        worker.delivers, ended = True, asyncio.get_running_loop().time()
        self._stop_by_rule(error, worker.started, ended)
        failed, elapsed = strip_traceback(error), ended - worker.started
        return Failure(session_id=call.session_id, error=failed, attempts=error.attempts, elapsed=elapsed)

    async def _deliver(self, worker: _Worker[T], outcome: Outcome[T]) -> None:
        worker.call, worker.delivers = None, True
        await self._outcomes.put(outcome)
        worker.delivers = False

    def _stop_by_rule(self, error: FullStoryError | None, started: float, now: float) -> None:
        if (fatal := self._rule.after(error, started=started, now=now)) is not None:
            self._fail(fatal)

    def _worker_ended(self, task: asyncio.Task[Any]) -> None:
        worker = self._workers[task]
        worker.call = None
        if task.cancelled():
            if not worker.is_cancelled:
                text = "a call of the fan-out was cancelled by something other than the fan-out"
                self._fail(RuntimeError(text))
        elif (error := task.exception()) is not None:
            self._fail(strip_traceback(error) if isinstance(error, NoSessionFoundError) else error)
        self._running -= 1
        # if the queue is full, the consumer of the last outcome puts the end
        if self._running == 0 and not self._outcomes.full():
            self._outcomes.put_nowait(None)

    def _fail(self, error: BaseException) -> None:
        if self._fatal is None:
            self._fatal = error
        self.stop()


def _not_entered() -> ClientStateError:
    return ClientStateError("open the fan-out first: async with client.sessions.events_many(…) as results")
