"""Open a job's database for writing: verify it, settle what a dead process left, and take possession."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fullstory_async.errors import JobError
from fullstory_async.jobs.plan import JobPlan
from fullstory_async.jobs.storage.commit_record import CommitRecord, Committed, read_record
from fullstory_async.jobs.storage.completeness import Loss, check_integrity, find_loss, most_spent, number_in
from fullstory_async.jobs.storage.in_place import FilesInPlace
from fullstory_async.jobs.storage.inputs import add_input_column
from fullstory_async.jobs.storage.ownership import new_run
from fullstory_async.jobs.storage.schema import (
    CEILING,
    COMMITS,
    DATABASE_NAME,
    RESERVED,
    RUN,
    UNCLEAN,
    checkpoint_wal,
    close_on_error,
    new_secret,
    open_writer,
    read_meta,
)
from fullstory_async.jobs.storage.state import StoreState
from fullstory_async.jobs.storage.statements import count_rows, set_meta

__all__ = ["OpenedJob", "open_job"]


@attrs.frozen(kw_only=True)
class OpenedJob:
    """A job's open database, and what it holds."""

    database: sqlite3.Connection
    record: CommitRecord
    run: str
    """The token of this opening."""
    plan: JobPlan
    secret: str
    organisation: str | None
    input_complete: bool
    state: StoreState
    files: FilesInPlace
    is_marked: bool
    """Whether the main file knows of this opening; it doesn't while a reader holds up the checkpoint."""


def open_job(folder: Path, wanted: JobPlan | None, *, accept_loss: bool) -> OpenedJob:
    """Open a job's database, or create one.

    Args:
        folder: the job folder.
        wanted: the plan; an existing job needs none.
        accept_loss: continue without commits that are missing. All that may have been spent in them counts.

    Raises:
        JobIncompleteError: commits are missing; nothing was changed.
        JobError: it can't be opened, or has another plan.
    """
    # A connection that may write would empty the log into the file, also what is left of a damaged one.
    loss = find_loss(folder)
    if loss is not None:
        if not accept_loss:
            raise loss.refusal(folder)
        check_integrity(folder)
    database = open_writer(folder)
    with close_on_error(database, folder):
        # It is rolled back where it fails, by closing the database.
        database.execute("BEGIN IMMEDIATE")
        add_input_column(database)
        meta = read_meta(database)
        plan = _plan_of(meta, wanted, folder)
        if "plan" not in meta:
            meta |= {"secret": new_secret(), "spent": 0}
            set_meta(database, secret=meta["secret"], spent=0)
        counts = count_rows(database)
        loss = loss or _missing_rows(meta, counts.items, counts.answered)
        if loss is not None and not accept_loss:
            raise loss.refusal(folder)
        run, state = new_run(), _settled(meta, StoreState(counts), loss, plan)
        record = _open_record(
            folder / DATABASE_NAME, state.committed(), loss, run=run, previous=meta.get(RUN)
        )
        try:
            set_meta(database, plan=plan.to_json(), **{RUN: run, UNCLEAN: 1}, **state.numbers())
            database.execute("COMMIT")
            record.write(state.committed())
            is_marked = checkpoint_wal(database)
            files = FilesInPlace(folder)
        except BaseException:
            record.close()
            raise
    return OpenedJob(
        database=database, record=record, run=run, plan=plan, secret=meta["secret"], state=state,
        organisation=meta.get("account"),  # the name in the file, which existing jobs have
        input_complete=meta.get("input_complete") != 0, files=files, is_marked=is_marked,
    )  # fmt: skip


def _plan_of(meta: Mapping[str, Any], wanted: JobPlan | None, folder: Path) -> JobPlan:
    if "plan" in meta:
        plan = JobPlan.from_json(meta["plan"])
        return plan if wanted is None else plan.grown_to(wanted)
    if wanted is None:
        raise JobError(f"the job {folder} is new, so it needs a plan")
    return wanted


def _missing_rows(meta: Mapping[str, Any], items: int, answered: int) -> Loss | None:
    """Return what is missing if there are fewer rows than were recorded.

    The file and its log were copied at different times, and don't belong together.
    """
    missing = number_in(meta, "answered") - answered
    if missing <= 0 and number_in(meta, "items") <= items:
        return None
    return Loss(None, max(0, missing), most_spent(meta))


def _settled(meta: Mapping[str, Any], state: StoreState, loss: Loss | None, plan: JobPlan) -> StoreState:
    """Return the state of a new run: what a dead process left reserved, or lost, counts as spent.

    Its calls in flight may have been charged.
    """
    counts = state.counts
    before = counts.spent
    counts.spent = max(before + number_in(meta, RESERVED), 0 if loss is None else loss.spent)
    counts.at_risk += counts.spent - before
    state.last_seq = number_in(meta, "last_seq")
    lost = 0 if loss is None else loss.commits or 0
    state.commits = number_in(meta, COMMITS) + lost + 1
    state.ceiling = number_in(meta, CEILING)
    state.raise_ceiling(plan.max_activations)
    return state


def _open_record(
    path: Path, now: Committed, loss: Loss | None, *, run: str, previous: object
) -> CommitRecord:
    """Open the record, before the database says that it has one.

    A loss stays visible in it until the commit that accepts it.
    """
    known = read_record(path)
    if known is None or (loss is not None and loss.commits is None):
        known = attrs.evolve(now, commits=now.commits - (loss is None))
    return CommitRecord(path, attrs.evolve(known, spent=now.spent), run=run, previous=previous)
