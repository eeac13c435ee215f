"""AnswerStore: the responses that were paid for, in a file, so that each is paid for once.

Several servers can share a file: most programs start one of their own. The one that buys a response claims it
first, and renews the claim while it waits; the claim of a process that died lapses after some seconds.
"""

from __future__ import annotations

import secrets
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import attrs

from fullstory_async.files.checksums import checksum, is_intact
from fullstory_async.files.private_database import PrivateDatabase
from fullstory_async.threads import WorkerThread

__all__ = ["LEASE", "Answer", "AnswerStore", "Wanted"]

_SCHEMA = (
    (
        "CREATE TABLE answers (account TEXT NOT NULL, session_id TEXT NOT NULL, operation TEXT NOT NULL, "
        "profile TEXT NOT NULL, fetched REAL NOT NULL, body BLOB NOT NULL, checksum BLOB NOT NULL, "
        "PRIMARY KEY (account, session_id, operation, profile)) WITHOUT ROWID"
    ),
    (
        "CREATE TABLE claims (account TEXT NOT NULL, session_id TEXT NOT NULL, operation TEXT NOT NULL, "
        "profile TEXT NOT NULL, owner TEXT NOT NULL, until REAL NOT NULL, "
        "PRIMARY KEY (account, session_id, operation, profile)) WITHOUT ROWID"
    ),
)
_OF_ONE = "account = ? AND session_id = ? AND operation = ? AND profile = ?"
_FAST = 1
"""zlib's level: a large response shrinks to a tenth in a fifth of a second."""


LEASE = 6.0
"""Seconds after which a claim lapses that is not renewed."""


@attrs.frozen
class Wanted:
    """What an agent asked for; equal ones have the same response."""

    session_id: str
    operation: str
    """``events``, ``context`` or ``summary``."""
    profile: str = ""
    """The profile of a summary; empty for the default one."""


@attrs.frozen
class Answer:
    """A response, and when it was fetched."""

    body: bytes = attrs.field(repr=False)
    fetched: datetime


class AnswerStore:
    """The stored responses of one account. The file is readable only by its owner."""

    path: Path
    """The file."""

    def __init__(self, path: Path, account: str, clock: Callable[[], float] = time.time) -> None:
        """Name a file, which is created when it is first used, and the account that its responses are of."""
        self.path = path.expanduser().absolute()
        self._account = account
        self._owner = secrets.token_hex(8)
        self._clock = clock
        self._file = PrivateDatabase(
            path=self.path, what="store of responses", application_id=0x46534147, version=1, schema=_SCHEMA
        )
        self._thread = WorkerThread(f"the store of responses {self.path}")

    async def get(self, wanted: Wanted) -> Answer | None:
        """Return a stored response. Raises `ConfigurationError`, `StorageError`."""
        return await self._thread.run(self._get, wanted)

    async def put(self, wanted: Wanted, body: bytes) -> Answer:
        """Store a response in place of an earlier one. Raises `ConfigurationError`, `StorageError`."""
        return await self._thread.run(self._put, wanted, body)

    async def claim(self, wanted: Wanted) -> bool:
        """Claim the right to buy a response, or renew it; return whether no other server has it.

        Raises:
            ConfigurationError, StorageError: the file can't be written.
        """
        return await self._thread.run(self._claim, wanted)

    async def release(self, wanted: Wanted) -> None:
        """Give a claim back. Raises `ConfigurationError`, `StorageError`."""
        await self._thread.run(self._release, wanted)

    async def stored(self) -> set[str]:
        """Return the sessions whose events are stored. Raises `ConfigurationError`, `StorageError`."""
        return await self._thread.run(self._stored)

    def _get(self, wanted: Wanted) -> Answer | None:
        with self._file.transaction() as database:
            query = f"SELECT fetched, body, checksum FROM answers WHERE {_OF_ONE}"  # noqa: S608  (a constant)
            found = database.execute(query, self._key(wanted)).fetchone()
        if found is None:
            return None
        fetched, body, stored_checksum = found
        # a damaged row is fetched again, and then replaced
        if not is_intact(stored_checksum, *self._key(wanted), fetched, body):
            return None
        return Answer(zlib.decompress(body), _time(fetched))

    def _put(self, wanted: Wanted, body: bytes) -> Answer:
        fetched, packed = float(self._clock()), zlib.compress(body, _FAST)
        row = (*self._key(wanted), fetched, packed)
        with self._file.transaction() as database:
            database.execute("REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, checksum(*row)))
        return Answer(body, _time(fetched))

    def _stored(self) -> set[str]:
        with self._file.transaction() as database:
            query = "SELECT session_id FROM answers WHERE account = ? AND operation = 'events'"
            return {session_id for (session_id,) in database.execute(query, (self._account,))}

    def _claim(self, wanted: Wanted) -> bool:
        now, key = float(self._clock()), self._key(wanted)
        with self._file.transaction(immediate=True) as database:
            query = f"SELECT 1 FROM claims WHERE {_OF_ONE} AND owner != ? AND until > ? AND until <= ?"  # noqa: S608
            # a claim further ahead than any can be was made by a clock that was wrong
            if database.execute(query, (*key, self._owner, now, now + LEASE)).fetchone():
                return False
            database.execute(
                "REPLACE INTO claims VALUES (?, ?, ?, ?, ?, ?)", (*key, self._owner, now + LEASE)
            )
        return True

    def _release(self, wanted: Wanted) -> None:
        with self._file.transaction() as database:
            statement = f"DELETE FROM claims WHERE {_OF_ONE} AND owner = ?"  # noqa: S608
            database.execute(statement, (*self._key(wanted), self._owner))

    def _key(self, wanted: Wanted) -> tuple[str, str, str, str]:
        return self._account, wanted.session_id, wanted.operation, wanted.profile


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
