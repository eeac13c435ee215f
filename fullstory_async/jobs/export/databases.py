"""Exports as databases: SQLite, and DuckDB; all tables in one file."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fullstory_async.errors import ConfigurationError
from fullstory_async.files.file_system import PRIVATE_FILE, make_private
from fullstory_async.jobs.export.duckdb_files import created_duckdb
from fullstory_async.jobs.export.parquet import RowGroups
from fullstory_async.jobs.export.sql_names import escaped
from fullstory_async.jobs.export.sqlite_rows import sqlite_writer
from fullstory_async.jobs.export.views import INFO_TABLE, views_for
from fullstory_async.tables.arrow import import_pyarrow
from fullstory_async.tables.columns import SCHEMA_VERSIONS, Column, Kind, RowWriter, Schema, Table
from fullstory_async.tables.shapes import ListShape, Shape, StructShape

if TYPE_CHECKING:
    import duckdb

__all__ = [
    "DUCKDB",
    "SQLITE",
    "Dialect",
    "duckdb_writers",
    "sqlite_writers",
]


@attrs.frozen
class Dialect:
    """What two kinds of databases say differently."""

    types: Mapping[Kind, str]
    is_rage_click: str
    """The condition that an event's frustrations have a rage click."""
    has_structures: bool = False
    """Whether a column can have other columns in it."""

    def table(self, name: str, columns: Table) -> str:
        """Return the statement that creates a table."""
        return f"CREATE TABLE {name} ({', '.join(map(self.column, columns))})"

    def column(self, column: Column) -> str:
        """Return a column as a statement defines it."""
        return f'"{escaped(column.name)}" {self.type_of(column)}'

    def type_of(self, column: Column) -> str:
        """Return the type of a column."""
        shape = column.shape if self.has_structures else None
        return self.types[column.kind] if shape is None else _duckdb_type(shape)

    def views(self, tables: Mapping[str, Table], schema: Schema) -> Iterator[str]:
        """Yield the statements that create the views of these tables that are not there."""
        if schema == "v2":
            yield from views_for(tables, is_rage_click=self.is_rage_click)


SQLITE = Dialect(
    {
        "text": "TEXT", "name": "TEXT", "json": "TEXT", "integer": "INTEGER", "number": "REAL",
        "boolean": "INTEGER", "time": "TEXT", "texts": "TEXT",
    },
    "'|' || frustrations || '|' LIKE '%|rage click|%'",
)  # fmt: skip
DUCKDB = Dialect(
    {
        "text": "VARCHAR", "name": "VARCHAR", "json": "JSON", "integer": "BIGINT", "number": "DOUBLE",
        "boolean": "BOOLEAN", "time": "TIMESTAMP", "texts": "VARCHAR[]",
    },
    "list_contains(frustrations, 'rage click')",
    has_structures=True,
)  # fmt: skip

_DUCKDB_ROWS = 4096
"""Fewer rows at a time than in a file of Parquet: DuckDB has a copy of them."""
_MEMORY_MB = 80
"""What DuckDB takes for the rows above; with half as much, it writes them to its own folder in between."""
_LARGE_BYTES = 8_000_000
_JSON = {"ARROW:extension:name": "arrow.json", "ARROW:extension:metadata": ""}


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
        # large pages: an event takes more than a kilobyte
        database.execute("PRAGMA page_size = 32768")
        database.execute("PRAGMA temp_store = MEMORY")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSIONS[schema]}")
        database.execute("BEGIN")
        for statement in _definitions(tables, SQLITE, schema):
            database.execute(statement)
        yield {name: sqlite_writer(database, name, columns) for name, columns in tables.items()}
        database.execute("COMMIT")
    except sqlite3.Error as error:
        raise OSError(str(error)) from None
    finally:
        database.close()


