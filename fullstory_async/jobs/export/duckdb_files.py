"""Open DuckDB files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["ROW_GROUP", "created_duckdb", "opened_duckdb"]

_MEMORY = "256MB"
"""Enough for a value as large as a whole response, for which DuckDB takes three times as much."""
ROW_GROUP = 10_240
"""Rows that DuckDB keeps in memory until it writes them: a twelfth of what it does by itself."""


@contextmanager
def created_duckdb(path: Path, *, folder: Path) -> Iterator[Any]:
    """Create a DuckDB file, which is complete at the end.

    Args:
        path: the file, whose name is UTF-8.
        folder: a private folder for what does not fit into memory.

    Raises:
        ImportError: the extra is not installed.
        OSError: it can't be written.
    """
    import duckdb  # noqa: PLC0415  (an extra)

    settings: dict[str, Any] = {"memory_limit": _MEMORY, "temp_directory": str(folder)}
    try:
        with duckdb.connect(config=settings) as database:
            quoted = str(path).replace("'", "''")
            database.execute(f"ATTACH '{quoted}' AS made (ROW_GROUP_SIZE {ROW_GROUP})")
            database.execute("USE made")
            yield database
            database.execute("USE memory")
            database.execute("DETACH made")
    except duckdb.Error as error:
        raise OSError(str(error).partition("\n")[0]) from None


@contextmanager
def opened_duckdb(path: Path, *, read_only: bool = False, folder: Path | None = None) -> Iterator[Any]:
    """Open a DuckDB file that no other program, and nothing else in this process, has open.

    Args:
        path: the file.
        read_only: whether it stays as it is.
        folder: a private folder for what does not fit into memory; needed to write much.

    Raises:
        ImportError: the extra is not installed.
        OSError: it can't be opened.
    """
    import duckdb  # noqa: PLC0415  (an extra)

    try:
        text = os.fsencode(path).decode()
    except UnicodeDecodeError:
        raise OSError("DuckDB can't open a file whose name is not UTF-8") from None
    try:
        # A setting that no program has: DuckDB refuses it if this process has the file open already.
        settings: dict[str, Any] = {"custom_user_agent": f"fullstory-async/{os.urandom(4).hex()}"}
        if folder is not None:
            # The rest of the memory is the program's: in a container, DuckDB would take most of it.
            settings |= {"memory_limit": _MEMORY, "temp_directory": str(folder)}
        with duckdb.connect(text, read_only=read_only, config=settings) as database:
            yield database
    except duckdb.Error as error:
        if "lock on file" in str(error) or "different configuration" in str(error):
            raise OSError("another program has it open") from None
        raise OSError(str(error).partition("\n")[0]) from None
