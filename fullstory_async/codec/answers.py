"""From a whole answer to what the caller receives."""

from __future__ import annotations

import json
import logging
from typing import Any

import attrs
import msgspec

from fullstory_async.codec.converter import structure
from fullstory_async.codec.events import event_from_wire, events_from_bytes
from fullstory_async.errors import DecodeError
from fullstory_async.http.messages import Response
from fullstory_async.models import Session, SessionEvent, SessionEvents, SessionSummary
from fullstory_async.pagination import Page
from fullstory_async.session_id import SessionId

__all__ = ["decode_events", "decode_sessions", "decode_summary"]

_TOKEN_KEYS = ("pagination_token", "next_pagination_token", "nextPaginationToken")
"""The list endpoint documents no token; these are the names that its neighbours use."""

_logger = logging.getLogger("fullstory_async.codec")


class _RawSessions(msgspec.Struct):
    sessions: list[msgspec.Raw] | None = None


def decode_sessions(response: Response) -> Page[Session]:
    """Decode a list of sessions, and the next page's token if one is ever sent."""
    answer = _json(response)
    if isinstance(answer, list):  # the v1 form
        answer = {"sessions": answer}
    items = _list(_object(answer), "sessions")
    sessions = tuple(
        attrs.evolve(structure(item, Session, f"$.sessions[{i}]"), raw=raw)
        for i, (item, raw) in enumerate(zip(items, _slices(response.body, items), strict=True))
        if item is not None
    )
    tokens = (answer.get(key) for key in _TOKEN_KEYS)
    token = next((token for token in tokens if isinstance(token, str) and token), None)
    return Page(items=sessions, next_token=token, received=len(items), raw=response.body)


def decode_events(response: Response, session_id: SessionId) -> SessionEvents:
    """Decode a session's events, in the answer's order."""
    wire = events_from_bytes(response.body)
    if wire is not None:
        return SessionEvents(str(session_id), wire, build=event_from_wire, raw=response.body)
    items = _list(_object(_json(response)), "events")
    _logger.debug("events of %s: not strict JSON of the usual types, decoded the slow way", session_id)
    events = [
        structure(item, SessionEvent, f"$.events[{i}]") for i, item in enumerate(items) if item is not None
    ]
    return SessionEvents(str(session_id), events, raw=response.body)


def decode_summary(
    response: Response, session_id: SessionId, config_profile_id: str | None
) -> SessionSummary:
    """Decode a summary; the ids that the answer does not repeat are the request's."""
    summary = structure(_object(_json(response)), SessionSummary)
    return attrs.evolve(
        summary,
        session_id=summary.session_id or str(session_id),
        config_profile_id=summary.config_profile_id or config_profile_id,
        raw=response.body,
    )


def _json(response: Response) -> Any:
    """Parse a body; 204 stands for an empty object."""
    if response.status == 204:
        return {}
    try:
        return json.loads(response.body)
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:  # bad JSON, bad UTF-8, an integer of over 4300 digits
        reason = str(error)
    size = len(response.body)
    raise DecodeError(
        f"the answer ({size} bytes) can't be read as JSON: {reason}" if size else "the answer is empty"
    )


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DecodeError(
            f"the answer is not what it should be: expected an object, not {type(value).__name__} @ $"
        )
    return value


def _list(answer: dict[str, Any], key: str) -> list[Any]:
    """Return a list that the service leaves out when it is empty."""
    value = answer.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise DecodeError(
            f"the answer is not what it should be: expected a list, not {type(value).__name__} @ $.{key}"
        )
    return value


def _slices(body: bytes, items: list[Any]) -> list[bytes]:
    """Return each session's own bytes; of a body that only ``json`` reads, the same JSON written anew."""
    try:
        slices = msgspec.json.decode(body, type=_RawSessions | list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return [json.dumps(item).encode() for item in items]
    return [bytes(raw) for raw in (slices.sessions or [] if isinstance(slices, _RawSessions) else slices)]
