"""Decode events from a response that is still arriving.

An event that follows another starts as the first one did, with ``{"device_id":`` for example. So the
received bytes are cut before the last occurrence of that marker that follows a comma, and the part before
the cut is decoded as a JSON array of its own. The cut may be inside an event, but then the segment is not
valid JSON, because its brackets do not match; an earlier cut is tried, or more bytes are awaited. A segment
that starts with an event and is a valid JSON array ends with an event: a wrong guess never gives a wrong
result.

A response with another layout (``events`` is not its first field, or its first event is empty, for example)
is buffered and decoded at its end.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from fullstory_async import safe_json
from fullstory_async.json_documents import parse_json
from fullstory_async.models import SessionEvent
from fullstory_async.models.event import PublishedEvent
from fullstory_async.models.event_decoding import decode_with_first, unsorted_events
from fullstory_async.models.event_fallback import build_event, build_events

__all__ = ["IncrementalEventDecoder"]

_HEAD = re.compile(rb'\s*\{\s*"events"\s*:\s*\[\s*(\{\s*"(?:[^"\\]|\\.)*"\s*:)')
_MAX_HEAD_BYTES = 4096
_MAX_SEGMENT_BYTES = 1024 * 1024
"""Bytes without an event's end that can be found, after which the rest is buffered."""
_MAX_CUTS = 8
_WHITESPACE = b" \t\r\n"

_decoders = (
    msgspec.json.Decoder(list[SessionEvent | None]), msgspec.json.Decoder(list[PublishedEvent | None])
)  # fmt: skip


class IncrementalEventDecoder:
    """Decodes one response: takes bytes in order, returns events once complete."""

    def __init__(self) -> None:
        """Start a response."""
        self._buffer = bytearray()
        self._marker = b""
        """The bytes that an event starts with; empty until the first event arrives."""
        self._returned = 0
        self._min_bytes = 0
        """The buffer's size below which no cut is tried."""
        self._buffers_all = False

    def feed(self, piece: bytes | memoryview) -> list[SessionEvent]:
        """Add bytes and return the events that are complete with them.

        Raises:
            DecodeError: an event has a field of the wrong type.
        """
        self._buffer += piece
        if (
            self._buffers_all
            or not (self._marker or self._find_marker())
            or len(self._buffer) < self._min_bytes
        ):
            return []
        end, was_wrong = len(self._buffer), False
        for _ in range(_MAX_CUTS):
            at = self._buffer.rfind(self._marker, 1, end)
            if at < 0:
                break
            head = self._buffer[:at].rstrip(_WHITESPACE)
            if head.endswith(b","):
                events = self._decode_segment(head[:-1], with_fallback=not was_wrong)
                if events is not None:
                    del self._buffer[:at]
                    self._min_bytes = 0
                    return events
                was_wrong = True
            # -1: rfind's end is exclusive, and the next match has to begin before this one
            end = at + len(self._marker) - 1
        if was_wrong:
            # wait for half as much again, or every small piece would repeat the same work: quadratic in the
            # size
            self._min_bytes = len(self._buffer) * 3 // 2
        self._buffers_all = len(self._buffer) > _MAX_SEGMENT_BYTES
        return []

    def finish(self) -> list[SessionEvent]:
        """Return the remaining events, after the last byte.

        Raises:
            DecodeError: the response is not valid JSON, or has a value of the wrong type.
        """
        body = bytes(self._buffer)
        # the bytes before the first event were dropped when the marker was found
        if self._marker:
            body = b'{"events":[' + body
        events = unsorted_events(body)
        if events is None:
            return build_events(parse_json(body), first=self._returned)
        return events

    def _find_marker(self) -> bool:
        """Set the marker from the first event; return whether it has arrived."""
        if found := _HEAD.match(self._buffer):
            self._marker = bytes(found[1])
            del self._buffer[: found.start(1)]
            return True
        self._buffers_all = len(self._buffer) > _MAX_HEAD_BYTES
        return False

    def _decode_segment(self, segment: bytearray, *, with_fallback: bool) -> list[SessionEvent] | None:
        """Return a segment's events; ``None`` if it is not valid JSON.

        Args:
            segment: events, separated by commas.
            with_fallback: whether Python's parser is tried too, which is slower and accepts more.
        """
        array = b"[" + segment + b"]"
        events = decode_with_first(_decoders, array)
        if events is None:
            return self._fallback(array) if with_fallback else None
        self._returned += len(events)
        return [event for event in events if event is not None]

    def _fallback(self, array: bytes) -> list[SessionEvent] | None:
        try:
            items: list[Any] = safe_json.loads(array)
        except ValueError:
            return None
        first, self._returned = self._returned, self._returned + len(items)
        return [
            build_event(item, f"$.events[{n}]") for n, item in enumerate(items, first) if item is not None
        ]
