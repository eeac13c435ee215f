"""RunState: what the calls of one run share, and for how long they wait for the network and the disk."""

from __future__ import annotations

import asyncio
import math
from collections import Counter

import attrs

from fullstory_async.api import ApiContext
from fullstory_async.concurrency import Backoff
from fullstory_async.errors import FullStoryError, JobStorageError, Scope, StorageError
from fullstory_async.jobs.byte_budget import MAX_BYTES, ByteBudget, OpenCall
from fullstory_async.jobs.outages import Outages, was_not_sent
from fullstory_async.jobs.report import ProgressReporter
from fullstory_async.jobs.storage.store import JobStore
from fullstory_async.jobs.storage.tasks import JobTask
from fullstory_async.stop_rule import StopRule

__all__ = ["STORAGE_PATIENCE", "RunState", "reconnect_backoff"]

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
STORAGE_PATIENCE = 60.0
"""Seconds for which a run waits for a disk, a ledger or another program's lock; then it ends."""

_STOPS = frozenset({Scope.KEY, Scope.BUDGET, Scope.RATE, Scope.STORAGE})
"""Failures that end a run: every further call would fail as well."""


def reconnect_backoff() -> Backoff:
    """Return the pauses after which a call that could not be sent is made again."""
    return Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)


@attrs.define
class RunState:
    """What the calls of one run share: they write it, and the runner reads it."""

    store: JobStore
    api: ApiContext
    progress: ProgressReporter
    max_wait: float
    network_patience: float
    """Seconds without any connection, or with a failing service, after which the run ends."""

    outages: Outages = attrs.field(init=False)
    rule: StopRule = attrs.field(factory=lambda: StopRule(_STOPS), init=False)
    failed: Counter[str] = attrs.field(factory=Counter, init=False)
    """Number of failed calls by the name of their error."""
    dropped: int = attrs.field(default=0, init=False)
    """Number of calls that may have been charged and have no result on disk."""
    disk_failed_since: float = attrs.field(default=math.inf, init=False)
    """The loop time of the first failure of a local file, if none has worked since."""
    budget: ByteBudget = attrs.field(factory=ByteBudget, init=False)
    """The bytes of the responses in flight."""
    settled: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    """Set when the next call is settled."""

    def __attrs_post_init__(self) -> None:
        self.outages = Outages(self.network_patience)

    async def open_call(self) -> OpenCall:
        """Wait until the response of one more call has room in memory and on a full disk.

        Raises:
            JobStorageError: the disk has no room for a single one.
        """
        budget, store = self.budget, self.store
        while True:
            changed = budget.changed
            await self._ask_for_room(min(budget.needed, MAX_BYTES))
            if budget.is_idle:
                await self._ask_for_room(budget.needed)
                if store.writer.room.size < budget.needed:
                    raise store.writer.disk_full()
            if budget.allows(store.writer.room.size, store.writer.room.disk_free):
                return budget.open()
            await changed.wait()

    async def _ask_for_room(self, wanted: float) -> None:
        if wanted > max(self.budget.asked, self.store.writer.room.size):
            self.budget.asked = wanted
            await self.store.writer.grow_room(wanted)
            self.budget.notify()

    def notify_settled(self) -> None:
        """Wake the calls that wait for activations that others have reserved."""
        self.settled.set()
        self.settled = asyncio.Event()

    def can_wait(self, error: FullStoryError) -> bool:
        """Return whether a call could not be sent, and the network or the disk may still recover in time."""
        if isinstance(error, StorageError) and not error.may_have_cost:
            return self.can_wait_for_disk(error) and not self.store.writer.room.is_used
        if not self.outages.can_wait(error):
            return False
        self.progress.report_waiting(error)
        return self.progress.failure is None

    def can_wait_for_disk(self, error: StorageError) -> bool:
        """Return whether the disk may still recover in time."""
        now = asyncio.get_running_loop().time()
        self.disk_failed_since = min(self.disk_failed_since, now)
        if error.permanent or now - self.disk_failed_since >= STORAGE_PATIENCE:
            return False
        self.progress.report_waiting(error)
        return self.progress.failure is None

    async def wait_until_saved(self, error: JobStorageError) -> bool:
        """Wait until the disk takes the responses that are held; return False if it doesn't in time."""
        backoff = reconnect_backoff()
        while self.can_wait_for_disk(error):
            await backoff.sleep()
            try:
                await self.store.flush()
            except JobStorageError as again:
                error = again
            else:
                return True
        return False

    def record_failure(self, task: JobTask, error: FullStoryError) -> None:
        """Record what a failure says about service and network; end the run where they are given up."""
        self.progress.last_error = f"{type(error).__name__} at {task.session_id}: {error.message}"
        if self.outages.record_failure(error):
            self.rule.end(error)
        elif self.outages.breaker.is_open and not was_not_sent(error):
            self.progress.last_error = f"{type(error).__name__}: {error.message}; waiting for the service"
