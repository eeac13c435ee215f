"""StoreRecords: a store's sessions as records, which an export reads in its thread, page by page.

Each page is a transaction of its own, so that an export of many hours holds back no vacuum, and a session is
exported as it is when its page is read. A page holds a few megabytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

from fullstory_async.cluster.budget_rows import BudgetRow
from fullstory_async.cluster.postgres import Postgres
from fullstory_async.files.compression import CorruptRecord, decompress
from fullstory_async.jobs.plan import EVENTS, JobPlan
from fullstory_async.jobs.storage.inputs import unpack
from fullstory_async.jobs.storage.records import JobFailure, Record

__all__ = ["StoreRecords"]

_PAGE = 500
_PAGE_BYTES = 8 * 1024 * 1024
"""Bytes of the answers and inputs of a page, as they are stored; a single larger session is a page."""

_QUERY = """
SELECT p.seq, p.session_id, a.at, CASE WHEN %s THEN a.body END,
    f.at, f.attempts, f.error, f.status, f.code, f.message, f.may_have_cost, f.permanent, f.body, i.input
FROM (
    SELECT s.seq, s.session_id, s.state, s.size, sum(s.size) OVER (ORDER BY s.seq) AS total
    FROM (
        SELECT s.seq, s.session_id, s.state,
            coalesce(octet_length(b.body), 0) + coalesce(octet_length(g.input), 0) AS size
        FROM (
            SELECT seq, session_id, state FROM {schema}.sessions
            WHERE budget = %s AND seq > %s ORDER BY seq LIMIT %s
        ) s LEFT JOIN {schema}.answers b USING (seq) LEFT JOIN {schema}.inputs g USING (seq)
    ) s
) p
LEFT JOIN {schema}.answers a USING (seq)
LEFT JOIN {schema}.inputs i ON i.seq = p.seq
LEFT JOIN {schema}.failures f ON f.seq = p.seq AND p.state > 1
WHERE p.total - p.size < %s
ORDER BY p.seq
"""

_logger = logging.getLogger("fullstory_async.cluster")


class StoreRecords:
    """The sessions of a budget, as the source of an export."""

    plan: JobPlan
    secret: str
    organisation: str | None
    input_columns: Mapping[str, str]
    damaged: int
    """Damaged rows that the last pass met: sessions that it left out for their answers, and lost inputs."""

    def __init__(self, database: Postgres, budget: BudgetRow, input_columns: Mapping[str, str]) -> None:
        """Prepare; the running event loop reads the pages, and another thread takes them."""
        self.plan, self.input_columns = JobPlan(events=True), input_columns
        self.secret, self.organisation, self.damaged = budget.secret, budget.organisation, 0
        self._database, self._budget = database, budget.number
        self._loop = asyncio.get_running_loop()

    def records(self, *, with_bodies: bool | str = True) -> Generator[Record, None, None]:
        """Yield every intact session, in the order in which they were added. Not for the event loop's thread.

        Raises:
            StorageError: the database can't be used.
        """
        self.damaged, after = 0, 0
        wanted = with_bodies is True or with_bodies == EVENTS
        while page := asyncio.run_coroutine_threadsafe(self._page(after, wanted), self._loop).result():
            for row in page:
                try:
                    record = _record(*row[:-1])
                except CorruptRecord as error:
                    self.damaged += 1
                    _logger.warning("the result of the session %s is damaged: %s", row[1], error)
                else:
                    yield self._with_input(record, row[-1])
            after = page[-1][0]

    def _with_input(self, record: Record, stored: bytes | None) -> Record:
        """Return a record with what its id came from; a damaged input is counted, and costs nothing else."""
        if stored is None:
            return record
        try:
            text, columns = unpack(stored)
        except CorruptRecord as error:
            self.damaged += 1
            _logger.warning("the input of the session %s is damaged: %s", record.session_id, error)
            return record
        return attrs.evolve(record, input=text, input_columns=columns)

    async def _page(self, after: int, with_bodies: bool) -> list[tuple[Any, ...]]:
        values = (with_bodies, self._budget, after, _PAGE, _PAGE_BYTES)
        async with self._database.connection(autocommit=True) as connection:
            cursor = await connection.execute(self._database.statement(_QUERY), values, binary=True)
            return await cursor.fetchall()


def _record(
    seq: int, session_id: str, at: datetime | None, body: bytes | None, failed_at: datetime | None,
    attempts: int, error: str, status: int | None, code: str | None, message: str, may_have_cost: bool,
    permanent: bool, bad_body: bytes | None,
) -> Record:  # fmt: skip
    """Return a row as a record, without its input. Raises `CorruptRecord` for a damaged body."""
    failures = {}
    if failed_at is not None:
        failures[EVENTS] = JobFailure(
            session_id=session_id, operation=EVENTS, error=error, status=status, code=code, message=message,
            attempts=attempts, may_have_cost=may_have_cost, permanent=permanent, at=failed_at.astimezone(UTC),
            body=None if bad_body is None else decompress(bad_body),
        )  # fmt: skip
    return Record(
        seq=seq, session_id=session_id, input=session_id, input_columns={}, failures=failures,
        bodies={} if body is None else {EVENTS: decompress(body)},
        fetched={} if at is None else {EVENTS: at.astimezone(UTC)},
    )  # fmt: skip
