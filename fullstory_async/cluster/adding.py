"""Adding sessions to a store, with what their ids came from."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from typing import Any

from psycopg import AsyncConnection

from fullstory_async.cluster.budget_rows import BudgetRow
from fullstory_async.cluster.postgres import Postgres
from fullstory_async.cluster.stored import AddedSessions
from fullstory_async.ids.inputs import SessionInput
from fullstory_async.ids.source import IdSource
from fullstory_async.jobs.added import Batch, iterate
from fullstory_async.jobs.storage.inputs import NewItem, column_names, merged_names, read_names, write_names
from fullstory_async.jobs.storage.schema import fingerprint
from fullstory_async.models import RefOrRow

__all__ = ["add_sessions", "fetch_input_columns"]

_logger = logging.getLogger("fullstory_async.cluster")

_BATCH = 10_000
_BATCH_BYTES = 4 * 1024 * 1024
"""Bytes of the inputs of a batch: it is one statement, behind which other adds and the workers wait."""
_ADD = "SELECT {schema}.add_sessions(%s, %s, %s)"
_ADD_INPUTS = "SELECT {schema}.add_inputs(%s, %s, %b)"
_NAMES = "SELECT names FROM {schema}.input_columns WHERE budget = %s"
_SAVE_NAMES = """
INSERT INTO {schema}.input_columns VALUES (%s, %s)
ON CONFLICT (budget) DO UPDATE SET names = excluded.names
"""


async def add_sessions(
    database: Postgres, budget: BudgetRow, ids: Iterable[RefOrRow | SessionInput] | AsyncIterable[RefOrRow]
) -> AddedSessions:
    """Add sessions; see `PostgresStore.add`."""
    source, given, new, refused = IdSource(ids, keeps_inputs=True), 0, 0, 0
    batch, size = Batch(source.alike, keeps_unusable=False), 0
    source.start()
    async for ref in iterate(source):
        if not batch.append(ref):
            refused += 1
            continue
        given, size = given + 1, size + len(batch.items[-1].given or b"")
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            new += await _add(database, budget, batch)
            batch, size = Batch(source.alike, keeps_unusable=False), 0
    new += await _add(database, budget, batch)
    return AddedSessions(new=new, known=given - new, refused=refused, without_id=source.without_id)


async def _add(database: Postgres, budget: BudgetRow, batch: Batch) -> int:
    """Add sessions and their inputs in one transaction; return how many are new."""
    ids = [item.text for item in batch.items]
    marks = [fingerprint(budget.secret, each) for each in ids]
    async with database.connection() as connection:
        cursor = await connection.execute(database.statement(_ADD), (budget.number, ids, marks))
        row = await cursor.fetchone()
        if with_input := [item for item in batch.items if item.given is not None]:
            await _add_inputs(database, connection, budget, with_input, batch.names)
    return 0 if row is None else int(row[0])


async def _add_inputs(
    database: Postgres, connection: AsyncConnection[Any], budget: BudgetRow,
    items: Sequence[NewItem], names: Iterable[str],
) -> None:  # fmt: skip
    values = (budget.number, [item.text for item in items], [item.given for item in items])
    await connection.execute(database.statement(_ADD_INPUTS), values)
    known = await _names(database, connection, budget)
    if (merged := merged_names(known, names)) != known:
        await connection.execute(database.statement(_SAVE_NAMES), (budget.number, write_names(merged)))


async def _names(database: Postgres, connection: AsyncConnection[Any], budget: BudgetRow) -> list[str]:
    row = await (await connection.execute(database.statement(_NAMES), (budget.number,))).fetchone()
    names = [] if row is None else read_names(row[0])
    if names is None:
        _logger.warning("the names of the input's columns of the budget %s are damaged", budget.name)
    return names or []


async def fetch_input_columns(database: Postgres, budget: BudgetRow) -> Mapping[str, str]:
    """Return the columns of the tables that a budget's ids came from, each with its name in an export."""
    async with database.connection() as connection:
        return column_names(await _names(database, connection, budget))
