"""The row of a budget: its number, its organisation, the secret of its fingerprints, and its figures."""

from __future__ import annotations

from typing import Any, NoReturn

import attrs

from fullstory_async.cluster.postgres import Postgres
from fullstory_async.errors import ConfigurationError, StorageError
from fullstory_async.jobs.storage.schema import fingerprint, new_secret

__all__ = ["BudgetRow", "check_owner", "count_left", "fetch_figures", "known_owner", "open_budget", "purge"]

_OPEN = """
INSERT INTO {schema}.budgets AS b (name, secret) VALUES (%s, %s)
ON CONFLICT (name) DO UPDATE SET secret = coalesce(b.secret, excluded.secret)
RETURNING b.id, b.organisation, b.secret
"""
_READ = "SELECT id, organisation, secret FROM {schema}.budgets WHERE name = %s AND secret IS NOT NULL"
_OWNER = "SELECT organisation FROM {schema}.key_owners WHERE key = %s"
_REMEMBER = """
INSERT INTO {schema}.key_owners AS o VALUES (%s, %s)
ON CONFLICT (key) DO UPDATE SET organisation = excluded.organisation
WHERE o.organisation <> excluded.organisation
"""
_ADOPT = """
UPDATE {schema}.budgets SET organisation = coalesce(organisation, %s) WHERE id = %s RETURNING organisation
"""
_FIGURES = """
SELECT
    (SELECT count(*) FROM {schema}.sessions WHERE budget = b.id),
    (SELECT count(*) FROM {schema}.sessions WHERE budget = b.id AND state = 0),
    (SELECT count(*) FROM {schema}.sessions WHERE budget = b.id AND state > 1),
    (SELECT count(*) FILTER (WHERE sent = 0) FROM {schema}.claims WHERE budget = b.id),
    (SELECT count(*) FILTER (WHERE sent > 0) FROM {schema}.claims WHERE budget = b.id),
    (
        SELECT count(*) FROM {schema}.claims c JOIN {schema}.sessions s USING (seq)
        WHERE c.budget = b.id AND s.state = 0
    ),
    (SELECT count(*) FROM {schema}.workers WHERE expires > clock_timestamp()),
    b.spent, b.at_risk, b.organisation
FROM {schema}.budgets b WHERE b.id = %s
"""

_LEFT = """
SELECT (
    SELECT count(*) FROM (
        SELECT FROM {schema}.sessions WHERE budget = %(budget)s AND state = 0 LIMIT %(most)s
    ) s
) + (
    SELECT count(*) FROM (
        SELECT FROM {schema}.failures f JOIN {schema}.sessions s USING (seq)
        WHERE f.retry_at <= clock_timestamp() AND s.budget = %(budget)s AND s.state = 3 LIMIT %(most)s
    ) f
)
"""


@attrs.frozen
class BudgetRow:
    """A budget as it is stored."""

    number: int
    name: str
    organisation: str | None
    secret: str = attrs.field(repr=False)
    """The secret of its fingerprints."""


async def open_budget(database: Postgres, name: str) -> BudgetRow:
    """Return a budget; it is created if there is none. Raises `StorageError`."""
    async with database.connection() as connection:
        row = await (await connection.execute(database.statement(_READ), (name,))).fetchone()
        if row is None:
            values = (name, new_secret())
            row = await (await connection.execute(database.statement(_OPEN), values)).fetchone()
    number, organisation, secret = row or _missing(name)
    return BudgetRow(number, name, organisation, secret)


async def known_owner(database: Postgres, key: str) -> str | None:
    """Return the organisation of a key, by its fingerprint, if it was asked for before."""
    async with database.connection(autocommit=True) as connection:
        row = await (await connection.execute(database.statement(_OWNER), (key,))).fetchone()
    return None if row is None else str(row[0])


async def check_owner(database: Postgres, budget: BudgetRow, key: str, organisation: str) -> BudgetRow:
    """Remember the organisation of a key, and compare it with the budget's, which takes the first one.

    Raises:
        ConfigurationError: the budget belongs to another organisation.
    """
    async with database.connection() as connection:
        await connection.execute(database.statement(_REMEMBER), (key, organisation))
        if budget.organisation is None:
            cursor = await connection.execute(database.statement(_ADOPT), (organisation, budget.number))
            [adopted] = await cursor.fetchone() or _missing(budget.name)
            budget = attrs.evolve(budget, organisation=adopted)
    if budget.organisation != organisation:
        raise ConfigurationError(
            f"the budget {budget.name!r} and its results are of the organisation {budget.organisation}, and "
            f"the key is of {organisation}: name another budget for it"
        )
    return budget


async def fetch_figures(database: Postgres, budget: BudgetRow) -> dict[str, Any]:
    """Return the counts of a budget and its sessions, by the names of `StoreStatus`."""
    async with database.connection() as connection:
        row = await (await connection.execute(database.statement(_FIGURES), (budget.number,))).fetchone()
    figures = row or _missing(budget.name)
    sessions, fresh, failed, claimed, sent, taken, workers, spent, at_risk, organisation = figures
    return {
        "budget": budget.name, "organisation": organisation, "sessions": sessions,
        "done": sessions - fresh - failed, "failed": failed, "pending": fresh - taken, "claimed": claimed,
        "sent": sent, "workers": workers, "spent": spent, "at_risk": at_risk,
    }  # fmt: skip


async def count_left(database: Postgres, budget: BudgetRow, most: int) -> int:
    """Return how many sessions are to be fetched, ``most`` at most: in a large budget counting takes long."""
    async with database.connection() as connection:
        values = {"budget": budget.number, "most": most}
        row = await (await connection.execute(database.statement(_LEFT), values)).fetchone()
    return 0 if row is None else min(int(row[0]), most)


async def purge(database: Postgres, session_id: str) -> bool:
    """Erase a session from every budget; return whether any had it."""
    found = False
    async with database.connection() as connection:
        budgets = "SELECT id, secret FROM {schema}.budgets WHERE secret IS NOT NULL ORDER BY id"
        rows = await (await connection.execute(database.statement(budgets))).fetchall()
        for number, secret in rows:
            values = (number, session_id, fingerprint(secret, session_id))
            query = database.statement("SELECT {schema}.purge(%s, %s, %s)")
            row = await (await connection.execute(query, values)).fetchone()
            found |= row is not None and bool(row[0])
    return found


def _missing(name: str) -> NoReturn:
    error = StorageError(f"the budget {name!r} is gone: its row was deleted; restore it, or name another one")
    error.permanent = True
    raise error
