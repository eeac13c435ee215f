"""GroupCommitWriter: one thread that writes a database, many changes at a time.

A change is a function of the database. A transaction holds as many changes as are waiting. All changes that
are requested while a transaction is being committed share the next one. So the cost of a commit is shared,
and no caller waits for more than two of them. A caller continues only when its change is on disk.

The disk may become full at any moment, and the responses in flight may have been paid for by then. So the
job's folder holds a reserve, a file that has no other use than to be deleted in that moment: its room is
where they are written.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import queue
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs

from fullstory_async.errors import ClientStateError, JobStorageError
from fullstory_async.files.file_system import PRIVATE_FILE
from fullstory_async.files.storage_faults import StorageFault, describe_fault, fault_of
from fullstory_async.jobs.storage.schema import DATABASE_NAME, RESERVE_NAME

__all__ = ["GroupCommitWriter"]

T = TypeVar("T")

_MAX_GROUP = 512
_RESERVE_BYTES = 8 * 1024 * 1024
_RESERVE_SHARE = 2
"""The reserve takes ``_RESERVE_BYTES``, or half of the free room if that is less."""
_MIN_RESERVE_BYTES = 128 * 1024
_CHUNK_BYTES = 1024 * 1024
_PATIENCE = 30.0
"""Seconds that another program may keep the file locked."""


@attrs.frozen
class _Change:
    work: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any] | None = None
    """Resolved when the change is on disk; ``None`` if no caller waits for it."""
    outside_transaction: bool = False


class GroupCommitWriter:
    """Changes one database from a thread of its own."""

    disk_full: bool
    """Whether the disk was full and the reserve is gone: calls in flight can still be saved, no others."""

    def __init__(
        self,
        database: sqlite3.Connection,
        folder: Path,
        transaction: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        """Start the thread.

        Args:
            database: an open database; only this thread uses it from now on.
            folder: where it is.
            transaction: begins a transaction of it, entered in the thread; commits or rolls back at its end.
        """
        self._database = database
        self._folder = folder
        self._transaction = transaction
        self._closed, self._patient_until = False, math.inf
        self._changes: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._retried: list[_Change] = []
        self.reserve_disk()
        self._thread = threading.Thread(target=self._write, name="fullstory-job-writer", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # too many threads, or the interpreter is ending
            raise JobStorageError(f"the job {folder} can't be written: {error}") from None

    async def run(self, work: Callable[[sqlite3.Connection], T], *, outside_transaction: bool = False) -> T:
        """Make a change; it is on disk when this returns.

        A cancellation returns at once; the change is in the queue, and will be made.

        ``outside_transaction=True`` runs it on its own; SQLite requires that for a checkpoint.

        Raises:
            JobStorageError: it can't be written.
        """
        if self._closed:
            raise ClientStateError(f"the job {self._folder} is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._changes.put(_Change(work, future, outside_transaction))
        return await future

    def run_later(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        """Make a change that only `close` waits for.

        If it can't be written, the next group tries again.
        """
        self._changes.put(_Change(work))

    def close(self) -> None:
        """Write all waiting changes, and end the thread; blocks until it has ended.

        All changes together have the patience of one: closing has to end even if the file stays locked.
        """
        self._closed, self._patient_until = True, time.monotonic() + _PATIENCE
        self._changes.put(None)
        self._thread.join()

    def _write(self) -> None:
        waiting: list[_Change | None] = []
        while True:
            waiting = waiting or [self._changes.get()]
            while len(waiting) < _MAX_GROUP and not self._changes.empty():
                waiting.append(self._changes.get())
            first = waiting[0]
            if first is None:
                return
            together = itertools.takewhile(
                lambda change: change is not None and not change.outside_transaction, waiting
            )
            group = [change for change in together if change is not None] or [first]
            self._commit(group)
            del waiting[: len(group)]

    def _commit(self, group: list[_Change]) -> None:
        """Make a group of changes, on a full disk in the room of the reserve."""
        until = time.monotonic() + _PATIENCE
        if not group[0].outside_transaction:
            group, self._retried = [*self._retried, *group], []
        while True:
            try:
                results = self._execute(group)
            except Exception as error:  # noqa: BLE001  (or all callers would wait forever)
                fault = fault_of(error, self._folder / DATABASE_NAME)
                if fault is StorageFault.FULL and self._free_reserve():
                    continue
                # Patience: the responses that wait here may have been paid for.
                if fault is StorageFault.LOCKED and time.monotonic() < min(until, self._patient_until):
                    continue
                text = f"the job {self._folder} can't be written: {describe_fault(error, fault)}"
                self._retried += [change for change in group if change.future is None]
                _notify(group, [JobStorageError(text) for _ in group])
            else:
                _notify(group, results)
            return

    def _execute(self, group: list[_Change]) -> list[Any]:
        if group[0].outside_transaction:
            return [change.work(self._database) for change in group]
        with self._transaction():
            return [change.work(self._database) for change in group]

    def reserve_disk(self) -> None:
        """Create the reserve, or complete it. Sets `disk_full` if there is no room for it."""
        path = self._folder / RESERVE_NAME
        fresh = path.with_suffix(".new")
        try:
            size = path.stat().st_size if path.exists() else 0
            disk = shutil.disk_usage(self._folder)
            # A bucket behind FUSE may report no size at all.
            free = disk.free if disk.total else _RESERVE_SHARE * _RESERVE_BYTES
            wanted = min(_RESERVE_BYTES, (free + size) // _RESERVE_SHARE)
            if size < wanted:
                path.unlink(missing_ok=True)
                handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
                with os.fdopen(handle, "wb") as file:
                    # Random bytes: zeros take no room on a file system that compresses or that leaves holes.
                    file.writelines(
                        os.urandom(min(_CHUNK_BYTES, wanted - begin))
                        for begin in range(0, wanted, _CHUNK_BYTES)
                    )
                fresh.replace(path)
                size = wanted
        except OSError:
            fresh.unlink(missing_ok=True)
            size = 0
        self.disk_full = size < _MIN_RESERVE_BYTES

    def _free_reserve(self) -> bool:
        """Delete the reserve; return whether that made room."""
        try:
            (self._folder / RESERVE_NAME).unlink()
        except OSError:
            return False
        self.disk_full = True
        return True


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
