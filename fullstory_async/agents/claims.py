"""Claims: of several servers that share a store, one fetches a response, and the others wait for it.

Most programs start a server of their own. The one that fetches renews its claim while it waits; the
claim of a process that died lapses after some seconds.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path

from fullstory_async.files.private_database import PrivateDatabase
from fullstory_async.threads import WorkerThread

__all__ = ["LEASE", "Claims"]

LEASE = 6.0
"""Seconds after which a claim lapses that is not renewed."""
_FURTHEST = 10 * LEASE
"""Seconds ahead that a claim may lapse: one further ahead was made by a clock that was wrong."""
_SCHEMA = (
    "CREATE TABLE claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID",
)


class Claims:
    """The claims of one server, in a file that all servers of the store share."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Name a file, which is created when it is first used."""
        self._owner = secrets.token_hex(8)
        self._clock = clock
        self._file = PrivateDatabase(
            path=path, what="file of claims", application_id=0x46534143, version=1, schema=_SCHEMA
        )
        self._thread = WorkerThread(f"the file of claims {path}")

    async def claim(self, key: str) -> bool:
        """Claim a response, or renew the claim; return whether no other server has it.

        Raises:
            ConfigurationError, StorageError: the file can't be written.
        """
        return await self._thread.run(self._claim, key)

    async def release(self, key: str) -> None:
        """Give a claim back. Raises `ConfigurationError`, `StorageError`."""
        await self._thread.run(self._release, key)

    def _claim(self, key: str) -> bool:
        with self._file.transaction(immediate=True) as database:
            # here: the transaction may have waited for one that made a claim
            now = float(self._clock())
            query = "SELECT 1 FROM claims WHERE key = ? AND owner != ? AND until > ? AND until <= ?"
            if database.execute(query, (key, self._owner, now, now + _FURTHEST)).fetchone():
                return False
            database.execute("REPLACE INTO claims VALUES (?, ?, ?)", (key, self._owner, now + LEASE))
        return True

    def _release(self, key: str) -> None:
        with self._file.transaction() as database:
            database.execute("DELETE FROM claims WHERE key = ? AND owner = ?", (key, self._owner))
