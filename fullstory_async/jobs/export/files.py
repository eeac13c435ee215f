"""An export's file: not there until it is whole.

Until then it is a hidden part beside its place, ``.NAME.HOST-PID.RANDOM.part``. A killed process leaves its parts, which hold what the
export would; the next export to the same name removes them. Whose process is dead is known on its own host only, so that of
another host's parts those go that nothing was written to for an hour.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fullstory_async.errors import ConfigurationError, JobStorageError
from fullstory_async.files.private_database import PRIVATE_FILE

__all__ = ["atomic"]

_STALE = 3600.0
_MAKER = re.compile(r"\.([0-9a-f]{8})-([0-9]+)\.[0-9a-f]{8}\.part")


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
    part = path.with_name(f".{path.name}.{_host()}-{os.getpid()}.{secrets.token_hex(4)}.part")
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
    """Remove what exports left behind that were killed."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.part*"):
        with contextlib.suppress(FileNotFoundError):  # another export has just finished with it
            if time.time() - stale.stat().st_mtime <= _STALE and not _is_orphan(stale.name):
                continue
            if stale.is_dir():
                shutil.rmtree(stale, ignore_errors=True)
            else:
                stale.unlink()


def _is_orphan(name: str) -> bool:
    """Tell whether the process that made a part is surely dead."""
    maker = _MAKER.search(name)
    if maker is None or maker[1] != _host() or os.name == "nt":  # where asking for a process ends it
        return False
    try:
        os.kill(int(maker[2]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # it is somebody else's
        return False
    return False


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


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
