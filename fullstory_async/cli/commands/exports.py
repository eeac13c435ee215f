"""The command ``job export``."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal, Unpack

from cyclopts import Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from fullstory_async.amounts import counted
from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.messages import redaction_text
from fullstory_async.cli.option_parsing import read_redactions
from fullstory_async.cli.output import write_stderr
from fullstory_async.cli.signals import on_interrupt
from fullstory_async.cli.streams import require_output
from fullstory_async.cli.without_pandas import without_pandas
from fullstory_async.deprecation import OLD_SCHEMA
from fullstory_async.errors import JobError
from fullstory_async.jobs import JobReader
from fullstory_async.jobs.export import ExportOptions, ExportStopped, Redaction, export_in_thread
from fullstory_async.tables.columns import Schema

__all__ = ["exit_of", "export"]

_Flag = Parameter(negative="")
_Many = Parameter(negative="", consume_multiple=False)
_Format = Literal["jsonl", "jsonl.gz", "jsonl.zst", "csv", "csv.gz", "csv.zst", "parquet"]
_STDOUT = Path("/dev/stdout")


def export(
    folder: Path,
    out: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    out_dir: Path | None = None,
    file_format: Annotated[_Format | None, Parameter(name="--format")] = None,
    overwrite: Annotated[bool, _Flag] = False,
    append: Annotated[bool, _Flag] = False,
    partition_by: Literal["date"] | None = None,
    rows_per_file: int | None = None,
    bom: Annotated[bool, _Flag] = False,
    schema: Schema = "v2",
    json: Literal["text", "struct"] = "text",
    redact: Annotated[list[str] | None, _Many] = None,
    allow_missing: Annotated[bool, _Flag] = False,
    quiet: Annotated[bool, _Flag] = False,
) -> Exit:
    """Export the results and failures of a job to files.

    Exports are atomic: existing files are replaced only when the new ones are complete.

    The suffix decides the format: .jsonl and .csv (also with .gz or .zst), .parquet, .duckdb, .sqlite. A
    database holds all tables. In the other formats OUT holds the main table, one row per event (per summary
    if the job has no events); files beside OUT, with the names of their tables in their names, hold the other
    tables.

    A database that no export made is refused, and so is an export to which other tables were added.

    Example: fullstory-async job export friday.job friday.parquet --redact user_email=hash,ip_address

    Example: fullstory-async job export friday.job - --format csv | head

    Parameters
    ----------
    folder
        Job folder.
    out
        File to write; a pipe, or - for standard output, gets the main table as JSON Lines or CSV. A name
        without a suffix is that of a folder, as with --out-dir.
    out_dir
        Folder to write, with a folder of files for each table. Only an earlier export is replaced in it.
    file_format
        Format of standard output, or of the files in a folder (parquet if not given).
    overwrite
        Replace OUT even if it is a database that no export made, read-only, or another user's file.
    append
        Add to the tables of an earlier export in a .duckdb or .sqlite file. The rows of the job's sessions
        are replaced, all others are kept.
    partition_by
        With date, events in a folder have a folder for each date: event_date=2026-05-04.
    rows_per_file
        Maximum number of rows of each file in a folder.
    bom
        Begin CSV with a byte order mark, by which Excel recognises UTF-8.
    schema
        Columns: v2, warehouse as FullStory's dbt package reads them, or v1 as in earlier versions, for one
        more version.
    json
        With struct, events in Parquet and DuckDB have structures in place of JSON text. Parts whose values
        have different types stay text.
    redact
        Fields to drop at any depth, such as user_email,ip_address, or to replace by a fingerprint, as in
        user_email=hash. Case doesn't matter. A path such as event_properties.email stands for the fields
        below others, and *email* for every name with it. Columns made of a redacted field are redacted with
        it; URLs and free text are not searched. If no field has the name, nothing is written; similar names
        are listed. Can be repeated.
    allow_missing
        Export even if no field has a name given to --redact.
    quiet
        Print no progress, only warnings and errors.
    """
    if out is None and out_dir is None:
        raise UsageError("OUT is missing: name a file, or a folder with --out-dir")
    hidden = read_redactions(redact or [])
    to_stdout = str(out) == "-"
    if to_stdout:
        out = _STDOUT
        require_output()
    elif str(out).startswith("-"):
        raise UsageError(f"unknown option {out}; a file of this name is ./{out}")
    if schema == "v1":
        sys.stderr.write(f"note: {OLD_SCHEMA}\n")
    reader = JobReader(folder)
    redaction = Redaction.of(hidden, reader.secret)
    with without_pandas():
        received, written = asyncio.run(
            _export(
                reader, out, out_dir=out_dir, file_format=file_format, overwrite=overwrite, append=append,
                partition_by=partition_by, rows_per_file=rows_per_file, bom=bom, schema=schema, json=json,
                redact=redaction, allow_missing=allow_missing, quiet=quiet,
            )
        )  # fmt: skip
    if written is None:
        is_stream = to_stdout or (out is not None and out.is_fifo())
        write_stderr(f"interrupted; {'the output is incomplete' if is_stream else 'nothing was written'}\n")
        return Exit(128 + received[0])
    if not to_stdout and not quiet:
        sys.stderr.write("".join(f"{path}\n" for path in written))
    sys.stderr.write(redaction_text(redaction, hidden, quiet=quiet))
    return exit_of(reader)


async def _export(
    reader: JobReader, out: Path | None, *, quiet: bool, **options: Unpack[ExportOptions]
) -> tuple[list[int], list[Path] | None]:
    """Return the signals that arrived, and the files, or None if one stopped it."""
    received: list[int] = []
    stopped = threading.Event()

    def stop(number: int) -> None:
        received.append(number)
        stopped.set()

    console = StreamConsole(stderr=True)
    # a line that moves would be torn by data on the same terminal
    is_live = console.is_live and not quiet and not (out == _STDOUT and sys.stdout.isatty())
    bar = Progress(
        BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, disable=not is_live,
        transient=True,
    )  # fmt: skip
    task = bar.add_task("", total=_session_count(reader))
    # older versions of rich print an empty line when a bar that draws nothing stops
    with bar if is_live else nullcontext(), on_interrupt(stop):
        try:
            return received, await export_in_thread(
                reader,
                out,
                progress=lambda done: bar.update(task, completed=done),
                stopped=stopped,
                **options,
            )
        except ExportStopped:
            return received, None


def _session_count(reader: JobReader) -> int | None:
    """Return how many sessions the job has; None if the job is too damaged to say."""
    # the export of a damaged job continues without a total, with the sessions that can be read
    try:
        return reader.status().sessions
    except JobError:
        return None


def exit_of(reader: JobReader) -> Exit:
    """Return the exit code after all records are read, and report damaged and missing ones."""
    if reader.missing is not None:
        sys.stderr.write(f"warning: the job {reader.missing}; these are the results that are there\n")
        return Exit.SOME_FAILED
    if reader.damaged:
        sys.stderr.write(f"{counted(reader.damaged, 'session')} can't be read: the job's file is damaged\n")
        return Exit.SOME_FAILED
    return Exit.OK
