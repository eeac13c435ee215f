"""SummaryCache: summaries in a file, so that the same summary is paid for once.

Only summaries are cached, and only if a program asks for it. A live session gets more events; therefore
events are never cached, and a summary has a time to live. The key of an entry is the service's address, a
fingerprint of the API key, and the request. So another account, profile, prompt or time is another entry.
Extra headers of a call are not part of the key.

It is one SQLite file. Each operation opens and closes it in the cache's own thread, so there is nothing to
close, the event loop is never blocked, and several processes can share a file. Its content is personal data:
only its owner can read the file, and `SummaryCache.forget` removes a session.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from fullstory_async import validators
from fullstory_async.errors import ConfigurationError
from fullstory_async.files.checksums import checksum, is_intact
from fullstory_async.files.private_database import PrivateDatabase
from fullstory_async.messages import Request
from fullstory_async.models import SessionRef, session_id_of
from fullstory_async.threads import WorkerThread

__all__ = ["SummaryCache"]

_logger = logging.getLogger("fullstory_async.files")

_DAY = 86_400.0
_SCHEMA = (
    (
        "CREATE TABLE summaries (key TEXT PRIMARY KEY, session_id TEXT NOT NULL, stored REAL NOT NULL, "
        "expires REAL NOT NULL, body BLOB NOT NULL, checksum BLOB)"
    ),
    "CREATE INDEX by_session ON summaries (session_id)",
)
_UPGRADES = (("ALTER TABLE summaries ADD COLUMN checksum BLOB",),)


class SummaryCache:
    """Caches summaries in a file.

    Usage: ``FullStoryClient(summary_cache=SummaryCache(path))``.
    """

    path: Path
    """The file."""
    ttl: float
    """Seconds for which a summary is reused."""

    def __init__(
        self, path: str | os.PathLike[str], *, ttl: float = _DAY, clock: Callable[[], float] = time.time
    ) -> None:
        """Name a file. It is created when it is first used.

        Args:
            path: the file. ``~`` is the home directory.
            ttl: seconds after which a summary is generated again.
            clock: returns seconds since 1970.

        Raises:
            ConfigurationError: ``path`` isn't a path, or ``ttl`` isn't a number above 0.
        """
        if not isinstance(path, (str, os.PathLike)) or not str(path):
            raise ConfigurationError(f"the summary cache's path must be a file's path, not {path!r}")
        if not (validators.is_number(ttl) and ttl > 0):
            raise ConfigurationError(
                f"the summary cache's ttl must be a number of seconds above 0, not {ttl!r}"
            )
        self.path = Path(path).expanduser().absolute()  # ":memory:" is a name like any other
        self.ttl = float(ttl)
        self._clock = clock
        self._file = PrivateDatabase(
            path=self.path, what="summary cache", application_id=0x46535343, version=2, schema=_SCHEMA,
            upgrades=_UPGRADES,
        )  # fmt: skip
        self._thread = WorkerThread(self.name)

    @property
    def name(self) -> str:
        """The cache with its path, for messages."""
        return f"the summary cache {self.path}"

    async def get(self, account: str, request: Request) -> bytes | None:
        """Return the cached response to a request, if it is not too old.

        Raises:
            ConfigurationError, StorageError: the file can't be read. Nothing was spent then.
        """
        return await self._thread.run(self._get, _key(account, request))

    async def put(self, account: str, request: Request, body: bytes) -> None:
        """Cache a response.

        Raises:
            ConfigurationError, StorageError: the file can't be written.
        """
        await self._thread.run(self._put, _key(account, request), request.session_id or "", body)

    async def forget(self, session_id: SessionRef) -> int:
        """Remove all entries of a session; return their number.

        Use it for an erasure request. A session that was also summarised under its client id (``GUID:GUID``)
        has entries of that id as well.

        Raises:
            InvalidSessionId: this isn't a session id.
            ConfigurationError, StorageError: the file can't be written.
        """
        statement, name = "DELETE FROM summaries WHERE session_id = ?", str(session_id_of(session_id))
        return await self._thread.run(self._delete, statement, (name,))

    async def clear(self) -> int:
        """Remove all entries; return their number.

        Raises:
            ConfigurationError, StorageError: the file can't be written.
        """
        return await self._thread.run(self._delete, "DELETE FROM summaries")

    def _get(self, key: str) -> bytes | None:
        now = self._clock()
        # Both times: another client that shares the file may have stored it with a longer time to live. And
        # one whose clock was ahead has stored it in the future.
        query = (
            "SELECT session_id, stored, expires, body, checksum FROM summaries "
            "WHERE key = ? AND stored > ? AND stored <= ? AND expires > ?"
        )
        with self._file.transaction() as database:
            found = database.execute(query, (key, now - self.ttl, now, now)).fetchone()
            if found is None:
                return None
            *row, body, stored_checksum = found
            if isinstance(body, bytes) and is_intact(stored_checksum, key, *row, body):
                return body
            database.execute("DELETE FROM summaries WHERE key = ?", (key,))
        _logger.warning("a damaged entry of %s is dropped; the summary is generated again", self.path)
        return None

    def _put(self, key: str, session_id: str, body: bytes) -> None:
        now = float(self._clock())
        with self._file.transaction() as database:
            # Every write removes entries that are never used again: the file keeps no personal data for
            # longer than needed. Those of a clock that was ahead would come of age long after their time.
            remove = "DELETE FROM summaries WHERE expires <= ? OR stored > ?"
            database.execute(remove, (now, now + self.ttl))
            row = (key, session_id, now, now + self.ttl, body)
            database.execute("REPLACE INTO summaries VALUES (?, ?, ?, ?, ?, ?)", (*row, checksum(*row)))

    def _delete(self, statement: str, values: tuple[str, ...] = ()) -> int:
        with self._file.transaction() as database:
            return database.execute(statement, values).rowcount


def _key(account: str, request: Request) -> str:
    """Return a hash that identifies a request without revealing its content."""
    body = None if request.body is None else request.body.decode("utf-8")
    parts = [account, request.method, request.path, request.query, body]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
