"""GroupWriter: one thread that changes a database, in transactions that hold as many changes as are waiting.

A change is a function of the database. Whatever is asked for while a transaction is being committed goes into the
next one together, so a commit's cost is shared, and nobody waits longer than two of them. A caller goes on only when
its change is on the disk.

The disk may become full at any moment, and answers that are on their way then have been paid for. So the job's folder
holds a file that is good for nothing but to be deleted then: that makes the room in which they are written down.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
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

from fullstory_async.concurrency import shielded
from fullstory_async.errors import ClientStateError, JobStorageError
from fullstory_async.files.private_database import PRIVATE_FILE
from fullstory_async.jobs.storage.schema import DATABASE_NAME

__all__ = ["GroupCommitWriter"]

T = TypeVar("T")

_LARGEST_GROUP = 512
_SPARE_NAME = "spare-room"
_SPARE_BYTES = 8 * 1024 * 1024
_PIECE = 1024 * 1024
_SPARE_SHARE = 2
"""The spare room is so much, or half of what is free where that is less."""
_LEAST_SPARE_BYTES = 128 * 1024
_PATIENCE = 30.0
"""Seconds that another program may keep the file locked."""


@attrs.frozen
class _Change:
    work: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any] | None = None
    """Who waits for it, if anybody."""
    alone: bool = False
    """Whether it is done by itself and outside of a transaction."""


class GroupCommitWriter:
    """Changes one database from a thread of its own."""

    disk_full: bool
    """Whether the disk was full and the spare room had to be given: what is under way may still be written."""

    def __init__(
        self,
        database: sqlite3.Connection,
        folder: Path,
        *,
        begin: Callable[[], None],
        finish: Callable[[], None],
        undo: Callable[[], None],
    ) -> None:
        """Begin to write.

        Args:
            database: an open database, of which nobody else makes transactions.
            folder: where it is.
            begin: called in the thread at the beginning of each transaction.
            finish: called in the thread at the end of each transaction, before it is committed.
            undo: called in the thread when a transaction has failed.
        """
        self._database = database
        self._folder = folder
        self._closed = False
        self._path = folder / DATABASE_NAME
        self._inode = self._path.stat().st_ino
        self._begin = begin
        self._finish = finish
        self._undo = undo
        self._changes: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._again: list[_Change] = []
        self.reserve_disk()
        self._thread = threading.Thread(target=self._write, name="fullstory-job-writer", daemon=True)
        self._thread.start()

    def change_later(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        """Make a change that nobody waits for but `close`; where it can't be written, it is tried again with the next one."""
        self._changes.put(_Change(work))

    async def close(self) -> None:
        """Write what is waiting, and end the thread."""
        self._closed = True
        self._changes.put(None)
        await asyncio.to_thread(self._thread.join)

    async def change(self, work: Callable[[sqlite3.Connection], T], *, alone: bool = False) -> T:
        """Make a change; it is on the disk when this returns. Raises `JobStorageError` if it can't be written.

        What is done ``alone`` is in no transaction, as SQLite wants it of its own housekeeping.
        """
        if self._closed:
            raise ClientStateError(f"the job {self._folder} is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._changes.put(_Change(work, future, alone))
        try:
            return await future
        except asyncio.CancelledError:
            if not self._closed:  # else `close` sees to it
                behind: asyncio.Future[None] = loop.create_future()
                self._changes.put(_Change(lambda _: None, behind))
                with contextlib.suppress(JobStorageError):  # the caller is told of the cancellation instead
                    await shielded(behind)  # the change is in the queue and will be done: see that it is
            raise

    def _write(self) -> None:
        waiting: list[_Change | None] = []
        while True:
            waiting = waiting or [self._changes.get()]
            while len(waiting) < _LARGEST_GROUP and not self._changes.empty():
                waiting.append(self._changes.get())
            first = waiting[0]
            if first is None:
                return
            together = itertools.takewhile(lambda change: change is not None and not change.alone, waiting)
            group = [change for change in together if change is not None] or [first]
            self._commit(group)
            del waiting[: len(group)]

    def _commit(self, group: list[_Change]) -> None:
        """Make a group of changes in one transaction, if need be in the room that was kept for that."""
        until = time.monotonic() + _PATIENCE
        if not group[0].alone:
            group, self._again = [*self._again, *group], []
        while True:
            try:
                results = self._do(group)
            except Exception as error:  # noqa: BLE001  (or those who wait would wait for ever)
                self._take_back()
                if _is_full(error) and self._give_spare_room():
                    continue
                if _is_busy(error) and time.monotonic() < until:  # what waits here may have been paid for
                    continue
                failure = JobStorageError(f"the job {self._folder} can't be written: {error}")
                self._again += [change for change in group if change.future is None]
                _tell(group, [failure] * len(group))
            else:
                _tell(group, results)
            return

    def _do(self, group: list[_Change]) -> list[Any]:
        self._begin()
        if group[0].alone:
            return [change.work(self._database) for change in group]
        self._database.execute("BEGIN IMMEDIATE")
        results = [change.work(self._database) for change in group]
        self._finish()
        self._database.execute("COMMIT")
        if not self._is_there():
            raise sqlite3.OperationalError("its folder was removed or replaced while it ran")
        return results

    def _is_there(self) -> bool:
        """Tell whether what is written can still be found under the file's name."""
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def _take_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # SQLite may have done it already
            self._database.execute("ROLLBACK")
        with contextlib.suppress(sqlite3.Error):  # nothing can be read any more, and the callers learn why
            self._undo()

    def reserve_disk(self) -> None:
        """Fill a file, to be deleted when the disk is full; without room for that, nothing should be sent.

        It holds random bytes: zeros take no room where the file system compresses, or leaves holes.
        """
        path = self._folder / _SPARE_NAME
        fresh = path.with_suffix(".new")
        try:
            has = path.stat().st_size if path.exists() else 0
            wanted = min(_SPARE_BYTES, (shutil.disk_usage(self._folder).free + has) // _SPARE_SHARE)
            if has < wanted:
                path.unlink(missing_ok=True)
                with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE), "wb") as file:  # noqa: PTH123
                    file.writelines(
                        os.urandom(min(_PIECE, wanted - begin)) for begin in range(0, wanted, _PIECE)
                    )
                fresh.replace(path)
                has = wanted
        except OSError:
            fresh.unlink(missing_ok=True)
            has = 0
        self.disk_full = has < _LEAST_SPARE_BYTES

    def _give_spare_room(self) -> bool:
        path = self._folder / _SPARE_NAME
        try:
            path.unlink()
        except OSError:
            return False
        self.disk_full = True
        return True


def _is_full(error: Exception) -> bool:
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorname", "").startswith(
        ("SQLITE_FULL", "SQLITE_IOERR")
    )


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorname", "").startswith(
        "SQLITE_BUSY"
    )


def _tell(group: list[_Change], results: list[Any]) -> None:
    """Wake everybody who waits for a group, with one call into their event loop."""
    waiting = [
        (change.future, result) for change, result in zip(group, results, strict=True) if change.future
    ]
    if waiting:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            waiting[0][0].get_loop().call_soon_threadsafe(_resolve, waiting)


def _resolve(waiting: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in waiting:
        if future.done():
            continue
        if isinstance(result, JobStorageError):
            future.set_exception(result)
        else:
            future.set_result(result)
