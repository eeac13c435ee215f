"""JobStore: a job's database, open for writing.

Every change is part of a transaction of `GroupCommitWriter`, which may hold changes of many calls:

* **A snapshot of the state is taken before BEGIN.** Whatever fails after it puts the state back as it was.
  Until the COMMIT all other readers see the snapshot, so that no count ever runs ahead of the file.
* **Counters are written before COMMIT.** Activations and their rows are on disk together or not at all.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from fullstory_async.activations import Activations
from fullstory_async.errors import ActivationBudgetError, FullStoryError, JobStorageError
from fullstory_async.files.compression import compressor
from fullstory_async.jobs.plan import JobPlan
from fullstory_async.jobs.storage import ownership, statements
from fullstory_async.jobs.storage.group_commit import GroupCommitWriter
from fullstory_async.jobs.storage.inputs import NewItem, add_names
from fullstory_async.jobs.storage.opening import open_job
from fullstory_async.jobs.storage.ownership import Sharing
from fullstory_async.jobs.storage.rescue import HeldResult, RescueFile
from fullstory_async.jobs.storage.schema import (
    COMMITS,
    UNCLEAN,
    backfill_wal,
    checkpoint_wal,
    fingerprint,
)
from fullstory_async.jobs.storage.state import Counts, ReserveResult
from fullstory_async.jobs.storage.statements import FailureRow, ResponseRow, set_meta
from fullstory_async.jobs.storage.tasks import JobTask, SessionErased

__all__ = ["JobStore"]

_logger = logging.getLogger("fullstory_async.jobs")

T = TypeVar("T")


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
    writer: GroupCommitWriter
    """Makes the changes, and holds the responses that can't be saved now."""

    def __init__(
        self, folder: Path, plan: JobPlan | None, *, accept_loss: bool = False, rescue: Path | None = None
    ) -> None:
        """Open a job's database, or create one; see `open_job` and `RescueFile`. Raises `JobError`."""
        self.folder = folder
        opened = open_job(folder, plan, accept_loss=accept_loss)
        self._database, self._record, self._run = opened.database, opened.record, opened.run
        self.plan, self.secret, self.organisation = opened.plan, opened.secret, opened.organisation
        self.input_complete, self._is_marked = opened.input_complete, opened.is_marked
        self._state = self._committed = opened.state
        self._sharing, self._files = Sharing.ALONE, opened.files
        self._owner: object = opened.run
        self._compress = compressor()
        self._unsaved: list[ResponseRow] = []
        self.writer = GroupCommitWriter(
            self._database, folder, self._transaction, RescueFile.of_job(folder, self.secret, rescue)
        )

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

    async def add(self, items: Sequence[NewItem], names: Iterable[str] = ()) -> int:
        """Add sessions, and invalid ids as failures, with the names of their inputs' columns.

        Returns the number of new items.
        """
        return await self.run_as_owner(lambda database: self._add(database, items, names))

    async def reserve(self, task: JobTask, activations: int) -> bool:
        """Reserve all activations that a call may cost, on disk, before it is sent.

        Returns:
            False if the rest of the budget is reserved for other calls, which may not need it.

        Raises:
            ActivationBudgetError: the whole budget is spent.
            SessionErased: the session was erased in the meantime.
            JobStorageError: there is no room for another response.
            JobLockedError: another process has opened the job since.
        """
        if self.writer.room.is_used:
            raise self.writer.disk_full()
        cap = self.plan.max_activations
        result = await self.run_as_owner(lambda _: self._state.reserve(task, activations, cap))
        # Raised here and not in the thread: an error there would undo the changes of the whole group.
        if result is ReserveResult.SESSION_ERASED:
            raise SessionErased
        if result is ReserveResult.BUDGET_SPENT:
            raise ActivationBudgetError(f"the budget is {cap}: {self.activations}")
        return result is ReserveResult.RESERVED

    async def save_response(self, task: JobTask, body: bytes, *, attempts: int, spent: int) -> None:
        """Save a response and what it cost."""
        at_risk = max(0, spent - 1)  # the last of them is the response's own
        await self.writer.run(
            lambda database: self._save_response(database, task, body, attempts, spent, at_risk),
            rescue=self._held(task, attempts, body),
        )

    async def save_failure(
        self, task: JobTask, error: FullStoryError, *, body: bytes | None, permanent: bool, spent: int
    ) -> None:
        """Save why a call failed and what it may have cost."""
        at_risk = max(0, spent - (body is not None))  # a body that was received was paid for
        failure = FailureRow.of(error, permanent=permanent)
        await self.writer.run(
            lambda database: self._save_failure(database, task, failure, body, spent, at_risk),
            rescue=self._held(task, error.attempts, body, failure),
        )

    def release_later(self, task: JobTask, *, spent: int) -> None:
        """Settle a call that was dropped; only `close` waits for it."""
        self.writer.run_later(lambda _: self._state.release(task, spent, spent))

    async def save_organisation(self, organisation: str) -> None:
        """Save the organisation of the job's key."""
        self.organisation = organisation
        await self.run_as_owner(lambda database: set_meta(database, account=organisation))

    async def mark_input(self, *, complete: bool) -> None:
        """Save whether all the ids that were to be added are in the job."""
        self.input_complete = complete
        await self.run_as_owner(lambda database: set_meta(database, input_complete=complete))

    async def spend_reserved(self) -> None:
        """Begin another run: count what an earlier one left reserved, and take in what was rescued."""
        await self.run_as_owner(lambda _: self._state.spend_reserved())
        await self.writer.fill_room()
        if rescued := await self.writer.read_rescued():
            await self.run_as_owner(lambda database: self._take_in(database, rescued))
            await self.writer.remove_rescued()

    async def flush(self) -> None:
        """Wait until all requested changes are on disk."""
        await self.writer.run(lambda _: None)

    async def purge(self, session_id: str) -> bool:
        """Erase a session permanently; return whether it was in the job."""
        found = await self.run_as_owner(lambda database: self._purge(database, session_id))
        await self.writer.erase_rescued(session_id)
        if await self.writer.clear_wal():
            return found
        raise JobStorageError(
            f"the session is erased from the job {self.folder}, but another program is reading the job, "
            "so its log still holds the session: stop that program and erase it again"
        )

    def close(self) -> None:
        """Write all waiting changes, mark the file as complete without its log, and close it; blocks."""
        self.writer.close()
        try:
            with self._transaction():
                if self._sharing is not Sharing.TAKEN_OVER:
                    set_meta(self._database, **{UNCLEAN: 0})
            checkpoint_wal(self._database)
            self._record.sync()
        except (sqlite3.Error, OSError):  # then it stays marked, and the next opening compares the commits
            _logger.info("the job %s was closed without its mark", self.folder, exc_info=True)
        finally:
            self._record.close()
            self._files.close(self._database)

    async def run_as_owner(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Make a change that only the process that has the job may make.

        Raises:
            JobLockedError: another process has opened the job since.
        """
        # Raised here and not in the thread: an error there would undo the changes of the whole group.
        result = await self.writer.run(
            lambda database: None if self._sharing is Sharing.TAKEN_OVER else (work(database),)
        )
        if result is None:
            raise ownership.taken_over(self.folder, self._owner)
        return result[0]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run a block as one transaction; if it fails, restore the file and the state."""
        before = self._committed = self._state.copy()  # before BEGIN, which may fail as well
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._look_for_others()
            yield
            self._insert_responses()
            self._write_counters()
            self._database.execute("COMMIT")
            self._is_marked = self._files.check() and self._is_marked
            self._committed = self._state
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back already
                self._database.execute("ROLLBACK")
            self._state = before
            self._unsaved.clear()
            raise
        if self._sharing is not Sharing.TAKEN_OVER:
            self._record.write(self._state.committed())
            # Before a caller continues: it may send a request that the ceiling has to cover.
            is_full = self.writer.room.is_used  # then no request follows, and the file must not grow
            self._is_marked = self._is_marked or (not is_full and backfill_wal(self._database))

    def _look_for_others(self) -> None:
        """Notice another process that has opened the job or still writes to it, and damaged files."""
        is_cut = self._files.is_cut_off(self._state.commits)  # then nothing is read
        self._owner, commits = (self._run, -1) if is_cut else ownership.owner_of(self._database)
        if self._owner != self._run:
            self._sharing = Sharing.TAKEN_OVER
        elif commits < self._state.commits:  # the next opening must learn what this process knows
            self._record.write(self._state.committed())
            raise sqlite3.OperationalError("its files were cut off or replaced by older copies while it ran")
        elif commits != self._state.commits:
            self._sharing = Sharing.SHARED
        self._state.commits = commits

    def _insert_responses(self) -> None:
        only_missing = self._sharing is not Sharing.ALONE
        statements.insert_responses(self._database, self._unsaved, self._compress, only_missing=only_missing)
        self._unsaved.clear()

    def _write_counters(self) -> None:
        self._state.commits += 1
        if self._sharing is not Sharing.ALONE:
            ownership.recount(self._database, self._state)
        if self._sharing is Sharing.TAKEN_OVER:
            set_meta(self._database, **{COMMITS: self._state.commits})
            return
        self._is_marked = not self._state.raise_ceiling(self.plan.max_activations) and self._is_marked
        set_meta(self._database, **self._state.numbers())

    def _add(self, database: sqlite3.Connection, items: Sequence[NewItem], names: Iterable[str]) -> int:
        counts = self._state.counts
        before = counts.items
        # Hardly any job has erased sessions, so a query for each id would nearly always be in vain.
        any_purged = database.execute("SELECT COUNT(*) FROM purged").fetchone()[0] > 0
        for item in items:
            seq = self._insert_item(database, item, any_purged=any_purged)
            if seq is not None and item.error is not None:
                counts.unusable += 1
                for operation in self.plan.operations:
                    task = JobTask(seq, item.text, operation)
                    failure = FailureRow.of(item.error, permanent=True)
                    self._save_failure(database, task, failure, None, 0, 0)
        add_names(database, names)
        return counts.items - before

    def _insert_item(self, database: sqlite3.Connection, item: NewItem, *, any_purged: bool) -> int | None:
        """Insert an item unless it exists or was erased; return its number if it is new."""
        if any_purged and statements.is_purged(database, fingerprint(self.secret, item.text)):
            return None
        seq = statements.insert_item(database, item.text, item.given)
        if seq is not None:
            self._state.counts.items += 1
            self._state.last_seq = seq
        return seq

    def _save_response(
        self, database: sqlite3.Connection, task: JobTask, body: bytes,
        attempts: int, spent: int, at_risk: int,
    ) -> None:  # fmt: skip
        self._state.release(task, spent, at_risk)
        if task.seq in self._state.erased:
            return
        self._delete_failure(database, task)
        self._unsaved.append((task.seq, task.operation, time.time(), attempts, body))
        self._state.counts.answered += 1
        self._state.responses_saved += 1

    def _take_in(self, database: sqlite3.Connection, rescued: list[HeldResult]) -> None:
        for each in rescued:
            if not statements.is_unanswered(database, task := each.task):
                continue
            if each.failure is not None:
                self._save_failure(database, task, each.failure, each.body, 0, 0)
            elif each.body is not None:
                self._save_response(database, task, each.body, each.attempts, 0, 0)
            # it was counted as possibly charged, before its response was there
            self._state.counts.at_risk -= min(each.body is not None, self._state.counts.at_risk)

    def _held(self, task: JobTask, *result: Any) -> HeldResult | None:
        """Return what is kept of a result while it can't be saved; nothing of an erased session."""
        return None if task.seq in self._committed.erased else HeldResult.of(task, *result)

    def _save_failure(
        self, database: sqlite3.Connection, task: JobTask, failure: FailureRow, body: bytes | None,
        spent: int, at_risk: int,
    ) -> None:  # fmt: skip
        self._state.release(task, spent, at_risk)
        if task.seq in self._state.erased:
            return
        if body is None and self._sharing is Sharing.TAKEN_OVER:
            return
        self._delete_failure(database, task)
        compressed = None if body is None else self._compress([body])[0]
        statements.insert_failure(database, task, failure, compressed)
        self._state.counts.failed += 1
        self._state.counts.permanent += failure.permanent

    def _delete_failure(self, database: sqlite3.Connection, task: JobTask) -> None:
        """Delete the failure of an earlier run, which a newer result replaces."""
        counts = self._state.counts
        if counts.failed == 0 and self._sharing is Sharing.ALONE:  # the usual case needs no query
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
        self._state.counts = statements.recount_rows(database, self._state.counts)
        self._state.erased.add(seq)
        return True
