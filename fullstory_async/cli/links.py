"""What a session id's text tells besides the id: the account, the region, and where to watch the session."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

import attrs

from fullstory_async.session_id import SessionId

__all__ = ["SessionLink"]

_REPLAY = re.compile(r"(?:(https?)://)?(?:[^/?#@]*@)?([^/?#@]+)/ui/([^/?#]+)", re.IGNORECASE)
_DOMAIN = "fullstory.com"
_NO_ORG = frozenset({"session", "sessions", "client-session"})
_REGION = re.compile(r"-(na1|eu1)$")


@attrs.frozen
class SessionLink:
    """A session as a person pastes it."""

    id: SessionId
    """The id that the API takes."""
    org: str | None
    """The account, as it stands in replay URLs; ``None`` where neither the text nor anybody else says it."""
    region: str | None
    """``na1`` or ``eu1``; ``None`` where nothing tells."""
    url: str | None
    """The replay URL; ``None`` without an account."""

    @classmethod
    def read(cls, text: str, *, org: str | None = None, api_key: str | None = None) -> SessionLink:
        """Read any form of a session id. Raises `InvalidSessionId`.

        Args:
            text: the id or the URL.
            org: the account's id, where the text has none.
            api_key: a key that begins with its region.
        """
        session_id = SessionId(text)
        found = _REPLAY.match(unquote(text.strip()))
        scheme, host, named = (
            ((found[1] or "https").lower(), found[2].lower(), found[3]) if found else ("https", "", None)
        )
        org = named if named is not None and named not in _NO_ORG else org
        region = _region(host, org, api_key)
        host = host.replace("www.", "app.", 1) or ("app.eu1." if region == "eu1" else "app.") + _DOMAIN
        kind = "client-session" if _is_client(session_id) else "session"
        url = (
            None
            if org is None
            else f"{scheme}://{host}/ui/{quote(org, safe='')}/{kind}/{quote(session_id, safe=':')}"
        )
        return cls(session_id, org, region, url)


def _is_client(session_id: SessionId) -> bool:
    """Tell a pair of GUIDs from a pair of numbers."""
    return session_id.is_pair and session_id.count("-") == 8


def _region(host: str, org: str | None, api_key: str | None) -> str | None:
    if org and (suffix := _REGION.search(org)):
        return suffix[1]
    if f".{host}".endswith(f".{_DOMAIN}"):
        return "eu1" if ".eu1." in host else "na1"
    if host:
        return None
    prefix = (api_key or "").split(".")[0]
    return prefix if prefix in ("na1", "eu1") else None
