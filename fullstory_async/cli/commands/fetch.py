"""The command ``fetch``: a durable job over a file of ids, from the estimate to what to do next."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Annotated, TextIO

import attrs
from cyclopts import Parameter

from fullstory_async.cli.connection import Connection
from fullstory_async.cli.exits import Exit, UsageError
from fullstory_async.cli.ids import IdInput, read_ids
from fullstory_async.cli.messages import account_of, again_command, announcement
from fullstory_async.cli.output import say
from fullstory_async.cli.progress import JobDisplay
from fullstory_async.cli.running import run_async
from fullstory_async.cli.signals import on_interrupt
from fullstory_async.client import FullStoryClient
from fullstory_async.errors import NotFoundError, PermissionDeniedError
from fullstory_async.files.ledger import ActivationLedger
from fullstory_async.jobs import Job, JobEstimate, JobPlan, JobReader, JobReport, StopReason
from fullstory_async.jobs.plan import estimate_within_budget
from fullstory_async.jobs.storage.lock import LOCK_NAME, raise_if_locked
from fullstory_async.jobs.storage.schema import has_job, other_things_in

__all__ = ["fetch", "run_job"]

_Flag = Parameter(negative="")
_MayBeDash = Parameter(allow_leading_hyphen=True)
_ASK_ABOVE = 100
CONCURRENCY = 32

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
    plan: JobPlan
    given: IdInput
    resume: bool
    concurrency: int
    retry_failed: bool


@attrs.frozen
class _Terms:
    """What calls cost and how fast they go."""

    rate: float
    """Calls a second."""
    charges: int
    """Activations that one call may cost."""
    left: int | None
    """What the month's cap leaves, if there is one."""


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
    concurrency: int = CONCURRENCY,
    id_column: str | None = None,
    ledger: Path | None = None,
    monthly_cap: int | None = None,
    connection: Connection = Connection(),  # noqa: B008  (frozen)
) -> Exit:
    """Fetch events, summaries or both for many sessions, as a job that survives a crash. Costs one activation a call.

    Every answer is written to the job's folder as it comes. Whatever ends the run, the same command with --resume
    goes on where it stopped, and pays for no answer twice. Calls that were on their way when a run was killed, at
    most --concurrency of them, are made again. The first Ctrl-C waits for them, up to 5 seconds; the second ends at
    once. A closed terminal is as good as a Ctrl-C.

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
        Don't ask before spending more than 100 activations, or any for ids that are no USER:SESSION pairs.
    concurrency
        How many calls are under way at most.
    id_column
        The column of a CSV or JSON Lines file that holds the ids, if it can't be told from its name.
    ledger
        A file that counts what the key spends in a month, over all jobs that name it.
    monthly_cap
        The most that the key may spend in a month, by the ledger.
    """
    if monthly_cap is not None and ledger is None:
        raise UsageError("--monthly-cap needs --ledger")
    counted = None if ledger is None else ActivationLedger(ledger, monthly_cap=monthly_cap)
    if resume and not dry_run:  # before anything is asked or estimated; the job itself looks again
        raise_if_locked(job / LOCK_NAME)
    order = _order(job, ids, id_column, events, summary, max_activations, resume, concurrency, retry_failed)
    with closing(order.given):
        terms = run_async(_looked_up(connection, order, counted, dry_run=dry_run), verbose=connection.verbose)
        estimate = _estimate(order, terms)
        sys.stderr.write(announcement(order.given, estimate, adaptive=connection.rate == "adaptive"))
        if dry_run:
            sys.stdout.write(json.dumps(attrs.asdict(estimate)) + "\n")
            return Exit.OK
        is_notable = estimate.activations > _ASK_ABOVE or order.given.not_pairs
        if not yes and is_notable and not _agreed(estimate):
            sys.stderr.write("nothing was spent, and nothing was changed\n")
            return Exit.INTERRUPTED
        options = {
            "--concurrency": None if concurrency == CONCURRENCY else concurrency,
            "--ledger": ledger, "--monthly-cap": monthly_cap, "--retry-failed": retry_failed or None,
        }  # fmt: skip
        again = again_command(job, connection.as_options(), options)
        return run_async(_run(connection, order, counted, again), verbose=connection.verbose)


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
    exists = _has_job(folder, resume=resume)
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
    if exists:
        reader = JobReader(folder)
        if ids is None and not (reader.input_complete and reader.status().sessions):
            raise UsageError(
                f"the ids were not all added to {folder} when the process died: name their file again with --ids"
            )
        kept = reader.plan
        plan = JobPlan(
            events=events or kept.events, summary=summary or kept.summary, max_activations=max_activations
        )
    else:
        plan = JobPlan(events=events, summary=summary, max_activations=max_activations)
    given = IdInput() if ids is None else read_ids(ids, id_column)
    return _Order(
        folder=folder, plan=plan, given=given, resume=resume, concurrency=concurrency, retry_failed=retry_failed
    )  # fmt: skip


