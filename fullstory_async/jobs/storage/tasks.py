"""The calls that a job has still to make.

They are read a page at a time, so that memory use doesn't grow with their number.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

import attrs

from fullstory_async.errors import JobError
from fullstory_async.http import endpoints
from fullstory_async.jobs.plan import EVENTS, JobPlan
from fullstory_async.jobs.storage.schema import fetch_all, open_reader
from fullstory_async.messages import Request
from fullstory_async.session_id import SessionId
from fullstory_async.threads import WorkerThread

__all__ = ["JobTask", "SessionErased", "pending_tasks", "request_for"]

_PAGE = 500


class SessionErased(JobError):
    """The session of a call was erased from the job, so the call must not be made."""


@attrs.frozen
class JobTask:
    """One call of the job: an item and an operation."""

    seq: int
    session_id: str
    operation: str


def request_for(task: JobTask, plan: JobPlan) -> Request:
    """Return the request of a task.

    Raises:
        InvalidSessionId: the item is another text.
    """
    session_id = SessionId(task.session_id)
    if task.operation == EVENTS:
        return endpoints.session_events(session_id)
    return endpoints.session_summary(session_id, config_profile_id=plan.summary)


async def pending_tasks(
    folder: Path, operations: Iterable[str], *, retry_failed: bool
) -> AsyncGenerator[JobTask, None]:
    """Yield the calls that are left, each once in a run.

    Tasks that never failed come first, so that sessions that fail again and again, and may end a run, can't
    starve the rest.
    """
    wanted = " UNION ALL ".join(f"SELECT '{name}' AS operation" for name in operations)
    fresh = (
        f"SELECT i.seq, i.session_id, c.operation FROM items i CROSS JOIN ({wanted}) c "  # noqa: S608
        "WHERE NOT EXISTS (SELECT 1 FROM answers a WHERE a.seq = i.seq AND a.operation = c.operation) "
        "AND NOT EXISTS (SELECT 1 FROM failures f WHERE f.seq = i.seq AND f.operation = c.operation)"
    )
    # Up to the newest failure at the start: those of this run are not tried again in it.
    failed = (
        "SELECT c.seq, i.session_id, c.operation FROM failures c CROSS JOIN items i "
        "WHERE i.seq = c.seq AND c.number <= :newest AND (:permanent OR NOT c.permanent)"
    )
    reader, thread = open_reader(folder), WorkerThread(f"the job {folder}")
    try:
        [[newest]] = await thread.run(fetch_all, reader, "SELECT COALESCE(MAX(number), 0) FROM failures", {})
        for query in (fresh, failed):
            paged = (
                f"{query} AND i.seq >= :seq AND (i.seq > :seq OR c.operation > :operation) "
                f"ORDER BY i.seq, c.operation LIMIT {_PAGE}"
            )
            after = {"seq": 0, "operation": "", "newest": newest, "permanent": retry_failed}
            while page := await thread.run(fetch_all, reader, paged, after):
                for seq, session_id, operation in page:
                    yield JobTask(seq, session_id, operation)
                    after |= {"seq": seq, "operation": operation}
    finally:
        # behind a query that is still running: closing a database in use crashes the process
        thread.run_last(reader.close)
