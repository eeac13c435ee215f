"""Append to the tables of an earlier export, in one transaction of its database.

The database is changed where it stands: other programs may have it open, and its other tables stay. If the
process is killed, the database drops the transaction when it is opened next.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

from fullstory_async.errors import ConfigurationError, JobStorageError
from fullstory_async.jobs.export.databases import (
    DUCKDB,
    SQLITE,
    Dialect,
    duckdb_writers,
)
from fullstory_async.jobs.export.duckdb_files import opened_duckdb
from fullstory_async.jobs.export.files import private_folder
from fullstory_async.jobs.export.found import Found
from fullstory_async.jobs.export.sql_names import column_names
from fullstory_async.jobs.export.sqlite_rows import sqlite_writer
from fullstory_async.tables.columns import RowWriter, Table

__all__ = ["append_writers"]

_ID = "full_session_id"
_BATCH = 10_000
_PATIENCE = 5.0
"""Seconds to wait for other programs that write to a SQLite file."""


@contextmanager
def append_writers(
    found: Found, tables: Mapping[str, Table], session_ids: Iterable[str]
) -> Iterator[dict[str, RowWriter]]:
    """Delete the rows of sessions from the tables of an export, and add rows to them.

    Args:
        found: the database.
        tables: the tables to write. One that the database lacks is created, and so is a column.
        session_ids: the full ids of the sessions.

    Raises:
        ConfigurationError: a session can't be recognised in a table, or a column has another type there.
        JobStorageError: the database can't be changed. It is as before then.
    """
    for name, columns in tables.items():
        if not any(column.name == _ID and column.is_required for column in columns):
            raise ConfigurationError(
                f"append (--append) recognises a session by its {_ID}, which is not in the table {name} of "
                "this export, or is redacted"
            )
    opened = _sqlite_writers if found.database == "sqlite" else _duckdb_writers
    try:
        with opened(found, tables, session_ids) as writers:
            yield writers
    except (OSError, sqlite3.Error) as error:
        raise JobStorageError(f"nothing was appended to {found.path}: {error}") from None


@contextmanager
def _sqlite_writers(
    found: Found, tables: Mapping[str, Table], session_ids: Iterable[str]
) -> Iterator[dict[str, RowWriter]]:
    # Closing it drops a transaction that was not committed.
    with closing(sqlite3.connect(found.real, timeout=_PATIENCE, isolation_level=None)) as database:
        database.execute("PRAGMA temp_store = MEMORY")
        database.execute("BEGIN IMMEDIATE")
        for ids in _id_batches(database.execute, session_ids):
            database.executemany("INSERT INTO appended VALUES (?)", ((each,) for each in ids))
        _make_room(database.execute, tables, SQLITE)
        yield {name: sqlite_writer(database, name, columns) for name, columns in tables.items()}
        database.execute("COMMIT")


@contextmanager
def _duckdb_writers(
    found: Found, tables: Mapping[str, Table], session_ids: Iterable[str]
) -> Iterator[dict[str, RowWriter]]:
    with private_folder(found) as folder:
        # In one transaction, DuckDB keeps the rows of all batches in memory, but not those of another file.
        new = folder / "new"
        with duckdb_writers(new, tables, schema="v2") as writers:
            yield writers
        with opened_duckdb(found.real, folder=folder) as database:
            # DuckDB makes a log readable by all. A change of any size goes to the file at once instead.
            database.execute("SET checkpoint_threshold = '0KB'")
            database.execute("BEGIN")
            for ids in _id_batches(database.execute, session_ids):
                database.execute("INSERT INTO appended SELECT unnest(?)", [ids])
            _make_room(database.execute, tables, DUCKDB)
            quoted = str(new).replace("'", "''")
            database.execute(f"ATTACH '{quoted}' AS new (READ_ONLY)")
            for name, columns in tables.items():
                names = column_names(columns)
                rows = f"SELECT {names} FROM new.{name}"  # noqa: S608  (our own names)
                database.execute(f"INSERT INTO {name} ({names}) {rows}")
            database.execute("COMMIT")


def _id_batches(execute: Callable[..., Any], session_ids: Iterable[str]) -> Iterator[list[str]]:
    """Create a table for ids, and yield them in portions to be put into it."""
    execute("CREATE TEMP TABLE appended (id VARCHAR)")
    left = iter(session_ids)
    while ids := list(islice(left, _BATCH)):
        yield ids


def _make_room(execute: Callable[..., Any], tables: Mapping[str, Table], dialect: Dialect) -> None:
    """Create what the database lacks, and delete the rows of the sessions to come."""
    present = {row[0] for row in execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()}
    for name, columns in tables.items():
        if name not in present:
            execute(dialect.table(name, columns))
            continue
        info = execute(f"SELECT name, type FROM pragma_table_info('{name}')")  # noqa: S608  (our own names)
        # both databases take names for one that differ in case only
        known = {present.lower(): kind for present, kind in info.fetchall()}
        for column in columns:
            there, wanted = known.get(column.name.lower()), dialect.type_of(column)
            if there is None:
                execute(f"ALTER TABLE {name} ADD COLUMN {dialect.column(column)}")
            elif there != wanted:
                raise ConfigurationError(
                    f"nothing was appended: the column {column.name} of the table {name} has the type "
                    f"{there} there, and {wanted} in this export. Append with the same --redact, --json and "
                    "response schema, or export to a new file"
                )
        execute(f"DELETE FROM {name} WHERE {_ID} IN (SELECT id FROM appended)")  # noqa: S608  (our own names)
    # Appending is for the current schema, the one with views.
    for view in dialect.views(tables, "v2"):
        execute(view)
