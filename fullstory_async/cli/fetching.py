"""The command ``fetch``: a durable job over a file of ids, from the estimate to what to do next."""

from __future__ import annotations

import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter

from fullstory_async.cli.connection import Connection
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.ids import IdInput, read_ids
from fullstory_async.cli.progress import JobDisplay
from fullstory_async.cli.running import run_async
from fullstory_async.cli.signals import on_interrupt
from fullstory_async.client import FullStoryClient
from fullstory_async.errors import NotFoundError, PermissionDeniedError
from fullstory_async.jobs import Job, JobEstimate, JobPlan, JobReader, JobReport, StopReason
from fullstory_async.jobs.database import DATABASE_NAME
from fullstory_async.ledger import ActivationLedger

__all__ = ["fetch", "run_job"]

_Flag = Parameter(negative="")
_MayBeDash = Parameter(allow_leading_hyphen=True)
_ASK_ABOVE = 100
_NO_IDS = IdInput(ids=(), duplicates=0, invalid=0)

_EXITS = {
    StopReason.BUDGET_REACHED: Exit.BUDGET,
    StopReason.KEY_REJECTED: Exit.AUTHENTICATION,
    StopReason.RATE_LIMITED: Exit.RATE_LIMIT_OR_DEADLINE,
    StopReason.NETWORK_DOWN: Exit.UNAVAILABLE,
    StopReason.STORAGE_FAILED: Exit.UNEXPECTED,
}


@attrs.frozen(kw_only=True)
class _Order:
    """What ``fetch`` was asked to do."""

    folder: Path
    plan: JobPlan | None
    given: IdInput
    resume: bool
    concurrency: int
    retry_failed: bool


def fetch(
    *,
    job: Path,
    ids: Annotated[str | None, _MayBeDash] = None,
    events: Annotated[bool, _Flag] = False,
    summary: str | None = None,
    max_activations: int | None = None,
    dry_run: Annotated[bool, _Flag] = False,
    resume: Annotated[bool, _Flag] = False,
    retry_failed: Annotated[bool, _Flag] = False,
    yes: Annotated[bool, _Flag] = False,
    concurrency: int = 32,
    id_column: str | None = None,
    ledger: Path | None = None,
    monthly_cap: int | None = None,
    connection: Connection = Connection(),  # noqa: B008  (frozen)
) -> Exit:
    """Fetch events, summaries or both for many sessions, as a job that survives a crash. Costs one activation a call.

    Every answer is written to the job's folder as it comes. Whatever ends the run, the same command with --resume
    goes on where it stopped, and pays for nothing twice. The first Ctrl-C waits for calls on their way, up to 5
    seconds; the second ends at once.

    Example: fullstory-async fetch --ids ids.txt --events --summary support --job friday.job

    Parameters
    ----------
    job
        The job's folder; made, or with --resume gone on with.
    ids
        A file of session ids, or - for standard input: plain lines (blank lines and # comments are skipped), a table
        with a header (CSV), JSON Lines or a JSON array. An id that comes twice is fetched once.
    events
        Fetch each session's events.
    summary
        Generate each session's summary with this profile.
    max_activations
        The most that the job may ever spend, over all its runs. Exits with 7 if calls are left over.
    dry_run
        Only tell what would be done, what it would cost and how long it would take.
    resume
        Go on with a job that exists. --ids adds to it, and --events or --summary add to what is done.
    retry_failed
        Make calls again that failed for good, such as unknown sessions.
    yes
        Don't ask before spending more than 100 activations.
    concurrency
        How many calls are under way at most.
    id_column
        The column of a CSV or JSON Lines file that holds the ids, if it can't be told from its name.
    ledger
        A file that counts what the key spends in a month, over all jobs that name it.
    monthly_cap
        The most that the key may spend in a month, by the ledger.
    """
    order = _order(job, ids, id_column, events, summary, max_activations, resume, concurrency, retry_failed)
    if monthly_cap is not None and ledger is None:
        raise UsageError("--monthly-cap needs --ledger")
    counted = None if ledger is None else ActivationLedger(ledger, monthly_cap=monthly_cap)
    estimate = run_async(_prepare(connection, order, dry_run=dry_run), verbose=connection.verbose)
    sys.stderr.write(_announcement(order.given, estimate))
    if dry_run:
        sys.stdout.write(json.dumps(attrs.asdict(estimate)) + "\n")
        return Exit.OK
    if not yes and estimate.activations > _ASK_ABOVE and not _agreed(estimate):
        sys.stderr.write(f"nothing was spent; the ids are kept in {job}, and --resume goes on\n")
        return Exit.OK
    return run_async(_run(connection, order, counted), verbose=connection.verbose)


