"""One pure function per API operation, from arguments to a Request. All quoting lives here.

Session ids hold a ``:``, which the service documents as ``%3A``, and the published contract allows any
string. So each path segment is quoted with nothing safe, and the transport sends the path as it is.
"""

from __future__ import annotations

from urllib.parse import quote

from fullstory_async.http.messages import Request
from fullstory_async.session_id import SessionId

__all__ = ["PROFILE_PARAMETERS", "list_sessions", "session_events", "session_summary"]

PROFILE_PARAMETERS = ("config_profile_id", "config_profile")
"""The profile's query parameter in the published contract and in the live service; both are sent."""

_NOT_A_PAIR = "FullStory's session ids are USER:SESSION pairs, and this id is not one: join userId and sessionId with ':'"


def list_sessions(*, uid: str | None, email: str | None, limit: int, token: str | None = None) -> Request:
    """List sessions: ``GET /sessions/v2``. Not metered."""
    query = [("email", email), ("uid", uid), ("limit", str(limit)), ("pagination_token", token)]
    return Request(
        operation="list",
        path="/sessions/v2",
        query=tuple((name, value) for name, value in query if value is not None),
    )


def session_events(session_id: SessionId) -> Request:
    """Get a session's events: ``GET /v2/sessions/{id}/events``. Costs one activation."""
    return Request(
        operation="events",
        path=f"/v2/sessions/{_segment(session_id)}/events",
        session_id=str(session_id),
        metered=True,
        not_found_hint="" if session_id.is_pair else _NOT_A_PAIR,
    )


def session_summary(session_id: SessionId, *, config_profile_id: str | None) -> Request:
    """Generate a summary: ``GET /v2/sessions/{id}/summary``. Costs one activation; takes long."""
    profile = (
        () if config_profile_id is None else tuple((name, config_profile_id) for name in PROFILE_PARAMETERS)
    )
    return Request(
        operation="summary",
        path=f"/v2/sessions/{_segment(session_id)}/summary",
        query=profile,
        session_id=str(session_id),
        metered=True,
        slow=True,
        not_found_hint="" if session_id.is_pair else _NOT_A_PAIR,
    )


def _segment(text: str) -> str:
    return quote(text, safe="")
