"""What stands at an export's target decides whether it is written, replaced, appended to or refused. Pure."""

from __future__ import annotations

import enum

from fullstory_async.errors import ConfigurationError
from fullstory_async.jobs.export.destination import Destination
from fullstory_async.jobs.export.found import Found, Occupant

__all__ = ["Action", "decide"]


class Action(enum.Enum):
    """What an export does with its target."""

    WRITE = "write"
    """Put a new file or folder under its name, in place of nothing or of an earlier one."""
    APPEND = "append"
    """Add to the tables of an export that is there."""
    STREAM = "stream"
    """Write into a pipe, a terminal or another open file. Nothing of it can be undone."""


def decide(found: Found, wanted: Destination) -> Action:
    """Return what to do.

    Raises:
        ConfigurationError: the target would lose something that no export made, or can't be written so.
    """
    if found.occupant is Occupant.OTHER:
        raise ConfigurationError(f"{found.path} is {found.occupant.value}")
    if found.occupant is Occupant.STREAM:
        return _decide_stream(found, wanted)
    if found.occupant is Occupant.FOLDER or wanted.is_folder:
        return _decide_folder(found, wanted)
    if wanted.append:
        return _decide_append(found, wanted)
    if not wanted.overwrite and (reason := _reason_to_keep(found)):
        raise ConfigurationError(f"{found.path} {reason}; overwrite (--overwrite) replaces it")
    _check_orphans(found, wanted)
    return Action.WRITE


def _decide_stream(found: Found, wanted: Destination) -> Action:
    if wanted.append or wanted.is_folder:
        raise ConfigurationError(
            f"{found.path} is {found.occupant.value}, and not a {'database' if wanted.append else 'folder'}"
        )
    if not wanted.is_text:
        raise ConfigurationError(
            f"{found.path} is {found.occupant.value}, which takes JSON Lines or CSV only: the other formats "
            "need a file"
        )
    return Action.STREAM


def _decide_folder(found: Found, wanted: Destination) -> Action:
    if not wanted.is_folder:
        raise ConfigurationError(
            f"{found.path} is a folder; out_dir (--out-dir) writes a folder for each table into it"
        )
    if wanted.append:
        raise ConfigurationError("append (--append) is for .duckdb and .sqlite files, not for folders")
    if found.occupant is Occupant.FILE:
        raise ConfigurationError(f"{found.path} is a file, not a folder")
    if found.foreign:
        # Not even with overwrite: a mistyped name must not delete a folder of documents.
        raise ConfigurationError(
            f"the folder {found.path} holds what no export made ({_listed(found.foreign)}): choose a folder "
            "that is new, empty, or an earlier export's"
        )
    if found.is_of_another_user and not wanted.overwrite:
        raise ConfigurationError(f"{found.path} belongs to another user; overwrite (--overwrite) replaces it")
    return Action.WRITE


def _decide_append(found: Found, wanted: Destination) -> Action:
    if wanted.database is None:
        raise ConfigurationError(
            "append (--append) is for .duckdb and .sqlite files: other formats can't replace a session's rows"
        )
    if found.occupant is Occupant.NOTHING:
        _check_orphans(found, wanted)
        return Action.WRITE
    if found.database != wanted.database or found.problem:
        why = found.problem or f"is not a {wanted.database} database"
        raise ConfigurationError(f"{found.path} {why}, so nothing can be appended to it")
    if found.schema is None:
        raise ConfigurationError(
            f"{found.path} holds no tables of an export, so nothing can be appended to it: export to a new "
            "file first"
        )
    if found.schema != wanted.schema or wanted.schema == "v1":
        raise ConfigurationError(
            f"{found.path} has the tables of schema {found.schema}, to which rows of schema {wanted.schema} "
            "can't be appended: export to a new file"
        )
    if found.is_read_only:
        raise ConfigurationError(f"{found.path} is read-only, so nothing can be appended to it")
    if found.names > 1:
        # A program that opens the other name does not see the journal of a write that was interrupted.
        raise ConfigurationError(
            f"{found.path} has {found.names} names (hard links), so nothing can be appended to it safely: "
            "append to a copy"
        )
    return Action.APPEND


def _reason_to_keep(found: Found) -> str | None:
    """Return why a file must not be replaced, or None."""
    if found.database is not None and found.schema is None:
        return found.problem or "is a database that no export made"
    if found.foreign:
        return (
            f"holds what no export made ({_listed(found.foreign)}); append (--append) keeps it, and adds to "
            "the tables of the export"
        )
    if found.is_read_only:
        return "is read-only"
    return "belongs to another user" if found.is_of_another_user else None


def _check_orphans(found: Found, wanted: Destination) -> None:
    """Refuse files that belong to no database any more, unless they may be deleted."""
    if found.orphans and not wanted.overwrite:
        names = ", ".join(path.name for path in found.orphans)
        raise ConfigurationError(
            f"{names} beside {found.path} was left by another database, and the new one would be read with "
            "it: delete it, or overwrite (--overwrite) does"
        )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (" and more" if len(names) > 3 else "")
