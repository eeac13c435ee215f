"""The plan of ``fetch``: what its options mean for a new job, or for the one in the folder."""

from __future__ import annotations

from pathlib import Path

from fullstory_async.cli.exits import UsageError
from fullstory_async.cli.option_parsing import read_max_failures
from fullstory_async.jobs import JobPlan, JobReader
from fullstory_async.jobs.storage.schema import foreign_files, has_job

__all__ = ["read_plan"]


def read_plan(
    folder: Path,
    events: bool,
    summary: str | None,
    max_activations: int | None,
    max_failures: str | None,
    *,
    resume: bool,
    has_ids: bool,
) -> JobPlan:
    """Return the plan of a new job, or the extended plan of an existing one.

    Raises:
        UsageError: the options don't fit together, or don't fit the folder.
    """
    failures = read_max_failures(max_failures)
    exists = _check_folder(folder, resume=resume)
    if summary == "":
        raise UsageError("--summary needs the id of a profile")
    if max_activations is not None and max_activations < 1:
        raise UsageError("--max-activations must be 1 or more")
    if not exists:
        if not (events or summary):
            raise UsageError("name what to fetch: --events, --summary PROFILE, or both")
        if not has_ids:
            raise UsageError("a new job needs --ids FILE, or --ids - for standard input")
        return JobPlan(events=events, summary=summary, max_activations=max_activations, max_failures=failures)
    reader = JobReader(folder)
    reader.check_complete()
    # a process that died while it added ids leaves a job that looks complete, but lacks some of them
    if not has_ids and not (reader.input_complete and reader.status().sessions):
        raise UsageError(
            f"the job {folder} was killed before all ids were added: name their file again with --ids"
        )
    return JobPlan(
        events=events or reader.plan.events,
        summary=summary or reader.plan.summary,
        max_activations=reader.plan.max_activations if max_activations is None else max_activations,
        max_failures=reader.plan.max_failures if failures is None else failures,
    )


def _check_folder(folder: Path, *, resume: bool) -> bool:
    """Return whether the folder has a job.

    Raises:
        UsageError: there is a job without ``--resume``, or no job with it, or the folder can't be used.
    """
    exists = has_job(folder)
    if exists and not resume:
        raise UsageError(f"the job {folder} exists; add --resume to continue it")
    if resume and not exists:
        raise UsageError(f"there is no job {folder} to resume")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; --job takes a folder")
    # opening a job makes its folder private, which may be wrong for other files in it
    if not exists and (others := foreign_files(folder)):
        raise UsageError(
            f"{folder} is not a job and contains other files, such as {others[0]}; name a new folder"
        )
    return exists
