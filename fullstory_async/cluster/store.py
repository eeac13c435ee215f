"""PostgresStore: one rate limit, one budget and one set of answers in Postgres, for many machines."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Callable, Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self, Unpack

import attrs

from fullstory_async import validators
from fullstory_async.client import FullStoryClient
from fullstory_async.cluster import budget_rows
from fullstory_async.cluster.adding import add_sessions, fetch_input_columns
from fullstory_async.cluster.answers import Settlements
from fullstory_async.cluster.claims import Claims
from fullstory_async.cluster.owner import OwnerCheck
from fullstory_async.cluster.postgres import Postgres
from fullstory_async.cluster.postgres_ledger import PostgresLedger
from fullstory_async.cluster.postgres_limiter import PostgresRateLimiter
from fullstory_async.cluster.store_call import events_call, raw_call
from fullstory_async.cluster.store_records import StoreRecords
from fullstory_async.cluster.store_run import Fetching, StoreRun, outages_of
from fullstory_async.cluster.stored import AddedSessions, StoreStatus
from fullstory_async.concurrency import shielded
from fullstory_async.config import ClientConfig
from fullstory_async.errors import (
    ClientStateError,
    ConfigurationError,
    InvalidSessionId,
    StorageError,
)
from fullstory_async.fanout import FanOut
from fullstory_async.files.private_database import FINISH_SECONDS
from fullstory_async.ids.inputs import SessionInput
from fullstory_async.jobs.export import ExportOptions, export_in_thread
from fullstory_async.jobs.outages import Outages
from fullstory_async.jobs.storage.schema import replace_surrogates
from fullstory_async.models import RefOrRow, SessionEvents, SessionRef, session_id_of, text_of
from fullstory_async.privacy import hide_arguments
from fullstory_async.secret import Secret

__all__ = ["PostgresStore"]

_CONCURRENCY = 32
_NETWORK_PATIENCE = 60.0
_CONNECTIONS = 6


class PostgresStore:
    """The sessions, the answers and the budget that processes on any number of machines share.

    ::

        async with PostgresStore(dsn, config, budget="support-2026", max_activations=50_000) as store:
            async with FullStoryClient(config=config, limiter=store.limiter, ledger=store.ledger) as client:
                async with store.events_many(client, ids) as results:
                    async for outcome in results: ...

    A result that the store has is free. Every other session is paid for once, for all callers: a call for
    one that another process fetches waits for that result. A process that dies costs at most what it had
    sent.
    """

    config: ClientConfig
    """The settings, including those from the environment."""
    ledger: PostgresLedger
    """The budget, for clients whose single calls are to be counted in it."""

    @hide_arguments
    def __init__(
        self,
        dsn: str | Secret,
        config: ClientConfig,
        *,
        budget: str = "default",
        max_activations: int | None = None,
        monthly_cap: int | None = None,
        schema: str = "fullstory",
    ) -> None:
        """Name a store; nothing is connected before ``async with`` or `open`.

        Args:
            dsn: the database, as libpq takes it, such as ``postgresql://user:password@host/database``.
            config: the key, and the rate limit of all processes together.
            budget: the name of the budget. It has sessions and answers of its own.
            max_activations: the most activations that the budget may ever spend; ``None`` for no cap, or for
                the one that it has.
            monthly_cap: the most activations that the key may spend in a month, over all budgets.
            schema: the schema of the tables.

        Raises:
            ConfigurationError: a value can't be used.
        """
        if not isinstance(config, ClientConfig):
            raise ConfigurationError(f"config must be a ClientConfig, not {type(config).__name__}")
        if not (isinstance(budget, str) and budget and len(budget) <= 200 and budget.isprintable()):
            raise ConfigurationError("budget must be a name of up to 200 printable characters")
        self.config = config
        self._database = Postgres(dsn, schema=schema, connections=_CONNECTIONS)
        self.ledger = PostgresLedger(
            self._database, config.key_fingerprint, None, budget=budget, max_activations=max_activations,
            monthly_cap=monthly_cap,
        )  # fmt: skip
        self._limiter: PostgresRateLimiter | None = None
        self._budget_name = budget
        self._run: StoreRun | None = None

    @property
    def name(self) -> str:
        """The store with its place, for messages."""
        return f"the budget {self._budget_name} in {self._database.location}"

    @property
    def limiter(self) -> PostgresRateLimiter:
        """The rate limit of all processes, for clients. Raises `ConfigurationError` without a key."""
        if self._limiter is None:
            self._limiter = PostgresRateLimiter(self._database, self.config)
        return self._limiter

    async def open(self) -> Self:
        """Connect, and create or upgrade the tables if that is needed; nothing is done if it is open.

        Raises:
            ConfigurationError: the budget is of another organisation than the key, or the tables are of a
                later version.
            StorageError: the database can't be used.
        """
        if self._run is not None:
            return self
        await self._database.open()
        await self.ledger.open()
        budget = await budget_rows.open_budget(self._database, self._budget_name)
        owner = OwnerCheck(self._database, budget, self.config.key_fingerprint)
        if self.config.api_key:
            await owner.look_up()
        settlements = Settlements(self._database, budget.number, self.ledger)
        claims = Claims(self._database, budget, settlements)
        self._run = StoreRun(self.name, owner, claims, settlements)
        return self

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Save what is not saved yet, 30 seconds at most, and free what this process has claimed.

        Raises:
            StorageError: answers that were paid for could not be saved.
        """
        await shielded(self._close())

    async def _close(self) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        await run.claims.stop()
        left = await run.settlements.finish(FINISH_SECONDS)
        await run.claims.lease.end()
        await self._database.close()
        lost = [each for each in left if each.body is not None]
        if lost:
            spent = sum(each.spent for each in lost)
            error = StorageError(
                f"{len(lost)} results, for which {spent} activations were spent, could not be saved in "
                f"{self.name}; they are counted, and are paid for again when their sessions are requested"
            )
            error.may_have_cost = spent > 0
            raise error

    @hide_arguments
    def events_many(
        self,
        client: FullStoryClient,
        ids: Iterable[RefOrRow] | AsyncIterable[RefOrRow],
        *,
        concurrency: int | None = None,
        network_patience: float = _NETWORK_PATIENCE,
    ) -> FanOut[SessionEvents]:
        """Fetch the events of many sessions. Costs one activation each, unless the store has the answer.

        While Postgres is away, it waits and continues by itself.

        Args:
            client: makes the calls; of the same key as the store.
            ids: as for `SessionsAPI.events_many`.
            concurrency: the most calls that run at a time; 32 unless given.
            network_patience: seconds without any connection, or with a service that fails every call, after
                which it ends with their error; ``math.inf`` waits for ever.

        Returns:
            A `FanOut`: ``async with`` starts it, ``async for`` yields one `Outcome` per id.
        """
        fetching = self._fetching(client, outages_of(network_patience))
        workers = _CONCURRENCY if concurrency is None else concurrency
        return FanOut(ids, partial(events_call, fetching), concurrency=workers, rule=fetching.rule)

    @hide_arguments
    def raw_many(
        self,
        client: FullStoryClient,
        ids: Iterable[RefOrRow] | AsyncIterable[RefOrRow],
        *,
        concurrency: int | None = None,
        network_patience: float = _NETWORK_PATIENCE,
    ) -> FanOut[bytes]:
        """Fetch the events of many sessions as the JSON that came, which is checked, but not decoded.

        In all else the same as `events_many`.
        """
        workers = _CONCURRENCY if concurrency is None else concurrency
        return self.fetch_claimed(client, ids, concurrency=workers, outages=outages_of(network_patience))

    @hide_arguments
    def fetch_claimed(
        self, client: FullStoryClient, ids: Iterable[RefOrRow] | AsyncIterable[RefOrRow], *, concurrency: int,
        outages: Outages,
    ) -> FanOut[bytes]:  # fmt: skip
        """Do what `raw_many` does, for a worker, whose fan-outs share what they know of the service."""
        fetching = self._fetching(client, outages)
        return FanOut(ids, partial(raw_call, fetching), concurrency=concurrency, rule=fetching.rule)

    async def add(self, ids: Iterable[RefOrRow | SessionInput] | AsyncIterable[RefOrRow]) -> AddedSessions:
        """Add sessions to be fetched. Those that the store has already are left as they are.

        The text that an id came from, such as a replay URL, and the other columns of its row are kept and
        exported. They may be personal data; `purge` erases them too. A session keeps the first that it got.

        Args:
            ids: any iterable of session ids, listed sessions, texts, or rows of a table as mappings.

        Raises:
            ConfigurationError: no column has ids, or ids were rounded by another program.
            StorageError: the database can't be used; those before may have been added.
        """
        return await add_sessions(self._database, self._opened.owner.budget, ids)

    async def claim(self, limit: int) -> list[str]:
        """Claim up to ``limit`` pending sessions for this process, in the order in which they were added.

        Fetch them with `events_many` or `raw_many`. Those that failed temporarily come last, after a pause.
        """
        validators.positive_integer(limit, "limit")
        return await self._opened.claims.claim(limit)

    def release(self, session_ids: Iterable[str]) -> None:
        """Free sessions that `claim` returned and that were not fetched; `close` does that too."""
        self._opened.claims.release_held(session_ids)

    async def status(self) -> StoreStatus:
        """Count the sessions and the activations."""
        figures = await budget_rows.fetch_figures(self._database, self._opened.owner.budget)
        return StoreStatus(**{**attrs.asdict(await self.ledger.status()), **figures})

    async def count_left(self, most: int) -> int:
        """Count the sessions to fetch, those included that are due to be tried again; ``most`` at most."""
        return await budget_rows.count_left(self._database, self._opened.owner.budget, most)

    async def purge(self, session_id: SessionRef) -> bool:
        """Erase a session from every budget of the schema, as an erasure request demands.

        It is never fetched again. A call for it that is in flight is counted, and its answer is not kept.
        Exports that were made before are not changed. Returns whether any budget had it.
        """
        try:
            name = str(session_id_of(session_id))
        except InvalidSessionId:
            name = replace_surrogates(text_of(session_id))
        _ = self._opened
        return await budget_rows.purge(self._database, name)

    async def export(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        progress: Callable[[int], object] | None = None,
        **options: Unpack[ExportOptions],
    ) -> list[Path]:
        """Write the budget's answers and failures to files: the tables, formats and options of `Job.export`.

        Args:
            path: as there.
            progress: called with the number of sessions written so far.
            options: as there.

        Returns:
            The files, or the folder.

        Raises:
            ConfigurationError: as there.
            StorageError: the database can't be read, or a file can't be written.
        """
        budget = self._opened.owner.budget
        source = StoreRecords(self._database, budget, await fetch_input_columns(self._database, budget))
        return await export_in_thread(source, path, progress=progress, **options)

    def _fetching(self, client: FullStoryClient, outages: Outages) -> Fetching:
        return Fetching.of(self._opened, client, self.ledger, self.config.key_fingerprint, outages=outages)

    @property
    def _opened(self) -> StoreRun:
        if self._run is None:
            raise ClientStateError("the store is not open: use 'async with PostgresStore(…) as store:'")
        return self._run

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a PostgresStore owns connections: pickle its arguments, and make one in each process"
        )

    def __enter__(self) -> None:
        raise TypeError("PostgresStore is asynchronous: use 'async with'")

    def __exit__(self, *_: object) -> None: ...

    def __repr__(self) -> str:
        if not hasattr(self, "_run"):  # its making was refused, and a traceback shows it
            return "PostgresStore(not made)"
        return f"PostgresStore({self._database!r}, budget={self._budget_name!r})"
