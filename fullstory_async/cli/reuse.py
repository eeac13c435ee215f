"""Results that were paid for before: from a cache file, a job's folder, or a file with a saved response."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from fullstory_async import safe_json
from fullstory_async.activations import Activations
from fullstory_async.cli.connection import Connection
from fullstory_async.cli.exits import UsageError
from fullstory_async.client import FullStoryClient
from fullstory_async.codec import decode_context, decode_summary
from fullstory_async.errors import DecodeError
from fullstory_async.files.response_cache import ResponseCache
from fullstory_async.jobs import JobReader
from fullstory_async.messages import Response
from fullstory_async.models import SessionContext, SessionEvents, SessionSummary
from fullstory_async.session_id import SessionId

__all__ = ["Reuse", "saved_events"]

R = TypeVar("R", SessionEvents, SessionContext, SessionSummary)

_DAY = 86_400.0
_IDS = ("full_session_id", "device_id", "session_id")
"""The columns by which every output of this program names its session."""


@Parameter(name="*")
@dataclass(frozen=True)
class Reuse:
    """Options of commands whose result may have been paid for before."""

    from_: Annotated[Path | None, Parameter(name="--from")] = None
    """Job folder, or file with a saved response, to read instead of calling FullStory. Sends nothing and
    needs no key."""

    cache: Path | None = None
    """File that keeps responses for a day: repeating a call is then free."""

    def fetch(self, connection: Connection, operation: Callable[[FullStoryClient], Awaitable[R]]) -> R:
        """Make a call, unless the cache has its response, and say what it cost."""
        cache = None if self.cache is None else ResponseCache(self.cache, events_ttl=_DAY)
        found = connection.call(operation, cache=cache)
        is_cached = found.response_info is not None and found.response_info.source == "cache"
        where = f" (from {self.cache})" if is_cached else " (in the sandbox)" if connection.sandbox else ""
        sys.stderr.write(f"{Activations(found.activations)}{where}\n")
        return found

    def check(self, **options: object) -> None:
        """Refuse options that a saved result can't follow. Raises `UsageError`."""
        if self.from_ is None:
            return
        for name, value in {"cache": self.cache, **options}.items():
            if value is not None:
                raise UsageError(f"--from reads a saved result, so --{name.replace('_', '-')} can't be used")

    def context(self, session_id: SessionId) -> SessionContext | None:
        """Return a saved context; None without ``--from``."""
        if self.from_ is None:
            return None
        if self.from_.is_dir():
            raise UsageError(f"{self.from_} is a job's folder, and jobs have no contexts")
        body = _saved_object(self.from_, "context", ("pages", "context", "context_data"), session_id)
        if _IDS[0] in body:  # as this program printed it
            facts = {name: value for name, value in body.items() if name not in (*_IDS, "pages")}
            body = {"context": facts, "pages": body["pages"]}
        return _said(self.from_, decode_context(_as_body(body), session_id))

    def summary(self, session_id: SessionId, profile: str | None) -> SessionSummary | None:
        """Return a saved summary; None without ``--from``."""
        if self.from_ is None:
            return None
        if not self.from_.is_dir():
            body = _saved_object(self.from_, "summary", ("summary", "response"), session_id)
            made_with = body.get("config_profile_id", profile)
            if profile not in (None, made_with):
                raise UsageError(
                    f"{self.from_} has a summary of the profile {made_with!r}, not of {profile!r}"
                )
            body = {name: value for name, value in body.items() if name not in _IDS}
            return _said(self.from_, decode_summary(_as_body(body), session_id, profile))
        reader = JobReader(self.from_)
        if profile not in (None, reader.plan.summary):
            raise UsageError(f"{self.from_} has summaries of the profile {reader.plan.summary!r} only")
        found = reader.result(session_id)
        return _in_job(self.from_, None if found is None else found.summary, "summary", session_id)


def saved_events(source: Path, session_id: SessionId | None) -> SessionEvents:
    """Return the events that a job's folder has, or a file: a response, or the output of ``events``.

    Raises:
        UsageError: it has none of this session.
        DecodeError: the file has no events.
    """
    if session_id is not None and source.is_dir():
        found = JobReader(source).result(session_id)
        return _in_job(source, None if found is None else found.events, "events", session_id)
    try:
        events = SessionEvents.from_json(_as_response(_response(source).body))
    except DecodeError as error:
        raise UsageError(f"{source} holds no events: {error}") from None
    if session_id is not None and events.session_id not in ("", session_id):
        raise UsageError(f"{source} holds the events of {events.session_id}, not of {session_id}")
    return _said(source, events)


def _in_job(folder: Path, found: R | None, operation: str, session_id: SessionId) -> R:
    """Return a result that a job has. Raises `UsageError` if it has none."""
    if found is None:
        raise UsageError(
            f"{folder} has no result of '{operation}' for {session_id}; "
            f"without --from, '{operation}' gets it for 1 activation"
        )
    return _said(folder, found)


def _response(path: Path) -> Response:
    try:
        return Response(status=200, body=path.read_bytes())
    except OSError as error:
        raise UsageError(f"--from {path} can't be read: {error.strerror}") from None


def _saved_object(path: Path, what: str, keys: tuple[str, ...], session_id: SessionId) -> dict[str, Any]:
    """Return a saved response, or an output of this program. Raises `UsageError` if it isn't one of these."""
    try:
        body = safe_json.loads(_response(path).body)
    except ValueError as error:
        raise UsageError(f"{path} holds no {what}: {error}") from None
    if not isinstance(body, dict) or all(body.get(key) is None for key in keys):
        raise UsageError(f"{path} holds no {what}")
    saved = body.get(_IDS[0]) or body.get("session_id")  # a response may have the second half only
    if saved not in (None, session_id, session_id.partition(":")[2]):
        raise UsageError(f"{path} holds the {what} of {saved}, not of {session_id}")
    return body


def _as_body(saved: dict[str, Any]) -> Response:
    return Response(status=200, body=json.dumps(saved).encode())


def _as_response(body: bytes) -> bytes:
    """Return the rows that ``events`` printed as a response of the service, and a response unchanged."""
    given = body.strip()
    try:
        rows = safe_json.loads(given) if given[:1] == b"[" else [*map(safe_json.loads, given.splitlines())]
    except ValueError:  # a response over several lines, or anything else
        return body
    if not all(isinstance(row, dict) and "event_type" in row for row in rows):
        return body
    # the time as the service spelled it, which an export has beside its own
    events = [{**row, "event_time": row.get("event_time_raw") or row.get("event_time")} for row in rows]
    text = json.dumps({"events": events}, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="backslashreplace")  # a lone surrogate becomes JSON's escape of it


def _said(source: Path, found: R) -> R:
    """Say that a result cost nothing, and return it."""
    sys.stderr.write(f"{Activations(0)} (from {source})\n")
    return found
