"""The ledger's floor: what a job itself has spent in a month.

A ledger's file that is removed between two runs would begin at 0, and the month's cap would be passed without
a word. Nothing but the job can know better. So a job notes the ledger, the key and the month of its runs,
and what it had spent before, and each run compares.
"""

from __future__ import annotations

import json
import logging

from fullstory_async.files.ledger import LedgerAccount
from fullstory_async.jobs.storage.statements import get_meta, set_meta
from fullstory_async.jobs.storage.store import JobStore

__all__ = ["raise_ledger"]

_logger = logging.getLogger("fullstory_async.jobs")

_NAME = "ledger"
"""The name of the note in ``meta``."""


async def raise_ledger(store: JobStore, account: LedgerAccount) -> None:
    """Raise a ledger's count to what the job has certainly spent this month, and warn if that was more.

    Raises:
        ConfigurationError, StorageError: the ledger's file can't be used.
        JobLockedError: another process has opened the job since.
    """
    ledger, key = account.ledger, account.key_fingerprint
    certain = store.counts.spent - store.counts.at_risk
    noted = await store.writer.run(lambda database: get_meta(database, _NAME))
    month = ledger.month
    before = _spent_before(noted, now := [str(ledger.path), key, month])
    if before is None:
        note = json.dumps([*now, certain])
        await store.run_as_owner(lambda database: set_meta(database, **{_NAME: note}))
        return
    counted = await ledger.raise_to(key, certain - before, month=month)
    if counted < certain - before:
        _logger.warning(
            "%s counted %d activations this month, but the job %s alone has spent %d: the file was removed "
            "or replaced, or the job ran without it. %d are counted now; what others have spent is lost",
            ledger.name, counted, store.folder, certain - before, certain - before,
        )  # fmt: skip


def _spent_before(noted: object, now: list[str]) -> int | None:
    """Return what the job had spent before it used this ledger this month; ``None`` without such a note."""
    try:
        *known, before = json.loads(str(noted))
    except (ValueError, TypeError):
        return None
    return before if known == now and isinstance(before, int) else None
