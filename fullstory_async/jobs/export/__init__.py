"""Exports of a job: JSON Lines, CSV, Parquet, DuckDB and SQLite."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from fullstory_async.errors import ConfigurationError
from fullstory_async.jobs.export.databases import duckdb_writers, sqlite_writers
from fullstory_async.jobs.export.files import atomic
from fullstory_async.jobs.export.parquet import parquet_writer
from fullstory_async.jobs.export.redaction import Redaction
from fullstory_async.jobs.export.tables import RowWriter, Table, Tables
from fullstory_async.jobs.export.text import csv_writer, json_lines_writer
from fullstory_async.jobs.storage.reader import RecordReader
from fullstory_async.threads import GRACE, WorkerThread

__all__ = ["ExportStopped", "Redact", "Redaction", "export", "export_in_thread"]

Redact = Iterable[str] | Mapping[str, Literal["drop", "hash"]] | Redaction

_FILE_PER_TABLE: dict[str, Any] = {
    ".jsonl": json_lines_writer, ".jsonl.gz": partial(json_lines_writer, compression="gz"),
    ".jsonl.zst": partial(json_lines_writer, compression="zst"), ".csv": csv_writer,
    ".csv.gz": partial(csv_writer, compression="gz"), ".csv.zst": partial(csv_writer, compression="zst"),
    ".parquet": parquet_writer,
}  # fmt: skip
_ONE_FILE: dict[str, Any] = {".duckdb": duckdb_writers, ".sqlite": sqlite_writers, ".db": sqlite_writers}


class ExportStopped(Exception):
    """An export was stopped before its end; it left no file."""


def export(
    reader: RecordReader,
    path: Path,
    *,
    redact: Redact = (),
    allow_missing: bool = False,
    progress: Callable[[int], object] | None = None,
    stopped: threading.Event | None = None,
) -> list[Path]:
    """Write a job's tables to files, in the format of the suffix. Blocks.

    Args:
        reader: the job.
        path: ``.jsonl``, ``.csv`` (both also ``.gz`` and ``.zst``), ``.parquet``, ``.duckdb`` or ``.sqlite``.
            A database holds all tables. In the other formats ``path`` holds the main table (events, or
            summaries if there are no events), and ``NAME.summaries.SUFFIX`` and ``NAME.failures.SUFFIX``
            beside it the others.
        redact: fields to redact wherever they are: names, or names with ``drop`` or ``hash``.
        allow_missing: accept names that occur nowhere in the job; otherwise they are taken for mistakes.
        progress: called with the number of sessions written so far.
        stopped: if set by another thread, ends the work; no file is left then.

    Returns:
        The files that were written.

    Raises:
        ConfigurationError: the suffix is unknown, an extra is missing, the folder can't be written, or a name
            to redact occurs nowhere. Nothing is written then.
        ExportStopped: ``stopped`` was set before the end.
        JobStorageError: writing failed.
    """
    redaction, rows = Redaction.of(redact, reader.secret), 0
    tables = Tables(reader.plan, redaction)
    with _open_writers(path, {name: tables.columns(name) for name in tables.names}) as (writers, written):
        for count, record in enumerate(reader.records(), 1):
            for name, row in tables.rows(record):
                writers[name](row)
                rows += 1
            if progress is not None:
                progress(count)
            if stopped is not None and stopped.is_set():
                raise ExportStopped
        # Before the files get their names: under a misspelt name, the data would be exported in clear text.
        if rows and redaction.missing and not allow_missing:
            names = ", ".join(map(repr, redaction.missing))
            raise ConfigurationError(
                f"nothing in the job is called {names}, so nothing was written: are the names to redact "
                "right? allow_missing (--allow-missing) accepts them"
            )
    return written


async def export_in_thread(
    reader: RecordReader,
    path: Path,
    *,
    redact: Redact = (),
    allow_missing: bool = False,
    progress: Callable[[int], object] | None = None,
    stopped: threading.Event | None = None,
) -> list[Path]:
    """Run `export` in a thread; ``progress`` is called in the event loop.

    Cancelling ends the export. Its thread removes its files, usually before this returns.
    """
    loop, stopped = asyncio.get_running_loop(), stopped or threading.Event()

    def report(count: int) -> None:
        if progress is not None:
            loop.call_soon_threadsafe(progress, count)

    options: dict[str, Any] = {"redact": redact, "allow_missing": allow_missing, "progress": report}
    thread = WorkerThread(f"the export {path}")
    try:
        return await thread.run(export, reader, path, stopped=stopped, **options)
    except asyncio.CancelledError:
        stopped.set()
        await thread.finish(GRACE)
        raise


@contextmanager
def _open_writers(
    path: Path, tables: Mapping[str, Table]
) -> Iterator[tuple[dict[str, RowWriter], list[Path]]]:
    """Open a writer for each table; yield them by name, and the files to come."""
    suffix = _suffix(path)
    kind = suffix.lower()
    with ExitStack() as stack:
        if kind in _ONE_FILE:
            part = stack.enter_context(atomic(path))
            yield stack.enter_context(_ONE_FILE[kind](part, tables)), [path]
            return
        stem = path.name.removesuffix(suffix)
        paths = [path, *(path.with_name(f"{stem}.{name}{suffix}") for name in list(tables)[1:])]
        parts = [stack.enter_context(atomic(each)) for each in paths]
        yield (
            {
                name: stack.enter_context(_FILE_PER_TABLE[kind](part, columns))
                for (name, columns), part in zip(tables.items(), parts, strict=True)
            },
            paths,
        )


def _suffix(path: Path) -> str:
    """Return the suffix of a known format, in the case in which it was given."""
    known = sorted({**_FILE_PER_TABLE, **_ONE_FILE}, key=len, reverse=True)
    for suffix in known:
        given = path.name[-len(suffix) :]
        if given.lower() == suffix and path.name != given:
            return given
    raise ConfigurationError(
        f"the format of {path.name} is not known: it must end in {', '.join(sorted(known))}"
    )
