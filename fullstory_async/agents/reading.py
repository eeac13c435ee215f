"""Reads stored responses, redacted, in a thread of its own: large sessions must not hold up other agents."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

import msgspec

from fullstory_async import safe_json
from fullstory_async.agents.session_map import map_of, may_have_grown
from fullstory_async.agents.store import StoredResponse
from fullstory_async.agents.text import as_data, one_line, token_count
from fullstory_async.agents.timeline import Selection, timeline_page
from fullstory_async.codec import IncrementalEventDecoder, decode_context, decode_summary
from fullstory_async.jobs.export import Redaction
from fullstory_async.messages import Response
from fullstory_async.models import SessionEvent, SessionEvents
from fullstory_async.models.event_fallback import by_time
from fullstory_async.session_id import SessionId
from fullstory_async.threads import WorkerThread

__all__ = ["Reader"]

_KEPT = 4
"""Decoded sessions that are kept, so that the next page of a timeline is ready at once."""
_PIECE = 256 * 1024
"""Bytes that are decoded in one step."""
_CHARACTERS = 3
"""Characters of a token, at least, in prose."""


class _RawEvents(msgspec.Struct):
    events: list[msgspec.Raw] | None = None


class Reader:
    """Turns stored responses into text for agents."""

    def __init__(self, redaction: Redaction) -> None:
        """Read with a redaction, which applies to all text that comes from the service."""
        self._redaction = redaction
        self._decoded: OrderedDict[tuple[str, Any], SessionEvents] = OrderedDict()
        self._thread = WorkerThread("the text of sessions")

    async def map(self, session_id: str, found: StoredResponse) -> str:
        """Return the map of a session, marked as data, with a note if the session may have grown."""
        return await self._thread.run(self._map, session_id, found)

    async def timeline(
        self, session_id: str, found: StoredResponse, selection: Selection, *, cursor: int, max_tokens: int
    ) -> str:
        """Return a page of the timeline, marked as data. Raises `ConfigurationError`."""
        return await self._thread.run(self._timeline, session_id, found, selection, cursor, max_tokens)

    async def context(self, session_id: str, found: StoredResponse, max_tokens: int) -> str:
        """Return a context as Markdown, marked as data."""
        return await self._thread.run(self._context, session_id, found, max_tokens)

    async def summary(self, session_id: str, found: StoredResponse, max_tokens: int) -> str:
        """Return a summary, marked as data."""
        return await self._thread.run(self._summary, session_id, found, max_tokens)

    def _map(self, session_id: str, found: StoredResponse) -> str:
        events = self._events(session_id, found)
        return "\n".join(filter(None, (as_data(map_of(events)), may_have_grown(events, found.fetched))))

    def _timeline(
        self, session_id: str, found: StoredResponse, selection: Selection, cursor: int, max_tokens: int
    ) -> str:
        events = self._events(session_id, found)
        return as_data(timeline_page(events, selection, cursor=cursor, max_tokens=max_tokens))

    def _context(self, session_id: str, found: StoredResponse, max_tokens: int) -> str:
        response = Response(status=200, body=self._redacted(found.body))
        context = decode_context(response, SessionId(session_id))
        return as_data(context.to_markdown(max_characters=max_tokens * _CHARACTERS))

    def _summary(self, session_id: str, found: StoredResponse, max_tokens: int) -> str:
        response = Response(status=200, body=self._redacted(found.body))
        text = decode_summary(response, SessionId(session_id), None).text
        return as_data(_cut(text, max_tokens))

    def _events(self, session_id: str, found: StoredResponse) -> SessionEvents:
        key = (session_id, found.fetched)
        events = self._decoded.pop(key, None)
        if events is None:
            events = _events_of(self._redacted(found.body), session_id)
        self._decoded[key] = events
        if len(self._decoded) > _KEPT:
            self._decoded.popitem(last=False)
        return events

    def _redacted(self, body: bytes) -> bytes:
        """Return a response with the fields redacted that the server was started with."""
        if not self._redaction.rules:
            return body
        try:
            events = msgspec.json.decode(body, type=_RawEvents).events
        except msgspec.MsgspecError:
            events = None
        if events is None:  # not events, or JSON that only Python's parser accepts
            return self._apply(body)
        # event by event: to parse a large response in one step would hold up the event loop
        return b'{"events":[' + b",".join(map(self._apply, events)) + b"]}"

    def _apply(self, text: bytes | msgspec.Raw) -> bytes:
        value = safe_json.loads(bytes(text))
        if isinstance(value, dict) and isinstance(value.get("events"), list):
            value["events"] = [
                self._redaction.apply(each) for each in value["events"] if isinstance(each, dict)
            ]
        elif isinstance(value, dict):
            value = self._redaction.apply(value)
        return json.dumps(value).encode()


def _events_of(body: bytes, session_id: str) -> SessionEvents:
    """Return the events of a response, decoded in pieces, so that other threads can run.

    Raises:
        DecodeError: the response can't be read.
    """
    decoder, view = IncrementalEventDecoder(), memoryview(body)
    events: list[SessionEvent] = []
    for start in range(0, len(view), _PIECE):
        events += decoder.feed(view[start : start + _PIECE])
    events += decoder.finish()
    return SessionEvents(session_id, by_time((event.timestamp, event) for event in events))


def _cut(text: str, max_tokens: int) -> str:
    """Return the beginning of a text, up to a number of tokens."""
    if token_count(text) <= max_tokens:
        return text
    lines: list[str] = []
    left = max_tokens
    for line in text.splitlines():
        left -= token_count(line) + 1
        if left < 0:
            lines.append(one_line(line, max(1, (left + token_count(line)) * _CHARACTERS)))
            break
        lines.append(line)
    return "\n".join([*lines, "[cut: ask with a larger max_tokens]"])
