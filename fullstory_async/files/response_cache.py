"""ResponseCache: responses in a file, so that the same one is paid for once.

Summaries and contexts are cached, and events if a program asks for it with ``events_ttl``: a live session
gets more events, so each kind has a time to live. The key of an entry is the service's address, a fingerprint
of the API key, and everything of the request that can change its response. So another account, profile,
prompt, time, query parameter or header is another entry.

It is one SQLite file. Each operation opens and closes it in the cache's own thread, so there is nothing to
close, the event loop is never blocked, and several processes can share a file. Its content is personal data:
only its owner can read the file, and `ResponseCache.forget` and `ResponseCache.forget_user` remove it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from fullstory_async import safe_json, validators
from fullstory_async.errors import ConfigurationError, JobError
from fullstory_async.files.checksums import checksum, is_intact
from fullstory_async.files.compression import CorruptRecord, compressor, decompress
from fullstory_async.files.private_database import PrivateDatabase
from fullstory_async.messages import Request
from fullstory_async.models import SessionRef, session_id_of
from fullstory_async.threads import WorkerThread

__all__ = ["ResponseCache"]

_logger = logging.getLogger("fullstory_async.files")

_DAY = 86_400.0
_DEFAULT_BYTES = 256 * 1024 * 1024
_USED_SECONDS = 60.0
"""Age of the time of an entry's last use at which it is written again: not at every use."""
_COLUMNS = "key, session_id, stored, expires, body, checksum, used"
_SCHEMA = (
    (
        "CREATE TABLE responses (key TEXT PRIMARY KEY, session_id TEXT NOT NULL, stored REAL NOT NULL, "
        "expires REAL NOT NULL, body BLOB NOT NULL, checksum BLOB, used REAL NOT NULL DEFAULT 0)"
    ),
    "CREATE INDEX by_session ON responses (session_id)",
    "CREATE INDEX by_use ON responses (used)",
)
_UPGRADES = (
    ("ALTER TABLE summaries ADD COLUMN checksum BLOB",),
    # the file of a `SummaryCache`: its keys are those of requests without headers, its bodies not compressed
    (
        "ALTER TABLE summaries RENAME TO responses",
        "ALTER TABLE responses ADD COLUMN used REAL NOT NULL DEFAULT 0",
        "CREATE INDEX by_use ON responses (used)",
    ),
)