def _has_job(folder: Path, *, resume: bool) -> bool:
    """Tell whether the folder holds a job. Raises `UsageError` if it should not, or can't hold one."""
    exists = has_job(folder)
    if exists and not resume:
        raise UsageError(f"the job {folder} exists; --resume goes on with it")
    if resume and not exists:
        raise UsageError(f"there is no job {folder} to go on with")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; --job names a folder")
    # a folder with a job in it is made private, which others may not want for what they keep there
    if not exists and (others := other_things_in(folder)):
        raise UsageError(f"{folder} is no job and holds other things, such as {others[0]}; name a new folder")
    return exists


def _estimate(order: _Order, terms: _Terms) -> JobEstimate:
    """Tell what the job comes to on these terms. Nothing is written: not the plan, not the ids."""
    rate, charges, left = terms.rate, terms.charges, terms.left
    if order.resume:
        reader = JobReader(order.folder)
        found = reader.estimate(
            order.plan, order.given, retry_failed=order.retry_failed, rate=rate, charges=charges
        )
    else:
        sessions = len(order.given)
        calls = (sessions - order.given.invalid) * len(order.plan.operations)
        found = estimate_within_budget(order.plan, sessions, calls, 0, rate, charges)
    if left is None or found.activations <= left:
        return found
    return attrs.evolve(found, activations=left, seconds=min(found.calls, left) / rate)


async def _looked_up(
    connection: Connection, order: _Order, ledger: ActivationLedger | None, *, dry_run: bool
) -> _Terms:
    """Return what calls cost and how fast they go; see that the profile exists."""
    async with connection.open() as client:
        if order.plan.summary is not None and not dry_run:
            await _check_profile(client, order.plan.summary)
        left = None
        if ledger is not None and ledger.monthly_cap is not None:
            left = max(0, ledger.monthly_cap - await ledger.spent(client.config.key_fingerprint))
        return _Terms(client.limiter.rate, client.config.retry.max_charges_per_call, left)


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


async def _run(connection: Connection, order: _Order, ledger: ActivationLedger | None, again: str) -> Exit:
    async with (
        connection.open(ledger=ledger) as client,
        Job.open(order.folder, client=client, plan=order.plan) as job,
    ):
        if order.given:
            await job.add(order.given)
        return await run_job(
            job, concurrency=order.concurrency, retry_failed=order.retry_failed, again=again,
            live=not connection.verbose,
        )  # fmt: skip


async def run_job(
    job: Job, *, concurrency: int, retry_failed: bool = False, again: str = "", live: bool = True
) -> Exit:
    """Run a job with a display and signal handlers, and say how it ended."""
    received: list[int] = []
    report: JobReport | None = None

    def stop(number: int) -> None:
        received.append(number)
        job.stop(at_once=len(received) > 1)
        if len(received) == 1 and report is None:
            say("\nstopping: calls on their way have 5 seconds, they may be paid for; again to end now\n")

    with on_interrupt(stop):
        async with JobDisplay(live=live) as display:
            report = await job.run(progress=display.show, concurrency=concurrency, retry_failed=retry_failed)
        say(account_of(report, job, again))  # in here, so that one more Ctrl-C does not swallow it
    if report.reason is StopReason.INTERRUPTED and received:
        return Exit(128 + received[0])
    if report.reason is StopReason.FINISHED:
        return Exit.SOME_FAILED if job.counts.failed else Exit.OK
    return _EXITS.get(report.reason, Exit.INTERRUPTED)


def _agreed(estimate: JobEstimate) -> bool:
    """Ask the person at the terminal, also where standard input is a file of ids; where nobody is there, nobody is asked."""
    if not sys.stderr.isatty():
        return True
    try:
        with _terminal() as terminal:
            sys.stderr.write(f"Spend up to {estimate.activations} activations? [y/N] ")
            sys.stderr.flush()
            answer = terminal.readline()
            sys.stderr.write("" if answer else "\n")
            return answer.strip().lower() in ("y", "yes")
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise
    except OSError:
        sys.stderr.write("nobody can be asked whether to spend that: --yes agrees to it\n")
        return False


def _terminal() -> AbstractContextManager[TextIO]:
    """Return where a person answers; raises `OSError` where there is no such thing."""
    if sys.stdin is not None and sys.stdin.isatty():
        return nullcontext(sys.stdin)
    return Path("/dev/tty").open(encoding="utf-8")
