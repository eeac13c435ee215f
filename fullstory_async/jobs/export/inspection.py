"""Inspect an export's target: the file itself, the database in it, and the files beside it."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fullstory_async.errors import ConfigurationError
from fullstory_async.jobs.export.duckdb_files import opened_duckdb
from fullstory_async.jobs.export.folders import foreign_files
from fullstory_async.jobs.export.found import DatabaseKind, Found, Occupant
from fullstory_async.jobs.export.views import INFO_TABLE, VIEWS
from fullstory_async.tables.columns import SCHEMA_VERSIONS, SCHEMAS, TABLES

__all__ = [
    "SIDE_FILES",
    "check_duckdb_name",
    "descriptor_of",
    "inspect_target",
    "make_way",
    "merge_side_files",
]

SIDE_FILES: Mapping[DatabaseKind, tuple[str, ...]] = {
    "sqlite": ("-wal", "-shm", "-journal"),
    "duckdb": (".wal",),
}
"""What each program adds to the name of a database for the files that it keeps beside it."""

_DESCRIPTOR = re.compile(r"/dev/(?:stdin|stdout|stderr|fd/[0-9]+)|/proc/(?:self|thread-self)/fd/[0-9]+")
_STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}
_LINKS = 40
"""Symbolic links that lead to each other in a row, as many as Linux follows."""

_DUCKDB_COLUMNS = """
    SELECT CASE schema_name WHEN 'main' THEN table_name ELSE schema_name || '.' || table_name END, column_name
    FROM duckdb_columns() WHERE NOT internal
"""
_SQLITE_COLUMNS = f"""
    SELECT tables.name, columns.name FROM sqlite_master AS tables
    LEFT JOIN pragma_table_info(CASE WHEN tables.name IN ({", ".join(f"'{each}'" for each in TABLES)})
        THEN tables.name END) AS columns
    WHERE tables.type IN ('table', 'view') AND tables.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
"""  # noqa: S608  (our own names)
"""With columns only of tables that may be ours: others may need an extension, or be a broken view."""


def inspect_target(path: Path, database: DatabaseKind | None) -> Found:
    """Return what stands at a path, for an export that writes this kind of database there.

    Raises:
        ConfigurationError: the system does not say, for instance because the name is too long.
    """
    try:
        return _inspect(path, database)
    except (OSError, ValueError) as error:  # the latter for a name that holds a null character
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"{path} can't be written: {reason}") from None


def _inspect(path: Path, database: DatabaseKind | None) -> Found:
    real = _follow(path)
    if descriptor_of(real) is not None:
        return Found(path, real, Occupant.STREAM)
    try:
        status = real.stat()
    except FileNotFoundError:
        return Found(path, real, orphans=_side_files(path, real, database))
    occupant = _occupant_of(status.st_mode)
    if occupant is not Occupant.FILE:
        foreign = foreign_files(real) if occupant is Occupant.FOLDER else ()
        return Found(path, real, occupant, foreign=foreign, is_of_another_user=_is_foreign(status))
    kind = _database_in(real)
    schema, foreign, problem = (None, (), None) if kind is None else _contents_of(real, kind)
    return Found(
        path, real, occupant, database=kind, schema=schema, foreign=foreign, problem=problem,
        orphans=() if kind == database else _side_files(path, real, database),
        is_read_only=not status.st_mode & 0o222, is_of_another_user=_is_foreign(status),
        names=status.st_nlink,
    )  # fmt: skip


def descriptor_of(path: Path) -> int | None:
    """Return the number of the open file that a path such as ``/dev/stdout`` names, or None."""
    if not _DESCRIPTOR.fullmatch(path.as_posix()):
        return None
    return _STANDARD[path.name] if path.name in _STANDARD else int(path.name)


def check_duckdb_name(found: Found) -> None:
    """Raise `ConfigurationError` if DuckDB could not open a file of this name, or not write to it."""
    reason = None
    try:
        if "?" in os.fsencode(found.real).decode():
            reason = "DuckDB takes a ? in its path for the end of the name"
        found.real.with_name(f"{found.real.name}{SIDE_FILES['duckdb'][0]}").lstat()
    except FileNotFoundError:
        pass
    except UnicodeDecodeError:
        reason = "DuckDB takes only names in UTF-8"
    except OSError as error:
        reason = f"DuckDB adds .wal to its name ({error.strerror})"
    if reason is not None:
        raise ConfigurationError(f"{found.path} can't be written: {reason}")


def merge_side_files(found: Found) -> None:
    """Merge what a program keeps beside a database into it, so that it can be replaced.

    The database then is one file, and stays complete whenever the export ends.

    Raises:
        ConfigurationError: another program has it open, or it can't be merged.
    """
    if found.database == "sqlite" and _side_files(found.path, found.real, "sqlite"):
        _merge_sqlite(found)
    elif found.database == "duckdb":
        _merge_duckdb(found)
    if left := _side_files(found.path, found.real, found.database):
        names = ", ".join(path.name for path in left)
        raise ConfigurationError(
            f"{names} beside {found.path} can't be merged into it: delete it, or export to another name"
        )


def make_way(found: Found) -> None:
    """Leave nothing beside a target that a new database would be read with. Raises as `merge_side_files`."""
    merge_side_files(found)
    for orphan in found.orphans:
        orphan.unlink(missing_ok=True)


def _follow(path: Path) -> Path:
    """Return where symbolic links lead, as far as they do; a name of an open file stays."""
    path = Path.cwd() / path
    for _ in range(_LINKS):
        if descriptor_of(path) is not None or not path.is_symlink():
            break
        path = path.parent / path.readlink()
    if descriptor_of(path) is not None:
        return path
    # The folders may be links too, and the name may be a circle of links, which the system reports.
    if path.name in ("", ".", ".."):
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(path.parent), path.name)


def _occupant_of(mode: int) -> Occupant:
    if stat.S_ISREG(mode):
        return Occupant.FILE
    if stat.S_ISDIR(mode):
        return Occupant.FOLDER
    return Occupant.STREAM if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) else Occupant.OTHER


def _is_foreign(status: os.stat_result) -> bool:
    return os.name != "nt" and status.st_uid != os.geteuid()


def _side_files(path: Path, real: Path, database: DatabaseKind | None) -> tuple[Path, ...]:
    """Return the files that one of the programs would take for a part of a database of this name."""
    # DuckDB makes their names from the name that it was given, SQLite from the one to which links lead.
    places = dict.fromkeys((real, Path.cwd() / path))
    found = [
        each
        for place in places
        for ending in (SIDE_FILES[database] if database else ())
        if os.path.lexists(each := place.with_name(place.name + ending))
    ]
    return tuple(found)


def _database_in(real: Path) -> DatabaseKind | None:
    try:
        with real.open("rb") as file:
            start = file.read(16)
    except PermissionError:
        return None
    if start == b"SQLite format 3\0":
        return "sqlite"
    return "duckdb" if start[8:12] == b"DUCK" else None


def _contents_of(real: Path, kind: DatabaseKind) -> tuple[str | None, tuple[str, ...], str | None]:
    """Return the schema of the export in a database, what else it holds, and why it can't be read."""
    try:
        with _opened(real, kind) as database:
            query = _SQLITE_COLUMNS if kind == "sqlite" else _DUCKDB_COLUMNS
            columns: dict[str, set[str]] = {}
            for name, column in database.execute(query).fetchall():
                columns.setdefault(name, set()).add(column)
            info: list[Any] = []
            if INFO_TABLE in columns:
                query = f"SELECT name, version FROM {INFO_TABLE}"  # noqa: S608  (our own name)
                info = database.execute(query).fetchall()
    except ImportError:
        return None, (), "is a DuckDB file, and reading it needs: pip install 'fullstory-async[duckdb]'"
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        return None, (), f"can't be opened as a database ({error})"
    schema, ours = _recognise(columns, info)
    return schema, tuple(sorted(columns.keys() - ours)), None


