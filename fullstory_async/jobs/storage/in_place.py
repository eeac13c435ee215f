"""FilesInPlace: whether a job's files are still those that this process has open.

Another program may remove, replace or cut off a file while it is open: a tool that synchronises files, or
``rm``. SQLite continues with the files that it has open, and no error is raised:

* **A removed file or folder** takes the last commit with it, so the job stops.
* **A removed log** still works for this process, and disappears with it. So each commit is copied into the
  file at once, and a kill loses nothing.
* **A file or log that was cut off** reads as zeros, which SQLite would copy over good pages. So the job stops
  before the next commit, and closing copies nothing.
"""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

from fullstory_async.files.storage_faults import SQLITE_ERRORS
from fullstory_async.jobs.storage.completeness import committed_in_file
from fullstory_async.jobs.storage.schema import DATABASE_NAME, log_path

__all__ = ["FilesInPlace"]

_logger = logging.getLogger("fullstory_async.jobs")

_Found = tuple[int, int]
"""The number that identifies a file, and its bytes."""


class FilesInPlace:
    """The file of a job that is open for writing, and its log."""

    def __init__(self, folder: Path) -> None:
        """Remember the files as they are. Raises `OSError`."""
        self._file = folder / DATABASE_NAME
        self._log = log_path(self._file)
        self._file_was, self._log_was = _find(self._file), _find(self._log)
        self._is_log_gone = self._is_cut = False

    def is_cut_off(self, commits: int) -> bool:
        """Return whether the file or its log has become smaller, so that pages are lost.

        Args:
            commits: the number of the last commit.
        """
        for path, was in ((self._file, self._file_was), (self._log, self._log_was)):
            try:
                found = _find(path)
            except PermissionError:
                continue
            if found is None or was is None or found[0] != was[0] or found[1] >= was[1]:
                continue
            # Another program may have emptied the log into the file, or rewritten a complete file.
            inside = committed_in_file(self._file)
            self._is_cut = inside is None or inside.commits < commits
            if self._is_cut:
                return True
        return False

    def check(self) -> bool:
        """Return whether the log is in place, after a commit.

        Raises:
            sqlite3.OperationalError: the file is not, and the commit is lost with it.
        """
        try:
            found = _find(self._file)
            log = _find(self._log)
        except PermissionError:  # the commit is in the file, wherever that is: it stays open
            return True
        if found is None or self._file_was is None or found[0] != self._file_was[0]:
            what = "removed" if found is None else "replaced"
            raise sqlite3.OperationalError(f"its folder or its file was {what} while it ran")
        self._file_was = found
        if self._log_was is not None and (log is None or log[0] != self._log_was[0]):
            if not self._is_log_gone:
                _logger.warning("%s was removed while the job runs; commits go into its file", self._log)
            self._is_log_gone = True
        else:
            self._log_was = log
        return not self._is_log_gone

    def close(self, database: sqlite3.Connection) -> None:
        """Close a database; what is left of a log that was cut off is not copied into its file."""
        if not self._is_cut:
            database.close()
            return
        # The last connection copies the log when it is closed, unless it may only read.
        reader = sqlite3.connect(f"{self._file.as_uri()}?mode=ro", uri=True, check_same_thread=False)
        try:
            reader.execute("PRAGMA application_id").fetchone()
        except SQLITE_ERRORS:  # it is connected all the same
            pass
        finally:
            database.close()
            reader.close()


def _find(path: Path) -> _Found | None:
    """Return what identifies a file, and its size; ``None`` if it is missing. Raises `PermissionError`."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size
