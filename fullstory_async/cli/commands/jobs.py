"""The commands ``job status|results|failures|export|report|backup|purge|accept-loss``, for job folders."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import attrs
from cyclopts import App, Parameter

from fullstory_async import safe_json
from fullstory_async.activations import Activations
from fullstory_async.cli.commands.exports import exit_of, export
from fullstory_async.cli.consoles import StreamConsole
from fullstory_async.cli.erasing import erase, read_item
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.output import Output, print_rows, print_table, write_stderr
from fullstory_async.jobs import Job, JobReader
from fullstory_async.jobs.export.page_files import write_page
from fullstory_async.json_ready import time_text
from fullstory_async.tables.ids import SessionIds
from fullstory_async.tables.json_text import representable

__all__ = ["job"]

_Flag = Parameter(negative="")
_Many = Parameter(negative="", consume_multiple=False)

job = App(
    name="job",
    help="Inspect a job folder, export its results, or erase a session from it. Free; needs no key.",
    help_format="markdown",
)


@job.command
def status(
    folder: Path,
    /,
    *,
    output: Output = "jsonl",
    as_json: Annotated[bool, Parameter(name="--json"), _Flag] = False,
) -> Exit:
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
    as_json
        Print JSON, the same as --output jsonl.
    """
    found = JobReader(folder).status()
    row = {"job": str(folder), **attrs.asdict(found, recurse=True)}
    if output == "table" and not as_json:
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
    return exit_of(reader)


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
    return exit_of(reader)


job.command(export)


@job.command
def report(
    folder: Path,
    out: Path,
    /,
    *,
    title: str | None = None,
    quiet: Annotated[bool, _Flag] = False,
) -> Exit:
    """Write a report of a job for people: one web page, which loads nothing from a network.

    It has totals, activations over time, failures by kind, pages by rage clicks, and errors by browser.
    It names pages by their paths, and no users, unless a path or a failure's message does.

    Example: fullstory-async job report friday.job friday.html

    Parameters
    ----------
    folder
        Job folder.
    out
        File to write, such as report.html.
    title
        Heading. [default: the name of the folder]
    quiet
        Print only warnings and errors.
    """
    reader = JobReader(folder)
    write_page(out, reader.to_html(title=title))
    if not quiet:
        write_stderr(f"{out}\n")
    return exit_of(reader)


@job.command
def backup(folder: Path, target: Path, /, *, quiet: Annotated[bool, _Flag] = False) -> Exit:
    """Copy a job to a new folder, also while it is running.

    The copy is a complete job, as of one moment: it can be exported, and resumed if the original is lost.
    What was reserved for calls in flight counts as spent in it, and these calls are repeated.

    Parameters
    ----------
    folder
        Job folder.
    target
        New folder for the copy.
    quiet
        Print only warnings and errors.
    """
    copy = JobReader(folder).backup(target)
    if not quiet:
        sys.stderr.write(f"{copy}\n")
    return Exit.OK


@job.command
def purge(
    folder: Path,
    /,
    *,
    session: Annotated[list[str], _Many],
    rescue_file: Path | None = None,
    quiet: Annotated[bool, _Flag] = False,
) -> Exit:
    """Erase a session's results and id from a job, which never fetches it again.

    Its rescued results are erased too. Files that were exported earlier are not changed. Exits with 5 if the
    job did not have one of the sessions; the others are erased all the same.

    Parameters
    ----------
    folder
        Job folder.
    session
        Id of a session, in any form. Can be repeated.
    rescue_file
        File that fetch was given as --rescue-file.
    quiet
        Print only warnings and errors.
    """
    items = [read_item(each) for each in session]
    # opening a job creates the folder, so a mistyped name must fail first
    JobReader(folder)

    async def run() -> Exit:
        async with Job.open(folder, rescue_file=rescue_file) as opened:
            return await erase(items, opened.purge, str(folder), quiet=quiet)

    return asyncio.run(run())


@job.command
def accept_loss(folder: Path, /, *, quiet: Annotated[bool, _Flag] = False) -> Exit:
    """Continue a job whose file lacks its last commits.

    The log of a process that was killed may be gone or damaged, or only some of the job's files were copied.
    Then the job can be read, but fetch refuses it. Put the complete folder back if you have it. Otherwise
    this command accepts the loss: all activations that may have been spent in the lost commits count as
    spent, and fetch --resume makes the lost calls again.

    Parameters
    ----------
    folder
        Job folder.
    quiet
        Print only warnings and errors.
    """
    reader = JobReader(folder)

    async def accept() -> int:
        async with Job.open(folder, accept_loss=True) as opened:
            return opened.counts.spent

    spent = asyncio.run(accept())
    if quiet:
        return Exit.OK
    if reader.missing is None:
        sys.stderr.write(f"the job {folder} is complete; {Activations(spent)}\n")
    else:
        counted = "1 activation counts" if spent == 1 else f"{spent} activations count"
        sys.stderr.write(f"accepted: the job {folder} {reader.missing}; {counted} as spent\n")
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
