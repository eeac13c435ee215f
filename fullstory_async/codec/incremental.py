"""Events out of an answer that is still arriving.

An event that follows another begins as the first one did: ``{"device_id":``, say. So what has arrived is cut before
the last place where that stands behind a comma, and what lies before it is decoded as an array of its own. That
may be a place inside an event, but then the piece is no JSON, as its brackets do not match; an earlier place is tried, or
more is waited for. A piece that begins with an event and is an array of JSON ends with an event: a wrong guess is
never a wrong result.

An answer that is laid out in another way (events are not its first field, say, or its first event is empty) is
collected and decoded at its end.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from fullstory_async import safe_json
from fullstory_async.codec.converter import structure
from fullstory_async.codec.events import decoded, unsorted_events
from fullstory_async.codec.responses import events_of_object, parsed
from fullstory_async.models import SessionEvent
from fullstory_async.models.event import PublishedEvent

__all__ = ["IncrementalEventDecoder"]

_HEAD = re.compile(rb'\s*\{\s*"events"\s*:\s*\[\s*(\{\s*"(?:[^"\\]|\\.)*"\s*:)')
_LONGEST_HEAD = 4096
_LONGEST_SEGMENT = 1024 * 1024
"""Bytes without an end of an event that can be found, after which the rest is collected."""
_TRIES = 8
_SPACE = b" \t\r\n"

_decoders = (
    msgspec.json.Decoder(list[SessionEvent | None]), msgspec.json.Decoder(list[PublishedEvent | None])
)  # fmt: skip


class IncrementalEventDecoder:
    """Takes the pieces of one answer in order, and gives the events that are whole, in the order of the answer."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._rest = bytearray()
        self._marker = b""
        """How an event begins; empty until the first one was seen."""
        self._given = 0
        self._enough = 0
        """Bytes below which it is no use to look for an end."""
        self._is_collecting = False

    def feed(self, piece: bytes | memoryview) -> list[SessionEvent]:
        """Take a piece and return the events that are whole with it.

        Raises:
            DecodeError: an event is not what it should be.
        """
        self._rest += piece
        if self._is_collecting or not (self._marker or self._find_marker()) or len(self._rest) < self._enough:
            return []
        end, wasted = len(self._rest), False
        for _ in range(_TRIES):
            at = self._rest.rfind(self._marker, 1, end)
            if at < 0:
                break
            head = self._rest[:at].rstrip(_SPACE)
            if head.endswith(b","):
                events = self._decoded(head[:-1], tolerant=not wasted)
                if events is not None:
                    del self._rest[:at]
                    self._enough = 0
                    return events
                wasted = True
            end = at + len(self._marker) - 1
        if wasted:
            self._enough = len(self._rest) * 3 // 2  # or the same work would be done for each small piece
        self._is_collecting = len(self._rest) > _LONGEST_SEGMENT
        return []

    def finish(self) -> list[SessionEvent]:
        """Return the events that are left, of an answer that has come to its end.

        Raises:
            DecodeError: the answer is no JSON, or not what it should be.
        """
        body = bytes(self._rest)
        if self._marker:
            body = b'{"events":[' + body
        found = unsorted_events(body)
        if found is None:
            return events_of_object(parsed(body), first=self._given)
        return found

    def _find_marker(self) -> bool:
        """Learn how an event begins from the first one."""
        if found := _HEAD.match(self._rest):
            self._marker = bytes(found[1])
            del self._rest[: found.start(1)]
            return True
        self._is_collecting = len(self._rest) > _LONGEST_HEAD
        return False

    def _decoded(self, segment: bytearray, *, tolerant: bool) -> list[SessionEvent] | None:
        """Return the events of a piece; ``None`` if it is no array of JSON, to Python's parser either where that is asked."""
        array = b"[" + segment + b"]"
        events = decoded(_decoders, array)
        if events is None:
            return self._tolerant(array) if tolerant else None
        self._given += len(events)
        return [event for event in events if event is not None]

    def _tolerant(self, array: bytes) -> list[SessionEvent] | None:
        try:
            items: list[Any] = safe_json.loads(array)
        except ValueError:
            return None
        first, self._given = self._given, self._given + len(items)
        return [
            structure(item, SessionEvent, f"$.events[{n}]")
            for n, item in enumerate(items, first)
            if item is not None
        ]
