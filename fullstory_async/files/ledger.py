"""ActivationLedger: what a key has spent this month, over all clients and jobs of this machine that share a file.

FullStory meters by the month and publishes no way to ask how much is left, so whoever wants a cap has to count. An
activation is written down before its request leaves, and taken back if the request never left or was refused for
free (401, 429). So a process that dies can only have counted too much. The month is the calendar's, in UTC; when an
account's month begins is not documented.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import attrs

from fullstory_async.concurrency import shielded
from fullstory_async.errors import ActivationBudgetError, ConfigurationError
from fullstory_async.files.private_database import PrivateDatabase

__all__ = ["ActivationLedger", "LedgerAccount"]

_SCHEMA = (
    (
        "CREATE TABLE spent (key TEXT NOT NULL, month TEXT NOT NULL, activations INTEGER NOT NULL, PRIMARY KEY (key, month)) "
        "WITHOUT ROWID"
    ),
)


class ActivationLedger:
    """A file of what was spent, for ``FullStoryClient(ledger=ActivationLedger(path, monthly_cap=1000))``."""

    path: Path
    """The file."""
    monthly_cap: int | None
    """The most that a key may spend in a month; ``None`` only counts."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        monthly_cap: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Name a file; it is made when it is first used.

        Args:
            path: the file. ``~`` is the home directory.
            monthly_cap: metered calls beyond it raise `ActivationBudgetError`, and nothing is sent.
            clock: returns seconds since 1970.

        Raises:
            ConfigurationError: ``path`` is no path, or ``monthly_cap`` no whole number.
        """
        if not isinstance(path, (str, os.PathLike)) or not str(path):
            raise ConfigurationError(f"the ledger's path must be a file's path, not {path!r}")
        if monthly_cap is not None and (
            isinstance(monthly_cap, bool) or not isinstance(monthly_cap, int) or monthly_cap < 0
        ):
            raise ConfigurationError(f"monthly_cap must be a whole number, 0 or more, not {monthly_cap!r}")
        self.path = Path(path).expanduser().absolute()
        self.monthly_cap = monthly_cap
        self._clock = clock
        self._file = PrivateDatabase(
            path=self.path, what="activation ledger", application_id=0x46534C47, version=1, schema=_SCHEMA
        )

    async def spent(self, key_fingerprint: str) -> int:
        """Return what a key has spent this month; `ClientConfig.key_fingerprint` names it.

        Raises:
            ConfigurationError, StorageError: the file can't be read.
        """
        return await asyncio.to_thread(self._spent, key_fingerprint)

    async def add(self, key_fingerprint: str, activations: int, *, month: str | None = None) -> str:
        """Count activations of a key, fewer than none for what is taken back; return the month that they count in.

        Args:
            key_fingerprint: whose.
            activations: how many.
            month: such as ``2026-11``; the present one unless given. What is taken back belongs to the month it was counted in.

        Raises:
            ActivationBudgetError: that would pass the cap; nothing was counted.
            ConfigurationError, StorageError: the file can't be written.
        """
        return await asyncio.to_thread(self._add, key_fingerprint, activations, month or self._month())

    def _month(self) -> str:
        return time.strftime("%Y-%m", time.gmtime(self._clock()))

    def _spent(self, key: str) -> int:
        with self._file.transaction() as database:
            query = "SELECT activations FROM spent WHERE key = ? AND month = ?"
            found = database.execute(query, (key, self._month())).fetchone()
        return 0 if found is None else int(found[0])

    def _add(self, key: str, activations: int, month: str) -> str:
        where = (key, month)
        with self._file.transaction(immediate=True) as database:
            query = "SELECT activations FROM spent WHERE key = ? AND month = ?"
            found = database.execute(query, where).fetchone()
            before = 0 if found is None else found[0]
            if activations > 0 and self.monthly_cap is not None and before + activations > self.monthly_cap:
                raise ActivationBudgetError(
                    f"the month's cap of {self.monthly_cap} activations is reached: {before} are spent; "
                    f"raise the cap (monthly_cap, --monthly-cap), or wait for the next month ({self.path})"
                )
            database.execute("REPLACE INTO spent VALUES (?, ?, ?)", (*where, max(0, before + activations)))
        return month


@attrs.frozen
class LedgerAccount:
    """One key's part of a ledger, as a `Meter` of the pipeline; a reservation is the month that it counts in."""

    ledger: ActivationLedger
    key_fingerprint: str = attrs.field(repr=False)

    async def reserve(self) -> str:
        """Count one activation; return the month. Raises `ActivationBudgetError` if that would pass the cap."""
        counting = asyncio.ensure_future(self.ledger.add(self.key_fingerprint, 1))
        try:
            return await shielded(counting)
        except asyncio.CancelledError:
            if counting.exception() is None:
                await self.release(counting.result())
            raise

    async def release(self, month: str) -> None:
        """Uncount it."""
        await self.ledger.add(self.key_fingerprint, -1, month=month)
