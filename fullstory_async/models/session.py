"""Session: one recorded session of a user; and KeyOwner, the owner of the API key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from fullstory_async.json_ready import JsonReady
from fullstory_async.response_info import HasResponseInfo
from fullstory_async.session_id import SessionId

__all__ = ["KeyOwner", "RefOrRow", "Session", "SessionRef", "session_id_of", "text_of"]


@attrs.frozen(kw_only=True)
class Session(JsonReady):
    """One recorded session."""

    session_id: str = ""
    """The session id, as the service sent it; empty if it sent none. The second half of a pair that
    ``/v2/sessions`` sent."""

    user_id: str | None = None
    """The device id (FullStory's, not your ``uid``); ``None`` in the published wire form."""

    url: str = attrs.field(default="", repr=False)
    """The replay URL, for people who are logged in to the account. Not in the repr, which may be logged."""

    created: datetime | None = None
    """Start of the session, with a time zone; ``None`` if the service sent no readable time."""

    raw: bytes = attrs.field(default=b"", repr=False, eq=False)
    """This session's JSON, unchanged, with unknown keys."""

    @property
    def id(self) -> SessionId:
        """The id that other calls take: the full session id if the device id is known.

        Raises:
            InvalidSessionId: the service sent no session id, or one that can't be sent back.
        """
        if self.user_id and self.session_id and ":" not in self.session_id:
            return SessionId(f"{self.user_id}:{self.session_id}")
        return SessionId(self.session_id)


SessionRef = SessionId | Session | str
"""What callers may pass for a session: an id, a listed session, or a string that `SessionId.parse` reads."""

RefOrRow = SessionRef | Mapping[str, Any]
"""A session, or a row of a table that names one, as a mapping."""


def session_id_of(ref: SessionRef) -> SessionId:
    """Return the id of a session reference. Raises `InvalidSessionId`."""
    return ref.id if isinstance(ref, Session) else SessionId(ref)


def text_of(ref: object) -> str:
    """Return the text of a session reference that may be unusable, for a report."""
    if isinstance(ref, Session):
        return ref.session_id
    return str.__str__(ref) if isinstance(ref, str) else str(ref)


@attrs.frozen(kw_only=True)
class KeyOwner(HasResponseInfo, JsonReady):
    """Whose API key it is: the account, and the role that the key acts in."""

    email: str | None = attrs.field(default=None, repr=False)
    """The e-mail address of the person who created the key. Not in the repr, which may be logged."""

    org_id: str | None = None
    """The organisation's id, as in replay URLs."""

    role: str | None = None
    """``ADMIN``, ``ARCHITECT``, ``USER`` (called Standard in the app), ``VIEW_ONLY``, …; an open set."""

    raw: bytes = attrs.field(default=b"", repr=False, eq=False)
    """The response body, unchanged."""
