"""Streams: an inbox for the webhooks that FullStory's Streams send, which a program reads at its own pace.

A Stream sends an HTTP request for each event, or pattern of events, that it was set up for. Its body is what
the stream's field mapping makes of it, so there is no schema: `StreamTrigger` finds the session and the time
in any mapping, and keeps everything else in `StreamTrigger.data`.

FullStory retries a request for hours, in any order, and limits nothing. So a web server only puts bodies into
a `StreamInbox`, which drops repetitions, and answers at once; a worker takes them out, within its budget and
rate limit. FullStory documents no signature of these requests. Anyone who knows the URL can send them:
check a secret of your own first, in the path or in a header that the stream is set up with.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import attrs

from fullstory_async import coerce, safe_json, validators
from fullstory_async.amounts import counted
from fullstory_async.errors import ConfigurationError, DecodeError, InvalidSessionId, StorageError
from fullstory_async.files.private_database import PrivateDatabase
from fullstory_async.json_ready import JsonReady
from fullstory_async.models import SessionRef, session_id_of
from fullstory_async.session_id import SessionId
from fullstory_async.threads import WorkerThread

__all__ = ["StreamInbox", "StreamTrigger"]

_logger = logging.getLogger("fullstory_async.streams")
_TIMES = frozenset({"timestamp", "event_time", "event_timestamp"})
_SESSION_IDS = ("session_id", "client_session_id", "full_session_id")
_NOT_OF_THIS_INBOX = "done() takes a trigger that waiting() of this inbox has returned"
_DAY = 86_400.0
_SCHEMA = (
    (
        # AUTOINCREMENT: the number of a trigger that was forgotten is never another one's
        "CREATE TABLE triggers (seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, "
        "session_id TEXT, received REAL NOT NULL, done REAL, body BLOB)"
    ),
    "CREATE INDEX waiting ON triggers (seq) WHERE done IS NULL",
    "CREATE INDEX finished ON triggers (done) WHERE done IS NOT NULL",
    "CREATE INDEX by_session ON triggers (session_id)",
)


@attrs.frozen(kw_only=True)
class StreamTrigger(JsonReady):
    """One request that a Stream sent."""

    data: dict[str, Any] = attrs.field(hash=False, repr=False)
    """The body as decoded JSON, in the form of the stream's field mapping."""

    session_id: SessionId | None
    """The session: that of a replay URL in the body, or of a field ``session_id``, ``client_session_id`` or
    ``full_session_id`` that holds a pair; ``None`` if there is none."""

    timestamp: datetime | None
    """When it happened, from a field ``timestamp``, ``event_time`` or ``event_timestamp``; ``None`` if there
    is none. Triggers may arrive hours later, in any order."""

    number: int = 0
    """Its number in the inbox, for `StreamInbox.done`."""

    received: datetime | None = None
    """When the inbox got it first."""

    raw: bytes = attrs.field(default=b"", repr=False, eq=False)
    """The body, unchanged."""

    @classmethod
    def from_json(cls, body: bytes) -> Self:
        """Read the body of a request. Unknown fields are kept.

        Raises:
            DecodeError: it is not a JSON object.
        """
        try:
            data = safe_json.loads(body)
        except ValueError as error:
            problem = f"is not JSON: {error}"
        else:
            if isinstance(data, dict):
                return cls(data=data, session_id=_session_in(data), timestamp=_time_in(data), raw=bytes(body))
            problem = f"is not an object, but {type(data).__name__}"
        raise DecodeError(f"the body of a stream's request ({len(body)} bytes) {problem}")


