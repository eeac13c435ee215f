"""SpareRoom: a file that has no other use than to give its room back when the disk is full.

The disk may become full at any moment, and the responses in flight may have been paid for by then. The room
of this file is where they are written. It is as large as all of them together, so it grows with the
responses. It is given back in parts, since other programs, and jobs beside this one, take what is free.
"""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

from fullstory_async.files.file_system import PRIVATE_FILE
from fullstory_async.jobs.storage.schema import RESERVE_NAME

__all__ = ["SpareRoom"]

_MIB = 1024 * 1024
_USUAL_BYTES = 8 * _MIB
_SHARE = 2
"""It takes at most half of the free room."""
_MIN_BYTES = 128 * 1024
_STEP_BYTES = 8 * _MIB
"""It grows by this much at least, so that it does so rarely."""
_PART_BYTES = _MIB
"""It gives back this much at least."""
_LOW_BYTES = 128 * 1024
"""With less free room than this the disk counts as full, also if it was another program that filled it."""


class SpareRoom:
    """The spare room of one job folder."""

    size: int
    """Its bytes."""
    is_used: bool
    """Whether the disk was full: calls in flight can still be saved, no others."""
    disk_free: float
    """Free bytes of the disk after the last commit; infinite where the system doesn't say."""

    def __init__(self, folder: Path) -> None:
        """Create the file, or complete it."""
        self._folder = folder
        self._path = folder / RESERVE_NAME
        self.disk_free = math.inf
        self.fill()

    def fill(self) -> None:
        """Create the file, or complete it. Sets `is_used` if there is no room for it."""
        self.size = 0
        try:
            self.size = self._path.stat().st_size if self._path.exists() else 0
            self._extend(_USUAL_BYTES)
        except OSError:
            self.free(self.size)
        self.is_used = self.size < _MIN_BYTES
        self.look_at_disk()

    def shrink(self) -> None:
        """Give back what a finished run needs no longer."""
        if self.size > _USUAL_BYTES:
            self._cut(_USUAL_BYTES)

    def grow(self, wanted: float) -> int:
        """Make the file larger, unless it was used; return its size, which the disk may limit."""
        if not self.is_used and wanted > self.size:
            before = self.size
            try:
                self._extend(max(round(wanted), before + _STEP_BYTES))
            except OSError:
                self._cut(before)
        return self.size

    def free(self, wanted: int) -> bool:
        """Give back room for some bytes; return whether that made room."""
        left = self.size - max(wanted, _PART_BYTES)
        try:
            if left >= _MIN_BYTES:
                os.truncate(self._path, left)
            else:
                self._path.unlink()
        except OSError:
            return False
        self.is_used, self.size = True, max(0, left)
        return True

    def look_at_disk(self) -> None:
        """Update what is free on the disk; with hardly anything left, the disk counts as full."""
        try:
            disk = shutil.disk_usage(self._folder)
        except OSError:  # the commit that follows says why
            return
        # A bucket behind FUSE may report no size at all.
        self.disk_free = disk.free if disk.total else math.inf
        self.is_used = self.is_used or self.disk_free < _LOW_BYTES

    def _extend(self, wanted: int) -> None:
        disk = shutil.disk_usage(self._folder)
        free = disk.free if disk.total else _SHARE * wanted
        wanted = min(wanted, (free + self.size) // _SHARE)
        if wanted <= self.size:
            return
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
        with os.fdopen(handle, "wb") as file:
            # Random bytes: zeros take no room on a file system that compresses or that leaves holes.
            file.writelines(os.urandom(min(_MIB, wanted - begin)) for begin in range(self.size, wanted, _MIB))
        self.size = wanted

    def _cut(self, size: int) -> None:
        try:
            os.truncate(self._path, size)
        except OSError:  # its disk fails, so it isn't relied on
            size = 0
        self.size = size
