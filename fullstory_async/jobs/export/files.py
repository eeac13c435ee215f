"""An export's file, which appears under its name only when it is complete.

Until then it is a hidden part in the same folder, ``.NAME.HOST-PID.RANDOM.part``. A killed process leaves its
parts behind, and with them the personal data of an export; the next export to the same name removes them.
Only a process on the same host can know that another one is dead. So parts of other hosts are removed when
they are older than an hour.
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
from fullstory_async.files.file_system import (
    PRIVATE_FILE,
    make_private,
    sync_folder,
    warn_of_no_permissions,
)
from fullstory_async.files.lock_file import is_dead
from fullstory_async.files.storage_faults import StorageFault, fault_of

__all__ = ["atomic"]

_PASSING = {StorageFault.FULL, StorageFault.INPUT_OUTPUT, StorageFault.TOO_MANY_FILES}
_STALE_SECONDS = 3600.0
_OWNER = re.compile(r"\.([0-9a-f]{8})-([0-9]+)\.[0-9a-f]{8}\.part")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a private file, which replaces ``path`` at the end.

    Raises:
        ConfigurationError: the folder is missing, or must not be written.
        JobStorageError: the file can't be written, for instance on a full disk. ``path`` is unchanged then.
    """
    part = path.with_name(f".{path.name}.{_host()}-{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        if path.is_dir():
            raise ConfigurationError(f"{path} is a folder")
        _remove_stale_parts(path)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
    except OSError as error:
        kind = JobStorageError if fault_of(error, path) in _PASSING else ConfigurationError
        raise kind(f"{path} can't be written: {error.strerror}") from None
    try:
        yield part
        # Content before name: after a power failure the name must not lead to an empty file.
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        is_private = make_private(part, PRIVATE_FILE)
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise JobStorageError(f"{path} can't be written: {error.strerror or error}") from None
    else:
        if not is_private:
            warn_of_no_permissions(path)
    finally:
        # Beside a part that failed, DuckDB and SQLite leave files of their own.
        for left in (part, part.with_name(part.name + ".wal"), part.with_name(part.name + "-journal")):
            left.unlink(missing_ok=True)


def _remove_stale_parts(path: Path) -> None:
    """Remove the parts of exports that were killed."""
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.part*"):
        with contextlib.suppress(FileNotFoundError):  # another export has just removed it
            if time.time() - stale.stat().st_mtime <= _STALE_SECONDS and not _is_orphan(stale.name):
                continue
            if stale.is_dir():
                shutil.rmtree(stale, ignore_errors=True)
            else:
                stale.unlink()


def _is_orphan(name: str) -> bool:
    """Return whether the process that made a part is certainly dead."""
    owner = _OWNER.search(name)
    return owner is not None and owner[1] == _host() and is_dead(int(owner[2]))


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