class StreamInbox:
    """Keeps triggers in a file until they are done; each is taken in once.

    It is one SQLite file that only its owner can read. Several processes may share it, such as the workers of
    a web server; one program should read it.
    """

    path: Path
    """The file."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        remember: float = _DAY,
        max_waiting: int = 100_000,
        max_bytes: int = 1024 * 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Name a file. It is created when it is first used.

        Args:
            path: the file. ``~`` is the home directory.
            remember: seconds for which a trigger that is done is recognised when it is sent again; FullStory
                retries for some hours.
            max_waiting: triggers beyond it are refused, so that a flood doesn't fill the disk.
            max_bytes: the largest body.
            clock: returns seconds since 1970.

        Raises:
            ConfigurationError: a value can't be used.
        """
        self.path = validators.file_path(path, "the inbox's path")
        if not (validators.is_number(remember) and remember > 0):
            raise ConfigurationError(f"remember must be a number of seconds above 0, not {remember!r}")
        validators.positive_integer(max_waiting, "max_waiting")
        validators.positive_integer(max_bytes, "max_bytes")
        self._remember, self._max_waiting, self._max_bytes = float(remember), max_waiting, max_bytes
        self._clock = clock
        self._file = PrivateDatabase(
            path=self.path, what="stream inbox", application_id=0x46535349, version=1, schema=_SCHEMA
        )
        self._thread = WorkerThread(f"the stream inbox {self.path}")

    async def put(self, body: bytes, *, key: str | None = None) -> bool:
        """Take in the body of a request; return whether it is new. It is on disk then.

        Respond with a 2xx whatever the result, so that FullStory doesn't send it again.

        Args:
            body: the body as it was received.
            key: what identifies the trigger, such as an event's id in the mapping; by default the body, so
                that the mapping should hold the event's time.

        Raises:
            DecodeError: it is not a JSON object, or too large: respond 400.
            StorageError: too many triggers wait, or the file can't be written: respond 503, and it is sent
                again.
            ConfigurationError: the file can't be used, or ``key`` isn't a text.
        """
        if len(body) > self._max_bytes:
            raise DecodeError(f"the body of a stream's request has {len(body)} bytes, over {self._max_bytes}")
        body = bytes(body)
        name = hashlib.sha256(body if key is None else _as_bytes(key)).hexdigest()
        return await self._thread.run(self._put, name, body)

    async def waiting(self, limit: int = 100) -> list[StreamTrigger]:
        """Return triggers that are not done, those first that came first. Damaged ones are erased.

        Args:
            limit: the most triggers to return.

        Raises:
            ConfigurationError, StorageError: the file can't be read.
        """
        validators.positive_integer(limit, "limit")
        return await self._thread.run(self._waiting, limit)

    async def done(self, trigger: StreamTrigger) -> None:
        """Record that a trigger is done, and erase its body.

        Until then `waiting` returns it, after a crash too. One that is done or was forgotten stays so.

        Args:
            trigger: one that `waiting` returned.

        Raises:
            ConfigurationError: it is of another inbox, or the file can't be used.
            StorageError: the file can't be written.
        """
        if not isinstance(trigger, StreamTrigger) or not trigger.number:
            raise ConfigurationError(_NOT_OF_THIS_INBOX)
        await self._thread.run(self._done, trigger)

    async def forget(self, session_id: SessionRef) -> int:
        """Erase the triggers of a session, as an erasure request demands; return their number.

        Args:
            session_id: the session.

        Raises:
            InvalidSessionId: this isn't a session id.
            ConfigurationError, StorageError: the file can't be written.
        """
        return await self._thread.run(self._forget, str(session_id_of(session_id)))

    def _put(self, key: str, body: bytes) -> bool:
        trigger = StreamTrigger.from_json(body)  # here, as a large one takes long
        now = self._clock()
        with self._file.transaction(immediate=True) as database:
            database.execute("DELETE FROM triggers WHERE done <= ?", (now - self._remember,))
            if database.execute("SELECT 1 FROM triggers WHERE key = ?", (key,)).fetchone() is not None:
                return False
            [count] = database.execute("SELECT count(*) FROM triggers WHERE done IS NULL").fetchone()
            if count >= self._max_waiting:
                raise StorageError(f"the stream inbox {self.path} is full: {count} triggers wait")
            database.execute(
                "INSERT INTO triggers (key, session_id, received, body) VALUES (?, ?, ?, ?)",
                (key, trigger.session_id, now, trigger.raw),
            )
            return True

    def _waiting(self, limit: int) -> list[StreamTrigger]:
        query = "SELECT seq, received, body FROM triggers WHERE done IS NULL ORDER BY seq"
        found: list[StreamTrigger] = []
        damaged: list[tuple[int]] = []
        with self._file.transaction() as database:
            for number, received, body in database.execute(query):
                if len(found) == limit:
                    break
                try:
                    trigger = StreamTrigger.from_json(body if isinstance(body, bytes) else b"")
                except DecodeError:
                    damaged.append((number,))
                else:
                    when = datetime.fromtimestamp(received, UTC)
                    found.append(attrs.evolve(trigger, number=number, received=when))
            if damaged:
                database.executemany("DELETE FROM triggers WHERE seq = ?", damaged)
        if damaged:
            count = counted(len(damaged), "damaged trigger")
            _logger.warning("erased from the stream inbox %s: %s", self.path, count)
        return found

    def _done(self, trigger: StreamTrigger) -> None:
        statement = "UPDATE triggers SET done = ?, body = NULL, session_id = NULL WHERE seq = ?"
        with self._file.transaction(immediate=True) as database:
            waits = "SELECT body FROM triggers WHERE seq = ? AND done IS NULL"
            found = database.execute(waits, (trigger.number,)).fetchone()
            if found is None:
                return
            if found[0] != trigger.raw:
                raise ConfigurationError(_NOT_OF_THIS_INBOX)
            database.execute(statement, (self._clock(), trigger.number))

    def _forget(self, session_id: str) -> int:
        with self._file.transaction() as database:
            return database.execute("DELETE FROM triggers WHERE session_id = ?", (session_id,)).rowcount


def _as_bytes(key: str) -> bytes:
    if not isinstance(key, str):
        raise ConfigurationError(f"key must be a text, not {key!r}")
    return key.encode("utf-8", "surrogatepass")  # a text of a body may end in half a character


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the texts and numbers of a document, each with the name of its field."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, name)
    else:
        yield name, value


def _session_in(data: dict[str, Any]) -> SessionId | None:
    """Return the session of a replay URL, or of a field with a pair; an ``ORG:SESSION`` is none."""
    texts = [(name, value) for name, value in _leaves(data) if isinstance(value, str)]
    for _, text in texts:
        if found := SessionId.find_all(text):
            return found[0]
    for wanted in _SESSION_IDS:
        for name, text in texts:
            if name == wanted and (session_id := _pair(text)) is not None:
                return session_id
    return None


def _pair(text: str) -> SessionId | None:
    try:
        session_id = SessionId(text)
    except InvalidSessionId:
        return None
    return session_id if session_id.is_pair else None


def _time_in(data: dict[str, Any]) -> datetime | None:
    times = (coerce.timestamp(value) for name, value in _leaves(data) if name in _TIMES)
    return next((when for when in times if when is not None), None)
