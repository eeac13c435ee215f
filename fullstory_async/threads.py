"""Worker threads: blocking work on a file, done beside the event loop.

`asyncio.to_thread` doesn't fit. Its threads belong to the whole program, which may keep all of them busy for
minutes, and its work can't be followed by more when the caller has left. A `WorkerThread` does one piece of
work after the other. So a caller that is cancelled leaves at once, and puts the work that undoes its own
behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

import attrs

from fullstory_async.errors import ClientStateError, StorageError

__all__ = ["GRACE", "WorkerThread", "running_loop"]

P = ParamSpec("P")
T = TypeVar("T")

GRACE = 0.02
"""Seconds that a cancelled caller waits for work to stop, so that it usually has by then."""

_EXIT_SECONDS = 30.0
"""Seconds for which the end of the process waits for work that no caller waits for."""

_logger = logging.getLogger("fullstory_async.threads")


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop.

    Raises:
        ClientStateError: the coroutine is run by another library than asyncio.
    """
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop()
    raise ClientStateError(
        "no asyncio event loop is running, and fullstory_async needs one: with trio, call it inside "
        "trio_asyncio.open_loop(); with anyio, use the backend 'asyncio'"
    )


@attrs.frozen(eq=False)
class _Work:
    do: Callable[[], Any]
    future: asyncio.Future[Any] | None = None
    """Resolved with the result; ``None`` if no caller waits for it."""


@attrs.define(eq=False)
class _Unwaited:
    """Work that no caller waits for, so the end of the process does."""

    count: int = 0
    pid: int = attrs.field(factory=os.getpid)
    changed: threading.Condition = attrs.field(factory=threading.Condition)

    def add(self, works: int) -> None:
        with self.changed:
            self.count += works
            self.changed.notify_all()

    def wait(self) -> None:
        if self.pid != os.getpid():
            return  # it is done where this process was forked
        with contextlib.suppress(KeyboardInterrupt), self.changed:
            self.changed.wait_for(lambda: not self.count, timeout=_EXIT_SECONDS)


class WorkerThread:
    """A daemon thread that does one piece of work after the other, in the order in which they came.

    It runs while there is work. It may be used from several event loops, and in a process that was forked
    later.
    """

    what: str
    """What it works on, for messages."""
    _is_running: bool

    def __init__(self, what: str) -> None:
        """Prepare a thread; it starts when it is needed."""
        self.what = what
        self._start_anew()

    async def run(self, work: Callable[P, T], /, *arguments: P.args, **options: P.kwargs) -> T:
        """Do work in the thread and return its result.

        A cancellation returns at once. Work that has begun by then is finished; other work is not done.

        Raises:
            StorageError: no thread can be started.
            ClientStateError: asyncio doesn't run.
        """
        future: asyncio.Future[T] = running_loop().create_future()
        self._put(_Work(partial(work, *arguments, **options), future))
        return await future

    def run_later(self, work: Callable[P, object], /, *arguments: P.args, **options: P.kwargs) -> None:
        """Do work in the thread that only `finish` waits for, and the end of the process.

        Raises:
            StorageError: no thread can be started.
        """
        self._put(_Work(partial(work, *arguments, **options)))

    def run_last(self, work: Callable[P, object], /, *arguments: P.args, **options: P.kwargs) -> None:
        """Do work behind all other, without waiting for it; if no thread can be started, do it here."""
        try:
            self.run_later(work, *arguments, **options)
        except StorageError:
            work(*arguments, **options)

    async def finish(self, seconds: float | None = None) -> bool:
        """Wait until all work is done, at most this long; return whether it is."""
        if not self._is_running or self._pid != os.getpid():
            return True
        try:
            async with asyncio.timeout(seconds):
                await self.run(_nothing)
        except TimeoutError:
            return False
        return True

    def _put(self, work: _Work) -> None:
        if self._pid != os.getpid():
            # the thread stayed in the process that forked this one, and may have held the lock
            self._start_anew()
        with self._lock:
            if not self._is_running:
                thread = threading.Thread(target=self._serve, name=f"fullstory {self.what}", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # too many threads, or the interpreter is ending
                    raise StorageError(f"{self.what} can't be used now: {error}") from None
                self._is_running = True
            self._works.append(work)
            if work.future is None:
                self._unwaited.add(1)

    def _serve(self) -> None:
        while True:
            with self._lock:
                if not self._works:
                    self._is_running = False
                    return
                work = self._works.popleft()
            _do(work)
            if work.future is None:
                self._unwaited.add(-1)

    def _start_anew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._works: deque[_Work] = deque()
        self._unwaited = _Unwaited()
        # a caller that is cancelled twice has not waited for what it released, and the program may end then
        weakref.finalize(self, self._unwaited.wait)
        self._is_running = False

    def __reduce__(self) -> tuple[type[WorkerThread], tuple[str]]:
        return WorkerThread, (self.what,)


def _do(work: _Work) -> None:
    if work.future is None:
        try:
            work.do()
        except Exception:
            _logger.exception("work that no caller waits for has failed")
        return
    if work.future.cancelled():
        return
    result: Any = None
    error: BaseException | None = None
    try:
        result = work.do()
    except BaseException as raised:  # noqa: BLE001  (the caller gets it)
        error = raised
    with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits any more
        work.future.get_loop().call_soon_threadsafe(_resolve, work.future, result, error)


def _resolve(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _nothing() -> None: ...
