"""An export's file: not there until it is whole."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fullstory_async.errors import ConfigurationError, JobStorageError
from fullstory_async.private_database import PRIVATE_FILE

__all__ = ["atomic"]

_STALE = 3600.0


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a new name beside ``path``, for its owner only; what was written there takes the place of ``path`` at the end.

    Raises:
        ConfigurationError: the folder can't be written.
        JobStorageError: the disk is full, or the like. ``path`` is as it was then.
    """
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder")
    _clear_away(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
    except OSError as error:
        raise ConfigurationError(f"{path} can't be written: {error.strerror}") from None
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise JobStorageError(f"{path} can't be written: {error.strerror or error}") from None
    finally:
        for left in (part, part.with_name(part.name + ".wal"), part.with_name(part.name + "-journal")):
            left.unlink(missing_ok=True)


def _clear_away(path: Path) -> None:
    """Remove what exports left behind that were killed; one that is under way was written to just now."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.part*"):
        with contextlib.suppress(FileNotFoundError):  # another export has just finished with it
            if time.time() - stale.stat().st_mtime <= _STALE:
                continue
            if stale.is_dir():
                shutil.rmtree(stale, ignore_errors=True)
            else:
                stale.unlink()


def _sync_folder(folder: Path) -> None:
    """Make sure of the new name too, where folders can be synchronised."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
