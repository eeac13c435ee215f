"""Exports of a job: to JSON Lines, CSV, Parquet, DuckDB and SQLite, streamed, and not there until they are whole."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from fullstory_async.concurrency import run_in_thread, shielded
from fullstory_async.errors import ConfigurationError
from fullstory_async.jobs.export.databases import duckdb_sinks, sqlite_sinks
from fullstory_async.jobs.export.files import atomic
from fullstory_async.jobs.export.parquet import parquet_sink
from fullstory_async.jobs.export.sink import RowWriter
from fullstory_async.jobs.export.tables import Redaction, Table, Tables
from fullstory_async.jobs.export.text import csv_sink, json_lines_sink
from fullstory_async.jobs.storage.reader import JobReader

__all__ = ["ExportStopped", "Redact", "Redaction", "export", "export_in_thread"]

Redact = Iterable[str] | Mapping[str, Literal["drop", "hash"]] | Redaction

_PER_TABLE: dict[str, Any] = {
    ".jsonl": json_lines_sink, ".jsonl.gz": partial(json_lines_sink, compression="gz"),
    ".jsonl.zst": partial(json_lines_sink, compression="zst"), ".csv": csv_sink,
    ".csv.gz": partial(csv_sink, compression="gz"), ".csv.zst": partial(csv_sink, compression="zst"),
    ".parquet": parquet_sink,
}  # fmt: skip
_ALL_IN_ONE: dict[str, Any] = {".duckdb": duckdb_sinks, ".sqlite": sqlite_sinks, ".db": sqlite_sinks}


class ExportStopped(Exception):
    """An export was told to stop before it was whole; it left no file."""


def export(
    reader: JobReader,
    path: Path,
    *,
    redact: Redact = (),
    allow_missing: bool = False,
    progress: Callable[[int], object] = lambda _: None,
    stopped: threading.Event | None = None,
) -> list[Path]:
    """Write a job's tables to files; the suffix says in which format. Blocks; meant for a thread.

    Args:
        reader: the job.
        path: ``.jsonl``, ``.csv`` (both also ``.gz`` and ``.zst``), ``.parquet``, ``.duckdb`` or ``.sqlite``. A database
            holds all tables. Of the other formats ``path`` holds the main table (events, or summaries where there
            are none), and files beside it, called ``NAME.summaries.SUFFIX`` and ``NAME.failures.SUFFIX``, the others.
        redact: fields to hide wherever they stand: names, or names with ``drop`` or ``hash``.
        allow_missing: accept names to hide that nothing in the job is called; else they are taken for mistakes.
        progress: told how many sessions are written.
        stopped: set from elsewhere, ends the work; no file is left then.

    Returns:
        The files that were written.

    Raises:
        ConfigurationError: the suffix is unknown, an extra is missing, the folder can't be written, or nothing is called
            what was to be hidden. Nothing is written then.
        ExportStopped: ``stopped`` was set in time.
        JobStorageError: writing failed.
    """
    redaction, rows = Redaction.of(redact, reader.secret), 0
    tables = Tables(reader.plan, redaction)
    with _sinks(path, {name: tables.columns(name) for name in tables.names}) as (sinks, written):
        for count, record in enumerate(reader.records(), 1):
            for name, row in tables.rows(record):
                sinks[name](row)
                rows += 1
            progress(count)
            if stopped is not None and stopped.is_set():
                raise ExportStopped
        if rows and redaction.missing and not allow_missing:  # or all would be there in clear text
            names = ", ".join(map(repr, redaction.missing))
            raise ConfigurationError(
                f"nothing in the job is called {names}, so nothing was written: are the names to redact right? "
                "allow_missing (--allow-missing) accepts them"
            )
    return written


async def export_in_thread(
    reader: JobReader,
    path: Path,
    *,
    redact: Redact = (),
    allow_missing: bool = False,
    progress: Callable[[int], object] | None = None,
    stopped: threading.Event | None = None,
) -> list[Path]:
    """Do as `export` without blocking the event loop, which is where ``progress`` is called. Cancelling ends it."""
    loop, stopped = asyncio.get_running_loop(), stopped or threading.Event()

    def tell(count: int) -> None:
        if progress is not None:
            loop.call_soon_threadsafe(progress, count)

    options: dict[str, Any] = {"redact": redact, "allow_missing": allow_missing, "progress": tell}
    work = asyncio.ensure_future(run_in_thread(export, reader, path, stopped=stopped, **options))
    try:
        await asyncio.wait([work])
    except asyncio.CancelledError:
        stopped.set()
        await shielded(asyncio.wait([work]))
        work.exception()  # the caller is told of the cancellation instead
        raise
    return work.result()


@contextmanager
def _sinks(path: Path, tables: Mapping[str, Table]) -> Iterator[tuple[dict[str, RowWriter], list[Path]]]:
    suffix = _suffix(path)  # as it is written
    kind = suffix.lower()
    with ExitStack() as stack:
        if kind in _ALL_IN_ONE:
            part = stack.enter_context(atomic(path))
            yield stack.enter_context(_ALL_IN_ONE[kind](part, tables)), [path]
            return
        stem = path.name.removesuffix(suffix)
        paths = [path, *(path.with_name(f"{stem}.{name}{suffix}") for name in list(tables)[1:])]
        parts = [stack.enter_context(atomic(each)) for each in paths]
        yield (
            {
                name: stack.enter_context(_PER_TABLE[kind](part, name, columns))
                for (name, columns), part in zip(tables.items(), parts, strict=True)
            },
            paths,
        )


def _suffix(path: Path) -> str:
    known = sorted({**_PER_TABLE, **_ALL_IN_ONE}, key=len, reverse=True)
    for suffix in known:
        given = path.name[-len(suffix) :]
        if given.lower() == suffix and path.name != given:
            return given
    raise ConfigurationError(
        f"the format of {path.name} is not known: it must end in {', '.join(sorted(known))}"
    )
