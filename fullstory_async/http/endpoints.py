"""One pure function per API operation, from arguments to a Request. All quoting happens here.

A session id contains a ``:``, which the service documents as ``%3A``, and the published OpenAPI description
allows any string. So each path segment is quoted with no safe characters, and the transport sends the path
unchanged.

Reads may be retried after a lost response, money permitting. Writes are sent once.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import attrs

from fullstory_async.config import ListApi
from fullstory_async.errors import ConfigurationError
from fullstory_async.messages import Query, Request
from fullstory_async.session_id import SessionId

__all__ = [
    "PROFILE_PARAMETERS",
    "create_profile",
    "delete_profile",
    "events_query",
    "get_profile",
    "list_profiles",
    "list_sessions",
    "me",
    "session_context",
    "session_events",
    "session_summary",
    "update_profile",
]

PROFILE_PARAMETERS = ("config_profile_id", "config_profile")
"""The profile's query parameter in the published description, and in the live service. Both are sent."""

_NOT_A_PAIR = (
    "FullStory's session ids are USER:SESSION pairs, and this id is not one: "
    "join userId and sessionId with ':'"
)
_ROLE_ARCHITECT = "Architect or Admin"
"""FullStory's pages disagree: the newest asks for this role to read data, an older one for Standard."""
_ROLE_STANDARD = "Standard"
_LIST_PATHS: Mapping[ListApi, str] = {"v1": "/sessions/v2", "v2": "/v2/sessions"}
_PROFILES = "/v2/visit_profile"


def list_sessions(
    *,
    list_api: ListApi = "v1",
    uid: str | None,
    email: str | None,
    session_uid: str | None = None,
    limit: int,
    token: str | None = None,
) -> Request:
    """List sessions: ``GET /sessions/v2``, or ``GET /v2/sessions`` for ``v2``. Not metered."""
    query = {
        "email": email,
        "uid": uid,
        "session_uid": session_uid,
        "limit": str(limit),
        "pagination_token": token,
    }
    return Request(
        operation="list", path=_LIST_PATHS[list_api], query=_without_none(query), role=_ROLE_STANDARD
    )


def session_events(session_id: SessionId, query: Query = ()) -> Request:
    """Get a session's events: ``GET /v2/sessions/{id}/events``. Costs one activation.

    The query is that of `events_query`.
    """
    return _of_session(session_id, "events", query=query)


def events_query(*, enable_event_cache: bool | None = None) -> Query:
    """Return the options of a call for events as query parameters; ``None`` leaves one out.

    Raises `ConfigurationError` for a value that can't be sent.
    """
    query: Query = ()
    if enable_event_cache is not None:
        query += (("enable_event_cache", _boolean(enable_event_cache, "enable_event_cache")),)
    return query


def session_context(session_id: SessionId, *, body: bytes) -> Request:
    """Generate a session's context: ``POST /v2/sessions/{id}/context``. Costs one activation."""
    return _of_session(session_id, "context", body=body)


def session_summary(
    session_id: SessionId,
    *,
    config_profile_id: str | None = None,
    end_timestamp: str | None = None,
    body: bytes | None = None,
) -> Request:
    """Generate a summary: ``GET /v2/sessions/{id}/summary``, or ``POST`` with a body.

    Costs one activation.
    """
    query = (
        () if config_profile_id is None else tuple((name, config_profile_id) for name in PROFILE_PARAMETERS)
    )
    query += _without_none({"end_timestamp": end_timestamp})
    return _of_session(session_id, "summary", query=query, body=body)


def list_profiles(*, limit: int, token: str | None = None) -> Request:
    """List summary profiles: ``GET /v2/visit_profile``."""
    query = _without_none({"limit": str(limit), "pagination_token": token})
    return Request(operation="profiles", path=_PROFILES, query=query, role=_ROLE_ARCHITECT)


def get_profile(profile_id: str) -> Request:
    """Get a profile: ``GET /v2/visit_profile/{id}``."""
    return Request(
        operation="profile", path=f"{_PROFILES}/{_quote_segment(profile_id)}", role=_ROLE_ARCHITECT
    )


def create_profile(body: bytes) -> Request:
    """Create a profile: ``POST /v2/visit_profile``. Sent twice, it creates two."""
    return _write(Request(operation="create profile", path=_PROFILES, body=body))


def update_profile(profile_id: str, body: bytes) -> Request:
    """Update the fields of a profile that the body names: ``POST /v2/visit_profile/{id}``."""
    path = f"{_PROFILES}/{_quote_segment(profile_id)}"
    return _write(Request(operation="update profile", path=path, body=body))


def delete_profile(profile_id: str) -> Request:
    """Delete a profile: ``DELETE /v2/visit_profile/{id}``."""
    path = f"{_PROFILES}/{_quote_segment(profile_id)}"
    return _write(Request(operation="delete profile", path=path), method="DELETE")


def me() -> Request:
    """Get the owner of the key: ``GET /me``."""
    return Request(operation="whoami", path="/me")


def _of_session(
    session_id: SessionId,
    operation: str,
    *,
    query: Query = (),
    body: bytes | None = None,
) -> Request:
    is_pair = session_id.is_pair
    segment = session_id.replace(":", "%3A") if is_pair else _quote_segment(session_id)
    return Request(
        operation=operation,
        method="GET" if body is None else "POST",
        path=f"/v2/sessions/{segment}/{operation}",
        query=query,
        body=body,
        session_id=str(session_id),
        metered=True,
        slow=operation == "summary",
        not_found_hint="" if is_pair else _NOT_A_PAIR,
        role=_ROLE_ARCHITECT,
    )


def _write(request: Request, *, method: str = "POST") -> Request:
    return attrs.evolve(request, method=method, repeatable=False, role=_ROLE_ARCHITECT)


def _boolean(value: object, name: str) -> str:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be a boolean, not {value!r}")
    return "true" if value else "false"


def _without_none(query: dict[str, str | None]) -> Query:
    return tuple((name, value) for name, value in query.items() if value is not None)


def _quote_segment(text: str) -> str:
    return quote(text, safe="")
