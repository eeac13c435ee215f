"""Job: a folder that keeps a bulk job's ids, responses and activations, whatever happens to the process."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from fullstory_async import validators
from fullstory_async.client import FullStoryClient
from fullstory_async.concurrency import shielded
from fullstory_async.errors import ClientStateError, ConfigurationError, InvalidSessionId
from fullstory_async.files.file_system import PRIVATE_FOLDER, make_private, warn_of_no_permissions
from fullstory_async.ids.inputs import SessionInput
from fullstory_async.ids.source import IdSource
from fullstory_async.jobs.added import Added, Batch, iterate
from fullstory_async.jobs.exporting import ExportingJob
from fullstory_async.jobs.plan import JobEstimate, JobPlan, estimate_within_budget
from fullstory_async.jobs.reader import JobReader
from fullstory_async.jobs.report import JobProgress, JobReport, StopReason
from fullstory_async.jobs.runner import Runner
from fullstory_async.jobs.storage.backup import back_up_in_thread
from fullstory_async.jobs.storage.lock import LOCK_NAME, JobLock
from fullstory_async.jobs.storage.records import JobFailure, JobResult
from fullstory_async.jobs.storage.rescue import check_rescue_path
from fullstory_async.jobs.storage.schema import absolute_folder, as_job_error, replace_surrogates
from fullstory_async.jobs.storage.state import Counts
from fullstory_async.jobs.storage.statements import select_known
from fullstory_async.jobs.storage.store import JobStore
from fullstory_async.models import RefOrRow, SessionRef, session_id_of, text_of
from fullstory_async.threads import GRACE, WorkerThread

__all__ = ["Job"]

_BATCH = 1000
Input = RefOrRow | SessionInput
"""A session, or a row of a table that names one; a `SessionInput` has both already."""
NETWORK_PATIENCE = 60.0
_logger = logging.getLogger("fullstory_async.jobs")


class Job(ExportingJob):
    """A durable bulk job, opened by ``async with Job.open(folder, client=client, plan=plan) as job:``."""

    folder: Path
    """The job folder."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        client: FullStoryClient | None = None,
        plan: JobPlan | None = None,
        accept_loss: bool = False,
        rescue_file: str | os.PathLike[str] | None = None,
    ) -> None:
        """Prepare a job; the same as `open`."""
        if not isinstance(client, FullStoryClient | None):
            raise ConfigurationError(f"client must be a FullStoryClient, not {client!r:.60}")
        if not isinstance(plan, JobPlan | None):
            raise ConfigurationError(f"plan must be a JobPlan, not {plan!r:.60}")
        self.folder = absolute_folder(folder)
        self._thread = WorkerThread(f"the job {self.folder}")
        self._client, self._requested_plan, self._accept_loss = client, plan, accept_loss
        self._rescue = None if rescue_file is None else absolute_folder(rescue_file)
        self._store: JobStore | None = None
        self._lock: JobLock | None = None
        self._runner: Runner | None = None
        self._stop_requested, self._may_stop_early = False, True

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        *,
        client: FullStoryClient | None = None,
        plan: JobPlan | None = None,
        accept_loss: bool = False,
        rescue_file: str | os.PathLike[str] | None = None,
    ) -> Job:
        """Prepare a job, which ``async with`` opens, or creates if the folder has none.

        Args:
            folder: the job folder; created if it does not exist, readable only by its owner.
            client: makes the calls; the job does not close it. Only `run` and `estimate` need one.
            plan: what the job fetches for each session. An existing job keeps its plan; another one may only
                add operations, or change ``max_activations``.
            accept_loss: open a job whose file lacks commits. All that may have been spent in them counts.
            rescue_file: where paid results are written that the job's file can't take, until the next run; by
                default ``FOLDER.rescue``, beside the folder. Name one on another disk; jobs may share it.

        Raises (from ``async with``):
            JobLockedError: another process runs the job; the message names it.
            JobIncompleteError: the file lacks commits: its log was lost or damaged, or not copied.
            JobError: the folder holds something else, a job of a later format, or another plan.
            ConfigurationError: ``rescue_file`` is a folder, or is in one that doesn't exist.
        """
        return cls(folder, client=client, plan=plan, accept_loss=accept_loss, rescue_file=rescue_file)

    async def __aenter__(self) -> Self:
        if self._store is not None:
            raise ClientStateError("this job is open already")
        self._may_stop_early = True
        try:
            await self._thread.run(self._open)
        except asyncio.CancelledError:
            # behind the opening, which can't be stopped
            self._thread.run_last(self._close_files)
            await self._thread.finish(GRACE)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # to the end, or the folder would stay locked
        await shielded(self._close())

    async def _close(self) -> None:
        try:
            # calls in flight are dropped, and counted as spent
            if self._runner is not None:
                self._runner.stop(at_once=True)
                await self._run_ended.wait()
        finally:
            self._thread.run_last(self._close_files)
            await self._thread.finish()

    def __enter__(self) -> None:
        raise TypeError("a Job is asynchronous: use 'async with'")

    def __exit__(self, *_: object) -> None: ...

    @property
    def plan(self) -> JobPlan:
        """What the job fetches for each session."""
        return self._opened.plan

    @property
    def input_complete(self) -> bool:
        """Whether the last `add` was completed; if the process died in it, add the same ids again."""
        return bool(self._opened.input_complete)

    @property
    def counts(self) -> Counts:
        """The numbers of items, responses and failures of the job, and what it has spent. A copy."""
        return attrs.evolve(self._opened.counts)

    async def add(self, ids: Iterable[Input] | AsyncIterable[Input]) -> Added:
        """Add sessions. Ids that the job has already are left as they are; each batch is saved as it comes.

        The job keeps the text that an id came from, and the other columns of its row; of several rows with
        one id, those of the first.

        Args:
            ids: any iterable of session ids, listed sessions, texts, or rows of a table as mappings.

        Raises:
            ConfigurationError: no column has ids, or ids were rounded by another program.
        """
        source, given, new, unusable = IdSource(ids, keeps_inputs=True), 0, 0, 0
        batch = Batch(source.alike)
        source.start()
        await self._opened.mark_input(complete=False)
        async for ref in iterate(source):
            given += 1
            unusable += not batch.append(ref)
            if len(batch) >= _BATCH:
                new += await self._opened.add(batch.items, batch.names)
                batch = Batch(source.alike)
        new += await self._opened.add(batch.items, batch.names)
        await self._opened.mark_input(complete=True)
        alike = source.alike.pairs(await self._known(source.alike.usual_forms))
        if alike:
            text = (
                "ids that differ only in leading zeros or in case are fetched separately, such as %s and %s"
            )
            _logger.warning(text, *alike[0])
        return Added(
            new=new, duplicates=given - new, unusable=unusable, without_id=source.without_id, alike=alike
        )

    def estimate(self, *, retry_failed: bool = False) -> JobEstimate:
        """Estimate the calls, activations and time that `run` would take with the same ``retry_failed``."""
        store, rate = self._opened, self._caller.limiter.rate
        counts = store.counts
        operations = len(store.plan.operations)
        skipped = counts.unusable * operations if retry_failed else counts.permanent
        calls = counts.items * operations - counts.answered - skipped
        charges = self._caller.config.retry.max_charges_per_call
        return estimate_within_budget(store.plan, counts.items, calls, counts.spent, rate, charges)

    async def run(
        self,
        *,
        progress: Callable[[JobProgress], None] | None = None,
        concurrency: int = 32,
        retry_failed: bool = False,
        network_patience: float = NETWORK_PATIENCE,
    ) -> JobReport:
        """Make the calls that are left. Run it again, in another process too, until nothing is left.

        Args:
            progress: called at the start and after each call, in the event loop; it must return quickly.
            concurrency: the largest number of concurrent calls.
            retry_failed: retry permanent failures: unknown sessions, rejected parameters, responses that
                can't be decoded.
            network_patience: seconds without any connection, or with a service that fails every call, after
                which the run ends. Until then it waits, and continues by itself.

        Returns:
            Why the run ended, and the state of the job.
        """
        validators.positive_integer(concurrency, "concurrency")
        if not (validators.is_number(network_patience) and network_patience >= 0):
            raise ConfigurationError(
                f"network_patience must be a number of seconds, not {network_patience!r}"
            )
        if self._runner is not None:
            raise ClientStateError("this job is being run already")
        store, api = self._opened, self._caller.api
        api.pipeline.check()
        self._runner = Runner(
            store=store, api=api, folder=self.folder, concurrency=concurrency,
            max_wait=self._caller.config.max_wait, network_patience=network_patience,
            retry_failed=retry_failed, progress=progress,
        )  # fmt: skip
        if self._stop_requested:
            self._runner.stop()
        self._run_ended = asyncio.Event()
        try:
            return await self._runner.run()
        finally:
            self._runner, self._stop_requested, self._may_stop_early = None, False, False
            self._run_ended.set()

    def stop(self, *, at_once: bool = False) -> None:
        """End the run: start no more calls. Those that were sent have 5 seconds to finish, or none.

        For a signal handler: the first signal stops, the second stops ``at_once``. A stop before the first
        run of this opening is not lost: that run ends before its first call. After a run there is nothing
        to stop, so a program that runs the job again has to check itself for signals that came in between.
        """
        if self._runner is not None:
            self._runner.stop(StopReason.INTERRUPTED, at_once=at_once)
        elif self._may_stop_early:
            self._stop_requested = True

    def results(self) -> AsyncIterator[JobResult]:
        """Yield every session with its responses and failures, in the order in which the ids were added."""
        return JobReader(self.folder).results()

    def failures(self) -> AsyncIterator[JobFailure]:
        """Yield every failure, in the order in which the ids were added."""
        return JobReader(self.folder).failures()

    async def backup(self, target: str | os.PathLike[str]) -> Path:
        """Copy the job to ``target``, a new folder, also while it runs; return the folder.

        See `JobReader.backup`.
        """
        return await back_up_in_thread(self.folder, target)

    async def purge(self, session_id: SessionRef) -> bool:
        """Erase a session from the job, as an erasure request demands, and never fetch it again.

        ``session_id`` may have any form. Returns whether the job had it. A call for it that is in flight is
        counted, and its response is not kept. What is in the rescue file of it is erased too. Exports that
        were made before are not changed.
        """
        try:
            name = str(session_id_of(session_id))
        except InvalidSessionId:
            name = replace_surrogates(text_of(session_id))  # the job may hold it all the same, as a failure
        return await self._opened.purge(name)

    async def _known(self, session_ids: list[str]) -> set[str]:
        return await self._opened.writer.run(lambda database: select_known(database, session_ids))

    @property
    def _caller(self) -> FullStoryClient:
        if self._client is None:
            raise ClientStateError("this needs a client: Job.open(folder, client=client)")
        return self._client

    @property
    def _opened(self) -> JobStore:
        if self._store is None:
            raise ClientStateError("the job is not open: use 'async with Job.open(…) as job:'")
        return self._store

    def _close_files(self) -> None:
        store, self._store = self._store, None
        try:
            # In a forked child, it would mark a file as complete that its parent still writes.
            if store is not None and not store.writer.is_inherited:
                store.close()
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def _open(self) -> None:
        if self._rescue is not None:
            check_rescue_path(self._rescue)
        try:
            self.folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            if not make_private(self.folder, PRIVATE_FOLDER):
                warn_of_no_permissions(self.folder)
            lock = JobLock(self.folder / LOCK_NAME)
        except OSError as error:
            raise as_job_error(self.folder, error) from None
        try:
            self._store = JobStore(
                self.folder, self._requested_plan, accept_loss=self._accept_loss, rescue=self._rescue
            )
        except BaseException:
            lock.release()
            raise
        self._lock = lock
