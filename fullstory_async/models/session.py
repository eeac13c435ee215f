"""Session: one recorded session of a user, with its replay URL."""

from __future__ import annotations

from datetime import datetime

import attrs

from fullstory_async.session_id import SessionId

__all__ = ["KeyOwner", "Session", "SessionRef", "session_id_of"]


@attrs.frozen(kw_only=True)
class Session:
    """One recorded session."""

    session_id: str = ""
    """The session's part of the id, as the service gave it; empty where the answer names none."""

    user_id: str | None = None
    """FullStory's id of the user's device, not the ``uid``; ``None`` in the published wire form."""

    url: str = attrs.field(default="", repr=False)
    """The replay URL; it opens for people who are logged into the account. Not shown: reprs end up in logs."""

    created: datetime | None = None
    """When the session began, with a time zone; ``None`` where the answer has no readable time."""

    raw: bytes = attrs.field(default=b"", repr=False, eq=False)
    """This session's JSON as it came, unknown keys included."""

    @property
    def id(self) -> SessionId:
        """The id that the other calls take: the pair where a user id is known.

        Raises:
            InvalidSessionId: the answer named no session id, or one that can't be sent.
        """
        if self.user_id and self.session_id and ":" not in self.session_id:
            return SessionId(f"{self.user_id}:{self.session_id}")
        return SessionId(self.session_id)


SessionRef = SessionId | Session | str
"""What a caller may name a session by: an id, a listed session, or any text that `SessionId.parse` reads."""


def session_id_of(ref: SessionRef) -> SessionId:
    """Return the id that ``ref`` names. Raises `InvalidSessionId`."""
    return ref.id if isinstance(ref, Session) else SessionId(ref)


@attrs.frozen(kw_only=True)
class KeyOwner:
    """The account and the role that an API key acts for."""

    email: str | None = attrs.field(default=None, repr=False)
    """The e-mail address of the person who made the key. Not shown: reprs end up in logs."""

    org_id: str | None = None
    """The organisation's id, as replay URLs have it."""

    role: str | None = None
    """``ADMIN``, ``ARCHITECT``, ``USER`` (called Standard in the app), ``VIEW_ONLY``, …; an open set."""

    raw: bytes = attrs.field(default=b"", repr=False, eq=False)
    """The answer as it came."""
