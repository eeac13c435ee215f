"""ExportingJob: the export of a job, as a method."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from fullstory_async.deprecation import warn_about_schema
from fullstory_async.jobs.export import Redact, export_in_thread
from fullstory_async.jobs.storage.reader import RecordReader
from fullstory_async.tables.columns import Schema

__all__ = ["ExportingJob"]


class ExportingJob:
    """A job whose results can be exported."""

    folder: Path
    """The job folder."""

    async def export(
        self,
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
    ) -> list[Path]:
        """Write the job's responses and failures to files; can be done at any time, and repeatedly.

        docs/exports.md explains what may stand at the target.

        Args:
            path: ends in ``.jsonl``, ``.csv`` (both also with ``.gz`` or ``.zst``), ``.parquet``,
                ``.duckdb`` or ``.sqlite``. A database holds all tables; otherwise ``path`` holds the main
                one, and ``NAME.TABLE.…`` beside it the others. An existing file is replaced only when the
                new one is complete. A pipe gets the main table. A name without a suffix is a folder.
            out_dir: a folder, in place of ``path``, with a folder of files for each table.
            file_format: the format of the files in a folder (``parquet`` unless given), or of a pipe.
            overwrite: replace a database that no export made, a read-only file, or one of another user.
            append: add to the tables of an earlier export in a ``.duckdb`` or ``.sqlite`` file. The rows of
                the job's sessions are replaced, all others are kept.
            partition_by: ``date`` gives events a folder for each date, such as ``event_date=2026-05-04``.
            rows_per_file: the most rows of a file in a folder.
            bom: begin CSV with a byte order mark, for Excel.
            schema: the columns: ``v2``, ``warehouse`` as FullStory's dbt package reads them, or ``v1`` as in
                earlier versions, for one more version.
            json: ``struct`` writes the JSON columns of events as structures, to Parquet and DuckDB, where all
                values of a column are objects. Parts with values of different types stay JSON text.
            redact: fields to redact, at any depth: names, paths such as ``event_properties.email``, patterns
                such as ``*email*``, or a mapping of them to ``drop`` or ``hash``. Similar fields that are
                left are logged as a warning.
            allow_missing: accept names to redact that no field of the job has; else they are taken for
                mistakes.
            progress: called with the number of sessions written so far, about ten times a second and at
                the end.

        Returns:
            The files, or the folder.

        Raises:
            ConfigurationError: the format is unknown or needs an extra that is not installed, what stands
                there must be kept, or no field has a name to redact. Nothing is written then.
            JobStorageError: a file can't be written.
            OSError: a pipe can't be written; `BrokenPipeError` if its reader has left.
        """
        warn_about_schema(schema)
        return await export_in_thread(
            RecordReader(self.folder), path, out_dir=out_dir, file_format=file_format, overwrite=overwrite,
            append=append, partition_by=partition_by, rows_per_file=rows_per_file, bom=bom,
            schema=schema, json=json, redact=redact, allow_missing=allow_missing, progress=progress,
        )  # fmt: skip
