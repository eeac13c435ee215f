"""What stands at an export's target, as a record."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Literal

import attrs

__all__ = ["DatabaseKind", "Found", "Occupant"]

DatabaseKind = Literal["sqlite", "duckdb"]


class Occupant(enum.Enum):
    """What stands at a target."""

    NOTHING = "nothing"
    FILE = "a file"
    FOLDER = "a folder"
    STREAM = "a pipe or a terminal"
    OTHER = "neither a file, a folder nor a pipe"


@attrs.frozen
class Found:
    """What stands at a target. The defaults are those of a target that does not exist."""

    path: Path
    """The target as it was given."""
    real: Path
    """The file or folder itself, where the symbolic links lead."""
    occupant: Occupant = Occupant.NOTHING
    database: DatabaseKind | None = None
    """The program that can open it, by its first bytes."""
    schema: str | None = None
    """The schema of its tables, if an export made it."""
    foreign: tuple[str, ...] = ()
    """What it holds that no export made: tables and views of a database, files of a folder."""
    problem: str | None = None
    """Why a database can't be opened."""
    orphans: tuple[Path, ...] = ()
    """Files beside it that belong to another database, and that the new one would be read with."""
    is_read_only: bool = False
    is_of_another_user: bool = False
    names: int = 1
    """Hard links to the file."""
