"""GroupCommitWriter: one thread that writes a database, many changes at a time.

A change is a function of the database. A transaction holds as many changes as are waiting. All changes that
are requested while a transaction is being committed share the next one. So the cost of a commit is shared,
and no caller waits for more than two of them. A caller continues only when its change is on disk.

When the disk is full, a group is written in the room of `SpareRoom`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import attrs

from fullstory_async.errors import ClientStateError, JobStorageError
from fullstory_async.files.storage_faults import StorageFault, describe_fault, fault_of
from fullstory_async.jobs.storage.rescue import HeldResult, RescueFile
from fullstory_async.jobs.storage.schema import DATABASE_NAME, checkpoint_wal, set_checkpoints
from fullstory_async.jobs.storage.spare_room import SpareRoom

__all__ = ["GroupCommitWriter"]

_logger = logging.getLogger("fullstory_async.jobs")

T = TypeVar("T")

_MAX_GROUP = 512
_PATIENCE = 30.0
"""Seconds that another program may keep the file locked."""
_CHECKPOINT_ATTEMPTS = 20
_CHECKPOINT_DELAY = 0.1
_LOG_SHARE = 1.05
"""Bytes of the log for a byte of a response, with the heads of its pages."""
_BYTES_PER_CHANGE = 32 * 1024
"""Bytes of the log for the other pages that a change writes."""


@attrs.frozen
class _Change:
    work: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any] | None = None
    """Resolved when the change is on disk; ``None`` if no caller waits for it."""
    outside_transaction: bool = False
    rescue: HeldResult | None = None
    """The paid result that would be lost if the change were; such a change is held until it is on disk."""


class GroupCommitWriter:
    """Changes one database from a thread of its own."""

    room: SpareRoom
    rescue_file: RescueFile
    """Where `close` writes the responses that it can't save."""

    def __init__(
        self,
        database: sqlite3.Connection,
        folder: Path,
        transaction: Callable[[], contextlib.AbstractContextManager[None]],
        rescue_file: RescueFile,
    ) -> None:
        """Start the thread.

        Args:
            database: an open database; only this thread uses it from now on.
            folder: where it is.
            transaction: begins a transaction of it, entered in the thread; commits or rolls back at its end.
            rescue_file: where `close` writes the responses that it can't save.
        """
        self._database = database
        self._folder = folder
        self._transaction = transaction
        self._closed, self._patient_until = False, math.inf
        self._pid = os.getpid()
        self._changes: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._retried: list[_Change] = []
        self.room, self.rescue_file = SpareRoom(folder), rescue_file
        self._thread = threading.Thread(target=self._write, name="fullstory-job-writer", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # too many threads, or the interpreter is ending
            raise JobStorageError(f"the job {folder} can't be written: {error}") from None

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked with the job open, so that the job belongs to its parent."""
        return self._pid != os.getpid()

    async def run(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        outside_transaction: bool = False,
        rescue: HeldResult | None = None,
    ) -> T:
        """Make a change; it is on disk when this returns.

        A cancellation returns at once; the change is in the queue, and will be made.

        Args:
            work: the change.
            outside_transaction: run it on its own; SQLite requires that for a checkpoint.
            rescue: the paid result that it saves.

        Raises:
            JobStorageError: it can't be written. One with a ``rescue`` is held all the same, and written with
                the next group that can be.
        """
        if self._closed:
            raise ClientStateError(f"the job {self._folder} is closed")
        if self.is_inherited:  # the thread stayed in the parent
            raise ClientStateError(
                f"the job {self._folder} was opened by the process that forked this one: "
                "open it in one of the two"
            )
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._changes.put(_Change(work, future, outside_transaction, rescue))
        return await future

    def run_later(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        """Make a change that only `close` waits for.

        If it can't be written, the next group tries again.
        """
        self._changes.put(_Change(work))

    async def fill_room(self) -> None:
        """Complete the spare room for another run."""
        await self.run(lambda _: self._fill_room(), outside_transaction=True)

    async def grow_room(self, wanted: float) -> None:
        """Make the spare room larger, as far as the disk allows."""
        await self.run(lambda _: self.room.grow(wanted), outside_transaction=True)

    async def clear_wal(self) -> bool:
        """Empty the log, which still holds erased pages; return False while another program reads it."""
        for _ in range(_CHECKPOINT_ATTEMPTS):
            if await self.run(checkpoint_wal, outside_transaction=True):
                return True
            await asyncio.sleep(_CHECKPOINT_DELAY)
        return False

    def disk_full(self) -> JobStorageError:
        """Return the error of a call that is not sent, because its response would have no room."""
        return JobStorageError(f"the job {self._folder} can't be written: the disk is full")

    async def read_rescued(self) -> list[HeldResult]:
        """Return the results that an earlier run has rescued."""
        return await self._with_rescued(lambda file: list(file.read()))

    async def remove_rescued(self) -> None:
        """Remove the rescued results, which are saved now."""
        await self._with_rescued(RescueFile.remove)

    async def erase_rescued(self, session_id: str) -> None:
        """Erase the rescued results of one session."""
        await self._with_rescued(lambda file: file.erase(session_id))

    async def _with_rescued(self, work: Callable[[RescueFile], T]) -> T:
        """Read or change the rescue file; an error of it is not one of the job's file."""

        def do(_: sqlite3.Connection) -> tuple[T | None, OSError | None]:
            try:
                return work(self.rescue_file), None
            except OSError as error:
                return None, error

        result, error = await self.run(do, outside_transaction=True)
        if error is not None:
            raise JobStorageError(
                f"the rescue file {self.rescue_file.path}, which may hold paid results of the job "
                f"{self._folder}, can't be used: {error.strerror or error}"
            )
        return cast("T", result)

    async def rescue_held(self) -> tuple[int, int]:
        """Write the results that are held to the rescue file; return the numbers of rescued and lost."""
        return await self.run(lambda _: self._rescue(), outside_transaction=True)

    def close(self) -> None:
        """Write all waiting changes, and end the thread; blocks until it has ended.

        All changes together have the patience of one: closing has to end even if the file stays locked.
        """
        self._closed, self._patient_until = True, time.monotonic() + _PATIENCE
        self._changes.put(None)
        self._thread.join()
        self.room.shrink()

    def _write(self) -> None:
        waiting: list[_Change | None] = []
        while True:
            waiting = waiting or [self._changes.get()]
            while len(waiting) < _MAX_GROUP and not self._changes.empty():
                waiting.append(self._changes.get())
            first = waiting[0]
            if first is None:
                self._finish()
                return
            together = itertools.takewhile(
                lambda change: change is not None and not change.outside_transaction, waiting
            )
            group = [change for change in together if change is not None] or [first]
            self._commit(group)
            del waiting[: len(group)]

    def _commit(self, group: list[_Change]) -> None:
        """Make a group of changes, on a full disk in the spare room."""
        until = time.monotonic() + _PATIENCE
        if not group[0].outside_transaction:
            group, self._retried = [*self._retried, *group], []
        while True:
            try:
                results = self._execute(group)
            except Exception as error:  # noqa: BLE001  (or all callers would wait forever)
                fault = fault_of(error, self._folder / DATABASE_NAME)
                if fault is StorageFault.FULL and self.room.free(_bytes_of(group)):
                    # What is in the log would take its room a second time, in the file.
                    set_checkpoints(self._database, automatic=False)
                    continue
                # Patience: the responses that wait here may have been paid for.
                if fault is StorageFault.LOCKED and time.monotonic() < min(until, self._patient_until):
                    continue
                self._retried += [
                    attrs.evolve(change, future=None)
                    for change in group
                    if change.future is None or change.rescue is not None
                ]
                text = f"the job {self._folder} can't be written: {describe_fault(error, fault)}"
                failures: list[Any] = [JobStorageError(text) for _ in group]
                for failure in failures:
                    failure.permanent = not fault.may_pass
                _notify(group, failures)
            else:
                self.room.look_at_disk()
                _notify(group, results)
            return

    def _fill_room(self) -> None:
        self.room.fill()
        set_checkpoints(self._database, automatic=not self.room.is_used)

    def _rescue(self) -> tuple[int, int]:
        held = [change.rescue for change in self._retried if change.rescue is not None]
        path = self.rescue_file.path
        if not held:
            return 0, 0
        try:
            self.rescue_file.append(held)
        except OSError as error:
            _logger.log(logging.ERROR, "%d paid results can't be written to %s: %s", len(held), path, error)
            return 0, len(held)
        _logger.warning("%d paid results are in %s: run the job again", len(held), path)
        self._retried = [change for change in self._retried if change.rescue is None]
        return len(held), 0

    def _finish(self) -> None:
        """Try once more what could not be written, and rescue the responses of it."""
        if self._retried:
            self._commit([_Change(lambda _: None)])
            self._rescue()

    def _execute(self, group: list[_Change]) -> list[Any]:
        if group[0].outside_transaction:
            return [change.work(self._database) for change in group]
        with self._transaction():
            return [change.work(self._database) for change in group]


def _bytes_of(group: list[_Change]) -> int:
    """Return the bytes that a group takes in the log at most."""
    responses = sum(len(change.rescue.body or b"") for change in group if change.rescue is not None)
    return round(responses * _LOG_SHARE) + len(group) * _BYTES_PER_CHANGE


def _notify(group: list[_Change], results: list[Any]) -> None:
    """Resolve the futures of a group, with one call into their event loop."""
    waiting = [
        (change.future, result) for change, result in zip(group, results, strict=True) if change.future
    ]
    if waiting:
        with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits any more
            waiting[0][0].get_loop().call_soon_threadsafe(_resolve, waiting)


def _resolve(waiting: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in waiting:
        if future.done():
            continue
        if isinstance(result, JobStorageError):
            future.set_exception(result)
        else:
            future.set_result(result)
