"""LockFile: a lock that is a file, for file systems without locks of the operating system.

Whoever creates the file holds the lock (``O_EXCL``). The file stays behind if its process dies, so it names
that process, and the next one on the same host takes it over. Whether a process on another host still
runs can't be known, so its file has to be deleted by a person.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import attrs

from fullstory_async.files.file_system import PRIVATE_FILE

__all__ = ["Holder", "LockFile", "LockFileHeld", "holder_of", "is_dead"]

_SIZE = 1000


@attrs.frozen
class Holder:
    """The process that holds a lock, as it noted itself in the lock's file."""

    pid: int
    host: str
    since: str

    @classmethod
    def this_process(cls) -> Holder:
        """Return the note of this process."""
        return cls(os.getpid(), socket.gethostname(), time.strftime("%Y-%m-%d %H:%M:%S %Z"))

    @classmethod
    def read(cls, file: int) -> Holder | None:
        """Read the note in an open file; ``None`` if it has none, or not yet."""
        try:
            os.lseek(file, 0, os.SEEK_SET)
            note: Any = json.loads(os.read(file, _SIZE))
            return cls(note["pid"], note["host"], note["since"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, file: int) -> None:
        """Write the note into an open file. Raises `OSError`."""
        os.ftruncate(file, 0)
        os.write(file, json.dumps(attrs.asdict(self)).encode())

    @property
    def is_dead(self) -> bool:
        """Whether the process is certainly dead."""
        return self.host == socket.gethostname() and isinstance(self.pid, int) and is_dead(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


class LockFileHeld(Exception):
    """Another process holds a `LockFile`, or left it behind."""

    def __init__(self, path: Path, holder: Holder | None) -> None:
        """Describe who holds which file."""
        super().__init__(f"{path} is held by {holder or 'another process'}")
        self.path, self.holder = path, holder


class LockFile:
    """Holds a lock from its creation until `release`."""

    __slots__ = ("_path", "_pid")

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            LockFileHeld: another process holds it, or left it behind on another host.
            OSError: the file can't be written.
        """
        try:
            _create(path)
        except FileExistsError:
            _remove_if_dead(path)
            try:
                _create(path)
            except FileExistsError:
                raise LockFileHeld(path, holder_of(path)) from None
        self._path, self._pid = path, os.getpid()

    def release(self) -> None:
        """Release the lock; a second call, or one in a forked child, does nothing."""
        if self._pid == os.getpid():
            self._pid = 0
            self._path.unlink(missing_ok=True)


def holder_of(path: Path) -> Holder | None:
    """Return the process that holds a lock file; ``None`` if there is none, or it has not noted itself."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return Holder.read(file)
    finally:
        os.close(file)


def is_dead(pid: int) -> bool:
    """Return whether no process of this host has this id."""
    if os.name == "nt":  # where signal 0 would end the process
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # it is alive, and another user's
        return False
    return False


def _create(path: Path) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    try:
        with contextlib.suppress(OSError):  # on a full disk the lock holds without a name
            Holder.this_process().write(file)
    finally:
        os.close(file)


def _remove_if_dead(path: Path) -> None:
    """Remove the file of a dead process, one process at a time.

    Without the second file, one could remove the file that another has just created in place of the dead one.
    """
    takeover = path.with_name(f"{path.name}.takeover")
    try:
        os.close(os.open(takeover, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
    except FileExistsError:
        return
    try:
        if (holder := holder_of(path)) is not None and holder.is_dead:
            path.unlink(missing_ok=True)
    finally:
        takeover.unlink(missing_ok=True)
