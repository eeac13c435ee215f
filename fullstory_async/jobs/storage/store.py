"""JobStore: a job's database, open for writing.

Every change is part of a transaction of `GroupCommitWriter`, which may hold changes of many calls. Two
promises:

* **A snapshot of the state is taken before BEGIN.** Whatever fails after it puts the state back as it was.
  Until the COMMIT everybody else sees the snapshot, so that no count ever runs ahead of the file.
* **The counters are written before COMMIT.** So the activations that are spent and reserved, and the rows
  that they belong to, are on disk together or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from fullstory_async.activations import Activations
from fullstory_async.errors import ActivationBudgetError, FullStoryError, JobError, JobStorageError
from fullstory_async.jobs.plan import JobPlan
from fullstory_async.jobs.storage import statements
from fullstory_async.jobs.storage.compression import compressor
from fullstory_async.jobs.storage.group_commit import GroupCommitWriter
from fullstory_async.jobs.storage.schema import (
    DATABASE_NAME,
    RESERVED,
    checkpoint_wal,
    close_on_error,
    fingerprint,
    new_secret,
    open_writer,
)
from fullstory_async.jobs.storage.state import Counts, ReserveResult, StoreState
from fullstory_async.jobs.storage.statements import ResponseRow, count_rows, get_meta, set_meta
from fullstory_async.jobs.storage.tasks import JobTask

__all__ = ["JobStore", "SessionErased"]

_CHECKPOINT_ATTEMPTS = 20
_CHECKPOINT_DELAY = 0.1


class SessionErased(JobError):
    """The session of a call was erased from the job, so the call must not be made."""


class JobStore:
    """The database of one job, open for writing."""

    folder: Path
    plan: JobPlan
    secret: str
    """The key of the job's fingerprints."""
    organisation: str | None
    """The organisation of the key of the first run; ``None`` before it."""
    input_complete: bool
    """Whether the last `Job.add` came to its end."""

    def __init__(self, folder: Path, plan: JobPlan | None) -> None:
        """Open a job's database, or create one. Raises `JobError`.

        An existing job needs no ``plan``.
        """
        self.folder = folder
        self._database = open_writer(folder)
        with close_on_error(self._database, folder):
            self.plan = self._load_plan(plan)
            self.secret = get_meta(self._database, "secret")
            self.organisation = get_meta(
                self._database, "account"
            )  # the name in the file, which existing jobs have
            self.input_complete = get_meta(self._database, "input_complete") != 0
            statements.spend_unsettled(self._database)
            self._state = StoreState(
                count_rows(self._database), last_seq=get_meta(self._database, "last_seq") or 0
            )
            self._committed = self._state
            self._inode = (folder / DATABASE_NAME).stat().st_ino
            self._compress = compressor()
            self._unsaved: list[ResponseRow] = []
            self._writer = GroupCommitWriter(self._database, folder, self._transaction)

    @property
    def counts(self) -> Counts:
        """The contents of the database; changed with every commit."""
        return self._committed.counts

    @property
    def activations(self) -> Activations:
        """The activations in the database."""
        return self._committed.activations

    @property
    def responses_saved(self) -> int:
        """Responses saved since the job was opened, those erased afterwards included."""
        return self._committed.responses_saved

    async def add(self, session_ids: list[str], unusable: Sequence[tuple[str, FullStoryError]]) -> int:
        """Add sessions, and invalid ids as failures; return the number of new items."""
        return await self._writer.run(lambda database: self._add(database, session_ids, unusable))

    async def known(self, session_ids: list[str]) -> set[str]:
        """Return those of some ids that the job has."""
        return await self._writer.run(lambda database: statements.select_known(database, session_ids))

    async def reserve(self, task: JobTask, activations: int) -> bool:
        """Reserve all activations that a call may cost, on disk, before it is sent.

        Returns:
            False if the rest of the budget is reserved for other calls, which may not need it.

        Raises:
            ActivationBudgetError: the whole budget is spent.
            SessionErased: the session was erased in the meantime.
            JobStorageError: there is no room for another response.
        """
        if self._writer.disk_full:
            raise JobStorageError(f"the job {self.folder} can't be written: the disk is full")
        cap = self.plan.max_activations
        result = await self._writer.run(lambda _: self._state.reserve(task, activations, cap))
        # Raised here and not in the thread: an error there would undo the changes of the whole group.
        if result is ReserveResult.SESSION_ERASED:
            raise SessionErased
        if result is ReserveResult.BUDGET_SPENT:
            raise ActivationBudgetError(f"the budget is {cap}: {self.activations}")
        return result is ReserveResult.RESERVED

    async def save_response(self, task: JobTask, body: bytes, *, attempts: int, spent: int) -> None:
        """Save a response and what it cost."""
        # the last of them is the response's own
        at_risk = max(0, spent - 1)
        await self._writer.run(
            lambda database: self._save_response(database, task, body, attempts, spent, at_risk)
        )

    async def save_failure(
        self, task: JobTask, error: FullStoryError, *, body: bytes | None, permanent: bool, spent: int
    ) -> None:
        """Save why a call failed and what it may have cost."""
        # a body that was received was paid for, readable or not
        at_risk = max(0, spent - (body is not None))
        await self._writer.run(
            lambda database: self._save_failure(database, task, error, body, permanent, spent, at_risk)
        )

    def release_later(self, task: JobTask, *, spent: int) -> None:
        """Settle a call that was dropped; only `close` waits for it."""
        self._writer.run_later(lambda _: self._state.release(task, spent, spent))

    async def save_organisation(self, organisation: str) -> None:
        """Save the organisation of the job's key."""
        self.organisation = organisation
        await self._writer.run(lambda database: set_meta(database, account=organisation))

    async def mark_input(self, *, complete: bool) -> None:
        """Save whether all the ids that were to be added are in the job."""
        self.input_complete = complete
        await self._writer.run(lambda database: set_meta(database, input_complete=complete))

    async def spend_reserved(self) -> None:
        """Begin another run: count what an earlier one left reserved as spent."""
        await self._writer.run(lambda _: self._state.spend_reserved())
        self._writer.reserve_disk()

    async def count_refused(self) -> int:
        """Return the number of calls that were made and have failed permanently, as with a 404 or 400."""
        return await self._writer.run(statements.count_refused)

    async def flush(self) -> None:
        """Wait until all requested changes are on disk."""
        await self._writer.run(lambda _: None)

    async def purge(self, session_id: str) -> bool:
        """Erase a session permanently; return whether it was in the job."""
        found = await self._writer.run(lambda database: self._purge(database, session_id))
        # The erased pages are still in the log, which can be emptied only while nobody reads from it.
        for _ in range(_CHECKPOINT_ATTEMPTS):
            if await self._writer.run(checkpoint_wal, outside_transaction=True):
                return found
            await asyncio.sleep(_CHECKPOINT_DELAY)
        raise JobStorageError(
            f"the session is erased from the job {self.folder}, but another program is reading the job, "
            "so its log still holds the session: stop that program and erase it again"
        )

    def close(self) -> None:
        """Write all waiting changes, and close the file; blocks until that is done."""
        self._writer.close()
        self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run a block as one transaction; if it fails, restore the file and the state."""
        before = self._committed = self._state.copy()  # before BEGIN, which may fail as well
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._insert_responses()
            self._write_counters()
            self._database.execute("COMMIT")
            self._check_in_place()
            self._committed = self._state
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back already
                self._database.execute("ROLLBACK")
            self._state = before
            self._unsaved.clear()
            raise

    def _insert_responses(self) -> None:
        statements.insert_responses(self._database, self._unsaved, self._compress)
        self._unsaved.clear()

    def _write_counters(self) -> None:
        """Write the activations, and the numbers of rows.

        A reader compares the latter with the rows, which reveals those lost to damage.
        """
        state, counts = self._state, self._state.counts
        values = {
            "spent": counts.spent, "at_risk": counts.at_risk, RESERVED: state.reserved,
            "last_seq": state.last_seq, "items": counts.items, "answered": counts.answered,
            "failed": counts.failed,
        }  # fmt: skip
        set_meta(self._database, **values)

    def _check_in_place(self) -> None:
        """Raise if the file was removed or replaced, and the commit is lost with it."""
        with contextlib.suppress(OSError):
            if (self.folder / DATABASE_NAME).stat().st_ino == self._inode:
                return
        raise sqlite3.OperationalError("its folder was removed or replaced while it ran")

    def _add(
        self,
        database: sqlite3.Connection,
        session_ids: list[str],
        unusable: Sequence[tuple[str, FullStoryError]],
    ) -> int:
        counts = self._state.counts
        before = counts.items
        # Hardly any job has erased sessions, so a query for each id would nearly always be in vain.
        any_purged = database.execute("SELECT COUNT(*) FROM purged").fetchone()[0] > 0
        for session_id in session_ids:
            self._insert_item(database, session_id, any_purged=any_purged)
        for text, error in unusable:
            seq = self._insert_item(database, text, any_purged=any_purged)
            if seq is not None:
                counts.unusable += 1
                for operation in self.plan.operations:
                    self._save_failure(database, JobTask(seq, text, operation), error, None, True, 0, 0)
        return counts.items - before

    def _insert_item(self, database: sqlite3.Connection, text: str, *, any_purged: bool) -> int | None:
        """Insert an item unless it exists or was erased; return its number if it is new."""
        if any_purged and statements.is_purged(database, fingerprint(self.secret, text)):
            return None
        seq = statements.insert_item(database, text)
        if seq is not None:
            self._state.counts.items += 1
            self._state.last_seq = seq
        return seq

    def _save_response(
        self,
        database: sqlite3.Connection,
        task: JobTask,
        body: bytes,
        attempts: int,
        spent: int,
        at_risk: int,
    ) -> None:
        self._state.release(task, spent, at_risk)
        if task.seq in self._state.erased:
            return
        self._delete_failure(database, task)
        self._unsaved.append((task.seq, task.operation, time.time(), attempts, body))
        self._state.counts.answered += 1
        self._state.responses_saved += 1

    def _save_failure(
        self,
        database: sqlite3.Connection,
        task: JobTask,
        error: FullStoryError,
        body: bytes | None,
        permanent: bool,
        spent: int,
        at_risk: int,
    ) -> None:
        self._state.release(task, spent, at_risk)
        if task.seq in self._state.erased:
            return
        self._delete_failure(database, task)
        compressed = None if body is None else self._compress([body])[0]
        statements.insert_failure(database, task, error, compressed, permanent=permanent)
        self._state.counts.failed += 1
        self._state.counts.permanent += permanent

    def _delete_failure(self, database: sqlite3.Connection, task: JobTask) -> None:
        """Delete the failure of an earlier run, which a newer result replaces."""
        counts = self._state.counts
        if counts.failed == 0:  # the usual case needs no query
            return
        permanent = statements.delete_failure(database, task)
        if permanent is not None:
            counts.failed -= 1
            counts.permanent -= permanent

    def _purge(self, database: sqlite3.Connection, session_id: str) -> bool:
        # A response of this session in the same transaction would otherwise be inserted after the erasure.
        self._insert_responses()
        seq = statements.erase_item(database, session_id, fingerprint(self.secret, session_id))
        if seq is None:
            return False
        counts = self._state.counts
        self._state.counts = attrs.evolve(count_rows(database), spent=counts.spent, at_risk=counts.at_risk)
        self._state.erased.add(seq)
        return True

    def _load_plan(self, wanted: JobPlan | None) -> JobPlan:
        stored = get_meta(self._database, "plan")
        plan = wanted if stored is None else JobPlan.from_json(stored)
        if plan is None:
            raise JobError(f"the job {self.folder} is new, so it needs a plan")
        if stored is not None and wanted is not None:
            plan = plan.grown_to(wanted)
        self._database.execute("BEGIN IMMEDIATE")
        set_meta(self._database, plan=plan.to_json())
        if stored is None:
            set_meta(self._database, secret=new_secret(), spent=0)
        self._database.execute("COMMIT")
        return plan