def _recognise(columns: Mapping[str, set[str]], info: list[Any]) -> tuple[str | None, set[str]]:
    """Return the schema of an export's tables, and the names of what it made."""
    if len(info) == 1:
        schema, version = info[0]
        is_known = SCHEMA_VERSIONS.get(schema) == version
        name = schema if is_known else f"{schema} of version {version}"
        return name, {*SCHEMAS.get(schema, TABLES), *VIEWS, INFO_TABLE}
    # Exports of before have nothing but their tables, of which at least two are there.
    ours = {
        name
        for name, table in SCHEMAS["v1"].items()
        if columns.get(name) == {column.name for column in table}
    }
    return ("v1", ours) if len(ours) > 1 else (None, set())


@contextmanager
def _opened(real: Path, kind: DatabaseKind) -> Iterator[Any]:
    """Open a database so that nothing is written. Raises `sqlite3.Error`, `OSError` or `ImportError`."""
    if kind == "duckdb":
        with opened_duckdb(real, read_only=True) as database:
            yield database
        return
    # Without side files it is read as it is. With a journal it can't be read before it is restored.
    side = [path.name for path in _side_files(real, real, "sqlite")]
    mode = "immutable=1&mode=ro" if not side else "mode=rw" if f"{real.name}-journal" in side else "mode=ro"
    with closing(sqlite3.connect(f"file:{quote(os.fsencode(real))}?{mode}", uri=True)) as database:
        yield database


def _merge_sqlite(found: Found) -> None:
    try:
        with closing(sqlite3.connect(found.real, isolation_level=None, timeout=0)) as database:
            # Only the last connection can leave the log behind, and only without other readers and writers.
            database.execute("PRAGMA journal_mode = DELETE").fetchone()
            database.execute("BEGIN EXCLUSIVE")
            database.execute("ROLLBACK")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{found.path} can't be replaced: another program has it open, or can't read it ({error})"
        ) from None


def _merge_duckdb(found: Found) -> None:
    try:
        with opened_duckdb(found.real) as database:
            database.execute("CHECKPOINT")
    except ImportError:
        return
    except OSError as error:
        if _side_files(found.path, found.real, "duckdb") or "another program" in str(error):
            raise ConfigurationError(f"{found.path} can't be replaced: {error}") from None
