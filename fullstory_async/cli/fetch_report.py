"""The report file of ``fetch``: how it ended, in JSON, also if it was stopped or failed."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from fullstory_async.cli.exits import Exit, UsageError, exit_for
from fullstory_async.cli.output import write_stderr
from fullstory_async.errors import JobError
from fullstory_async.files.file_system import PRIVATE_FILE
from fullstory_async.jobs import JobReader, JobReport
from fullstory_async.json_ready import time_text

__all__ = ["FetchEnd", "reported"]

_OF_RUN = ("reason", "detail", "new_responses", "newly_spent", "dropped")
_OF_JOB = ("sessions", "calls", "done", "failed", "permanent", "left", "spent", "at_risk", "reserved")


@attrs.define
class FetchEnd:
    """How ``fetch`` ended, as far as it is known."""

    folder: Path
    code: Exit = Exit.UNEXPECTED
    report: JobReport | None = None
    """The report of the last run, if there was one."""
    error: str | None = None
    _started: datetime = attrs.field(factory=lambda: datetime.now(UTC))
    _clock: float = attrs.field(factory=time.monotonic)

    def returns(self, code: Exit) -> Exit:
        """Keep the exit code, and return it."""
        self.code = code
        return code

    def fails(self, error: BaseException) -> None:
        """Keep an error, which ends the command."""
        interrupted = isinstance(error, (KeyboardInterrupt, asyncio.CancelledError))
        self.code = Exit.INTERRUPTED if interrupted else exit_for(error)
        self.error = f"{type(error).__name__}: {error}".removesuffix(": ")

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of the file; what is not known is null."""
        run = {name: getattr(self.report, name, None) for name in _OF_RUN}
        status = None
        # a job that was never created, or can't be read, has no figures: they are null
        with suppress(JobError):
            status = JobReader(self.folder).status()
        return {
            "job": str(self.folder), "exit_code": int(self.code), "error": self.error, **run,
            "failed_in_run": None if self.report is None else dict(self.report.failed),
            **{name: getattr(status, name, None) for name in _OF_JOB},
            "started_at": time_text(self._started), "ended_at": time_text(datetime.now(UTC)),
            "seconds": round(time.monotonic() - self._clock, 3),
        }  # fmt: skip


@contextmanager
def reported(path: Path | None, folder: Path) -> Iterator[FetchEnd]:
    """Write the report when the block ends, however it does; without a path, write none.

    Raises:
        UsageError: the file can't be written.
    """
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise UsageError(f"--report takes a file in a folder that exists, not {path}")
    end = FetchEnd(folder)
    try:
        yield end
    except BaseException as error:
        end.fails(error)
        raise
    finally:
        if path is not None:
            # activations were spent: the exit code must still say how the run ended
            try:
                _write(path, json.dumps(end.to_dict(), indent=2) + "\n")
            except OSError as error:
                write_stderr(f"warning: the report {path} can't be written: {error.strerror or error}\n")


def _write(path: Path, text: str) -> None:
    """Write a file at once, or into a pipe or a device."""
    if path.exists() and not path.is_file():
        path.write_text(text)
        return
    path = path.resolve()
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE), "w") as file:
            file.write(text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
