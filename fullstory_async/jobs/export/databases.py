"""Exports as databases: SQLite, and DuckDB; all tables in one file."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullstory_async.errors import ConfigurationError
from fullstory_async.files.file_system import PRIVATE_FILE, make_private
from fullstory_async.jobs.export.parquet import RowGroups
from fullstory_async.jobs.export.views import views_for
from fullstory_async.tables.columns import SCHEMA_VERSIONS, Kind, Row, RowWriter, Schema, Table

if TYPE_CHECKING:
    import duckdb

__all__ = ["INFO_TABLE", "duckdb_writers", "sqlite_writers"]

INFO_TABLE = "fullstory_export"
"""The table by which a database is known to be an export: one row with its schema and the version of it."""

_SQLITE: Mapping[Kind, str] = {
    "text": "TEXT", "name": "TEXT", "json": "TEXT", "integer": "INTEGER", "number": "REAL",
    "boolean": "INTEGER", "time": "TEXT", "texts": "TEXT",
}  # fmt: skip
_DUCKDB: Mapping[Kind, str] = {
    "text": "VARCHAR", "name": "VARCHAR", "json": "JSON", "integer": "BIGINT", "number": "DOUBLE",
    "boolean": "BOOLEAN", "time": "TIMESTAMP", "texts": "VARCHAR[]",
}  # fmt: skip

_SQLITE_RAGE = "'|' || frustrations || '|' LIKE '%|rage click|%'"
_DUCKDB_RAGE = "list_contains(frustrations, 'rage click')"


@contextmanager
def sqlite_writers(
    path: Path, tables: Mapping[str, Table], *, schema: Schema
) -> Iterator[dict[str, RowWriter]]:
    """Write tables to a SQLite file, in one transaction.

    Times are texts in UTC, JSON is text, and lists of texts are joined with ``|``.
    """
    database = sqlite3.connect(path, isolation_level=None)
    try:
        # No journal: a file that fails half way is deleted, and never gets its name.
        database.execute("PRAGMA journal_mode = OFF")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSIONS[schema]}")
        database.execute("BEGIN")
        for statement in _definitions(tables, _SQLITE, schema, _SQLITE_RAGE):
            database.execute(statement)
        yield {name: _sqlite_writer(database, name, columns) for name, columns in tables.items()}
        database.execute("COMMIT")
    except sqlite3.Error as error:
        raise OSError(str(error)) from None
    finally:
        database.close()


def _definitions(
    tables: Mapping[str, Table], types: Mapping[Kind, str], schema: Schema, is_rage_click: str
) -> Iterator[str]:
    """Yield the statements that create the tables, the views, and what says which schema they have."""
    for name, columns in tables.items():
        kinds = ", ".join(f'"{_escaped(column.name)}" {types[column.kind]}' for column in columns)
        yield f"CREATE TABLE {name} ({kinds})"
    yield f"CREATE TABLE {INFO_TABLE} AS SELECT '{schema}' AS name, {SCHEMA_VERSIONS[schema]} AS version"
    if schema == "v2":
        yield from views_for(tables, is_rage_click=is_rage_click)


def _escaped(name: str) -> str:
    return name.replace('"', '""')


def _sqlite_writer(database: sqlite3.Connection, name: str, columns: Table) -> RowWriter:
    insert = f"INSERT INTO {name} VALUES ({', '.join('?' * len(columns))})"  # noqa: S608  (our own names)
    lists = [n for n, column in enumerate(columns) if column.kind == "texts"]

    def write(rows: Sequence[Row]) -> None:
        if lists:
            values: list[Any] = list(zip(*rows, strict=True)) or [()] * len(columns)
            for n in lists:
                values[n] = [None if texts is None else "|".join(texts) for texts in values[n]]
            database.executemany(insert, zip(*values, strict=True))
        else:
            database.executemany(insert, rows)

    return write


@contextmanager
def duckdb_writers(
    path: Path, tables: Mapping[str, Table], *, schema: Schema
) -> Iterator[dict[str, RowWriter]]:
    """Write tables to a DuckDB file, by Arrow. Times are in UTC."""
    try:
        import duckdb  # noqa: PLC0415  (an extra)
    except ImportError:
        raise ConfigurationError("a .duckdb file needs: pip install 'fullstory-async[duckdb]'") from None
    try:
        # In a private folder: DuckDB makes its database and its temporary files readable by all.
        with tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as folder:
            made = Path(folder, "database")
            with duckdb.connect(str(made)) as database, ExitStack() as stack:
                for statement in _definitions(tables, _DUCKDB, schema, _DUCKDB_RAGE):
                    database.execute(statement)
                yield {
                    name: stack.enter_context(_duckdb_writer(database, name, columns))
                    for name, columns in tables.items()
                }
            make_private(made, PRIVATE_FILE)
            made.replace(path)
    except duckdb.Error as error:
        raise OSError(str(error)) from None


@contextmanager
def _duckdb_writer(database: duckdb.DuckDBPyConnection, name: str, columns: Table) -> Iterator[RowWriter]:
    groups = RowGroups(columns)
    # a time of Arrow has a zone, which DuckDB's TIMESTAMP has not
    selected = ", ".join(
        f'"{_escaped(column.name)}"' + (" AT TIME ZONE 'UTC'" if column.kind == "time" else "")
        for column in columns
    )
    insert = f"INSERT INTO {name} SELECT {selected} FROM batch"  # noqa: S608  (our own names)

    def load(batch: Any) -> None:
        if batch is not None:
            database.register("batch", batch)
            database.execute(insert)
            database.unregister("batch")

    yield lambda rows: load(groups.add(rows))
    load(groups.take())
