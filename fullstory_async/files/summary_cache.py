"""SummaryCache: answers that were paid for, kept in a file, so that the same summary is not paid for twice.

Only summaries are kept, and only where a program asks for it: a session that is going on gets more events, which is
why events are never kept and why a summary has a time to live. An entry is found by the service's address, a
fingerprint of the key, and the request itself, so another account, profile, prompt or time gives another entry. A
call's extra headers are no part of it.

It is one SQLite file. Each operation opens and closes it in a thread of its own: nothing has to be closed, the
event loop is never blocked, and several processes may share a file. What is in it is personal data: the file is
readable by its owner only, and `SummaryCache.forget` removes a session.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from fullstory_async import validators
from fullstory_async.errors import ConfigurationError
from fullstory_async.files.private_database import PrivateDatabase
from fullstory_async.messages import Request
from fullstory_async.models import SessionRef, session_id_of

__all__ = ["SummaryCache"]

_DAY = 86_400.0
_SCHEMA = (
    "CREATE TABLE summaries (key TEXT PRIMARY KEY, session_id TEXT NOT NULL, stored REAL NOT NULL, expires REAL NOT NULL, body BLOB NOT NULL)",
    "CREATE INDEX by_session ON summaries (session_id)",
)


class SummaryCache:
    """A file of summaries, for ``FullStoryClient(summary_cache=SummaryCache(path))``."""

    path: Path
    """The file."""
    ttl: float
    """For how many seconds a summary is used again."""

    def __init__(
        self, path: str | os.PathLike[str], *, ttl: float = _DAY, clock: Callable[[], float] = time.time
    ) -> None:
        """Name a file; it is made when it is first used.

        Args:
            path: the file. ``~`` is the home directory.
            ttl: seconds after which a summary is generated anew.
            clock: returns seconds since 1970.

        Raises:
            ConfigurationError: ``path`` is no path, or ``ttl`` no number above 0.
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
            path=self.path, what="summary cache", application_id=0x46535343, version=1, schema=_SCHEMA
        )

    async def get(self, account: str, request: Request) -> bytes | None:
        """Return the answer to a request, if there is one that is not too old.

        Raises:
            ConfigurationError, StorageError: the file can't be read. Nothing has been paid for then.
        """
        return await asyncio.to_thread(self._get, _key(account, request))

    async def put(self, account: str, request: Request, body: bytes) -> None:
        """Keep an answer. Raises `ConfigurationError` if the file can't be written."""
        await asyncio.to_thread(self._put, _key(account, request), request.session_id or "", body)

    async def forget(self, session_id: SessionRef) -> int:
        """Remove everything about a session, as an erasure request wants it; return how many entries that were.

        A session that was also summarised under its client id (``GUID:GUID``) has entries of that id as well.

        Raises:
            InvalidSessionId: this is no session id.
            ConfigurationError, StorageError: the file can't be written.
        """
        return await asyncio.to_thread(self._delete, "session_id = ?", str(session_id_of(session_id)))

    async def clear(self) -> int:
        """Remove everything; return how many entries that were. Raises `ConfigurationError` as `forget` does."""
        return await asyncio.to_thread(self._delete, "?", "1")

    def _get(self, key: str) -> bytes | None:
        now = self._clock()
        query = "SELECT body FROM summaries WHERE key = ? AND stored > ? AND expires > ?"
        with self._file.transaction() as database:
            found = database.execute(query, (key, now - self.ttl, now)).fetchone()
        return None if found is None else bytes(found[0])

    def _put(self, key: str, session_id: str, body: bytes) -> None:
        now = self._clock()
        with self._file.transaction() as database:
            database.execute("DELETE FROM summaries WHERE expires <= ?", (now,))
            row = (key, session_id, now, now + self.ttl, body)
            database.execute("REPLACE INTO summaries VALUES (?, ?, ?, ?, ?)", row)

    def _delete(self, condition: str, value: str) -> int:
        with self._file.transaction() as database:
            return database.execute(f"DELETE FROM summaries WHERE {condition}", (value,)).rowcount  # noqa: S608  (a condition of ours)


def _key(account: str, request: Request) -> str:
    """Return what tells this request from every other, without telling what is in it."""
    body = None if request.body is None else request.body.decode("utf-8")
    parts = [account, request.method, request.path, request.query, body]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