def _order(
    folder: Path,
    ids: str | None,
    id_column: str | None,
    events: bool,
    summary: str | None,
    max_activations: int | None,
    resume: bool,
    concurrency: int,
    retry_failed: bool,
) -> _Order:
    """Check the options and read the ids. Raises `UsageError` for what makes no sense."""
    exists = (folder / DATABASE_NAME).is_file()
    if exists and not resume:
        raise UsageError(f"the job {folder} exists; --resume goes on with it")
    if resume and not exists:
        raise UsageError(f"there is no job {folder} to go on with")
    if summary == "":
        raise UsageError("--summary needs the profile's id")
    if concurrency < 1:
        raise UsageError("--concurrency must be 1 or more")
    if max_activations is not None and max_activations < 1:
        raise UsageError("--max-activations must be 1 or more")
    if not exists and not (events or summary):
        raise UsageError("say what to fetch: --events, --summary PROFILE, or both")
    if not exists and ids is None:
        raise UsageError("a new job needs --ids FILE, or - for standard input")
    plan: JobPlan | None = None
    if exists:
        kept = JobReader(folder).plan
        plan = JobPlan(
            events=events or kept.events, summary=summary or kept.summary, max_activations=max_activations
        )
    else:
        plan = JobPlan(events=events, summary=summary, max_activations=max_activations)
    given = _NO_IDS if ids is None else read_ids(ids, id_column)
    return _Order(
        folder=folder, plan=plan, given=given, resume=resume, concurrency=concurrency, retry_failed=retry_failed
    )  # fmt: skip


async def _prepare(connection: Connection, order: _Order, *, dry_run: bool) -> JobEstimate:
    """Put the ids into the job, or for a dry run into one that is thrown away, and tell what it comes to."""
    async with connection.open() as client:
        if dry_run and not order.resume:
            with tempfile.TemporaryDirectory() as scratch:
                return await _filled(client, attrs.evolve(order, folder=Path(scratch) / "job"))
        if order.plan is not None and order.plan.summary is not None and not dry_run:
            await _check_profile(client, order.plan.summary)
        return await _filled(client, attrs.evolve(order, given=_NO_IDS) if dry_run else order)


async def _filled(client: FullStoryClient, order: _Order) -> JobEstimate:
    async with Job.open(order.folder, client=client, plan=order.plan) as job:
        await job.add(order.given.ids)
        return job.estimate()


async def _check_profile(client: FullStoryClient, profile_id: str) -> None:
    """Ask for the profile, which is free, before thousands of calls name one that does not exist."""
    try:
        await client.profiles.get(profile_id)
    except NotFoundError as error:
        if isinstance(error.code, str):  # a service of the published contract alone knows no profiles' path
            raise UsageError(
                f"there is no profile {profile_id!r}; 'profiles list' names those that there are"
            ) from None
    except PermissionDeniedError:
        pass  # a key that may summarise need not be one that may read profiles


async def _run(connection: Connection, order: _Order, ledger: ActivationLedger | None) -> Exit:
    async with (
        connection.open(ledger=ledger) as client,
        Job.open(order.folder, client=client, plan=order.plan) as job,
    ):
        return await run_job(client, job, concurrency=order.concurrency, retry_failed=order.retry_failed)


async def run_job(client: FullStoryClient, job: Job, *, concurrency: int, retry_failed: bool = False) -> Exit:
    """Run a job with a display and signal handlers, and say how it ended."""
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        job.stop(at_once=len(received) > 1)
        if len(received) == 1:
            sys.stderr.write(
                "\nstopping: calls on their way have 5 seconds, they may be paid for; again to end now\n"
            )

    with on_interrupt(stop), JobDisplay(allowed_rate=client.limiter.limit.rate) as display:
        report = await job.run(progress=display.show, concurrency=concurrency, retry_failed=retry_failed)
    sys.stderr.write(_account(report, job))
    if report.reason is StopReason.INTERRUPTED and received:
        return Exit(128 + received[0])
    if report.reason is StopReason.FINISHED:
        return Exit.SOME_FAILED if job.counts.failed else Exit.OK
    return _EXITS.get(report.reason, Exit.INTERRUPTED)


def _announcement(given: IdInput, estimate: JobEstimate) -> str:
    notes = [f"{estimate.sessions} sessions", f"{estimate.calls} calls left"]
    notes += [f"{given.duplicates} duplicates dropped"] if given.duplicates else []
    notes += [f"{given.invalid} are no session ids and failed"] if given.invalid else []
    notes += [f"up to {estimate.activations} activations", f"at least {_duration(estimate.seconds)}"]
    notes += [f"{estimate.spent} spent before"] if estimate.spent else []
    if estimate.activations < estimate.calls:
        notes.append(f"the budget of {estimate.max_activations} does not cover all")
    return ", ".join(notes) + "\n"


def _agreed(estimate: JobEstimate) -> bool:
    """Ask the person at the terminal; where nobody is there, nobody is asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    sys.stderr.write(f"Spend up to {estimate.activations} activations? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _account(report: JobReport, job: Job) -> str:
    """Say how a run ended and what to do next."""
    counts, folder = job.counts, job.folder
    lines = [
        (
            f"{report.reason}: {report.done} answers, {counts.failed} failed, {report.left} calls left, "
            f"{report.spent} activations spent, {report.seconds:.1f} s"
        ),
    ]
    lines += [report.detail] if report.detail else []
    lines += [f"  {count} × {name}" for name, count in report.failed.most_common()]
    again = partial(f"fullstory-async fetch --job {folder} --resume{{}}".format)
    if report.reason is StopReason.BUDGET_REACHED:
        lines.append(f"to go on: {again(' --max-activations N')}")
    elif report.left:
        lines.append(f"to go on: {again('')}")
    if counts.failed:
        lines.append(f"what failed: fullstory-async job failures {folder}")
    if report.done:
        lines.append(
            f"the answers: fullstory-async job export {folder} out.jsonl (or .csv, .parquet, .duckdb, .sqlite)"
        )
    return "\n".join(lines) + "\n"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
