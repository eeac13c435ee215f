"""Exports as databases: SQLite, and DuckDB; all tables in one file."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullstory_async.errors import ConfigurationError
from fullstory_async.files.file_system import PRIVATE_FILE, make_private
from fullstory_async.jobs.export.tables import Row, RowWriter, Table
from fullstory_async.jobs.export.text import dump_json, iso_time, json_lines_writer
from fullstory_async.jobs.storage.schema import replace_surrogates

if TYPE_CHECKING:
    import duckdb

__all__ = ["duckdb_writers", "sqlite_writers"]

_BATCH = 1000
_SQLITE = {
    "text": "TEXT",
    "name": "TEXT",
    "json": "TEXT",
    "integer": "INTEGER",
    "boolean": "INTEGER",
    "time": "TEXT",
}
_DUCKDB = {
    "text": "VARCHAR",
    "name": "VARCHAR",
    "json": "JSON",
    "integer": "INTEGER",
    "boolean": "BOOLEAN",
    "time": "TIMESTAMP",
}


@contextmanager
def sqlite_writers(path: Path, tables: Mapping[str, Table]) -> Iterator[dict[str, RowWriter]]:
    """Write tables to a SQLite file, in one transaction.

    Times are ISO 8601 texts, and JSON is text.
    """
    database = sqlite3.connect(path, isolation_level=None)
    try:
        # No journal: a file that fails half way is deleted, and never gets its name.
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("BEGIN")
        with ExitStack() as stack:
            yield {
                name: stack.enter_context(_sqlite_writer(database, name, columns))
                for name, columns in tables.items()
            }
        database.execute("COMMIT")
    except sqlite3.Error as error:
        raise OSError(str(error)) from None
    finally:
        database.close()


@contextmanager
def _sqlite_writer(database: sqlite3.Connection, name: str, columns: Table) -> Iterator[RowWriter]:
    kinds = ", ".join(f'"{column.name}" {_SQLITE[column.kind]}' for column in columns)
    database.execute(f"CREATE TABLE {name} ({kinds})")
    insert = f"INSERT INTO {name} VALUES ({', '.join('?' * len(columns))})"  # noqa: S608  (our own names)
    waiting: list[list[Any]] = []

    def flush() -> None:
        database.executemany(insert, waiting)
        waiting.clear()

    def write(row: Row) -> None:
        waiting.append([_value(row[column.name], as_json=column.kind == "json") for column in columns])
        if len(waiting) >= _BATCH:
            flush()

    yield write
    flush()


@contextmanager
def duckdb_writers(path: Path, tables: Mapping[str, Table]) -> Iterator[dict[str, RowWriter]]:
    """Write tables to a DuckDB file. Times are in UTC.

    The rows go through JSON Lines beside it, which DuckDB reads faster than it takes rows one by one.
    """
    try:
        import duckdb  # noqa: PLC0415  (an extra)
    except ImportError:
        raise ConfigurationError("a .duckdb file needs: pip install 'fullstory-async[duckdb]'") from None
    try:
        # In a private folder: DuckDB makes its database and its temporary files readable by all.
        with tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as folder:
            lines = {name: Path(folder, f"{name}.jsonl") for name in tables}
            with ExitStack() as stack:
                # DuckDB rejects the escape sequence of a lone surrogate, so it is replaced here.
                yield {
                    name: stack.enter_context(json_lines_writer(part, tables[name], surrogates="replace"))
                    for name, part in lines.items()
                }
            made = Path(folder, "database")
            with duckdb.connect(str(made)) as database:
                database.execute("SET TimeZone = 'UTC'")
                for name, part in lines.items():
                    _load(database, name, tables[name], part)
            make_private(made, PRIVATE_FILE)
            made.replace(path)
    except duckdb.Error as error:
        raise OSError(str(error)) from None


def _load(database: duckdb.DuckDBPyConnection, name: str, columns: Table, part: Path) -> None:
    kinds = {column.name: _DUCKDB[column.kind] for column in columns}
    named = ", ".join(f'"{column}" {kind}' for column, kind in kinds.items())
    database.execute(f"CREATE TABLE {name} ({named})")
    # 1 GiB instead of the default of 16 MiB: a row may hold a long response.
    read = (
        f"read_json(?, format = 'newline_delimited', columns = {kinds!r}, maximum_object_size = 1073741824)"
    )
    database.execute(f"INSERT INTO {name} SELECT * FROM {read}", [str(part)])  # noqa: S608  (our own names)


def _value(value: Any, *, as_json: bool) -> Any:
    if value is None:
        return None
    if as_json:
        return dump_json(value)
    if isinstance(value, datetime):
        return iso_time(value)
    return replace_surrogates(value) if isinstance(value, str) else value
