"""Aliases for renamed public names: they work for one more version, with a warning."""

from __future__ import annotations

import warnings
from typing import Any

__all__ = ["OLD_SCHEMA", "Renamed", "warn_about_schema", "warn_renamed"]

OLD_SCHEMA = "the schema v1 will be removed in the next version; the tables of v2 have what it has"


def warn_renamed(old: str, new: str, *, stacklevel: int = 3) -> None:
    """Warn that a name is deprecated; by default at the caller of the caller."""
    warnings.warn(
        f"{old} is now called {new}; the old name will be removed in the next version",
        DeprecationWarning,
        stacklevel=stacklevel,
    )


def warn_about_schema(schema: object) -> None:
    """Warn at the caller of the caller if the schema of an export is deprecated."""
    if schema == "v1":
        warnings.warn(OLD_SCHEMA, DeprecationWarning, stacklevel=3)


class Renamed:
    """A class attribute that forwards to the attribute's new name, with a warning."""

    def __init__(self, new: str) -> None:
        self._new = new
        self._old = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._old = name

    def __get__(self, instance: object, owner: type) -> Any:
        # read from the class, as by help() and inspect: not a use of the old name
        if instance is None:
            return self
        warn_renamed(f"{owner.__name__}.{self._old}", self._new)
        return getattr(instance, self._new)
