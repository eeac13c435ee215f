"""RescueFile: paid responses that the job's own file could not take, until the next run saves them there.

It is one line of JSON for each response, with a checksum, in a file beside the job folder or where the
program says. It holds personal data, so only its owner can read it.
"""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from fullstory_async.files.checksums import checksum
from fullstory_async.files.file_system import PRIVATE_FILE, sync_folder
from fullstory_async.jobs.storage.schema import fingerprint

__all__ = ["RescueFile", "RescuedResponse", "rescue_path"]

_logger = logging.getLogger("fullstory_async.jobs")


def rescue_path(folder: Path) -> Path:
    """Return the rescue file of a job folder, unless the program names another one."""
    return folder.with_name(f"{folder.name}.rescue")


@attrs.frozen
class RescuedResponse:
    """A response, with the call that it belongs to."""

    seq: int
    session_id: str
    operation: str
    received: float
    attempts: int
    body: bytes = attrs.field(repr=False)


@attrs.frozen
class RescueFile:
    """The file of one job; it exists only while it holds responses."""

    path: Path
    job: str = attrs.field(repr=False)
    """A fingerprint of the job: responses of another one are left alone."""

    @classmethod
    def of_job(cls, folder: Path, secret: str, path: Path | None) -> RescueFile:
        """Return the file of a job: the one that is named, or one beside its folder."""
        return cls(path or rescue_path(folder), fingerprint(secret, "rescue"))

    def append(self, responses: Sequence[RescuedResponse]) -> None:
        """Add responses, on disk. Raises `OSError`."""
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
        with os.fdopen(handle, "wb") as file:
            for response in responses:
                file.write(self._line(response))
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.path.parent)

    def read(self) -> Iterator[RescuedResponse]:
        """Yield the responses of this job; damaged lines are skipped. Raises `OSError`."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for line in filter(bytes.strip, file):
                response = self._parse(line)
                if response is None:
                    _logger.warning("a response in %s is damaged or of another job", self.path)
                else:
                    yield response

    def remove(self) -> None:
        """Remove the file: its responses are saved. Raises `OSError`."""
        self.path.unlink(missing_ok=True)

    def _line(self, response: RescuedResponse) -> bytes:
        fields = attrs.asdict(response) | {"body": base64.b64encode(response.body).decode()}
        mark = checksum(self.job, *attrs.astuple(response)).hex()
        # led and followed by an end of line: an earlier write may have broken off
        return b"\n" + json.dumps({**fields, "checksum": mark}).encode() + b"\n"

    def _parse(self, line: bytes) -> RescuedResponse | None:
        try:
            fields = json.loads(line)
            mark = fields.pop("checksum")
            response = RescuedResponse(**fields | {"body": base64.b64decode(fields["body"])})
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        return response if mark == checksum(self.job, *attrs.astuple(response)).hex() else None
