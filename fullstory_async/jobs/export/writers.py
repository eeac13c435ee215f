"""The writers of an export's tables, for each format and each kind of target."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import attrs

from fullstory_async.errors import ConfigurationError
from fullstory_async.jobs.export.append import append_writers
from fullstory_async.jobs.export.databases import duckdb_writers, sqlite_writers
from fullstory_async.jobs.export.destination import Destination, database_of
from fullstory_async.jobs.export.files import atomic, atomic_folder
from fullstory_async.jobs.export.folders import FolderLayout, date_column, folder_writers
from fullstory_async.jobs.export.found import DatabaseKind, Found
from fullstory_async.jobs.export.inspection import check_duckdb_name, inspect_target, merge_side_files
from fullstory_async.jobs.export.parquet import parquet_writer
from fullstory_async.jobs.export.streams import opened_stream
from fullstory_async.jobs.export.target import Action, decide
from fullstory_async.jobs.export.text import csv_writer, json_lines_writer
from fullstory_async.tables.columns import RowWriter, Table

__all__ = ["ExportTarget"]

_DATABASES: Mapping[DatabaseKind, Any] = {"duckdb": duckdb_writers, "sqlite": sqlite_writers}


@attrs.frozen
class ExportTarget:
    """Where an export goes, after what stands there was inspected."""

    destination: Destination
    tables: Mapping[str, Table]
    """The columns of each table; the first is the main one."""
    action: Action
    found: tuple[Found, ...]
    """What stands at each file or folder that is written."""

    @classmethod
    def of(
        cls,
        tables: Mapping[str, Table],
        path: str | os.PathLike[str] | None,
        out_dir: str | os.PathLike[str] | None,
        file_format: str | None,
        **options: Any,
    ) -> ExportTarget:
        """Inspect a target; the arguments are those of an export.

        Raises:
            ConfigurationError: the options contradict each other, or what stands there must be kept.
        """
        given = path if out_dir is None else out_dir
        if given is None or None not in (path, out_dir):
            raise ConfigurationError("an export needs a file or a folder (--out-dir), and not both")
        target = Path(given)
        main = inspect_target(target, database_of(target))
        destination = Destination.of(main, file_format, is_folder=out_dir is not None, **options)
        action, found = decide(main, destination), [main]
        if action is not Action.STREAM and not destination.is_folder and destination.database is None:
            # no database: such formats have a file for each table
            found += [inspect_target(destination.path_of(name), None) for name in list(tables)[1:]]
            if any(decide(each, destination) is not Action.WRITE for each in found[1:]):
                raise ConfigurationError(f"beside {main.path} is a pipe in place of a file of the export")
        if destination.database == "duckdb":
            check_duckdb_name(main)
        if action is Action.WRITE:
            for each in found:
                merge_side_files(each)
        if destination.partition_by and all(date_column(table) is None for table in tables.values()):
            raise ConfigurationError(
                "partition_by (--partition-by) date needs the events' times, which this export does not have"
            )
        return cls(destination, tables, action, tuple(found))

    @property
    def paths(self) -> list[Path]:
        """The files to write, or the folder."""
        return [each.path for each in self.found]

    @contextmanager
    def opened(
        self, session_ids: Iterable[str], stopped: threading.Event | None
    ) -> Iterator[dict[str, RowWriter]]:
        """Open the writers of the tables that the target takes; a stream takes the main one.

        Args:
            session_ids: the full ids of the job, whose rows are replaced if there are some.
            stopped: if set by another thread, ends waits for the reader of a stream.
        """
        with ExitStack() as stack:
            main, database = self.found[0], self.destination.database
            if self.action is Action.APPEND:
                yield stack.enter_context(append_writers(main, self.tables, session_ids))
            elif self.action is Action.STREAM:
                file = stack.enter_context(opened_stream(main.real, stopped))
                name = next(iter(self.tables))
                yield {name: stack.enter_context(self._opened_text(file, self.tables[name]))}
            elif self.destination.is_folder:
                part = stack.enter_context(atomic_folder(main))
                layout = FolderLayout(
                    self.destination.suffix,
                    by_date=self.destination.partition_by is not None,
                    rows_per_file=self.destination.rows_per_file,
                )
                yield stack.enter_context(folder_writers(part, self.tables, layout, self._opened))
            elif database is not None:
                part = stack.enter_context(atomic(main))
                yield stack.enter_context(
                    _DATABASES[database](part, self.tables, schema=self.destination.schema)
                )
            else:
                parts = [stack.enter_context(atomic(each)) for each in self.found]
                yield {
                    name: stack.enter_context(self._opened(part, columns))
                    for (name, columns), part in zip(self.tables.items(), parts, strict=True)
                }

    def _opened(self, path: Path, columns: Table) -> AbstractContextManager[RowWriter]:
        """Open one file of one table."""
        if self.destination.is_text:
            return self._opened_text(path, columns)
        # Rows with a date come in portions that are large enough already.
        is_dated = self.destination.partition_by is not None and date_column(columns) is not None
        return parquet_writer(path, columns, at_once=is_dated)

    def _opened_text(self, file: Path | IO[bytes], columns: Table) -> AbstractContextManager[RowWriter]:
        kind, _, compression = self.destination.suffix.removeprefix(".").partition(".")
        if kind == "csv":
            return csv_writer(file, columns, compression=compression, bom=self.destination.bom)
        return json_lines_writer(file, columns, compression=compression)