class ResponseCache:
    """Caches responses in a file.

    Usage: ``FullStoryClient(cache=ResponseCache(path))``.
    """

    path: Path
    """The file."""
    ttl: float
    """Seconds for which a summary or a context is reused."""
    events_ttl: float | None
    """Seconds for which a session's events are reused; ``None`` if they aren't cached."""
    max_bytes: int
    """The most bytes of compressed responses that the file keeps."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        ttl: float = _DAY,
        events_ttl: float | None = None,
        max_bytes: int = _DEFAULT_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Name a file. It is created when it is first used.

        Args:
            path: the file. ``~`` is the home directory.
            ttl: seconds after which a summary or a context is generated again.
            events_ttl: seconds after which a session's events are fetched again. By default they are fetched
                each time, because a live session gets more events.
            max_bytes: the most bytes of compressed responses; beyond it, those that were not used for the
                longest time are removed. A larger response is not cached.
            clock: returns seconds since 1970.

        Raises:
            ConfigurationError: ``path`` can't be a file's path, a time isn't a number above 0, or
                ``max_bytes`` isn't an integer above 0.
        """
        # ":memory:" is a name like any other
        self.path = validators.file_path(path, "the response cache's path")
        for name, value in (("ttl", ttl), ("events_ttl", 1 if events_ttl is None else events_ttl)):
            if not (validators.is_number(value) and value > 0):
                raise ConfigurationError(
                    f"the response cache's {name} must be a number of seconds above 0, not {value!r}"
                )
        validators.positive_integer(max_bytes, "the response cache's max_bytes")
        self.ttl, self.max_bytes = float(ttl), int(max_bytes)
        self.events_ttl = None if events_ttl is None else float(events_ttl)
        self._clock = clock
        self._compress = compressor()
        self._file = PrivateDatabase(
            path=self.path, what="response cache", application_id=0x46535343, version=3, schema=_SCHEMA,
            upgrades=_UPGRADES,
        )  # fmt: skip
        self._thread = WorkerThread(self.name)

    @property
    def name(self) -> str:
        """The cache with its path, for messages."""
        return f"the response cache {self.path}"

    def keeps(self, request: Request) -> bool:
        """Return whether responses to such a request are cached."""
        return self._ttl_of(request) > 0

    def _ttl_of(self, request: Request) -> float:
        """Return the seconds for which a response is reused; 0 if it isn't cached."""
        ttls = {"summary": self.ttl, "context": self.ttl, "events": self.events_ttl or 0.0}
        return ttls.get(request.operation, 0.0)

    async def get(self, account: str, request: Request) -> bytes | None:
        """Return the cached response to a request, if it is not too old.

        Raises:
            ConfigurationError, StorageError: the file can't be read. Nothing was spent then.
        """
        return await self._thread.run(self._get, _key(account, request), self._ttl_of(request))

    async def stored_at(self, account: str, request: Request) -> datetime | None:
        """Return when the response to a request was stored; ``None`` if it isn't, or is too old.

        Raises:
            ConfigurationError, StorageError: the file can't be read.
        """
        stored = await self._thread.run(self._stored_at, _key(account, request), self._ttl_of(request))
        return None if stored is None else datetime.fromtimestamp(stored, UTC)

    async def put(self, account: str, request: Request, body: bytes) -> None:
        """Cache a response.

        Raises:
            ConfigurationError, StorageError: the file can't be written.
        """
        key, ttl = _key(account, request), self._ttl_of(request)
        await self._thread.run(self._put, key, request.session_id or "", ttl, body)

    async def forget(self, session_id: SessionRef) -> int:
        """Remove all entries of a session; return their number.

        Use it for an erasure request. ``session_id`` may have any form; a session that was also fetched under
        its client id (``GUID:GUID``) has entries of that id as well.

        Raises:
            InvalidSessionId: this isn't a session id.
            ConfigurationError, StorageError: the file can't be written.
        """
        statement, name = "DELETE FROM responses WHERE session_id = ?", str(session_id_of(session_id))
        return await self._thread.run(self._delete, statement, (name,))

    async def forget_user(self, email: str) -> int:
        """Remove all entries of a user; return their number.

        These are all entries of the devices of which any response in the file mentions the e-mail address.
        Where only summaries are cached, none may mention it: then list the user's sessions and `forget` each.

        Raises:
            ConfigurationError: ``email`` isn't an e-mail address.
            ConfigurationError, StorageError: the file can't be written.
        """
        if not (isinstance(email, str) and "@" in email.strip("@ ")):
            raise ConfigurationError("forget_user needs an e-mail address")
        return await self._thread.run(self._forget_user, email.strip())

    async def clear(self) -> int:
        """Remove all entries; return their number.

        Raises:
            ConfigurationError, StorageError: the file can't be written.
        """
        return await self._thread.run(self._delete, "DELETE FROM responses")

    def _get(self, key: str, ttl: float) -> bytes | None:
        query = "SELECT stored, expires, session_id, body, checksum, used FROM responses WHERE key = ?"
        with self._file.transaction() as database:
            found = database.execute(query, (key,)).fetchone()
            now = self._clock()
            if found is None or not _is_fresh(found[0], found[1], ttl, now):
                return None
            stored_at, expires, session_id, body, stored_checksum, used = found
            row = session_id, stored_at, expires
            if isinstance(body, bytes) and is_intact(stored_checksum, key, *row, body):
                with contextlib.suppress(CorruptRecord):  # of an earlier version, without a checksum
                    found = self._body(body)
                    if abs(now - used) > _USED_SECONDS:
                        database.execute("UPDATE responses SET used = ? WHERE key = ?", (now, key))
                    return found
            database.execute("DELETE FROM responses WHERE key = ?", (key,))
        _logger.warning("a damaged entry of %s is dropped; the response is generated again", self.path)
        return None

    def _stored_at(self, key: str, ttl: float) -> float | None:
        with self._file.transaction() as database:
            found = database.execute("SELECT stored, expires FROM responses WHERE key = ?", (key,)).fetchone()
        if found is None or not _is_fresh(found[0], found[1], ttl, self._clock()):
            return None
        return float(found[0])

    def _body(self, stored: bytes) -> bytes | None:
        """Return a response as it arrived; None if it can't be read here. Raises `CorruptRecord`."""
        if stored.lstrip().startswith(b"{"):  # of an earlier version, which did not compress
            return stored
        try:
            return decompress(stored)
        except JobError as error:  # the extra ``zstd`` is missing
            _logger.warning("an entry of %s can't be read and is not used: %s", self.path, error)
            return None

    def _put(self, key: str, session_id: str, ttl: float, body: bytes) -> None:
        now = float(self._clock())
        (stored,) = self._compress([body])
        with self._file.transaction() as database:
            # Every write removes entries that are never used again: the file keeps no personal data for
            # longer than needed. Those of a clock that was ahead would come of age long after their time.
            latest = now + max(self.ttl, self.events_ttl or 0.0)
            database.execute("DELETE FROM responses WHERE expires <= ? OR stored > ?", (now, latest))
            database.execute("DELETE FROM responses WHERE key = ?", (key,))
            if len(stored) > self.max_bytes:
                return
            self._make_room(database, len(stored))
            row = (key, session_id, now, now + ttl, stored)
            statement = f"INSERT INTO responses ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
            database.execute(statement, (*row, checksum(*row), now))

    def _make_room(self, database: sqlite3.Connection, size: int) -> None:
        """Remove the entries that were not used for the longest time, until another one fits."""
        kept = database.execute("SELECT COALESCE(SUM(LENGTH(body)), 0) FROM responses").fetchone()[0]
        excess = kept + size - self.max_bytes
        if excess <= 0:
            return
        oldest = database.execute("SELECT key, LENGTH(body) FROM responses ORDER BY used").fetchall()
        for key, length in oldest:
            if excess <= 0:
                break
            database.execute("DELETE FROM responses WHERE key = ?", (key,))
            excess -= length

    def _delete(self, statement: str, values: tuple[str, ...] = ()) -> int:
        with self._file.transaction() as database:
            return database.execute(statement, values).rowcount

    def _forget_user(self, email: str) -> int:
        removed = 0
        with self._file.transaction(immediate=True) as database:
            rows = database.execute("SELECT session_id, body FROM responses")
            # the first half of a session's id is the device, or the browser, of the user
            devices = {name.partition(":")[0] for name, body in rows if self._mentions(body, email)}
            for device in devices:
                statement = "DELETE FROM responses WHERE session_id = ? OR substr(session_id, 1, ?) = ?"
                start = f"{device}:"
                removed += database.execute(statement, (device, len(start), start)).rowcount
        return removed

    def _mentions(self, stored: bytes, email: str) -> bool:
        """Return whether a response contains an e-mail address; what can't be read may contain it."""
        try:
            body = self._body(stored)
        except CorruptRecord:
            return True
        return body is None or _contains(body, email)


def _contains(body: bytes, email: str) -> bool:
    text = body.decode("utf-8", "replace")
    if "\\u" in text:  # JSON may spell any character so
        with contextlib.suppress(ValueError):
            text = json.dumps(safe_json.loads(body), ensure_ascii=False)
    text, wanted = text.casefold(), email.casefold()
    return wanted in text or quote(wanted).casefold() in text


def _is_fresh(stored: object, expires: object, ttl: float, now: float) -> bool:
    """Return whether an entry may be used at ``now``: read after the entry, which may wait for a writer.

    Both times count, as another client that shares the file may have stored it with a longer time to live.
    One whose clock was ahead has stored it in the future.
    """
    if not (isinstance(stored, float) and isinstance(expires, float)):
        return False  # a damaged file
    return now - ttl < stored <= now < expires


def _key(account: str, request: Request) -> str:
    """Return a hash that identifies a request without revealing its content."""
    body = None if request.body is None else request.body.decode("utf-8")
    parts: list[object] = [account, request.method, request.path, request.query, body]
    if request.headers:  # without any, the key is that of earlier versions
        parts.append(sorted(request.headers.items()))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
