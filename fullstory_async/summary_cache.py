"""SummaryCache: answers that were paid for, kept in a file, so that the same summary is not paid for twice.

Only summaries are kept, and only where a program asks for it: a session that is going on gets more events, which is
why events are never kept and why a summary has a time to live. An entry is found by the service's address, a
fingerprint of the key, and the request itself, so another account, profile, prompt or time gives another entry. Extra
headers do not count.

It is one SQLite file. Each operation opens and closes it in a thread of its own: nothing has to be closed, the
event loop is never blocked, and several processes may share a file. What is in it is personal data: the file is
readable by its owner only, and `SummaryCache.forget` removes a session.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fullstory_async import checks
from fullstory_async.errors import ConfigurationError
from fullstory_async.http.messages import Request

__all__ = ["SummaryCache"]

_APPLICATION_ID = 0x46535343
"""Tells our files from other people's databases: "FSSC"."""
_VERSION = 1
_PRIVATE = 0o600
_BUSY_SECONDS = 10.0
_DAY = 86_400.0

_SCHEMA = (
    "CREATE TABLE summaries (key TEXT PRIMARY KEY, session_id TEXT NOT NULL, stored REAL NOT NULL, body BLOB NOT NULL)",
    "CREATE INDEX by_session ON summaries (session_id)",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_VERSION}",
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
        if not (checks.is_number(ttl) and ttl > 0):
            raise ConfigurationError(
                f"the summary cache's ttl must be a number of seconds above 0, not {ttl!r}"
            )
        self.path = Path(path).expanduser()
        self.ttl = float(ttl)
        self._clock = clock

    async def get(self, account: str, request: Request) -> bytes | None:
        """Return the answer to a request, if there is one that is not too old.

        Raises:
            ConfigurationError: the file can't be read. Nothing has been paid for then.
        """
        return await asyncio.to_thread(self._get, _key(account, request))

    async def put(self, account: str, request: Request, body: bytes) -> None:
        """Keep an answer. Raises `ConfigurationError` if the file can't be written."""
        await asyncio.to_thread(self._put, _key(account, request), request.session_id or "", body)

    async def forget(self, session_id: str) -> int:
        """Remove everything about a session, as an erasure request wants it; return how many entries that were.

        Raises:
            ConfigurationError: the file can't be written.
        """
        return await asyncio.to_thread(self._delete, "session_id = ?", str(session_id))

    async def clear(self) -> int:
        """Remove everything; return how many entries that were. Raises `ConfigurationError` as `forget` does."""
        return await asyncio.to_thread(self._delete, "?", "1")

    def _get(self, key: str) -> bytes | None:
        with self._open() as database:
            found = database.execute(
                "SELECT body FROM summaries WHERE key = ? AND stored > ?", (key, self._clock() - self.ttl)
            ).fetchone()
        return None if found is None else bytes(found[0])

    def _put(self, key: str, session_id: str, body: bytes) -> None:
        now = self._clock()
        with self._open() as database:
            database.execute("DELETE FROM summaries WHERE stored <= ?", (now - self.ttl,))
            database.execute("REPLACE INTO summaries VALUES (?, ?, ?, ?)", (key, session_id, now, body))

    def _delete(self, condition: str, value: str) -> int:
        with self._open() as database:
            return database.execute(f"DELETE FROM summaries WHERE {condition}", (value,)).rowcount  # noqa: S608

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, _PRIVATE))  # SQLite would let others read it
            database = sqlite3.connect(self.path, timeout=_BUSY_SECONDS)
            try:
                self._prepare(database)
                with database:
                    yield database
            finally:
                database.close()
        except (sqlite3.Error, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ConfigurationError(f"the summary cache {self.path} can't be used: {reason}") from None

    def _prepare(self, database: sqlite3.Connection) -> None:
        """Make the tables in a new file, and close a file of ours that others may read."""
        database.execute("PRAGMA secure_delete = ON")
        if _marks(database) != (_APPLICATION_ID, _VERSION):
            with database:
                database.execute("BEGIN IMMEDIATE")  # so that no other process changes the file meanwhile
                if not self._is_ours(database):
                    for statement in _SCHEMA:
                        database.execute(statement)
        if stat.S_IMODE(self.path.stat().st_mode) & 0o077:
            self.path.chmod(_PRIVATE)

    def _is_ours(self, database: sqlite3.Connection) -> bool:
        """Tell a cache from an empty file; refuse anything else."""
        application, version = _marks(database)
        if application == _APPLICATION_ID and version == _VERSION:
            return True
        if application == _APPLICATION_ID:
            raise ConfigurationError(
                f"the summary cache {self.path} has format {version}, and this version of fullstory_async knows "
                f"only {_VERSION}; name another file"
            )
        if application or version or database.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise ConfigurationError(f"{self.path} is a database of something else, not a summary cache")
        return False


def _marks(database: sqlite3.Connection) -> tuple[int, int]:
    """Return what a file says it is, and in which format."""
    names = ("application_id", "user_version")
    application, version = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    return application, version


def _key(account: str, request: Request) -> str:
    """Return what tells this request from every other, without telling what is in it."""
    body = None if request.body is None else request.body.decode("utf-8")
    parts = [account, request.method, request.path, request.query, body]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
