"""FanOut: one call for each of many ids, by N workers that pull from one iterator.

Not a task per id: at a hundred thousand ids that costs 150 MB and delays the first result, while
workers cost the same at any number. Ids are taken when a worker is free, results wait in a bounded
hand-off, so a slow consumer slows the fetching instead of filling the memory.

Every call gives exactly one `Outcome`; a failed call is a result, not an exception. Three things end the
work early: an API key that the service rejects, an id source or a program that fails, and `FanOut.stop`.
Then no more ids are taken, and calls that have not been sent yet are dropped; but those that were sent finish
and are delivered, because they may have been paid for, and only then is the error raised. Leaving the
``async with`` block drops everything at once.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
)
from types import TracebackType
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

import attrs

from fullstory_async import validators
from fullstory_async.errors import (
    ActivationBudgetError,
    AuthenticationError,
    ClientStateError,
    ConfigurationError,
    FullStoryError,
    InvalidSessionId,
    PermissionDeniedError,
)
from fullstory_async.models import Session, SessionRef
from fullstory_async.privacy import strip_traceback

__all__ = ["FanOut", "Outcome"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Work(Protocol[T_co]):
    """One call of a fan-out. It is made for an id, run once, and can be looked at meanwhile."""

    @property
    def session_id(self) -> str:
        """The session that it is about, a `SessionId`."""
        ...

    @property
    def attempts(self) -> int:
        """How often it was sent so far."""
        ...

    @property
    def droppable(self) -> bool:
        """Whether cancelling it now would lose nothing that may have been paid for."""
        ...

    @property
    def gave_up(self) -> bool:
        """Whether it ended only because it was stopped."""
        ...

    def stop(self) -> None:
        """Begin no further attempt."""
        ...

    async def run(self) -> T_co:
        """Make the call."""
        ...


class _End(enum.Enum):
    """What the id source gives after its last id; ``None`` could be one of its (bad) ids."""

    END = enum.auto()


_DENIALS = 3
"""403s, with no success between, after which the key is taken to lack the permission."""


@attrs.frozen(kw_only=True)
class Outcome(Generic[T]):
    """What became of one id."""

    session_id: str
    """The id, a `SessionId`; or the text as it was given, where that is no session id."""

    value: T | None = None
    """The answer; ``None`` where the call failed."""

    error: FullStoryError | None = None
    """Why the call failed; ``None`` where it did not."""

    attempts: int = 0
    """How often the request was sent; 0 where nothing was."""

    elapsed: float = 0.0
    """Seconds from taking the id to the outcome, waits included."""


async def _next(source: AsyncIterator[SessionRef]) -> SessionRef | Literal[_End.END]:
    """Do what the built-in does, for iterators too that have no ``__aiter__`` of their own."""
    try:
        return await source.__anext__()
    except StopAsyncIteration:
        return _End.END


class FanOut(Generic[T]):
    """Many calls under way at once; ``async with`` starts them, ``async for`` gives their outcomes.

    Outcomes come in the order of completion. The block's end cancels what is still running.
    """

    def __init__(
        self,
        ids: Iterable[Any] | AsyncIterable[Any],
        make: Callable[[Any], Work[T]],
        *,
        concurrency: int,
    ) -> None:
        """Prepare a fan-out; nothing starts before ``async with``.

        Args:
            ids: consumed lazily, by one worker at a time.
            make: prepares the call for an id; raises `InvalidSessionId`.
            concurrency: the number of workers.

        Raises:
            ConfigurationError: ``ids`` can't be iterated or is a single text, or ``concurrency`` is below 1.
        """
        validators.positive_integer(concurrency, "concurrency")
        many = isinstance(ids, AsyncIterable) or hasattr(ids, "__iter__") or hasattr(ids, "__getitem__")
        if isinstance(ids, (str, bytes, Session)) or not many:
            raise ConfigurationError(f"ids must be an iterable of session ids, not one {type(ids).__name__}")
        self._ids = ids
        self._make = make
        self._concurrency = concurrency
        self._now: Iterator[SessionRef] = iter(())
        self._later: AsyncIterator[SessionRef] | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._running = 0
        self._calls: dict[asyncio.Task[None] | None, Work[T] | None] = {}
        """What each worker does: a call, or ``None`` while it takes an id. It is not there while it delivers."""
        self._dropped: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._raised = False
        self._denials = 0
        self._last_denial: FullStoryError | None = None
        self._fatal: BaseException | None = None

    async def __aenter__(self) -> Self:
        if self._workers:
            raise ClientStateError("this FanOut has been entered before; make a new one")
        if isinstance(self._ids, AsyncIterable):
            self._later = aiter(self._ids)
        else:
            self._now = iter(self._ids)
        self._turn = asyncio.Lock()
        self._done: asyncio.Queue[Outcome[T] | None] = asyncio.Queue(self._concurrency)
        self._running = self._concurrency
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]
        for worker in self._workers:
            worker.add_done_callback(self._worker_ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._drop(self._workers)
        interrupted: asyncio.CancelledError | None = None
        while not all(worker.done() for worker in self._workers):
            try:
                await asyncio.wait(self._workers)
            except asyncio.CancelledError as cancelled:  # nothing may be left running, so they end first
                interrupted = cancelled
        if self._later is not self._ids and isinstance(self._later, AsyncGenerator):
            await self._later.aclose()  # made here, by aiter(); a generator that was given is the giver's
        if interrupted is not None:
            raise interrupted
        if error is None and not self._raised and not isinstance(self._fatal, FullStoryError | None):
            raise self._fatal  # a bug is not lost because the consumer left early

    def __aiter__(self) -> Self:
        if not self._workers:
            raise ClientStateError(
                "open the fan-out first: async with client.sessions.events_many(…) as results"
            )
        return self

    async def __anext__(self) -> Outcome[T]:
        outcome = await self._done.get()
        if not self._running and self._done.empty():
            self._done.put_nowait(None)  # the end, for whoever looks next
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
        """Take no more ids and drop calls that were not sent yet, or were sent and refused.

        Calls that were sent finish, and iteration ends after their outcomes.
        """
        self._stopping = True
        for worker, call in list(self._calls.items()):
            if call is None or call.droppable:
                self._drop([worker])
            else:
                call.stop()

    def _drop(self, workers: Iterable[asyncio.Task[None] | None]) -> None:
        for worker in workers:
            if worker is not None and not worker.done():
                self._dropped.add(worker)
                worker.cancel()

    async def _work(self) -> None:
        worker = asyncio.current_task()
        while not self._stopping:
            self._calls[worker] = None
            try:
                ref = next(self._now, _End.END) if self._later is None else await self._take(self._later)
                if ref is _End.END or self._stopping:  # the source itself may have stopped the work
                    return
                outcome = await self._call(worker, ref)
            finally:
                self._calls.pop(worker, None)
            if outcome is not None:
                await self._done.put(outcome)

    async def _take(self, source: AsyncIterator[SessionRef]) -> SessionRef | Literal[_End.END]:
        async with self._turn:
            return await _next(source)

    async def _call(self, worker: asyncio.Task[None] | None, ref: SessionRef) -> Outcome[T] | None:
        try:
            call = self._calls[worker] = self._make(ref)
        except InvalidSessionId as error:
            text = ref.session_id if isinstance(ref, Session) else str(ref)
            return Outcome(session_id=text, error=strip_traceback(error))
        now = asyncio.get_running_loop().time
        started = now()
        try:
            value = await call.run()
        except (ClientStateError, ConfigurationError):
            raise  # the program is wrong, not this id
        except FullStoryError as error:
            if call.gave_up and call.droppable:
                return None
            del self._calls[worker]
            self._note_refusal(error)
            return Outcome(
                session_id=call.session_id,
                error=strip_traceback(error),
                attempts=error.attempts,
                elapsed=now() - started,
            )
        self._denials = 0
        return Outcome(
            session_id=call.session_id, value=value, attempts=call.attempts, elapsed=now() - started
        )

    def _note_refusal(self, error: FullStoryError) -> None:
        """Stop the work where further calls would be refused as this one was."""
        if isinstance(error, PermissionDeniedError) and error is not self._last_denial:
            self._denials, self._last_denial = self._denials + 1, error  # a shared request's counts once
        if isinstance(error, (AuthenticationError, ActivationBudgetError)) or self._denials >= _DENIALS:
            self._fail(error)

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        if worker.cancelled():
            if worker not in self._dropped:
                self._fail(
                    RuntimeError("a call of the fan-out was cancelled by something other than the fan-out")
                )
        elif (error := worker.exception()) is not None:
            self._fail(error)
        self._running -= 1
        if self._running == 0 and not self._done.full():  # else who takes the last outcome does it
            self._done.put_nowait(None)

    def _fail(self, error: BaseException) -> None:
        if self._fatal is None:
            self._fatal = error
        self.stop()
