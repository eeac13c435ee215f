"""The commands ``job status|results|failures|export|purge|accept-loss``, for job folders."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import App, Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from fullstory_async import safe_json
from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.messages import redaction_text
from fullstory_async.cli.output import Output, print_rows, print_table, write_stderr
from fullstory_async.cli.signals import on_interrupt
from fullstory_async.errors import JobError
from fullstory_async.jobs import Job, JobReader
from fullstory_async.jobs.export import ExportStopped, Redaction, export_in_thread
from fullstory_async.tables.ids import SessionIds
from fullstory_async.tables.json_text import representable
from fullstory_async.tables.times import time_text

__all__ = ["job"]

_Flag = Parameter(negative="")
_Many = Parameter(negative="", consume_multiple=False)

job = App(
    name="job",
    help="Inspect a job folder, export its results, or erase a session from it. Free; needs no key.",
    help_format="markdown",
)


@job.command
def status(folder: Path, /, *, output: Output = "jsonl") -> Exit:
    """Print the state of a job, also while it is running.

    failed counts all failed calls; permanent counts those of them that only --retry-failed retries. spent
    counts all activations spent; at_risk counts those of them that were possibly not charged. reserved counts
    activations reserved for calls in flight. holder is the process that runs the job.

    Parameters
    ----------
    folder
        Job folder.
    output
        JSON Lines for programs, or a table for people.
    """
    found = JobReader(folder).status()
    row = {"job": str(folder), **attrs.asdict(found, recurse=True)}
    if output == "table":
        plan = row.pop("plan")
        cells = {**row, **plan}
        print_table(StreamConsole(), ("name", "value"), [{"name": n, "value": v} for n, v in cells.items()])
    else:
        print_rows([row])
    return Exit.OK


@job.command
def results(folder: Path, /, *, operation: str | None = None) -> Exit:
    """Print every result as one line of JSON.

    Each has the ids, the operation and, as answer, the JSON of the service
    as received, but on one line, in UTF-8, and without NaN.

    Parameters
    ----------
    folder
        Job folder.
    operation
        Print only events, or only summary.
    """
    reader = JobReader(folder)
    if operation not in (None, *reader.plan.operations):
        raise UsageError(
            f"--operation of this job is {' or '.join(reader.plan.operations)}, not {operation!r}"
        )
    for record in reader.records():
        for name, body in record.bodies.items():
            if operation in (None, name):
                head = json.dumps({**SessionIds.of(record.session_id).to_dict(), "operation": name}).encode()
                # spliced in as bytes, so that the service's JSON stays as received
                sys.stdout.buffer.write(head[:-1] + b', "answer": ' + _one_line(body) + b"}\n")
    sys.stdout.buffer.flush()
    return _exit_of(reader)


@job.command
def failures(folder: Path, /, *, output: Output = "jsonl") -> Exit:
    """Print why calls failed. The output can be the --ids of another job.

    Parameters
    ----------
    folder
        Job folder.
    output
        JSON Lines for programs, or a table for people.
    """
    reader = JobReader(folder)
    rows = (
        _failure_row(failure)
        for record in reader.records(with_bodies=False)
        for failure in record.failures.values()
    )
    if output == "table":
        cells = ({**row, "why": f"{row['error']}: {row['message']}"} for row in rows)
        print_table(StreamConsole(), ("full_session_id", "operation", "why"), cells)
    else:
        print_rows(rows)
    return _exit_of(reader)


@job.command
def export(
    folder: Path,
    out: Path,
    /,
    *,
    redact: Annotated[list[str] | None, _Many] = None,
    allow_missing: Annotated[bool, _Flag] = False,
) -> Exit:
    """Export the results and failures of a job to files.

    Exports are atomic: existing files are replaced only when the new ones are complete.

    The suffix decides the format: .jsonl and .csv (also with .gz or .zst), .parquet, .duckdb, .sqlite. A
    database holds all tables. In the other formats OUT holds the main table, one row per event (per summary
    if the job has no events); files beside OUT, with .summaries and .failures in their names, hold the other
    tables.

    Example: fullstory-async job export friday.job friday.parquet --redact user_email=hash,ip_address

    Parameters
    ----------
    folder
        Job folder.
    out
        File to write.
    redact
        Fields to drop at any depth, such as user_email,ip_address, or to replace by a fingerprint, as in
        user_email=hash. Case doesn't matter. A path such as event_properties.email stands for the fields
        below others, and *email* for every name with it. Columns made of a redacted field are redacted with
        it; URLs and free text are not searched. If no field has the name, nothing is written; similar names
        are listed. Can be repeated.
    allow_missing
        Export even if no field has a name given to --redact.
    """
    hidden = _read_redactions(redact or [])
    reader = JobReader(folder)
    redaction = Redaction.of(hidden, reader.secret)
    console = StreamConsole(stderr=True)
    bar = Progress(
        BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console,
        disable=not console.is_live, transient=True,
    )  # fmt: skip
    task = bar.add_task("", total=_session_count(reader))
    # older versions of rich print an empty line when a bar that draws nothing stops
    with bar if console.is_live else nullcontext():
        received, written = asyncio.run(
            _export(reader, out, redaction, allow_missing, lambda done: bar.update(task, completed=done))
        )
    if written is None:
        write_stderr("interrupted; nothing was written\n")
        return Exit(128 + received[0])
    sys.stderr.write("".join(f"{path}\n" for path in written))
    sys.stderr.write(redaction_text(redaction, hidden))
    return _exit_of(reader)


def _read_redactions(given: list[str]) -> dict[str, Any]:
    """Read ``field,field=how`` texts into field → how."""
    hidden: dict[str, Any] = {}
    for text in given:
        for field in text.split(","):
            name, _, how = field.strip().partition("=")
            hidden[name] = how or "drop"
    return hidden


def _session_count(reader: JobReader) -> int | None:
    """Return how many sessions the job has; None if the job is too damaged to say."""
    # the export of a damaged job continues without a total, with the sessions that can be read
    try:
        return reader.status().sessions
    except JobError:
        return None


async def _export(
    reader: JobReader,
    out: Path,
    redaction: Redaction,
    allow_missing: bool,
    progress: Callable[[int], None],
) -> tuple[list[int], list[Path] | None]:
    """Return the signals that arrived, and the files, or None if one stopped it."""
    received: list[int] = []
    stopped = threading.Event()

    def stop(number: int) -> None:
        received.append(number)
        stopped.set()

    with on_interrupt(stop):
        try:
            return received, await export_in_thread(
                reader, out, redact=redaction, allow_missing=allow_missing, progress=progress, stopped=stopped
            )
        except ExportStopped:
            return received, None


@job.command
def purge(folder: Path, /, *, session: str) -> Exit:
    """Erase a session's results and id from a job, which never fetches it again.

    Files that were exported earlier are not changed.

    Parameters
    ----------
    folder
        Job folder.
    session
        Id of the session, in any form.
    """
    # opening a job creates the folder, so a mistyped name must fail first
    JobReader(folder)

    async def erase() -> bool:
        async with Job.open(folder) as opened:
            return await opened.purge(session)

    if not asyncio.run(erase()):
        sys.stderr.write(f"{folder} has nothing of this session, and will not fetch it\n")
        return Exit.NOT_FOUND
    sys.stderr.write("erased\n")
    return Exit.OK


@job.command
def accept_loss(folder: Path, /) -> Exit:
    """Continue a job whose file lacks its last commits.

    The log of a process that was killed may be gone or damaged, or only some of the job's files were copied.
    Then the job can be read, but fetch refuses it. Put the complete folder back if you have it. Otherwise
    this command accepts the loss: all activations that may have been spent in the lost commits count as
    spent, and fetch --resume makes the lost calls again.

    Parameters
    ----------
    folder
        Job folder.
    """
    reader = JobReader(folder)

    async def accept() -> int:
        async with Job.open(folder, accept_loss=True) as opened:
            return opened.counts.spent

    spent = asyncio.run(accept())
    if reader.missing is None:
        sys.stderr.write(f"the job {folder} is complete; {spent} activations are spent\n")
    else:
        sys.stderr.write(f"accepted: the job {folder} {reader.missing}; {spent} activations count as spent\n")
    return Exit.OK


def _one_line(body: bytes) -> bytes:
    """Return a JSON text on one line and in UTF-8; NaN and infinities are null."""
    # JSON may be in any Unicode encoding, but one file of JSON Lines has only one
    text = body.decode(json.detect_encoding(body), "surrogatepass").replace("\r", " ").replace("\n", " ")
    if "NaN" in text or "Infinity" in text:
        text = json.dumps(representable(safe_json.loads(body)), ensure_ascii=False)
    # a lone surrogate becomes its escape, which is the same JSON
    return text.encode(errors="backslashreplace")


def _failure_row(failure: Any) -> dict[str, Any]:
    row = attrs.asdict(failure, filter=lambda field, _: field.name not in ("body", "session_id", "at"))
    return {**SessionIds.of(failure.session_id).to_dict(), **row, "failed_at": time_text(failure.at)}


def _exit_of(reader: JobReader) -> Exit:
    """Return the exit code after all records are read, and report damaged and missing ones."""
    if reader.missing is not None:
        sys.stderr.write(f"warning: the job {reader.missing}; these are the results that are there\n")
        return Exit.SOME_FAILED
    if reader.damaged:
        sys.stderr.write(f"{reader.damaged} sessions can't be read: the job's file is damaged\n")
        return Exit.SOME_FAILED
    return Exit.OK
