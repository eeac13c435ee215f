"""CommitRecord: a small file beside a job's database that knows its last commit.

SQLite reads a damaged log up to the damage, and a missing one as empty, without an error. So what the
database should hold is also recorded outside of the log that it guards. `CommitRecord.write` follows every
commit, before its callers continue: the record is never ahead of the database, and at most one commit behind,
for which no caller has acted.

A write is one system call into blocks that the file has already. It survives the process at once; it is
forced to the disk at most once a second, since doing it after every commit would double the time of a commit.
After a power failure the record may therefore be a second old. Two slots are written in turns, each with a
checksum, so that a write that is cut off leaves the other one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import time
import zlib
from pathlib import Path

import attrs

from fullstory_async.files.file_system import PRIVATE_FILE, sync_folder

__all__ = ["RECORD_SUFFIX", "CommitRecord", "Committed", "current_boot", "read_record"]

_logger = logging.getLogger("fullstory_async.jobs")

RECORD_SUFFIX = "-commits"
"""The record's name is the database's with this suffix, so that ``cp job.sqlite3*`` copies both."""
_SLOT = struct.Struct(">8s16s8s8sQQQQ")
_MAGIC = b"FSJBcom1"
_CHECKSUM = struct.Struct(">I")
_SLOT_BYTES = 512
"""A disk writes this many bytes completely or not at all."""
_SYNC_SECONDS = 1.0
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@attrs.frozen
class Committed:
    """A job after one of its commits."""

    commits: int
    """Number of the commit."""
    spent: int
    """Activations spent or reserved: the most that may have been spent."""
    items: int
    answered: int
    boot: bytes = b""
    """The boot of the machine that wrote the record: after another one, it may be a second old."""
    runs: tuple[bytes, ...] = ()
    """Marks of the run that wrote the record and, until its first commit, of the one before."""

    def is_of(self, run: object) -> bool:
        """Return whether a database with this run's token wrote the record, and not an older copy of it."""
        return not self.runs or _mark_of(run) in self.runs


class CommitRecord:
    """The record of a job that is open for writing."""

    def __init__(self, database: Path, now: Committed, *, run: str, previous: object) -> None:
        """Open the record, or create it, and record the database as it is.

        Args:
            database: the job's file.
            now: its last commit.
            run: the token of the run that makes the next commit.
            previous: the token of the run that made the last one.

        Raises:
            OSError: it can't be written.
        """
        path = _path_of(database)
        self._path, self._boot = path, current_boot()
        self._runs = (_mark_of(run), _mark_of(previous))
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._file: int | None = os.open(path, flags, PRIVATE_FILE)
        self._failed = False
        try:
            for slot in (now.commits, now.commits + 1):
                self._put(self._file, slot, now)
            os.fsync(self._file)
            sync_folder(path.parent)
        except OSError:
            self.close()
            raise
        self._synced = time.monotonic()

    def write(self, now: Committed) -> None:
        """Record a commit.

        A failure is only logged: the commit itself is on disk, and its callers must learn that.
        """
        if self._file is None:
            return
        self._runs = (self._runs[0], self._runs[0])
        try:
            self._put(self._file, now.commits, now)
            if time.monotonic() - self._synced >= _SYNC_SECONDS:
                self.sync()
        except OSError as error:
            if not self._failed:
                _logger.warning("%s can't be written, so a lost log may go unnoticed: %s", self._path, error)
            self._failed = True

    def sync(self) -> None:
        """Force the record to the disk. Raises `OSError`."""
        if self._file is not None:
            os.fsync(self._file)
            self._synced = time.monotonic()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _put(self, file: int, slot: int, now: Committed) -> None:
        content = _SLOT.pack(_MAGIC, self._boot, *self._runs, now.commits, now.spent, now.items, now.answered)
        os.lseek(file, slot % 2 * _SLOT_BYTES, os.SEEK_SET)
        os.write(file, (content + _CHECKSUM.pack(zlib.crc32(content))).ljust(_SLOT_BYTES, b"\0"))


def read_record(database: Path) -> Committed | None:
    """Return the last recorded commit of a database; ``None`` if the record is missing or damaged.

    Raises:
        OSError: it can't be read.
    """
    try:
        raw = _path_of(database).read_bytes()
    except FileNotFoundError:
        return None
    found = [_decoded(raw[start : start + _SLOT_BYTES]) for start in (0, _SLOT_BYTES)]
    return max((each for each in found if each is not None), key=lambda each: each.commits, default=None)


def _decoded(slot: bytes) -> Committed | None:
    if len(slot) < _SLOT.size + _CHECKSUM.size:
        return None
    content = slot[: _SLOT.size]
    magic, boot, run, previous, commits, spent, items, answered = _SLOT.unpack(content)
    if magic != _MAGIC or _CHECKSUM.unpack_from(slot, _SLOT.size)[0] != zlib.crc32(content):
        return None
    return Committed(commits, spent, items, answered, boot, (run, previous))


def _mark_of(run: object) -> bytes:
    return hashlib.blake2b(str(run).encode(), digest_size=8).digest()


def _path_of(database: Path) -> Path:
    return database.with_name(database.name + RECORD_SUFFIX)


def current_boot() -> bytes:
    """Return what identifies the machine's current boot; empty where the system doesn't say."""
    try:
        return bytes.fromhex(_BOOT.read_text().replace("-", ""))
    except (OSError, ValueError):  # not Linux
        return b""
