"""An export's file or folder, which appears under its name only when it is complete.

Until then it is a hidden part beside it, ``.NAME.HOST-PID.RANDOM.part``. A killed process leaves its
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
from itertools import chain
from pathlib import Path

from fullstory_async.errors import ConfigurationError, JobStorageError
from fullstory_async.files.file_system import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    make_private,
    sync_folder,
    warn_of_no_permissions,
)
from fullstory_async.files.lock_file import is_dead
from fullstory_async.files.storage_faults import StorageFault, fault_of
from fullstory_async.jobs.export.found import Found
from fullstory_async.jobs.export.inspection import SIDE_FILES, make_way

__all__ = ["atomic", "atomic_folder", "private_folder"]

_PASSING = {StorageFault.FULL, StorageFault.INPUT_OUTPUT, StorageFault.TOO_MANY_FILES}
"""Faults of the machine. Others, such as a missing permission, are faults of the target that was named."""
_STALE_SECONDS = 3600.0
_OWNER = re.compile(r"\.([0-9a-f]{8})-([0-9]+)\.[0-9a-f]{8}\.(?:old\.)?part")
_OLD = ".old.part"
"""The end of the hidden name of a folder that is being replaced."""
_LONGEST_STEM = 190
"""Bytes of a target's name that its parts are named after; names have 255, and a part's has 45 more."""


@contextmanager
def atomic(found: Found) -> Iterator[Path]:
    """Yield a private file, which replaces the target at the end.

    Raises:
        ConfigurationError: the folder is missing, or must not be written.
        JobStorageError: the file can't be written, for instance on a full disk. The target is unchanged then.
    """
    path, part = found.real, _part_of(found.real)
    with _reported(found, ConfigurationError):
        _remove_stale_parts(path)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))
    try:
        with _reported(found, JobStorageError):
            yield part
            is_private = _sync_file(part)
            make_way(found)
            part.replace(path)
            sync_folder(path.parent)
        if not is_private:
            warn_of_no_permissions(path)
    finally:
        # Beside a part that failed, DuckDB and SQLite leave files of their own.
        for left in (part, *(part.with_name(part.name + each) for each in chain(*SIDE_FILES.values()))):
            left.unlink(missing_ok=True)


@contextmanager
def atomic_folder(found: Found) -> Iterator[Path]:
    """Yield a private folder, which replaces the target at the end.

    No file system exchanges two folders in one step that Python knows. Between the two steps there is no
    folder of this name; if the process is killed there, the next export puts the earlier one back.

    Raises:
        ConfigurationError: the folder around it is missing, or must not be written.
        JobStorageError: the folder can't be written. The target is unchanged then.
    """
    path = found.real
    if os.path.ismount(path):
        raise ConfigurationError(f"{found.path} is a mount point: choose a folder in it")
    with private_folder(found) as part:
        with _reported(found, JobStorageError):
            yield part
            is_private = True
            for folder, _, names in os.walk(part):
                for name in names:
                    is_private &= _sync_file(Path(folder, name))
                sync_folder(Path(folder))
            _exchange(part, path)
            sync_folder(path.parent)
        if not is_private:
            warn_of_no_permissions(path)


@contextmanager
def private_folder(found: Found) -> Iterator[Path]:
    """Yield a hidden folder beside a target, which is removed at the end.

    Raises:
        ConfigurationError: the folder around it is missing, or must not be written.
    """
    part = _part_of(found.real)
    with _reported(found, ConfigurationError):
        _remove_stale_parts(found.real)
        part.mkdir(PRIVATE_FOLDER)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _exchange(part: Path, path: Path) -> None:
    if not path.exists():
        part.rename(path)
        return
    old = part.with_name(part.name.removesuffix(".part") + _OLD)
    path.rename(old)
    try:
        part.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _reported(found: Found, kind: type[ConfigurationError | JobStorageError]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        passes = fault_of(error, found.real) in _PASSING
        folder, reason = found.real.parent, error.strerror or error
        if isinstance(error, FileNotFoundError) and not folder.exists():
            reason = f"the folder {folder} doesn't exist"
        text = f"{found.path} can't be written: {reason}"
        raise (JobStorageError if passes else kind)(text) from None


def _sync_file(path: Path) -> bool:
    """Put a file's content on disk, make it private, and return whether it is."""
    # Content before name: after a power failure the name must not lead to an empty file.
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return make_private(path, PRIVATE_FILE)


def _part_of(path: Path) -> Path:
    """Return a hidden name beside a path, short enough for what DuckDB and SQLite add to it."""
    return path.with_name(f".{_stem(path)}.{_host()}-{os.getpid()}.{secrets.token_hex(4)}.part")


def _stem(path: Path) -> str:
    name = os.fsencode(path.name)
    return path.name if len(name) <= _LONGEST_STEM else hashlib.sha256(name).hexdigest()[:32]


def _remove_stale_parts(path: Path) -> None:
    """Remove the parts of exports that were killed."""
    for stale in path.parent.glob(f".{glob.escape(_stem(path))}.*.part*"):
        with contextlib.suppress(FileNotFoundError):  # another export has just removed it
            if time.time() - _changed(stale) <= _STALE_SECONDS and not _is_orphan(stale.name):
                continue
            if stale.name.endswith(_OLD) and not path.exists():
                stale.rename(path)
            elif stale.is_dir():
                shutil.rmtree(stale, ignore_errors=True)
            else:
                stale.unlink()


def _changed(path: Path) -> float:
    """Return when something in a file or folder was last changed."""
    return max(each.stat().st_mtime for each in (path, *path.rglob("*")))


def _is_orphan(name: str) -> bool:
    """Return whether the process that made a part is certainly dead."""
    owner = _OWNER.search(name)
    return owner is not None and owner[1] == _host() and is_dead(int(owner[2]))


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
