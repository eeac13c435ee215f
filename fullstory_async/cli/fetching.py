"""The command ``fetch``: what was ordered, the files it goes to, and the account at the end."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter

from fullstory_async.cli.bulk import Job, Report
from fullstory_async.cli.connection import Connection
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.ids import IdInput, read_ids
from fullstory_async.cli.output import Lines
from fullstory_async.cli.running import run_async
from fullstory_async.http.pipeline import Stats

__all__ = ["fetch"]

_Flag = Parameter(negative="")
_MayBeDash = Parameter(allow_leading_hyphen=True)


@attrs.frozen(kw_only=True)
class Order:
    """What ``fetch`` was asked to do."""

    ids: str
    events: bool
    profile: str | None
    concurrency: int
    out: Path | None
    errors: Path | None
    force: bool
    id_column: str | None
    max_activations: int | None

    @property
    def calls_per_id(self) -> int:
        """How many activations one id costs."""
        return self.events + (self.profile is not None)

    @property
    def errors_path(self) -> Path | None:
        """Where failures go: beside the answers, unless said otherwise."""
        if self.errors is not None or self.answers_path is None:
            return self.errors
        return self.answers_path.with_name(self.answers_path.name + ".errors.jsonl")

    @property
    def answers_path(self) -> Path | None:
        """Where answers go; ``None`` is standard output."""
        return None if self.out is None or str(self.out) == "-" else self.out

    def read(self) -> IdInput:
        """Check the options and read the ids. Raises `UsageError` for what makes no sense."""
        if self.calls_per_id == 0:
            raise UsageError("say what to fetch: --events, --summary PROFILE, or both")
        if self.profile == "":
            raise UsageError("--summary needs the profile's id")
        if self.concurrency < 1:
            raise UsageError("--concurrency must be 1 or more")
        if self.max_activations is not None and self.max_activations < self.calls_per_id:
            raise UsageError(
                f"--max-activations must be {self.calls_per_id} or more: one id costs that much here"
            )
        files = [Path(self.ids)] if self.ids != "-" else []
        files += [path for path in (self.answers_path, self.errors_path) if path is not None]
        if len({os.path.realpath(path) for path in files}) < len(files):
            raise UsageError("--ids, --out and --errors must be three different files")
        return read_ids(self.ids, self.id_column)


async def _fetch(connection: Connection, order: Order, given: IdInput) -> Exit:
    """Fetch events, summaries or both for many sessions."""
    affordable = len(given.ids)
    if order.max_activations is not None:
        affordable = min(affordable, order.max_activations // order.calls_per_id)
    async with connection.open() as client:
        with contextlib.ExitStack() as files:
            errors = None
            if order.errors_path is not None:
                errors = files.enter_context(Lines(order.errors_path, force=order.force))
            lines = files.enter_context(Lines(order.answers_path, force=order.force))
            for each in (errors, lines):
                if each is not None:
                    each.begin()
            sys.stderr.write(_announcement(len(given.ids), given.duplicates, given.invalid, affordable))
            job = Job(
                client=client, ids=given.ids[:affordable], left_over=given.ids[affordable:],
                events=lines if order.events else None,
                summaries=lines if order.profile is not None else None, errors=errors,
                profile=order.profile, concurrency=order.concurrency,
            )  # fmt: skip
            report = await job.run()
        _say_report(report, client.stats, lines, errors)
    if affordable < len(given.ids) and report.exit_code in (Exit.OK, Exit.SOME_FAILED):
        sys.stderr.write(
            f"{len(given.ids) - affordable} ids were left over: the activation budget is used up\n"
        )
        return Exit.BUDGET
    return report.exit_code


def _announcement(ids: int, duplicates: int, invalid: int, affordable: int) -> str:
    notes = [f"{ids} ids"]
    notes += [f"{duplicates} duplicates dropped"] if duplicates else []
    notes += [f"{invalid} are no session ids and will be reported as failed"] if invalid else []
    notes += [f"the activation budget covers {affordable}"] if affordable < ids else []
    return ", ".join(notes) + "\n"


def _say_report(report: Report, stats: Stats, out: Lines, errors: Lines | None) -> None:
    """Say on standard error how a bulk job ended."""
    tally = report.tally
    say = sys.stderr.write
    say(f"{tally.done - tally.failed} answers, {tally.failed} failed, ")
    say(f"{stats.activations} activations, {report.seconds:.1f} s")
    say(f" → {out.path}\n" if out.path is not None else "\n")
    for name, count in report.errors.most_common():
        say(f"  {count} × {name}\n")
    if stats.activations_at_risk:
        say(f"  {stats.activations_at_risk} more calls may have cost an activation without an answer\n")
    if tally.done < tally.total:
        say(f"  {tally.total - tally.done} calls were not made, or dropped on their way\n")
    if errors is not None and errors.count:
        say(f"  failed and missing calls: {errors.path}\n")
    if isinstance(report.fatal, BrokenPipeError):
        say("fullstory-async: stopped early: nobody reads the output any more\n")
    elif report.fatal is not None:
        say(f"fullstory-async: stopped early: {report.fatal}\n")


def fetch(
    *,
    ids: Annotated[str, _MayBeDash],
    events: Annotated[bool, _Flag] = False,
    summary: str | None = None,
    concurrency: int = 32,
    out: Annotated[Path | None, _MayBeDash] = None,
    errors: Path | None = None,
    force: Annotated[bool, _Flag] = False,
    id_column: str | None = None,
    max_activations: int | None = None,
    connection: Connection = Connection(),  # noqa: B008
) -> Exit:
    """Fetch events, summaries or both for many sessions at once. Costs one activation for each call.

    Every answer becomes one line: {"session_id": …, "operation": …, "answer": the service's JSON}.
    Ids may be plain lines (blank lines and # comments are skipped), a table with a header (CSV), or JSON Lines.
    An id that comes twice is fetched once. The first Ctrl-C waits for calls on their way, the second drops them.

    Example: fullstory-async fetch --ids ids.txt --events --summary support --out answers.jsonl

    Parameters
    ----------
    ids
        A file of session ids, or - for standard input.
    events
        Fetch each session's events.
    summary
        Generate each session's summary with this profile.
    concurrency
        How many calls are under way at most.
    out
        The file for the answers; standard output unless given, or for -. An existing file is refused.
    errors
        The file for failures and for calls that were not made, as JSON Lines that --ids reads again.
        [default: OUT.errors.jsonl, or standard error]
    force
        Overwrite existing files.
    id_column
        The column of a CSV or JSON Lines file that holds the ids, if it can't be told from its name.
    max_activations
        Make no more calls than this; exits with 7 if ids are left over.
    """
    order = Order(
        ids=ids, events=events, profile=summary, concurrency=concurrency, out=out, errors=errors, force=force,
        id_column=id_column, max_activations=max_activations,
    )  # fmt: skip
    given = order.read()  # outside the event loop, where Ctrl-C ends a wait for standard input
    return run_async(_fetch(connection, order, given), verbose=connection.verbose)
