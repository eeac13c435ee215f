"""Budget: the rows of one budget and one key in Postgres, and the statements on them.

Each method runs in a transaction of its caller, so that whatever else the transaction changes is counted with
it or not at all.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import attrs
from psycopg import AsyncConnection

from fullstory_async.cluster.migrations import statement
from fullstory_async.errors import ActivationBudgetError, ConfigurationError, StorageError
from fullstory_async.json_ready import JsonReady

__all__ = ["Budget", "Grant", "LedgerStatus"]

_logger = logging.getLogger("fullstory_async.cluster")

_CAPS = {
    "max_activations": (
        "SELECT max_activations FROM {schema}.budgets WHERE name = %s FOR UPDATE",
        "UPDATE {schema}.budgets SET max_activations = %s WHERE name = %s",
    ),
    "monthly_cap": (
        "SELECT monthly_cap FROM {schema}.keys WHERE key = %s FOR UPDATE",
        "UPDATE {schema}.keys SET monthly_cap = %s WHERE key = %s",
    ),
}
"""Option → the statements that read and write its stored number."""

_Connection = AsyncConnection[tuple[Any, ...]]


@attrs.frozen
class Grant:
    """Activations that were reserved together."""

    activations: int
    """How many: as many as were asked for, or fewer where a cap is reached."""
    month: str
    """The month in which they count, such as ``2026-11``; a release needs it."""
    clock: datetime
    """The server's time."""


@attrs.frozen
class LedgerStatus(JsonReady):
    """What a budget and a key have spent, over all machines."""

    budget: str
    """The budget's name."""
    organisation: str | None
    """The organisation that the budget belongs to, once it is known."""
    spent: int
    """Activations of the budget: spent, those at risk included, or reserved."""
    max_activations: int | None
    """The most that the budget may spend; ``None`` counts without a limit."""
    month: str
    """The month in UTC by the server's clock, such as ``2026-11``."""
    month_spent: int
    """Activations of the key in that month, in all budgets of the database."""
    monthly_cap: int | None
    """The most that the key may spend in a month; ``None`` counts without a limit."""


@attrs.frozen
class Budget:
    """One budget, and one key that spends it."""

    schema: str
    location: str
    """The database, for messages."""
    name: str
    key: str = attrs.field(repr=False)
    """The key's fingerprint."""

    async def prepare(
        self, connection: _Connection, *, max_activations: int | None, monthly_cap: int | None
    ) -> None:
        """Create the rows that are missing, and set the caps that are given."""
        await self._run(
            connection, "INSERT INTO {schema}.budgets (name) VALUES (%s) ON CONFLICT DO NOTHING", self.name
        )
        await self._run(
            connection, "INSERT INTO {schema}.keys (key) VALUES (%s) ON CONFLICT DO NOTHING", self.key
        )
        for option, owner, cap in (
            ("max_activations", self.name, max_activations),
            ("monthly_cap", self.key, monthly_cap),
        ):
            if cap is not None:
                await self._set_cap(connection, option, owner, cap)

    async def assign(self, connection: _Connection, organisation: str) -> None:
        """Note the organisation that the budget belongs to.

        Raises:
            ConfigurationError: it belongs to another one.
        """
        row = await self._run(
            connection,
            "UPDATE {schema}.budgets SET organisation = coalesce(organisation, %s) WHERE name = %s "
            "RETURNING organisation",
            organisation, self.name,
        )  # fmt: skip
        if row is not None and row[0] != organisation:
            raise ConfigurationError(
                f"the budget {self.name!r} in {self.location} is of the organisation {row[0]}, the key of "
                f"{organisation}: give each organisation a schema of its own"
            )

    async def reserve(
        self, connection: _Connection, activations: int, *, latest: datetime | None = None
    ) -> Grant:
        """Reserve activations, or as many of them as the caps allow.

        Args:
            connection: in a transaction.
            activations: how many, 1 or more.
            latest: the server's time after which it refuses.

        Raises:
            ActivationBudgetError: not a single one fits; nothing was counted.
            StorageError: the budget does not exist.
        """
        row = await self._run(
            connection,
            "SELECT granted, month_name, clock, budget_spent, budget_cap, month_spent, month_cap "
            "FROM {schema}.reserve(%s, %s, %s, %s)",
            self.name, self.key, activations, latest,
        )  # fmt: skip
        if row is None:
            error = StorageError(
                f"the budget {self.name!r} does not exist in {self.location}: it was not opened, or its row "
                "was deleted; restore it, or open a budget with another name"
            )
            error.permanent = True
            raise error
        granted, month, clock, spent, cap, month_spent, month_cap = row
        if granted:
            return Grant(granted, month, clock)
        if cap is not None and spent >= cap:
            raise ActivationBudgetError(
                f"the budget {self.name!r} of {cap} activations is used up: {spent} are spent or reserved in "
                f"{self.location}, by all machines that share it; raise it (max_activations, "
                "--max-activations)"
            )
        raise ActivationBudgetError(
            f"the month's cap of {month_cap} activations is reached: {month_spent} are spent or reserved in "
            f"{self.location}, by all machines that share it; raise the cap (monthly_cap, --monthly-cap), or "
            "wait for the next month"
        )

    async def release(self, connection: _Connection, activations: int, month: str) -> None:
        """Release activations that were reserved in a month and not spent."""
        await self._run(
            connection, "SELECT {schema}.release(%s, %s, %s, %s)", self.name, self.key, month, activations
        )

    async def read(self, connection: _Connection) -> LedgerStatus:
        """Return what was spent."""
        row = await self._run(
            connection,
            "SELECT b.organisation, b.spent, b.max_activations, n.month, coalesce(m.spent, 0), k.monthly_cap "
            "FROM (SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM') AS month) n "
            "LEFT JOIN {schema}.budgets b ON b.name = %s LEFT JOIN {schema}.keys k ON k.key = %s "
            "LEFT JOIN {schema}.months m ON m.key = k.key AND m.month = n.month",
            self.name, self.key,
        )  # fmt: skip
        organisation, spent, cap, month, month_spent, month_cap = row or (None, 0, None, "", 0, None)
        return LedgerStatus(self.name, organisation, spent or 0, cap, month, month_spent, month_cap)

    async def _set_cap(self, connection: _Connection, option: str, owner: str, cap: int) -> None:
        read, write = _CAPS[option]
        row = await self._run(connection, read, owner)
        before = None if row is None else row[0]
        if before == cap:
            return
        await self._run(connection, write, cap, owner)
        if before is not None:
            _logger.warning(
                "%s in %s is now %d for all machines; it was %d", option, self.location, cap, before
            )

    async def _run(self, connection: _Connection, text: str, *values: object) -> tuple[Any, ...] | None:
        """Run a statement; return its first row, if it has any."""
        cursor = await connection.execute(statement(text, self.schema), values)
        return await cursor.fetchone() if cursor.description is not None else None
