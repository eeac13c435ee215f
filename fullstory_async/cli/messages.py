"""The messages of ``fetch``: the estimate, and the report of a run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from fullstory_async.activations import Activations
from fullstory_async.amounts import counted, span
from fullstory_async.cli.ids import IdInput
from fullstory_async.cli.output import printable
from fullstory_async.cli.program import program
from fullstory_async.jobs import Job, JobEstimate, JobReport, StopReason
from fullstory_async.jobs.export import Redaction

__all__ = [
    "consent_question",
    "consent_warning",
    "estimate_text",
    "redaction_text",
    "report_text",
    "resume_command",
]


def resume_command(folder: Path, connection: list[str], options: Mapping[str, object]) -> str:
    """Return the command that resumes a job, with the options of this run.

    Args:
        folder: the job folder. connection: the connection options, as words of a command line. options: name
        → value of the other options; ``True`` for a flag, ``None`` for an option that was not given.
    """
    words = ["fetch", "--job", str(folder), "--resume", *connection]
    for name, value in options.items():
        words += [] if value is None else [name] if value is True else [name, str(value)]
    return f"{program()} {shlex.join(words)}"


def estimate_text(
    ids: IdInput, estimate: JobEstimate, *, adaptive: bool, invalid_ids: str = "counted as failed"
) -> str:
    """Return one line on the calls left, their cost and their duration, and what invalid ids are."""
    notes = [counted(estimate.sessions, "session"), f"{counted(estimate.calls, 'call')} left"]
    if ids.duplicates:
        notes.append(f"{counted(ids.duplicates, 'duplicate')} dropped")
    if ids.invalid:
        notes.append(f"{counted(ids.invalid, 'invalid id')} {invalid_ids}")
    if ids.not_pairs:
        notes.append(f"{_not_pairs(ids)} (FullStory may not know them)")
    if estimate.activations:
        duration = span(estimate.seconds)
        notes.append(f"up to {counted(estimate.activations, 'activation')}")
        notes.append(f"{duration} at the initial rate" if adaptive else f"at least {duration}")
    if estimate.spent:
        notes.append(f"{estimate.spent} already spent")
    if estimate.activations < estimate.calls:
        budget = counted(estimate.activations, "activation")
        notes.append(f"the remaining budget of {budget} does not cover all calls")
    return ", ".join(notes) + "\n"


def redaction_text(redaction: Redaction, given: Mapping[str, str], *, quiet: bool = False) -> str:
    """Return one line for each name to redact: how many values, and similar fields that were left.

    With ``quiet``, only the names that no field has, and those with similar fields.
    """
    lines, similar = [], redaction.near_misses
    for name, how in given.items():
        count = f"{redaction.hidden[name]} values {'dropped' if how == 'drop' else 'replaced'}"
        line = f"{name}: {'no field has this name' if name in redaction.missing else count}"
        if quiet and name not in similar and name not in redaction.missing:
            continue
        if name in similar:
            line += f"; similar fields were left as they are: {', '.join(map(printable, similar[name]))}"
        lines.append(f"{line}\n")
    return "".join(lines)


def consent_question(ids: IdInput, estimate: JobEstimate) -> str:
    """Return the question before activations are spent; standard error, with the estimate, may be a file."""
    doubt = f" {_not_pairs(ids)}." if ids.not_pairs else ""
    return f"{doubt} Spend up to {counted(estimate.activations, 'activation')}?".strip()


def consent_warning(estimate: JobEstimate) -> str:
    """Return the warning where no one can be asked, and no option gives consent."""
    return (
        f"warning: there is no terminal to ask on before spending up to "
        f"{counted(estimate.activations, 'activation')}. The next version will exit with 2 here: give "
        "--max-activations, --yes or FULLSTORY_YES=1 as consent\n"
    )


def report_text(report: JobReport, job: Job, resume: str) -> str:
    """Return how a run ended and which commands come next.

    Args:
        report: the run's report.
        job: the job, which may still be open.
        resume: the command that resumes it; empty if there is none to show.
    """
    counts, folder = job.counts, shlex.quote(_shown(job.folder))
    transient = counts.failed - counts.permanent
    lines = [_run_line(report), _total_line(report, counts.permanent)]
    lines += [report.detail] if report.detail else []
    lines += [f"  {count} × {name}" for name, count in report.failed.most_common()]
    if report.dropped:
        lines.append(
            f"{counted(report.dropped, 'call')} interrupted in flight, or with a result that could not be "
            "saved: its activations are at risk, and it is repeated on resume"
        )
    if report.spent > report.done + counts.failed:
        lines.append(f"{counted(report.spent - report.done, 'activation')} spent without a saved result")
    if transient:
        lines.append(f"{counted(transient, 'call')} failed with a transient error; --resume retries them")
    # a folder that was removed during the run can't be resumed
    if resume and job.folder.is_dir() and (report.left or report.reason is not StopReason.FINISHED):
        lines.append(f"To resume: {resume}{_resume_hint(report, job, resume)}")
    if counts.failed:
        lines.append(
            f"Failures: {program()} job failures {folder} (--retry-failed retries the permanent ones)"
        )
    if report.done:
        lines.append(
            f"Results: {program()} job export {folder} out.jsonl (or .csv, .parquet, .duckdb, .sqlite)"
        )
    return "\n".join(lines) + "\n"


def _run_line(report: JobReport) -> str:
    new = f"{counted(report.new_responses, 'result')} and {Activations(report.newly_spent)}"
    reason = "Not FullStory" if report.reason is StopReason.NOT_FULLSTORY else report.reason.capitalize()
    return f"{reason}: {new} in this run of {span(report.seconds)}"


def _total_line(report: JobReport, permanent: int) -> str:
    return (
        f"Total: {counted(report.done, 'result')}, {counted(permanent, 'permanent failure')}, "
        f"{counted(report.left, 'call')} left, {Activations(report.spent, report.at_risk)}"
    )


def _shown(folder: Path) -> str:
    """Return a folder as a person in the working directory names it."""
    try:
        here = Path.cwd()
    except OSError:  # the working directory was removed
        return str(folder)
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


_HINTS = {
    StopReason.KEY_REJECTED: "  (with a key that FullStory accepts)",
    StopReason.NO_SESSION_FOUND: "  (with --max-failures 100% if the ids are right)",
    StopReason.STORAGE_FAILED: "  (when the disk can be written again)",
    StopReason.TAKEN_OVER: "  (when the other process has ended)",
    StopReason.NOT_FULLSTORY: "  (when FullStory responds at this address)",
}


def _resume_hint(report: JobReport, job: Job, resume: str) -> str:
    """Return what must change before the job is resumed."""
    if report.reason is not StopReason.BUDGET_REACHED:
        return _HINTS.get(report.reason, "")
    budget = job.plan.max_activations
    is_own = "--monthly-cap" not in shlex.split(resume) or (budget is not None and report.spent >= budget)
    return f"  (with a larger {'--max-activations' if is_own else '--monthly-cap'})"


def _not_pairs(ids: IdInput) -> str:
    are = "id is not a USER:SESSION pair" if ids.not_pairs == 1 else "ids are not USER:SESSION pairs"
    return f"{ids.not_pairs} {are}"
