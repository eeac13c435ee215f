"""The commands ``job status|results|failures|export|purge``: what a job's folder holds."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from fullstory_async.cli.commands.sessions import Output
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.output import human_console, print_rows, print_table, say
from fullstory_async.cli.signals import on_interrupt
from fullstory_async.errors import JobError
from fullstory_async.jobs import Job, JobReader
from fullstory_async.jobs.export import ExportStopped, Redaction, export_in_thread

__all__ = ["job"]

job = App(
    name="job",
    help="Look into a job's folder, export what it holds, erase a session from it. None of it needs a key.",
    help_format="markdown",
)


@job.command
def status(folder: Path, /, *, output: Output = "jsonl") -> Exit:
    """Tell how a job stands; also while it is running.

    Of the calls, failed are all failures; permanent are those of them that only --retry-failed makes again. reserved are activations of calls
    that are on their way, or were when the process died. holder is the process that runs the job.

    Parameters
    ----------
    folder
        The job's folder.
    output
        JSON Lines for programs, or a table for people.
    """
    found = JobReader(folder).status()
    row = {"job": str(folder), **attrs.asdict(found, recurse=True)}
    if output == "table":
        plan = row.pop("plan")
        shown = {**row, **plan}
        print_table(human_console(), ("name", "value"), [{"name": n, "value": v} for n, v in shown.items()])
    else:
        print_rows([row])
    return Exit.OK


@job.command
def results(folder: Path, /, *, operation: str | None = None) -> Exit:
    """Print every answer, one a line: {"session_id": …, "operation": …, "answer": the service's JSON}.

    The JSON is as it came, but on one line and in UTF-8.

    Parameters
    ----------
    folder
        The job's folder.
    operation
        Only events, or only summary.
    """
    reader = JobReader(folder)
    if operation not in (None, *reader.plan.operations):
        raise UsageError(
            f"--operation of this job is {' or '.join(reader.plan.operations)}, not {operation!r}"
        )
    for record in reader.records():
        for name, body in record.bodies.items():
            if operation in (None, name):
                head = json.dumps({"session_id": record.session_id, "operation": name}).encode()
                sys.stdout.buffer.write(head[:-1] + b', "answer": ' + _one_line(body) + b"}\n")
    sys.stdout.buffer.flush()
    return _damage(reader)


@job.command
def failures(folder: Path, /, *, output: Output = "jsonl") -> Exit:
    """Print why calls failed; as the --ids of another job's fetch, its output names their sessions.

    Parameters
    ----------
    folder
        The job's folder.
    output
        JSON Lines for programs, or a table for people.
    """
    reader = JobReader(folder)
    rows = (
        _failure(failure)
        for record in reader.records(with_bodies=False)
        for failure in record.failures.values()
    )
    if output == "table":
        told = ({**row, "why": f"{row['error']}: {row['message']}"} for row in rows)
        print_table(human_console(), ("session_id", "operation", "why"), told)
    else:
        print_rows(rows)
    return _damage(reader)


@job.command
def export(
    folder: Path,
    out: Path,
    /,
    *,
    redact: Annotated[list[str] | None, Parameter(negative="", consume_multiple=False)] = None,
    allow_missing: Annotated[bool, Parameter(negative="")] = False,
) -> Exit:
    """Write a job's answers and failures to files. They appear when they are whole, and replace older ones.

    The suffix says how: .jsonl and .csv (also .gz, .zst), .parquet, .duckdb, .sqlite. A database holds all tables. Of the others OUT holds
    the main table, one row an event (or a summary, where there are no events), and OUT's neighbours with .summaries and .failures
    in their names the rest.

    Parameters
    ----------
    folder
        The job's folder.
    out
        The file to write.
    redact
        Fields to drop wherever they stand, such as user_email,ip_address, or to replace by a fingerprint, as
        user_email=hash. May be given several times. URLs and free text are not searched. If nothing is called that,
        nothing is written.
    allow_missing
        Export also if nothing is called what was to be redacted.
    """
    hidden: dict[str, Any] = {}
    for each in redact or ():
        for field in each.split(","):
            name, _, how = field.strip().partition("=")
            hidden[name] = how or "drop"
    reader = JobReader(folder)
    redaction = Redaction.of(hidden, reader.secret)
    console = Console(stderr=True)
    try:
        total: int | None = reader.status().sessions
    except JobError:  # of a damaged job as much is exported as can be read
        total = None
    bar = Progress(
        BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal,
        transient=True,
    )  # fmt: skip
    task = bar.add_task("", total=total)
    # an older rich ends what it does not draw with an empty line
    with bar if console.is_terminal else nullcontext():
        received, written = asyncio.run(
            _exported(
                reader,
                out,
                redact=redaction,
                allow_missing=allow_missing,
                progress=lambda n: bar.update(task, completed=n),
            )
        )
    if written is None:
        say("interrupted; nothing was written\n")
        return Exit(128 + received[0])
    sys.stderr.write("".join(f"{path}\n" for path in written))
    for name, how in hidden.items():
        done = f"{redaction.hidden[name]} values {'dropped' if how == 'drop' else 'replaced'}"
        sys.stderr.write(f"{name}: {'nothing is called that' if name in redaction.missing else done}\n")
    return _damage(reader)


async def _exported(reader: JobReader, out: Path, **options: Any) -> tuple[list[int], list[Path] | None]:
    """Return the signals that came, and the files; none if a signal came in time."""
    received: list[int] = []
    stopped = threading.Event()

    def stop(number: int) -> None:
        received.append(number)
        stopped.set()

    with on_interrupt(stop):
        try:
            return received, await export_in_thread(reader, out, stopped=stopped, **options)
        except ExportStopped:
            return received, None


@job.command
def purge(folder: Path, /, *, session: str) -> Exit:
    """Erase a session from a job, answers and id alike, so that the job never fetches it again.

    Files that were exported before are not changed.

    Parameters
    ----------
    folder
        The job's folder.
    session
        The session's id, in any form.
    """
    JobReader(folder)  # which must be a job

    async def command() -> bool:
        async with Job.open(folder) as opened:
            return await opened.purge(session)

    if not asyncio.run(command()):
        sys.stderr.write(f"{folder} holds nothing of this session; it will not be fetched\n")
        return Exit.NOT_FOUND
    sys.stderr.write("erased\n")
    return Exit.OK


def _one_line(body: bytes) -> bytes:
    """Return a JSON text on one line and in UTF-8: JSON is read in any Unicode encoding, but its lines are in one."""
    text = body.decode(json.detect_encoding(body), "surrogatepass").replace("\r", " ").replace("\n", " ")
    return text.encode(
        errors="backslashreplace"
    )  # half a surrogate pair becomes its escape, which is the same JSON


def _failure(failure: Any) -> dict[str, Any]:
    row = attrs.asdict(failure, filter=lambda field, _: field.name != "body")
    return {**row, "at": failure.at.isoformat()}


def _damage(reader: JobReader) -> Exit:
    if reader.damaged:
        sys.stderr.write(f"{reader.damaged} sessions can't be read: the job's file is damaged\n")
        return Exit.SOME_FAILED
    return Exit.OK
