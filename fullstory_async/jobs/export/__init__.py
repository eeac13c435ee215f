"""Exports of a job: JSON Lines, CSV, Parquet, DuckDB and SQLite."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import attrs

from fullstory_async.errors import ConfigurationError
from fullstory_async.jobs.export.redaction import Redaction
from fullstory_async.jobs.export.responses import response_columns
from fullstory_async.jobs.export.streams import ExportStopped
from fullstory_async.jobs.export.structures import event_shapes
from fullstory_async.jobs.export.tables import Tables, portions
from fullstory_async.jobs.export.target import Action
from fullstory_async.jobs.export.writers import ExportTarget
from fullstory_async.jobs.storage.records import RecordSource
from fullstory_async.tables.columns import Row, Schema
from fullstory_async.tables.rows import ColumnRows
from fullstory_async.threads import GRACE, WorkerThread

__all__ = ["ExportOptions", "ExportStopped", "Redact", "Redaction", "export", "export_in_thread"]

Redact = Iterable[str] | Mapping[str, Literal["drop", "hash"]] | Redaction

_BATCH = 200
"""Rows that are written together."""
_REPORT_SECONDS = 0.1
"""Seconds between two reports of progress: each one wakes the event loop."""


class ExportOptions(TypedDict, total=False):
    """The keywords of `export` that are passed on as they are."""

    out_dir: str | os.PathLike[str] | None
    file_format: str | None
    overwrite: bool
    append: bool
    partition_by: Literal["date"] | None
    rows_per_file: int | None
    bom: bool
    schema: Schema
    json: Literal["text", "struct"]
    redact: Redact
    allow_missing: bool


def export(
    source: RecordSource,
    path: str | os.PathLike[str] | None = None,
    *,
    out_dir: str | os.PathLike[str] | None = None,
    file_format: str | None = None,
    overwrite: bool = False,
    append: bool = False,
    partition_by: Literal["date"] | None = None,
    rows_per_file: int | None = None,
    bom: bool = False,
    schema: Schema = "v2",
    json: Literal["text", "struct"] = "text",
    redact: Redact = (),
    allow_missing: bool = False,
    progress: Callable[[int], object] | None = None,
    stopped: threading.Event | None = None,
) -> list[Path]:
    """Write a job's tables to files, in the format of the suffix. Blocks.

    Args:
        source: the job.
        path: as in `Job.export`, as are the arguments that are not named here.
        out_dir: a folder, in place of ``path``.
        redact: as there. With a `Redaction`, the caller reads its ``near_misses``; otherwise similar fields
            that were left are logged.
        progress: called with the number of sessions written so far.
        stopped: if set by another thread, ends the work; no file is left then.

    Returns:
        The files that were written, or the folder.

    Raises:
        ExportStopped: ``stopped`` was set before the end.
        ConfigurationError: as in `Job.export`, as are the further errors.
    """
    if schema == "warehouse" and not source.plan.events:
        raise ConfigurationError(
            "schema='warehouse' (--schema warehouse) has events only, and this job has none"
        )
    redaction = Redaction.of(redact, source.secret)
    responses = response_columns(source) if schema == "v2" else {}
    tables = Tables(source.plan, redaction, schema, source.organisation, source.input_columns, responses)
    target = ExportTarget.of(
        {name: tables.columns(name) for name in tables.names}, path, out_dir, file_format,
        schema=schema, overwrite=overwrite, append=append, partition_by=partition_by,
        rows_per_file=rows_per_file, bom=bom, json=json,
    )  # fmt: skip
    if json == "struct":
        again = attrs.evolve(tables, redaction=Redaction(redaction.rules, source.secret))
        tables = attrs.evolve(tables, shapes=event_shapes(again, source.records()))
        target = attrs.evolve(target, tables={name: tables.columns(name) for name in tables.names})
    if target.action is Action.STREAM and redaction.rules and not allow_missing:
        # Before the first row: what a pipe has got can't be taken out of it again.
        checked = Redaction(redaction.rules, redaction.secret)
        first = _rows_of(source, attrs.evolve(tables, redaction=checked), stopped=stopped)
        _check_names(checked, sum(len(rows) for _, rows in first))
    count = 0
    with target.opened(_session_ids(source), stopped) as writers:
        for name, rows in _in_batches(_rows_of(source, tables, progress, stopped=stopped)):
            count += len(rows)
            if name in writers:
                writers[name](rows)
        # Before the files get their names: under a misspelt name, the data would be exported in clear text.
        if not allow_missing:
            _check_names(redaction, count)
    if redaction is not redact:
        redaction.warn()
    return target.paths


def _rows_of(
    source: RecordSource,
    tables: Tables,
    progress: Callable[[int], object] | None = None,
    *,
    stopped: threading.Event | None,
) -> Iterator[tuple[str, Sequence[Row]]]:
    """Yield the rows of all sessions, by table."""
    count = 0
    for records in portions(source.records()):
        yield from tables.rows(*records)
        for _ in records:
            count += 1
            if progress is not None:
                progress(count)
        if stopped is not None and stopped.is_set():
            raise ExportStopped


def _in_batches(found: Iterable[tuple[str, Sequence[Row]]]) -> Iterator[tuple[str, Sequence[Row]]]:
    """Join the few rows that a session has in most tables, which take less time than a call to write them."""
    batches: dict[str, list[Row]] = {}
    for name, rows in found:
        if isinstance(rows, ColumnRows):
            yield name, rows
            continue
        batch = batches.setdefault(name, [])
        batch += rows
        if len(batch) >= _BATCH:
            yield name, batches.pop(name)
    yield from batches.items()


def _session_ids(source: RecordSource) -> Iterator[str]:
    return (record.session_id for record in source.records(with_bodies=False))


def _check_names(redaction: Redaction, rows: int) -> None:
    """Raise `ConfigurationError` if a name to redact is missing, unless there are no rows."""
    if rows and redaction.missing:
        raise ConfigurationError(
            f"nothing in the job is called {redaction.describe_missing()}, so nothing was written: are the "
            "names to redact right? allow_missing (--allow-missing) accepts them"
        )


async def export_in_thread(
    source: RecordSource,
    path: str | os.PathLike[str] | None = None,
    *,
    progress: Callable[[int], object] | None = None,
    stopped: threading.Event | None = None,
    **options: Unpack[ExportOptions],
) -> list[Path]:
    """Run `export` in a thread; ``progress`` is called in the event loop, ten times a second and at the end.

    Cancelling ends the export. Its thread removes its files, usually before this returns.
    """
    loop, stopped = asyncio.get_running_loop(), stopped or threading.Event()
    done, reported_at = 0, -math.inf

    def report(count: int) -> None:
        nonlocal done, reported_at
        done, now = count, time.monotonic()
        if progress is not None and now - reported_at >= _REPORT_SECONDS:
            reported_at = now
            loop.call_soon_threadsafe(progress, count)

    thread = WorkerThread(f"the export {path or options.get('out_dir')}")
    try:
        paths = await thread.run(export, source, path, progress=report, stopped=stopped, **options)
    except asyncio.CancelledError:
        stopped.set()
        await thread.finish(GRACE)
        raise
    if progress is not None and done:
        progress(done)
    return paths
