"""RescueFile: paid results that the job's own file could not take, until the next run saves them there.

It is one line of JSON for each result, with a checksum, in a file beside the job folder or where the program
says. It holds personal data, so only its owner can read it. Several jobs may share one: each takes in its own
lines and leaves the others.
"""

from __future__ import annotations

import base64
import errno
import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import attrs

from fullstory_async.errors import ConfigurationError
from fullstory_async.files.checksums import checksum
from fullstory_async.files.file_system import (
    PRIVATE_FILE,
    make_private,
    means_missing_feature,
    sync_folder,
    warn_of_no_permissions,
)
from fullstory_async.jobs.storage.lock import is_contended, lock_with_retry
from fullstory_async.jobs.storage.schema import fingerprint
from fullstory_async.jobs.storage.statements import FailureRow
from fullstory_async.jobs.storage.tasks import JobTask

__all__ = ["HeldResult", "RescueFile", "check_rescue_path", "rescue_path"]

_logger = logging.getLogger("fullstory_async.jobs")

_LOCK_SECONDS = 5.0
"""Seconds for which another job may keep a shared file locked."""
_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""No link leads elsewhere, and opening a pipe doesn't wait."""


def rescue_path(folder: Path) -> Path:
    """Return the rescue file of a job folder, unless the program names another one."""
    return folder.with_name(f"{folder.name}.rescue")


def check_rescue_path(path: Path) -> None:
    """Raise `ConfigurationError` if a path that a program names can't be that of a rescue file."""
    # a mistyped one would otherwise be noticed when the job's own file fails, and lose paid results
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigurationError(f"the rescue file must be a file in a folder that exists, not {path}")


@attrs.frozen
class HeldResult:
    """The result of a call that may have been paid for, with the call that it belongs to."""

    seq: int
    session_id: str
    operation: str
    received: float
    attempts: int
    body: bytes | None = attrs.field(repr=False)
    failure: FailureRow | None = None
    """Why there is no response, or why it can't be read; ``None`` for a success."""

    @classmethod
    def of(
        cls, task: JobTask, attempts: int, body: bytes | None, failure: FailureRow | None = None
    ) -> HeldResult:
        """Return the result of a call that has just ended."""
        return cls(task.seq, task.session_id, task.operation, time.time(), attempts, body, failure)

    @property
    def task(self) -> JobTask:
        """The call."""
        return JobTask(self.seq, self.session_id, self.operation)


@attrs.frozen
class RescueFile:
    """The file of one job; it exists only while it holds results."""

    path: Path
    secret: str = attrs.field(repr=False)
    """The key of the job's fingerprints."""

    @classmethod
    def of_job(cls, folder: Path, secret: str, path: Path | None) -> RescueFile:
        """Return the file of a job: the one that is named, or one beside its folder."""
        return cls(rescue_path(folder) if path is None else path.resolve(), secret)

    def append(self, results: Sequence[HeldResult]) -> None:
        """Add results, on disk. Raises `OSError`."""
        with self._opened(os.O_RDWR | os.O_CREAT | os.O_APPEND) as file:
            for result in results:
                file.write(self._line(result))
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.path.parent)

    def read(self) -> Iterator[HeldResult]:
        """Yield the results of this job; damaged lines are skipped. Raises `OSError`."""
        foreign = 0
        try:
            with self._opened(os.O_RDONLY) as file:
                for line in filter(bytes.strip, file):
                    if self._is_foreign(line):
                        foreign += 1
                    elif (result := self._parse(line)) is not None:
                        yield result
        except FileNotFoundError:
            return
        if foreign:
            _logger.warning("%d results in %s are of other jobs, and stay there", foreign, self.path)

    def remove(self) -> None:
        """Remove this job's results, which are saved. Raises `OSError`."""
        self._keep(self._is_foreign)

    def erase(self, session_id: str) -> None:
        """Remove the results of one session, and lines that can't be read. Raises `OSError`."""
        self._keep(lambda line: self._is_foreign(line) or self._is_of_other_session(line, session_id))

    def _keep(self, keeps: Callable[[bytes], bool]) -> None:
        """Keep some of the lines; without any, the file is removed."""
        fresh = self.path.with_name(f".{self.path.name}.part")
        try:
            with self._opened(os.O_RDWR) as file:
                rest = (line for line in filter(bytes.strip, file) if keeps(line))
                first = next(rest, None)
                if first is None:
                    self.path.unlink()
                    return
                try:
                    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _SAFE, PRIVATE_FILE)
                    with os.fdopen(handle, "wb") as new:
                        new.write(first)
                        new.writelines(rest)
                        new.flush()
                        os.fsync(new.fileno())
                    fresh.replace(self.path)
                finally:
                    fresh.unlink(missing_ok=True)
        except FileNotFoundError:
            return
        sync_folder(self.path.parent)

    @contextmanager
    def _opened(self, flags: int) -> Iterator[IO[bytes]]:
        """Open the file, locked against other jobs that share it. Raises `OSError`."""
        until = time.monotonic() + _LOCK_SECONDS
        while True:
            handle = os.open(self.path, flags | _SAFE, PRIVATE_FILE)
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                os.close(handle)
                raise OSError(errno.EINVAL, "it is not a regular file")
            with os.fdopen(handle, "rb" if flags == os.O_RDONLY else "ab+") as file:
                if flags != os.O_RDONLY and not make_private(self.path, PRIVATE_FILE):
                    warn_of_no_permissions(self.path)
                try:
                    lock_with_retry(handle)
                except OSError as error:
                    if is_contended(error) and time.monotonic() < until:
                        continue
                    if not means_missing_feature(error):
                        raise
                if not self._is_same(handle):
                    continue  # the job that had the lock has removed or replaced it
                file.seek(0)
                yield file
                return

    def _is_same(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), self.path.stat())
        except FileNotFoundError:
            return False

    @property
    def _job(self) -> str:
        return fingerprint(self.secret, "the job of a rescue file")

    def _line(self, result: HeldResult) -> bytes:
        body = None if result.body is None else base64.b64encode(result.body).decode()
        fields = attrs.asdict(result) | {"job": self._job, "body": body, "checksum": self._mark(result)}
        # led and followed by an end of line: an earlier write may have broken off
        return b"\n" + json.dumps(fields).encode() + b"\n"

    def _mark(self, result: HeldResult) -> str:
        values = attrs.astuple(result, recurse=False)
        return checksum(fingerprint(self.secret, "rescue"), *values).hex()

    def _is_foreign(self, line: bytes) -> bool:
        """Return whether another job wrote a line."""
        try:
            return bool(json.loads(line)["job"] != self._job)
        except (ValueError, TypeError, KeyError):
            return False

    def _is_of_other_session(self, line: bytes, session_id: str) -> bool:
        result = self._parse(line)
        return result is not None and result.session_id != session_id

    def _parse(self, line: bytes) -> HeldResult | None:
        """Read a line of this job; log one that is damaged."""
        try:
            fields = json.loads(line)
            mark = fields.pop("checksum")
            del fields["job"]
            body, failure = fields.pop("body"), fields.pop("failure")
            result = HeldResult(
                **fields,
                body=None if body is None else base64.b64decode(body),
                failure=None if failure is None else FailureRow(**failure),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            result, mark = None, None
        if result is None or mark != self._mark(result):
            _logger.warning("a result in %s is damaged, and can't be taken in", self.path)
            return None
        return result
