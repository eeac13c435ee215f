"""Back up a job: copy its database while it may be running, as it was at one moment.

The copy is a job that was closed in order. Activations that were reserved at that moment stay reserved in it,
so they count as spent when it is opened: the calls may have been charged, and the copy makes them again. The
lock, the log and the disk reserve belong to the running process and are not copied.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from fullstory_async.errors import ConfigurationError, JobError
from fullstory_async.files.file_system import (
    PRIVATE_FOLDER,
    make_private,
    sync_folder,
    warn_of_no_permissions,
)
from fullstory_async.files.private_database import make_private_file
from fullstory_async.files.storage_faults import SQLITE_ERRORS, StorageFault, fault_of
from fullstory_async.jobs.storage.rescue import rescue_path
from fullstory_async.jobs.storage.schema import (
    DATABASE_NAME,
    UNCLEAN,
    absolute_folder,
    as_job_error,
    open_reader,
)
from fullstory_async.threads import GRACE, WorkerThread

__all__ = ["BackupStopped", "back_up", "back_up_in_thread"]

_PART_NAME = f"{DATABASE_NAME}.part"
"""The copy's name until it is complete, so that a killed backup leaves no job."""
_PAGES = 1000
"""Pages that are copied at a time; in between, the copy can be stopped."""


class BackupStopped(Exception):
    """A backup was stopped before its end; it left nothing."""


def back_up(folder: Path, target: str | os.PathLike[str], *, stopped: threading.Event | None = None) -> Path:
    """Copy a job to a new folder; return the folder. Blocks, but never the process that runs the job.

    Args:
        folder: the job.
        target: the new folder.
        stopped: if set by another thread, ends the copy.

    Raises:
        ConfigurationError: the target exists, or its parent doesn't.
        JobError: the job can't be read, or is damaged.
        JobStorageError: the target can't be written.
        BackupStopped: ``stopped`` was set.
    """
    new = absolute_folder(target)
    new_rescue = rescue_path(new)
    for each in (new, new_rescue):
        if os.path.lexists(each):
            raise ConfigurationError(f"{each} exists; name a new folder for the backup")
    try:
        new.mkdir(mode=PRIVATE_FOLDER)
    except FileNotFoundError:
        raise ConfigurationError(f"{new.parent} doesn't exist, so nothing can be backed up to it") from None
    except OSError as error:
        raise as_job_error(new, error) from None
    try:
        _copy_files(folder, new, stopped or threading.Event())
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        new_rescue.unlink(missing_ok=True)
        raise
    return new


async def back_up_in_thread(folder: Path, target: str | os.PathLike[str]) -> Path:
    """Run `back_up` in a thread. Cancelling ends it, and its thread removes what it has written."""
    thread, stopped = WorkerThread(f"the backup {target}"), threading.Event()
    try:
        return await thread.run(back_up, folder, target, stopped=stopped)
    except asyncio.CancelledError:
        stopped.set()
        await thread.finish(GRACE)
        raise


def _copy_files(folder: Path, new: Path, stopped: threading.Event) -> None:
    try:
        if not make_private(new, PRIVATE_FOLDER):
            warn_of_no_permissions(new)
        # First: a run that takes its responses in meanwhile saves them in the database, which is copied next.
        _copy_file(rescue_path(folder), rescue_path(new))
        _copy_database(folder, new, stopped)
        sync_folder(new.parent)
    except (OSError, *SQLITE_ERRORS) as error:
        # Pages are copied as they are, so what is damaged is the job.
        is_damage = fault_of(error, new / _PART_NAME) is StorageFault.DAMAGED
        raise as_job_error(folder if is_damage else new, error, name=_PART_NAME) from None


def _copy_file(path: Path, new: Path) -> None:
    if path.exists():
        make_private_file(new)
        shutil.copyfile(path, new)


def _copy_database(folder: Path, new: Path, stopped: threading.Event) -> None:
    part = new / _PART_NAME
    make_private_file(part)

    def check(*_: object) -> None:
        if stopped.is_set():
            raise BackupStopped

    with closing(open_reader(folder)) as source, closing(sqlite3.connect(part)) as copy:
        try:
            # in one transaction, or SQLite starts again with every commit of the running job
            source.execute("BEGIN")
            source.execute("SELECT COUNT(*) FROM meta").fetchone()
        except SQLITE_ERRORS as error:
            raise as_job_error(folder, error) from None
        source.backup(copy, pages=_PAGES, progress=check)
        copy.execute("PRAGMA secure_delete = ON")
        # it is complete, whatever the running job's file would be without its log
        copy.execute("UPDATE meta SET value = 0 WHERE name = ?", (UNCLEAN,))
        copy.commit()
        found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
        # no log beside it
        copy.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if found != "ok":
        raise JobError(f"the job {folder} is damaged ({found}); nothing was backed up")
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(new / DATABASE_NAME)
    sync_folder(new)
