"""ActivationLedger: counts and caps the activations of a key in a month.

All clients and jobs that share a file are counted together. FullStory meters by the month and publishes no
way to query the rest, so a cap needs a count of our own. An activation is reserved in the file before its
request is sent. It is released if the request was never sent, or was rejected free of charge (401, 429). So a
process that dies can only have counted too much. The month is the calendar month in UTC; FullStory doesn't
document when an account's month begins.

Each count is stored twice, in two tables and so on two pages of the file, with checksums. Where one of both
is damaged or missing, the other one counts, and the next write repairs both. Where none is intact, nothing
more is spent: a damaged file never makes the count go down.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from fullstory_async import validators
from fullstory_async.amounts import counted
from fullstory_async.errors import ActivationBudgetError, ConfigurationError, FullStoryError, StorageError
from fullstory_async.files.checksums import checksum, is_intact
from fullstory_async.files.private_database import FINISH_SECONDS, PrivateDatabase
from fullstory_async.threads import WorkerThread

__all__ = ["ActivationLedger", "LedgerAccount", "LedgerReservation"]

_logger = logging.getLogger("fullstory_async.files")

_TABLES = ("spent", "spent_copy")
_SCHEMA = tuple(
    f"CREATE TABLE {table} (key TEXT NOT NULL, month TEXT NOT NULL, activations INTEGER NOT NULL, "
    "checksum BLOB, PRIMARY KEY (key, month)) WITHOUT ROWID"
    for table in _TABLES
)
_UPGRADES = (
    (
        "ALTER TABLE spent ADD COLUMN checksum BLOB",
        _SCHEMA[1],
        "INSERT INTO spent_copy SELECT * FROM spent",
    ),
)


@attrs.define(eq=False)
class LedgerReservation:
    """One activation that is counted before it is spent."""

    key: str = attrs.field(repr=False)
    month: str | None = None
    """The month in which it counts, written in the ledger's thread; ``None`` while it isn't counted."""


class ActivationLedger:
    """Counts the activations of a month in a file, and caps them.

    Usage: ``FullStoryClient(ledger=ActivationLedger(path, monthly_cap=1000))``.
    """

    path: Path
    """The file."""
    monthly_cap: int | None
    """The most activations of a key in a month; ``None`` counts without a limit."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        monthly_cap: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Name a file. It is created when it is first used.

        Args:
            path: the file. ``~`` is the home directory.
            monthly_cap: metered calls beyond it raise `ActivationBudgetError`, and nothing is sent.
            clock: returns seconds since 1970.

        Raises:
            ConfigurationError: ``path`` can't be a file's path, or ``monthly_cap`` isn't an integer of at
                least 0.
        """
        self.path = validators.file_path(path, "the ledger's path")
        if monthly_cap is not None and (
            isinstance(monthly_cap, bool) or not isinstance(monthly_cap, int) or monthly_cap < 0
        ):
            raise ConfigurationError(f"monthly_cap must be a whole number, 0 or more, not {monthly_cap!r}")
        self.monthly_cap = monthly_cap
        self._clock = clock
        self._file = PrivateDatabase(
            path=self.path, what="activation ledger", application_id=0x46534C47, version=2, schema=_SCHEMA,
            upgrades=_UPGRADES, must_stay=True,
        )  # fmt: skip
        self._thread = WorkerThread(self.name)

    @property
    def name(self) -> str:
        """The ledger with its path, for messages."""
        return f"the activation ledger {self.path}"

    async def spent(self, key_fingerprint: str) -> int:
        """Return the activations of a key this month: spent, those at risk included, or reserved.

        Args:
            key_fingerprint: the key, see `ClientConfig.key_fingerprint`.

        Raises:
            ConfigurationError, StorageError: the file can't be read.
        """
        return await self._thread.run(self._spent, key_fingerprint)

    async def add(self, key_fingerprint: str, activations: int, *, month: str | None = None) -> str:
        """Count activations of a key; return the month in which they count.

        Args:
            key_fingerprint: the key.
            activations: how many; a negative number releases them.
            month: such as ``2026-11``, the current one by default. A release belongs to the month of its
                reservation.

        Raises:
            ActivationBudgetError: the cap would be exceeded; nothing was counted.
            ConfigurationError, StorageError: the file can't be written.
        """
        return await self._thread.run(self._add, key_fingerprint, activations, month)

    async def raise_to(self, key_fingerprint: str, activations: int, *, month: str) -> int:
        """Raise the count of a key in a month, such as ``2026-11``, to a minimum; return what it was.

        The cap does not matter: they are spent. ``key_fingerprint`` is `ClientConfig.key_fingerprint`.

        Raises:
            ConfigurationError, StorageError: the file can't be written.
        """
        return await self._thread.run(self._raise_to, key_fingerprint, activations, month)

    async def reserve(self, key_fingerprint: str) -> LedgerReservation:
        """Count one activation of a key, before it is spent.

        A cancellation returns at once. If the activation is counted all the same, it is then released.
        ``key_fingerprint`` is `ClientConfig.key_fingerprint`.

        Raises:
            ActivationBudgetError: the cap would be exceeded.
            ConfigurationError, StorageError: the file can't be written.
        """
        reservation = LedgerReservation(key_fingerprint)
        try:
            await self._thread.run(self._reserve, reservation)
        except (asyncio.CancelledError, GeneratorExit):  # the latter where its loop was closed
            # behind the counting, which can't be stopped if it has begun
            self.release(reservation)
            raise
        return reservation

    def release(self, reservation: LedgerReservation) -> None:
        """Uncount the activation of a ``reservation`` that was not spent, in the background.

        A failure is logged.
        """
        try:
            self._thread.run_later(self._release, reservation)
        except StorageError as error:
            _log_unreleased(error)

    async def finish(self) -> None:
        """Wait until everything that was to be counted or released is in the file, 30 seconds at most."""
        if not await self._thread.finish(FINISH_SECONDS):
            _logger.warning("activations that were not spent may stay counted: %s is busy", self.name)

    @property
    def month(self) -> str:
        """The current month, such as ``2026-11``."""
        return time.strftime("%Y-%m", time.gmtime(self._clock()))

    def _spent(self, key: str) -> int:
        with self._file.transaction() as database:
            return self._count(database, key, self.month)

    def _reserve(self, reservation: LedgerReservation) -> None:
        reservation.month = self._add(reservation.key, 1, None)

    def _release(self, reservation: LedgerReservation) -> None:
        if reservation.month is None:
            return
        try:
            self._add(reservation.key, -1, reservation.month)
        except FullStoryError as error:
            _log_unreleased(error)

    def _add(self, key: str, activations: int, month: str | None) -> str:
        with self._file.transaction(immediate=True) as database:
            month = month or self.month  # here: the transaction may have waited for another process
            before = self._count(database, key, month)
            if activations > 0 and self.monthly_cap is not None and before + activations > self.monthly_cap:
                cap = counted(self.monthly_cap, "activation")
                raise ActivationBudgetError(
                    f"the month's cap of {cap} is reached: {before} are spent or reserved in "
                    f"{self.name}, by all programs that use it; raise the cap (monthly_cap, "
                    "--monthly-cap), or wait for the next month"
                )
            # Never below 0, even if the file was replaced between a reservation and its release.
            _write(database, key, month, max(0, before + activations))
        return month

    def _raise_to(self, key: str, activations: int, month: str) -> int:
        with self._file.transaction(immediate=True) as database:
            counted = self._count(database, key, month)
            if counted < activations:
                _write(database, key, month, activations)
        return counted

    def _count(self, database: sqlite3.Connection, key: str, month: str) -> int:
        """Return the activations of a key in a month.

        Raises:
            StorageError: they can't be known: the rows that count them are damaged, or may be.
        """
        rows = [_rows(database, table, "WHERE key = ? AND month = ?", (key, month)) for table in _TABLES]
        intact = [activations for found in rows for activations in found if activations is not None]
        if intact:
            if len(intact) < len(_TABLES):
                _logger.warning("a count of the activation ledger %s is damaged; its copy is used", self.path)
            return max(intact)
        # Without a row nothing was spent, unless both are among those that can't be recognised any more.
        if all(None in _rows(database, table) for table in _TABLES):
            damaged = StorageError(
                f"the activation ledger {self.path} is damaged, and its count of this month can't be known, "
                "so nothing more is spent: name another file, and lower its monthly cap by what was spent"
            )
            damaged.permanent = True
            raise damaged
        return 0


def _write(database: sqlite3.Connection, key: str, month: str, activations: int) -> None:
    row = (key, month, activations)
    for table in _TABLES:
        query = f"REPLACE INTO {table} VALUES (?, ?, ?, ?)"  # noqa: S608  (one of two)
        database.execute(query, (*row, checksum(*row)))


def _rows(
    database: sqlite3.Connection, table: str, where: str = "", values: tuple[str, ...] = ()
) -> list[int | None]:
    """Return the counts of a table's rows; ``None`` for each that is damaged."""
    query = f"SELECT key, month, activations, checksum FROM {table} {where}"  # noqa: S608  (one of two)
    return [
        row[2] if type(row[2]) is int and row[2] >= 0 and is_intact(row[3], *row[:3]) else None
        for row in database.execute(query, values)
    ]


@attrs.frozen
class LedgerAccount:
    """The `Meter` of one key."""

    ledger: ActivationLedger
    key_fingerprint: str = attrs.field(repr=False)

    @property
    def name(self) -> str:
        """The ledger with its path, for messages."""
        return self.ledger.name

    async def reserve(self) -> LedgerReservation:
        """Count one activation.

        Raises:
            ActivationBudgetError: the cap would be exceeded.
        """
        return await self.ledger.reserve(self.key_fingerprint)

    def release(self, reservation: LedgerReservation) -> None:
        """Uncount an activation that was not spent, without waiting for it."""
        self.ledger.release(reservation)


def _log_unreleased(error: FullStoryError) -> None:
    _logger.warning("an activation that was not spent stays counted: %s", error)
