"""The ids of a session, as columns."""

from __future__ import annotations

import re
from urllib.parse import quote

import attrs

__all__ = ["SessionIds", "replay_url"]

_DECIMAL_PAIR = re.compile(r"(-?[0-9]+):(-?[0-9]+)")
_GUID = "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_GUID_PAIR = re.compile(f"{_GUID}:{_GUID}")


@attrs.frozen
class SessionIds:
    """The id that was asked for and, if it is a pair of decimal numbers, its halves."""

    full_session_id: str
    device_id: str | None = None
    session_id: str | None = None

    @classmethod
    def of(cls, full_session_id: str) -> SessionIds:
        """Split an id. GUIDs and opaque ids have no halves."""
        pair = _DECIMAL_PAIR.fullmatch(full_session_id)
        return cls(full_session_id) if pair is None else cls(full_session_id, pair[1], pair[2])

    def to_dict(self) -> dict[str, str | None]:
        """Return the columns by name."""
        return attrs.asdict(self)


def replay_url(organisation: str | None, full_session_id: str, *, host: str | None = None) -> str | None:
    """Return the URL at which the web app replays a session; ``None`` if the organisation is unknown.

    Args:
        organisation: the organisation's id.
        full_session_id: the session's id.
        host: the web app's scheme and host; by default, that of the organisation's region.
    """
    if organisation is None:
        return None
    if host is None:
        host = f"https://app.{'eu1.' if organisation.endswith('-eu1') else ''}fullstory.com"
    kind = "client-session" if _GUID_PAIR.fullmatch(full_session_id) else "session"
    return f"{host}/ui/{quote(organisation, safe='')}/{kind}/{quote(full_session_id, safe=':')}"
