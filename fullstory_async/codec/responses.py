"""From a whole answer to what the caller receives."""

from __future__ import annotations

import json
import logging
from typing import Any

import attrs
import msgspec

from fullstory_async import safe_json
from fullstory_async.codec.converter import structure, structure_lenient
from fullstory_async.codec.events import by_time, sorted_events, unsorted_events
from fullstory_async.errors import DecodeError
from fullstory_async.messages import Response
from fullstory_async.models import (
    KeyOwner,
    Profile,
    Session,
    SessionContext,
    SessionEvent,
    SessionEvents,
    SessionSummary,
    coerce,
)
from fullstory_async.models.event import raw_times
from fullstory_async.pagination import Page
from fullstory_async.session_id import SessionId

__all__ = [
    "decode_context",
    "decode_events",
    "decode_key_owner",
    "decode_profile",
    "decode_profiles",
    "decode_sessions",
    "decode_summary",
    "events_with_times",
]

_TOKEN_KEYS = ("next_pagination_token", "nextPaginationToken", "pagination_token")
"""That of profiles is documented, other lists of FullStory's use the second; the third may also be the request's own."""

_logger = logging.getLogger("fullstory_async.codec")


class _RawItems(msgspec.Struct):
    sessions: list[msgspec.Raw] | None = None
    profiles: list[msgspec.Raw] | None = None


def decode_sessions(response: Response) -> Page[Session]:
    """Decode a list of sessions, and the next page's token if one is ever sent."""
    answer = _answer(response)
    if isinstance(answer, list):  # the v1 form
        answer = {"sessions": answer}
    items = _list(_object(answer), "sessions")
    sessions = tuple(
        attrs.evolve(structure(item, Session, f"$.sessions[{i}]"), raw=raw)
        for i, (item, raw) in enumerate(zip(items, _slices(response.body, items), strict=True))
        if item is not None
    )
    return Page(items=sessions, next_token=_next_token(answer), received=len(items), raw=response.body)


def decode_profiles(response: Response) -> Page[Profile]:
    """Decode a page of profiles; entries that are null or have no id are left out, as they can't be used."""
    answer = _object(_answer(response))
    items = _list(answer, "profiles")
    profiles = (_profile(item, raw) for item, raw in zip(items, _slices(response.body, items), strict=True))
    usable = tuple(profile for profile in profiles if profile.id)
    return Page(items=usable, next_token=_next_token(answer), received=len(items), raw=response.body)


def decode_profile(response: Response) -> Profile:
    """Decode one profile."""
    return _profile(_object(_answer(response)), response.body)


def _profile(item: Any, raw: bytes) -> Profile:
    """Make a profile of its answer: ``llm`` beside ``configuration``, or everything on one level."""
    if not isinstance(item, dict):
        return Profile()
    nested = item.get("configuration")
    groups = nested if isinstance(nested, dict) else item
    named = {"id": item.get("id") or item.get("profile_id"), "name": item.get("name")}
    whole = {**named, "configuration": {**groups, "llm": item.get("llm", groups.get("llm"))}}
    return attrs.evolve(structure_lenient(whole, Profile), raw=raw)


def decode_key_owner(response: Response) -> KeyOwner:
    """Decode whose key it is."""
    return attrs.evolve(structure(_object(_answer(response)), KeyOwner), raw=response.body)


def decode_context(response: Response, session_id: SessionId) -> SessionContext:
    """Decode a session's context; a session id that the answer does not repeat is the request's."""
    answer = _object(_answer(response))
    data = answer if answer.get("context_data") is None else coerce.mapping(answer["context_data"])
    context = coerce.mapping(data.get("context"))
    found = structure_lenient({**context, "pages": data.get("pages")}, SessionContext, _CONTEXT_KEYS)
    return attrs.evolve(found, session_id=found.session_id or str(session_id), raw=response.body)


_CONTEXT_KEYS = {
    "session_created_at": "created", "org_context": "org", "user_context": "user", "location_context": "location",
    "device_context": "device",
}  # fmt: skip


def decode_events(response: Response, session_id: SessionId) -> SessionEvents:
    """Decode a session's events, in the order of time."""
    body = b"{}" if response.status == 204 else response.body
    events = sorted_events(body)
    if events is None:
        events = [event for event, _ in _tolerant(body)]
    return SessionEvents(str(session_id), events, raw=response.body)


def events_with_times(response: Response) -> list[tuple[SessionEvent, str | None]]:
    """Decode a session's events in the order of time, each with its time as the text that came."""
    events = unsorted_events(response.body)
    paired = _tolerant(response.body) if events is None else list(zip(events, raw_times(events), strict=True))
    return [(event, when if when is None else str(when)) for event, when in _sorted_pairs(paired)]


def _tolerant(body: bytes) -> list[tuple[SessionEvent, Any]]:
    answer = parsed(body)
    _logger.debug("events: not strict JSON of the usual types, decoded the slow way")
    items = (item for item in _list(_object(answer), "events") if item is not None)
    times = [_time_as_it_came(item) if isinstance(item, dict) else None for item in items]
    return _sorted_pairs(list(zip(events_of_object(answer), times, strict=True)))


def _time_as_it_came(item: dict[str, Any]) -> Any:
    live = item.get("event_time")
    return item.get("timestamp") if live is None else live


def _sorted_pairs(pairs: list[tuple[SessionEvent, Any]]) -> list[tuple[SessionEvent, Any]]:
    return by_time((pair[0].timestamp, pair) for pair in pairs)


def events_of_object(answer: Any, *, first: int = 0) -> list[SessionEvent]:
    """Make the events of a parsed answer, as they come; ``first`` is the number that errors give to the first."""
    items = enumerate(_list(_object(answer), "events"), first)
    return [structure(item, SessionEvent, f"$.events[{n}]") for n, item in items if item is not None]


def decode_summary(
    response: Response, session_id: SessionId, config_profile_id: str | None
) -> SessionSummary:
    """Decode a summary; the ids that the answer does not repeat are the request's."""
    summary = structure(_object(_answer(response)), SessionSummary)
    return attrs.evolve(
        summary,
        session_id=summary.session_id or str(session_id),
        config_profile_id=summary.config_profile_id or config_profile_id,
        raw=response.body,
    )


def _answer(response: Response) -> Any:
    """Parse an answer; 204 stands for an empty object."""
    return {} if response.status == 204 else parsed(response.body)


def parsed(body: bytes) -> Any:
    """Parse JSON as `json_text` does. Raises `DecodeError`."""
    try:
        return safe_json.loads(body)
    except ValueError as error:
        reason = str(error)
    size = len(body)
    raise DecodeError(
        f"the answer ({size} bytes) can't be read as JSON: {reason}" if size else "the answer is empty"
    )


def _object(value: Any, path: str = "$") -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DecodeError(
            f"the answer is not what it should be: expected an object, not {type(value).__name__} @ {path}"
        )
    return value


def _next_token(answer: dict[str, Any]) -> str | None:
    tokens = (answer.get(key) for key in _TOKEN_KEYS)
    return next((token for token in tokens if isinstance(token, str) and token), None)


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
    """Return each item's own bytes; of a body that only ``json`` reads, the same JSON written anew."""
    try:
        slices = msgspec.json.decode(body, type=_RawItems | list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return [json.dumps(item).encode() for item in items]
    found = slices.sessions or slices.profiles or [] if isinstance(slices, _RawItems) else slices
    return [bytes(raw) for raw in found]
