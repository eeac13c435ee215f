"""What ``fetch`` says: before it spends anything, and when a run has ended."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from fullstory_async.cli.ids import IdInput
from fullstory_async.jobs import Job, JobEstimate, JobReport, StopReason

__all__ = ["account_of", "again_command", "announcement"]


def again_command(folder: Path, connection: list[str], options: Mapping[str, object]) -> str:
    """Return the command that goes on with a job, with everything that this one was told about how. Options that are ``None`` were not given."""
    words = ["fullstory-async", "fetch", "--job", str(folder), "--resume", *connection]
    for name, value in options.items():
        words += [] if value is None else [name] if value is True else [name, str(value)]
    return shlex.join(words)


def announcement(given: IdInput, estimate: JobEstimate, *, adaptive: bool) -> str:
    """Say what a job comes to."""
    notes = [_many(estimate.sessions, "session"), f"{_many(estimate.calls, 'call')} left"]
    notes += [f"{_many(given.duplicates, 'duplicate')} dropped"] if given.duplicates else []
    notes += [f"{given.invalid} are no session ids and failed"] if given.invalid else []
    notes += (
        [f"{given.not_pairs} are no USER:SESSION pairs, so FullStory may not know them"]
        if given.not_pairs
        else []
    )
    took = (
        f"{_duration(estimate.seconds)} at the rate it begins with"
        if adaptive
        else f"at least {_duration(estimate.seconds)}"
    )
    notes += [f"up to {_many(estimate.activations, 'activation')}", took] if estimate.activations else []
    notes += [f"{estimate.spent} spent before"] if estimate.spent else []
    if estimate.activations < estimate.calls:
        notes.append(f"the budget leaves {estimate.activations or 'none'} of the activations that they need")
    return ", ".join(notes) + "\n"


def account_of(report: JobReport, job: Job, again: str) -> str:
    """Say how a run ended and what to do next."""
    counts, folder = job.counts, shlex.quote(str(job.folder))
    passing = counts.failed - counts.permanent
    lines = [
        (f"{report.reason}: {_many(report.new_responses, 'answer')} and {_many(report.newly_spent, 'activation')} "
        f"in this run of {report.seconds:.1f} s"),
        (f"in all: {_many(report.done, 'answer')}, {counts.permanent} failed for good, {_many(report.left, 'call')} left, "
        f"{_many(report.spent, 'activation')} spent"),
    ]  # fmt: skip
    lines += [report.detail] if report.detail else []
    lines += [f"  {count} × {name}" for name, count in report.failed.most_common()]
    if report.dropped:
        lines.append(
            f"{report.dropped} calls were dropped on their way, or their answers could not be written: they count as spent, and are made again"
        )
    if report.spent > report.done + counts.failed:
        lines.append(
            f"{report.spent - report.done} of the activations were spent, or may have been, without an answer that is kept"
        )
    if passing:
        lines.append(f"{passing} calls failed for a reason that may pass; --resume makes them again")
    unfinished = report.left or report.reason is not StopReason.FINISHED
    if unfinished and again and job.folder.is_dir():
        lines.append(f"to go on: {again}{_HINTS.get(report.reason, '')}")
    if counts.failed:
        lines.append(
            f"what failed: fullstory-async job failures {folder} (--retry-failed makes those again that failed for good)"
        )
    if report.done:
        lines.append(
            f"the answers: fullstory-async job export {folder} out.jsonl (or .csv, .parquet, .duckdb, .sqlite)"
        )
    return "\n".join(lines) + "\n"


_HINTS = {
    StopReason.BUDGET_REACHED: "  (with a larger --max-activations or --monthly-cap, whichever was reached)",
    StopReason.KEY_REJECTED: "  (with a key that is accepted)",
    StopReason.STORAGE_FAILED: "  (when the disk can be written again)",
}


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
