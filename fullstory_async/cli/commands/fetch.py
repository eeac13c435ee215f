"""The command ``fetch``: a durable job over a file of session ids."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter

from fullstory_async.cli.connection import Connection
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.fetch_report import FetchEnd, reported
from fullstory_async.cli.ids import IdInput, read_ids
from fullstory_async.cli.job_plan import read_plan
from fullstory_async.cli.messages import (
    consent_question,
    consent_warning,
    estimate_text,
    report_text,
    resume_command,
)
from fullstory_async.cli.option_parsing import open_ledger
from fullstory_async.cli.output import write_stderr
from fullstory_async.cli.progress import JobDisplay
from fullstory_async.cli.signals import asks_twice, on_interrupt
from fullstory_async.cli.terminal import ask
from fullstory_async.client import FullStoryClient
from fullstory_async.errors import NotFoundError, PermissionDeniedError
from fullstory_async.files.ledger import ActivationLedger
from fullstory_async.jobs import Job, JobEstimate, JobPlan, JobReader, JobReport, StopReason
from fullstory_async.jobs.plan import estimate_within_budget
from fullstory_async.jobs.storage.lock import LOCK_NAME, raise_if_locked

__all__ = ["fetch", "run_job"]

_Flag = Parameter(negative="")
_ManyFiles = Parameter(allow_leading_hyphen=True, negative="", consume_multiple=False)
_CONFIRM_ABOVE = 100
"""Activations that are spent without a question."""
_CONCURRENCY = 32
_CONTINUE = "No call found a session so far. Fetch the other ids all the same?"

_EXITS = {
    StopReason.BUDGET_REACHED: Exit.BUDGET,
    StopReason.KEY_REJECTED: Exit.AUTHENTICATION,
    StopReason.RATE_LIMITED: Exit.RATE_LIMIT_OR_DEADLINE,
    StopReason.NETWORK_DOWN: Exit.UNAVAILABLE,
    StopReason.NO_SESSION_FOUND: Exit.NO_SESSION_FOUND,
    StopReason.NOT_FULLSTORY: Exit.NOT_FULLSTORY,
    StopReason.STORAGE_FAILED: Exit.UNEXPECTED,
    StopReason.TAKEN_OVER: Exit.LOCKED,
}


@attrs.frozen(kw_only=True)
class _Request:
    """What ``fetch`` is asked to do."""

    folder: Path
    plan: JobPlan
    ids: IdInput
    resume: bool
    concurrency: int
    retry_failed: bool
    ledger: ActivationLedger | None
    rescue_file: Path | None
    quiet: bool
    end: FetchEnd
    """Gets the report of the run."""


@attrs.frozen
class _Pricing:
    """What calls may cost, and how fast they go."""

    rate: float
    """Calls per second."""
    charges: int
    """Activations that one call may cost."""
    monthly_left: int | None
    """Activations left under the monthly cap; None without a cap."""


def fetch(
    *,
    job: Path,
    ids: Annotated[list[str] | None, _ManyFiles] = None,
    events: Annotated[bool, _Flag] = False,
    summary: str | None = None,
    max_activations: int | None = None,
    dry_run: Annotated[bool, _Flag] = False,
    resume: Annotated[bool, _Flag] = False,
    retry_failed: Annotated[bool, _Flag] = False,
    yes: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    concurrency: int = _CONCURRENCY,
    id_column: str | None = None,
    strict: Annotated[bool, _Flag] = False,
    trust_ids: Annotated[bool, _Flag] = False,
    ledger: Path | None = None,
    monthly_cap: int | None = None,
    max_failures: str | None = None,
    rescue_file: Path | None = None,
    report: Path | None = None,
    quiet: Annotated[bool, _Flag] = False,
    connection: Connection = Connection(),  # noqa: B008  (frozen)
) -> Exit:
    """Fetch events, summaries or both for many sessions. One activation per call.

    Runs as a job that survives a crash: each result is written to the job folder as it arrives. If the run
    ends early, for whatever reason, repeat the command with --resume: it continues where it stopped, and no
    result is paid for twice. Calls in flight when a run is killed, at most --concurrency, are repeated.

    The first Ctrl-C waits up to 5 seconds for calls in flight; the second quits at once. Closing the terminal
    works like Ctrl-C.

    Example: fullstory-async fetch --ids ids.txt --events --summary support --job friday.job

    Parameters
    ----------
    job
        Job folder. Created if missing; with --resume, reopened.
    ids
        File of session ids, or - for standard input: plain lines (blank lines and # comments are skipped), a
        table (CSV, TSV), JSON or JSON Lines, also compressed, Parquet, or an Excel workbook, also with the
        name of a sheet, as in tickets.xlsx#May. The column is found by its content: replay URLs, USER:SESSION
        pairs, or two columns. The other columns are stored in the job and exported with its sessions.
        Repeated ids are fetched once. Can be repeated.
    events
        Fetch the events of each session.
    summary
        Generate a summary of each session with the profile of this id.
    max_activations
        Maximum number of activations that the job spends in all its runs. Exits with 7 if calls are left.
    dry_run
        Print the number of calls, their maximum cost and their duration, and exit.
    resume
        Continue an existing job. --ids adds sessions to it; --events and --summary add calls for each
        session.
    retry_failed
        Retry permanent failures too, such as unknown sessions.
    yes
        Ask nothing. Without it, fetch asks before it spends more than 100 activations, and if ids are not
        USER:SESSION pairs. Where there is no terminal, as in cron, --yes, FULLSTORY_YES=1 or
        --max-activations is your consent. [default: true if FULLSTORY_YES is 1]
    concurrency
        Maximum number of calls in flight.
    id_column
        Column that holds the ids, if it is not found; a.b.c for a nested field of JSON.
    strict
        Refuse the file if one of its rows is not a session id. By default such rows count as failed.
    trust_ids
        Accept ids that look as if another program had rounded them or cut them off.
    ledger
        File that counts the key's activations per month, over all jobs that name it.
    monthly_cap
        Maximum number of activations that the key spends in a month, counted by the ledger.
    max_failures
        Maximum number of calls before the first success, as a number or a share of all calls such as 50%. If
        all of these fail, as with a 404, the ids are probably wrong: fetch asks whether to continue, or
        exits with 10. Saved in the job; 100% never stops. [default: 20]
    rescue_file
        File for paid results that the job folder can't take, best on another disk. The next run with the
        same file takes them in. [default: the job folder's name with .rescue, beside it]
    report
        File for a report in JSON: reason, exit code, counts and seconds. Written however the command ends.
    quiet
        Print no progress and no report of a run without failures, only questions, warnings and errors.
    """
    with reported(report, job) as end:
        counted = open_ledger(ledger, monthly_cap)
        # before any question or estimate; the job checks again when it opens
        if resume and not dry_run:
            raise_if_locked(job / LOCK_NAME)
        if concurrency < 1:
            raise UsageError("--concurrency must be 1 or more")
        plan = read_plan(
            job, events, summary, max_activations, max_failures, resume=resume, has_ids=ids is not None
        )
        given = _read_ids(ids, id_column, strict=strict, trust_ids=trust_ids)
        request = _Request(
            folder=job, plan=plan, ids=given, resume=resume, concurrency=concurrency,
            retry_failed=retry_failed, ledger=counted, rescue_file=rescue_file, quiet=quiet, end=end,
        )  # fmt: skip
        asks = not yes and os.environ.get("FULLSTORY_YES") != "1"
        with closing(request.ids):
            pricing = connection.call(lambda client: _look_up(client, request, dry_run=dry_run))
            estimate = _estimate(request, pricing)
            if not quiet:
                adaptive = connection.rate == "adaptive"
                sys.stderr.write(estimate_text(request.ids, estimate, adaptive=adaptive))
            if dry_run:
                sys.stdout.write(json.dumps(attrs.asdict(estimate)) + "\n")
                return end.returns(Exit.OK)
            if asks and not _has_consent(request, estimate):
                sys.stderr.write("nothing was spent, and nothing was changed\n")
                return end.returns(Exit.INTERRUPTED)
            options = {
                "--concurrency": None if concurrency == _CONCURRENCY else concurrency,
                "--ledger": ledger, "--monthly-cap": monthly_cap, "--retry-failed": retry_failed or None,
                "--rescue-file": rescue_file, "--report": report, "--quiet": quiet or None,
            }  # fmt: skip
            return end.returns(_fetch(connection, request, options, asks=asks))


def _has_consent(request: _Request, estimate: JobEstimate) -> bool:
    """Return whether the activations may be spent; ask if it is many, or if ids look wrong."""
    if estimate.activations <= _CONFIRM_ABOVE and not request.ids.not_pairs:
        return True
    reply = ask(consent_question(request.ids, estimate))
    if reply is None and request.plan.max_activations is None:
        sys.stderr.write(consent_warning(estimate))
    return reply is not False


def _fetch(connection: Connection, request: _Request, options: Mapping[str, object], *, asks: bool) -> Exit:
    """Run the job. If no call finds a session, ask whether to continue all the same."""
    shown = {**options, "--max-failures": request.plan.max_failures}
    resume_with = resume_command(request.folder, connection.as_options(), shown)
    code = connection.call(
        lambda client: _run(client, request, resume_with, live=not connection.verbose), ledger=request.ledger
    )
    if code is not Exit.NO_SESSION_FOUND or not asks or not ask(_CONTINUE):
        return code
    plan = attrs.evolve(request.plan, max_failures="100%")
    with closing(IdInput()) as no_more:
        request = attrs.evolve(request, plan=plan, ids=no_more)
        return _fetch(connection, request, options, asks=False)


def _read_ids(sources: list[str] | None, column: str | None, *, strict: bool, trust_ids: bool) -> IdInput:
    """Read the ids files, and print what a person should know about them."""
    if not sources:
        return IdInput()
    ids = read_ids(sources, column, strict=strict, trust_ids=trust_ids)
    sys.stderr.write("".join(f"note: {note}\n" for note in ids.notes()))
    return ids


def _estimate(request: _Request, pricing: _Pricing) -> JobEstimate:
    """Return the estimate of a job, without writing the plan or the ids."""
    rate, charges, ids = pricing.rate, pricing.charges, request.ids
    if request.resume:
        found = JobReader(request.folder).estimate(
            request.plan, ids, retry_failed=request.retry_failed, rate=rate, charges=charges
        )
    else:
        calls = (len(ids) - ids.invalid) * len(request.plan.operations)
        found = estimate_within_budget(request.plan, len(ids), calls, 0, rate, charges)
    left = pricing.monthly_left
    if left is None or found.activations <= left:
        return found
    return attrs.evolve(found, activations=left, seconds=min(found.calls, left) / rate)


async def _look_up(client: FullStoryClient, request: _Request, *, dry_run: bool) -> _Pricing:
    """Return what calls may cost, after checking that the profile exists."""
    if request.plan.summary is not None and not dry_run:
        await _check_profile(client, request.plan.summary)
    left, ledger = None, request.ledger
    if ledger is not None and ledger.monthly_cap is not None:
        left = max(0, ledger.monthly_cap - await ledger.spent(client.config.key_fingerprint))
    return _Pricing(client.limiter.rate, client.config.retry.max_charges_per_call, left)


async def _check_profile(client: FullStoryClient, profile_id: str) -> None:
    """Raise `UsageError` if the profile does not exist. The request is free."""
    try:
        await client.profiles.get(profile_id)
    except NotFoundError as error:
        # a service that implements only the published description has no path for profiles, and sends no code
        if isinstance(error.code, str):
            raise UsageError(f"there is no profile {profile_id!r}; 'profiles list' lists them") from None
    except PermissionDeniedError:
        pass  # a key may be allowed to summarise, but not to read profiles


async def _run(client: FullStoryClient, request: _Request, resume_with: str, *, live: bool) -> Exit:
    async with Job.open(
        request.folder, client=client, plan=request.plan, rescue_file=request.rescue_file
    ) as job:
        if request.ids:
            await job.add(request.ids.inputs())
        code, request.end.report = await run_job(
            job, concurrency=request.concurrency, retry_failed=request.retry_failed, resume_with=resume_with,
            live=live, quiet=request.quiet,
        )  # fmt: skip
        return code


async def run_job(
    job: Job,
    *,
    concurrency: int,
    retry_failed: bool = False,
    resume_with: str = "",
    live: bool = True,
    quiet: bool = False,
) -> tuple[Exit, JobReport]:
    """Run a job with a progress display and signal handlers, and report how it ended."""
    received: list[int] = []
    report: JobReport | None = None

    def stop(number: int) -> None:
        received.append(number)
        job.stop(at_once=asks_twice(received))
        if len(received) == 1 and report is None:
            write_stderr(
                "\nStopping: waiting up to 5 s for calls in flight (they may be billed). "
                "Press Ctrl-C again to quit now.\n"
            )

    with on_interrupt(stop):
        async with JobDisplay(live=live, quiet=quiet) as display:
            report = await job.run(progress=display.show, concurrency=concurrency, retry_failed=retry_failed)
        code = _exit_of(report, job, received)
        # while signals are still handled: another Ctrl-C must not cut the report off
        if not quiet or code is not Exit.OK:
            write_stderr(report_text(report, job, resume_with))
    return code, report


def _exit_of(report: JobReport, job: Job, received: list[int]) -> Exit:
    if report.reason is StopReason.INTERRUPTED and received:
        return Exit(128 + received[0])
    if report.reason is StopReason.FINISHED:
        return Exit.SOME_FAILED if job.counts.failed else Exit.OK
    return _EXITS.get(report.reason, Exit.INTERRUPTED)
