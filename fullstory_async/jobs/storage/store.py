"""JobStore: what a job knows: its plan, its items, their answers and failures, and what they cost."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from fullstory_async.errors import ActivationBudgetError, FullStoryError, JobError, JobStorageError
from fullstory_async.jobs.plan import JobPlan
from fullstory_async.jobs.storage.compression import packer
from fullstory_async.jobs.storage.fingerprints import fingerprint, new_secret
from fullstory_async.jobs.storage.group_commit import GroupCommitWriter
from fullstory_async.jobs.storage.schema import (
    COUNT_INVALID_IDS,
    checkpoint_wal,
    open_writer,
    replace_surrogates,
    set_meta,
    unusable,
)
from fullstory_async.jobs.storage.tasks import JobTask

__all__ = ["Counts", "JobStore", "SessionErased"]

_PATIENCE = 20
_PAUSE = 0.1
_ROWS = 199
"""Answers that one statement writes at most: of their values older SQLites take 999."""


_ERASED = -1


class SessionErased(Exception):
    """The session of a call was erased from the job; the call is not to be made."""


@attrs.define
class Counts:
    """What the database holds, in numbers."""

    items: int = 0
    answered: int = 0
    failed: int = 0
    """Failures, permanent ones and others."""
    permanent: int = 0
    unusable: int = 0
    """Items that are no session ids; their failures are permanent, and trying them again sends nothing."""
    spent: int = 0
    """Activations that were spent, or may have been."""


class JobStore:
    """The database of one job, open for writing."""

    counts: Counts
    """What the database holds; changed with every commit."""
    reserved: int
    """Activations set aside for calls that are on their way."""
    answers_kept: int
    """Answers that were written down since the job was opened, whatever was erased of them."""

    def __init__(self, folder: Path, plan: JobPlan | None) -> None:
        """Open a job's database, or make one. Raises `JobError`; ``plan`` may be ``None`` for a job that exists."""
        self._folder = folder
        self._database = open_writer(folder)
        try:
            self.plan = self._settle_plan(plan)
            self.secret = self._meta("secret")
            self.account: str | None = self._meta("account")
            self.last_seq: int = self._meta("last_seq") or 0
            self.input_complete = self._meta("input_complete") != 0
            self._recover()
            self.counts = self._count()
        except sqlite3.Error as error:
            self._database.close()
            raise unusable(folder, error) from None
        except JobError:
            self._database.close()
            raise
        except (ValueError, TypeError) as error:  # of what only a damaged file can say
            self._database.close()
            raise JobError(f"the job {folder} is damaged at its root: {error}") from None
        self.reserved = 0
        self.answers_kept = 0
        self._set_aside: dict[tuple[int, str], int] = {}
        self._erased: set[int] = set()
        self._answers: list[tuple[int, str, float, int, bytes]] = []
        self._pack = packer()
        self._before = self.counts, self._set_aside, self._erased, self.answers_kept
        self._writer = GroupCommitWriter(
            self._database, folder, begin=self._remember, finish=self._keep_spent, undo=self._restore
        )

    async def add(self, session_ids: list[str], unusable: Sequence[tuple[str, FullStoryError]]) -> int:
        """Add sessions that are not there yet, and texts that are no ids as failures; return how many are new."""
        return await self._writer.change(lambda database: self._add(database, session_ids, unusable))

    async def reserve(self, unit: JobTask, activations: int) -> bool:
        """Reserve all activations that a call may cost before it leaves; False if what is left is reserved for others, who may not need it.

        Raises:
            ActivationBudgetError: everything is spent.
            SessionErased: the session was erased meanwhile.
            JobStorageError: there is no room for another answer.
        """
        if self._writer.disk_full:
            raise JobStorageError(f"the job {self._folder} can't be written: the disk is full")
        others = await self._writer.change(lambda _: self._reserve(unit, activations))
        if others == _ERASED:
            raise SessionErased
        if others == 0:
            raise ActivationBudgetError(
                f"{self.counts.spent} of {self.plan.max_activations} activations are spent"
            )
        return others is None

    async def save_response(self, unit: JobTask, body: bytes, *, attempts: int, spent: int) -> None:
        """Write down an answer and what it cost."""
        await self._writer.change(lambda database: self._answer(database, unit, body, attempts, spent))

    async def save_failure(
        self, unit: JobTask, error: FullStoryError, *, body: bytes | None, permanent: bool, spent: int
    ) -> None:
        """Write down why a call failed and what it may have cost."""
        await self._writer.change(
            lambda database: self._failure(database, unit, error, body, permanent, spent)
        )

    def release_later(self, unit: JobTask, *, spent: int) -> None:
        """Settle a call that was dropped; nobody waits for it but `close`."""
        self._writer.change_later(lambda _: self._release(unit, spent))

    async def remember_account(self, account: str) -> None:
        """Keep whose job this is."""
        self.account = account
        await self._writer.change(lambda database: set_meta(database, "account", account))

    async def mark_input(self, *, complete: bool) -> None:
        """Keep whether all the ids that were to be added are there."""
        self.input_complete = complete
        await self._writer.change(lambda database: set_meta(database, "input_complete", complete))

    async def recover(self) -> None:
        """Begin another run: what an earlier one set aside and did not settle counts as spent."""

        def settle(_: sqlite3.Connection) -> None:
            self.counts.spent += self.reserved
            self.reserved = 0
            self._set_aside.clear()

        await self._writer.change(settle)
        self._writer.reserve_disk()

    async def flush(self) -> None:
        """Wait until everything that was asked for is written."""
        await self._writer.change(lambda _: None)

    async def purge(self, session_id: str) -> bool:
        """Erase a session for good; return whether it was there."""
        found = await self._writer.change(lambda database: self._purge(database, session_id))
        for _ in range(_PATIENCE):
            if await self._writer.change(checkpoint_wal, alone=True):
                return found
            await asyncio.sleep(_PAUSE)
        raise JobStorageError(
            f"the session is erased from the job {self._folder}, but somebody is reading the job, so its log still "
            "holds it: end that and erase it again"
        )

    async def close(self) -> None:
        """Write what is waiting, and close the file."""
        await self._writer.close()
        self._database.close()

    def _remember(self) -> None:
        """Keep what is in memory, for the case that the transaction that begins fails."""
        counts = attrs.evolve(self.counts)
        self._before = counts, self._set_aside.copy(), self._erased.copy(), self.answers_kept

    def _keep_spent(self) -> None:
        """Put what was spent, what is set aside and how much there is into the transaction, before it is committed."""
        self._write_answers()
        counts = self.counts
        self._database.execute(  # the counts of rows tell a reader what damage has hidden
            "REPLACE INTO meta VALUES ('spent', ?), ('set_aside', ?), ('last_seq', ?), ('items', ?), ('answered', ?), ('failed', ?)",
            (counts.spent, self.reserved, self.last_seq, counts.items, counts.answered, counts.failed),
        )

    def _write_answers(self) -> None:
        """Write the group's answers with few statements: each takes Python's lock anew, for which a busy event loop lets it wait."""
        while self._answers:
            group = self._answers[:_ROWS]
            kept = self._pack([body for *_, body in group])
            values = [value for row, body in zip(group, kept, strict=True) for value in (*row[:-1], body)]
            rows = ", ".join(["(?, ?, ?, ?, ?)"] * len(group))
            self._database.execute(f"INSERT INTO answers VALUES {rows}", values)  # noqa: S608  (question marks)
            del self._answers[:_ROWS]

    def _restore(self) -> None:
        """Be again as before the transaction that failed."""
        self.counts, self._set_aside, self._erased, self.answers_kept = self._before
        self.reserved = sum(self._set_aside.values())
        self._answers.clear()

    def _add(
        self,
        database: sqlite3.Connection,
        session_ids: list[str],
        unusable: Sequence[tuple[str, FullStoryError]],
    ) -> int:
        before = self.counts.items
        purged = database.execute("SELECT COUNT(*) FROM purged").fetchone()[0] > 0
        for session_id in session_ids:
            if not (purged and self._was_purged(database, session_id)):
                self._insert(database, session_id)
        for text, error in unusable:
            seq = None if purged and self._was_purged(database, text) else self._insert(database, text)
            self.counts.unusable += seq is not None
            for operation in self.plan.operations if seq is not None else ():
                self._failure(database, JobTask(seq or 0, text, operation), error, None, True, 0)
        return self.counts.items - before

    def _insert(self, database: sqlite3.Connection, session_id: str) -> int | None:
        if database.execute("SELECT 1 FROM items WHERE session_id = ?", (session_id,)).fetchone() is not None:
            return None
        cursor = database.execute("INSERT INTO items (session_id) VALUES (?)", (session_id,))
        self.counts.items += 1
        self.last_seq = cursor.lastrowid or self.last_seq
        return cursor.lastrowid

    def _was_purged(self, database: sqlite3.Connection, session_id: str) -> bool:
        mark = (fingerprint(self.secret, session_id),)
        return database.execute("SELECT 1 FROM purged WHERE fingerprint = ?", mark).fetchone() is not None

    def _reserve(self, unit: JobTask, activations: int) -> int | None:
        """Return nothing, or what is reserved for others where the budget does not allow it."""
        if unit.seq in self._erased:
            return _ERASED
        cap = self.plan.max_activations
        if cap is not None and self.counts.spent + self.reserved + activations > cap:
            return self.reserved
        self.reserved += activations
        self._set_aside[unit.seq, unit.operation] = activations
        return None

    def _release(self, unit: JobTask, spent: int) -> None:
        self.reserved -= self._set_aside.pop((unit.seq, unit.operation), 0)
        self.counts.spent += spent

    def _answer(
        self, database: sqlite3.Connection, unit: JobTask, body: bytes, attempts: int, spent: int
    ) -> None:
        self._release(unit, spent)
        if unit.seq in self._erased:
            return
        self._forget_failure(database, unit)
        self._answers.append((unit.seq, unit.operation, time.time(), attempts, body))
        self.counts.answered += 1
        self.answers_kept += 1

    def _failure(
        self,
        database: sqlite3.Connection,
        unit: JobTask,
        error: FullStoryError,
        body: bytes | None,
        permanent: bool,
        spent: int,
    ) -> None:
        self._release(unit, spent)
        if unit.seq in self._erased:
            return
        self._forget_failure(database, unit)
        values = (
            unit.seq, unit.operation, time.time(), error.attempts, type(error).__name__, error.status,
            None if error.code is None else replace_surrogates(str(error.code)), replace_surrogates(error.message), error.may_have_cost, permanent,
            None if body is None else self._pack([body])[0],
        )  # fmt: skip
        database.execute("INSERT INTO failures VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        self.counts.failed += 1
        self.counts.permanent += permanent

    def _forget_failure(self, database: sqlite3.Connection, unit: JobTask) -> None:
        if self.counts.failed == 0:
            return
        call = (unit.seq, unit.operation)
        query = "SELECT permanent FROM failures WHERE seq = ? AND operation = ?"
        if (found := database.execute(query, call).fetchone()) is not None:
            database.execute("DELETE FROM failures WHERE seq = ? AND operation = ?", call)
            self.counts.failed -= 1
            self.counts.permanent -= found[0]

    def _purge(self, database: sqlite3.Connection, session_id: str) -> bool:
        self._write_answers()  # or one of this group would come after it
        database.execute("INSERT OR IGNORE INTO purged VALUES (?)", (fingerprint(self.secret, session_id),))
        found = database.execute("SELECT seq FROM items WHERE session_id = ?", (session_id,)).fetchone()
        if found is None:
            return False
        for table in ("items", "answers", "failures"):
            database.execute(f"DELETE FROM {table} WHERE seq = ?", found)  # noqa: S608  (one of these three)
        self.counts = attrs.evolve(self._count(), spent=self.counts.spent)
        self._erased.add(found[0])
        return True

    def _settle_plan(self, wanted: JobPlan | None) -> JobPlan:
        kept = self._meta("plan")
        plan = wanted if kept is None else JobPlan.from_json(kept)
        if plan is None:
            raise JobError(f"the job {self._folder} is new, so it needs a plan")
        if kept is not None and wanted is not None:
            plan = plan.grown_to(wanted)
        self._database.execute("BEGIN IMMEDIATE")
        set_meta(self._database, "plan", plan.to_json())
        if kept is None:
            set_meta(self._database, "secret", new_secret())
            set_meta(self._database, "spent", 0)
        self._database.execute("COMMIT")
        return plan

    def _recover(self) -> None:
        """Count what was on its way when the process died: it may have been charged."""
        self._database.execute("BEGIN IMMEDIATE")
        set_meta(self._database, "spent", self._meta("spent") + (self._meta("set_aside") or 0))
        set_meta(self._database, "set_aside", 0)
        self._database.execute("COMMIT")
        checkpoint_wal(self._database)

    def _count(self) -> Counts:
        def one(query: str) -> int:
            return int(self._database.execute(query).fetchone()[0])

        return Counts(
            items=one("SELECT COUNT(*) FROM items"),
            answered=one("SELECT COUNT(*) FROM answers"),
            failed=one("SELECT COUNT(*) FROM failures"),
            permanent=one("SELECT COUNT(*) FROM failures WHERE permanent"),
            unusable=one(COUNT_INVALID_IDS),
            spent=self._meta("spent"),
        )

    def _meta(self, name: str) -> Any:
        found = self._database.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if found is None else found[0]
