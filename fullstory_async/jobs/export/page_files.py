"""A web page as a file: private, atomic, and no database or foreign file is replaced by it."""

from __future__ import annotations

import os
from pathlib import Path

from fullstory_async.errors import ConfigurationError
from fullstory_async.jobs.export.files import atomic
from fullstory_async.jobs.export.found import Occupant
from fullstory_async.jobs.export.inspection import inspect_target

__all__ = ["write_page"]


def write_page(path: str | os.PathLike[str], html: str) -> None:
    """Write a page to a file, which appears under its name only when it is complete.

    Raises:
        ConfigurationError: what stands there must be kept, or the folder can't be written.
        JobStorageError: the file can't be written, for instance on a full disk.
    """
    target = Path(path)
    found = inspect_target(target, None)
    if found.occupant not in (Occupant.NOTHING, Occupant.FILE):
        raise ConfigurationError(f"{target} is {found.occupant.value}: choose another name")
    kept = {
        "a database": found.database is not None, "read-only": found.is_read_only,
        "another user's file": found.is_of_another_user,
    }  # fmt: skip
    if reasons := [reason for reason, holds in kept.items() if holds]:
        raise ConfigurationError(f"{target} is {' and '.join(reasons)}: choose another name")
    with atomic(found) as part:
        part.write_text(html, encoding="utf-8")
