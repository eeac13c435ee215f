"""Decode a complete response into the model that the caller receives."""

from __future__ import annotations

import json
from typing import Any

import attrs
import msgspec

from fullstory_async.codec.converter import structure, structure_lenient
from fullstory_async.errors import DecodeError
from fullstory_async.json_documents import parse_json, require_list, require_object
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
from fullstory_async.models.event_decoding import read_events, read_events_with_times
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
"""The first is documented for profiles, FullStory's other lists use the second.

The third may also be an echo of the request's own.
"""

_SESSION_LISTS = ("sessions", "results")
"""The list in a response of ``/sessions/v2``, and of ``/v2/sessions``."""


def decode_sessions(response: Response) -> Page[Session]:
    """Decode a list of sessions of either endpoint, and the next page's token if the service sends one."""
    body = _parse_body(response)
    key: str | None = None
    token: str | None = None
    if isinstance(body, list):  # the oldest version of the API sends the bare list
        items: list[Any] = body
    else:
        listing = require_object(body)
        key = _session_list_key(listing)
        items, token = require_list(listing, key), _next_token(listing)
    place = "$" if key is None else f"$.{key}"
    sessions = tuple(
        attrs.evolve(_to_session(item, f"{place}[{i}]"), raw=raw)
        for i, (item, raw) in enumerate(zip(items, _raw_items(response.body, key, items), strict=True))
        if item is not None
    )
    return Page(items=sessions, next_token=token, received=len(items), raw=response.body)


def _to_session(item: Any, path: str) -> Session:
    """Build a session from its JSON, in either endpoint's form."""
    session = structure(item, Session, path)
    halves = session.session_id.split(":")
    # /v2/sessions sends the full session id as one "id", /sessions/v2 its halves
    if session.user_id is None and session.session_id == item.get("id") and len(halves) == 2 and all(halves):
        return attrs.evolve(session, user_id=halves[0], session_id=halves[1])
    return session


def _session_list_key(body: dict[str, Any]) -> str:
    """Return the name of the list of sessions. Raises `DecodeError` if the object is something else."""
    key = next((name for name in _SESSION_LISTS if body.get(name)), None)
    if key is None and (reason := _not_a_session_list(body)):
        raise DecodeError(f"the response is not a list of sessions: {reason}")
    return key or _SESSION_LISTS[0]


def _not_a_session_list(body: dict[str, Any]) -> str | None:
    """Return why an object without sessions can't be an empty list of them, or ``None`` if it can."""
    if body.get("error") is not None:
        return "it has a member 'error'"
    if body.get("code") is not None and body.get("message") is not None:
        return "it has a 'code' and a 'message', as an error has"
    if any(isinstance(body.get(name), list) for name in _SESSION_LISTS):
        return None
    # the service omits empty lists, so {} and objects of scalars are empty lists
    if "error" in body or "data" in body:
        return "it has neither 'sessions' nor 'results', but 'data' or 'error'"
    if any(isinstance(value, list | dict) for value in body.values()):
        return "it has neither 'sessions' nor 'results', but other arrays or objects"
    return None


def decode_profiles(response: Response) -> Page[Profile]:
    """Decode a page of profiles, without unusable entries: null, or without an id."""
    body = require_object(_parse_body(response))
    items = require_list(body, "profiles")
    raw_items = _raw_items(response.body, "profiles", items)
    profiles = (_to_profile(item, raw) for item, raw in zip(items, raw_items, strict=True))
    usable = tuple(profile for profile in profiles if profile.id)
    return Page(items=usable, next_token=_next_token(body), received=len(items), raw=response.body)


def decode_profile(response: Response) -> Profile:
    """Decode one profile."""
    return _to_profile(require_object(_parse_body(response)), response.body)


def _to_profile(item: Any, raw: bytes) -> Profile:
    """Build a profile from its JSON, in either layout."""
    if not isinstance(item, dict):
        return Profile()
    # ``llm`` stands beside ``configuration``, or every group on one level
    nested = item.get("configuration")
    groups = nested if isinstance(nested, dict) else item
    named = {"id": item.get("id") or item.get("profile_id"), "name": item.get("name")}
    fields = {**named, "configuration": {**groups, "llm": item.get("llm", groups.get("llm"))}}
    return attrs.evolve(structure_lenient(fields, Profile), raw=raw)


def decode_key_owner(response: Response) -> KeyOwner:
    """Decode the owner of the API key."""
    return attrs.evolve(structure(require_object(_parse_body(response)), KeyOwner), raw=response.body)


def decode_context(response: Response, session_id: SessionId) -> SessionContext:
    """Decode a session's context.

    Args:
        response: the response.
        session_id: the requested session, for a response that does not repeat its id.
    """
    body = require_object(_parse_body(response))
    # one layout wraps everything in ``context_data``
    data = body if body.get("context_data") is None else coerce.mapping(body["context_data"])
    fields = {**coerce.mapping(data.get("context")), "pages": data.get("pages")}
    context = structure_lenient(fields, SessionContext, _CONTEXT_KEYS)
    return attrs.evolve(context, session_id=context.session_id or str(session_id), raw=response.body)


_CONTEXT_KEYS = {
    "session_created_at": "created", "org_context": "org", "user_context": "user",
    "location_context": "location", "device_context": "device",
}  # fmt: skip


def decode_events(response: Response, session_id: SessionId) -> SessionEvents:
    """Decode a session's events, sorted by time."""
    body = b"{}" if response.status == 204 else response.body
    return SessionEvents(str(session_id), read_events(body), raw=response.body)


def events_with_times(response: Response) -> list[tuple[SessionEvent, str | None]]:
    """Decode a session's events, sorted by time, each with its time as it was sent."""
    return read_events_with_times(response.body)


def decode_summary(
    response: Response, session_id: SessionId, config_profile_id: str | None
) -> SessionSummary:
    """Decode a summary.

    Args:
        response: the response.
        session_id: the requested session, for a response that does not repeat its id.
        config_profile_id: the requested profile, likewise.
    """
    summary = structure(require_object(_parse_body(response)), SessionSummary)
    return attrs.evolve(
        summary,
        session_id=summary.session_id or str(session_id),
        config_profile_id=summary.config_profile_id or config_profile_id,
        raw=response.body,
    )


def _parse_body(response: Response) -> Any:
    """Parse a response's body; 204 counts as an empty object."""
    return {} if response.status == 204 else parse_json(response.body)


def _next_token(body: dict[str, Any]) -> str | None:
    tokens = (body.get(key) for key in _TOKEN_KEYS)
    return next((token for token in tokens if isinstance(token, str) and token), None)


def _raw_items(body: bytes, key: str | None, items: list[Any]) -> list[bytes]:
    """Return each item's own bytes; the items are the list under a key, or the body itself."""
    if not items:
        return []
    try:
        listed = body if key is None else msgspec.json.decode(body, type=dict[str, msgspec.Raw])[key]
        return [bytes(each) for each in msgspec.json.decode(listed, type=list[msgspec.Raw])]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # only ``json`` accepts this body, so there are no slices of it: serialise the items again
        return [json.dumps(item).encode() for item in items]