def _definitions(tables: Mapping[str, Table], dialect: Dialect, schema: Schema) -> Iterator[str]:
    """Yield the statements that create the tables, the views, and what says which schema they have."""
    for name, columns in tables.items():
        yield dialect.table(name, columns)
    yield f"CREATE TABLE {INFO_TABLE} AS SELECT '{schema}' AS name, {SCHEMA_VERSIONS[schema]} AS version"
    yield from dialect.views(tables, schema)


def _duckdb_type(shape: Shape) -> str:
    """Return DuckDB's type of a structure or a part of one."""
    if isinstance(shape, ListShape):
        return f"{_duckdb_type(shape.items)}[]"
    if isinstance(shape, StructShape):
        names = shape.names()
        fields = (f'"{escaped(names[name])}" {_duckdb_type(each)}' for name, each in shape.fields.items())
        return f"STRUCT({', '.join(fields)})"
    kinds: dict[str, Kind] = {"boolean": "boolean", "integer": "integer", "number": "number"}
    return DUCKDB.types[kinds.get(shape, "text")]


@contextmanager
def duckdb_writers(
    path: Path, tables: Mapping[str, Table], *, schema: Schema
) -> Iterator[dict[str, RowWriter]]:
    """Write tables to a DuckDB file, by Arrow. Times are in UTC."""
    try:
        # In a private folder: DuckDB makes its database and its temporary files readable by all.
        with tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as name:
            folder = Path(name)
            made = folder / "database"
            with created_duckdb(made, folder=folder) as database:
                for statement in _definitions(tables, DUCKDB, schema):
                    database.execute(statement)
                # The batches are too small for more than one thread to be of use.
                database.execute("SET threads = 1")
                # Each checkpoint rewrites the last rows, and leaves unused space in the file.
                database.execute("SET checkpoint_threshold = '1GB'")
                database.execute(f"SET memory_limit = '{_MEMORY_MB}MB'")
                # In one transaction, full groups of rows go to the file without a log of them.
                database.execute("BEGIN")
                with ExitStack() as writers:
                    yield {
                        name: writers.enter_context(_duckdb_writer(database, name, columns))
                        for name, columns in tables.items()
                    }
                database.execute("COMMIT")
            make_private(made, PRIVATE_FILE)
            made.replace(path)
    except ImportError:
        raise ConfigurationError("a .duckdb file needs: pip install 'fullstory-async[duckdb]'") from None


@contextmanager
def _duckdb_writer(database: duckdb.DuckDBPyConnection, name: str, columns: Table) -> Iterator[RowWriter]:
    groups = RowGroups(columns, rows=_DUCKDB_ROWS, dictionaries=True)

    def load(batch: Any) -> None:
        if batch is not None:
            if batch.nbytes > _LARGE_BYTES:
                # A single value can be as large as a response, and takes several times as much.
                database.execute(f"SET memory_limit = '{_MEMORY_MB + batch.nbytes // 250_000}MB'")
            # not by a name: the transaction would keep each batch that had one
            database.from_arrow(_as_duckdb_has_it(batch, columns)).insert_into(name)
            if batch.nbytes > _LARGE_BYTES:
                # too few rows for a group, which would stay in memory
                database.execute("COMMIT")
                database.execute("BEGIN")

    yield lambda rows: load(groups.add(rows))
    load(groups.take())


def _as_duckdb_has_it(batch: Any, columns: Table) -> Any:
    """Return a record batch with DuckDB's own types: it would convert times, and check all JSON again."""
    pyarrow = import_pyarrow()
    arrays, fields = [], []
    for column, array, field in zip(columns, batch.columns, batch.schema, strict=True):
        if column.kind == "time":
            # a time of Arrow has a zone, which DuckDB's TIMESTAMP has not
            array = array.cast(pyarrow.timestamp("us"))  # noqa: PLW2901
        arrays.append(array)
        metadata = _JSON if column.kind == "json" and column.shape is None else None
        fields.append(pyarrow.field(field.name, array.type, metadata=metadata))
    return pyarrow.Table.from_arrays(arrays, schema=pyarrow.schema(fields))
