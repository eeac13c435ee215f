"""Session links: the organisation, region and replay URL of a session id."""

from __future__ import annotations

import re
from urllib.parse import unquote

import attrs

from fullstory_async.session_id import SessionId
from fullstory_async.tables.ids import replay_url

__all__ = ["SessionLink"]

_REPLAY = re.compile(r"(?:(https?)://)?(?:[^/?#@]*@)?([^/?#@]+)/ui/([^/?#]+)", re.IGNORECASE)
_DOMAIN = "fullstory.com"
_NO_ORG = frozenset({"session", "sessions", "client-session"})
_REGION = re.compile(r"-(na1|eu1)$")


@attrs.frozen
class SessionLink:
    """A session id as people paste it, with what its text says about the session."""

    id: SessionId
    """The id that the API takes."""
    org: str | None
    """The organisation id, as in replay URLs; None if neither the text nor the caller names it."""
    region: str | None
    """``na1`` or ``eu1``; None if it is unknown."""
    url: str | None
    """The replay URL; None without an organisation."""

    @classmethod
    def read(cls, text: str, *, org: str | None = None, api_key: str | None = None) -> SessionLink:
        """Read any form of a session id.

        Args:
            text: the id or the URL.
            org: the organisation id to use if the text has none.
            api_key: an API key, whose prefix may name the region.

        Raises:
            InvalidSessionId: the text is not a session id.
        """
        session_id = SessionId(text)
        found = _REPLAY.match(unquote(text.strip()))
        scheme, host, org_part = (
            ((found[1] or "https").lower(), found[2].lower(), found[3]) if found else ("https", "", None)
        )
        # some URLs of FullStory's app leave the organisation out: /ui/session/1:2
        org = org_part if org_part is not None and org_part not in _NO_ORG else org
        region = _region(host, org, api_key)
        host = host.replace("www.", "app.", 1) or ("app.eu1." if region == "eu1" else "app.") + _DOMAIN
        url = replay_url(org, session_id, host=f"{scheme}://{host}")
        return cls(session_id, org, region, url)


def _region(host: str, org: str | None, api_key: str | None) -> str | None:
    """Return the region, from the most specific source that names one."""
    if org and (suffix := _REGION.search(org)):
        return suffix[1]
    if f".{host}".endswith(f".{_DOMAIN}"):
        return "eu1" if ".eu1." in host else "na1"
    # another host, such as a sandbox, is in neither region
    if host:
        return None
    prefix = (api_key or "").split(".")[0]
    return prefix if prefix in ("na1", "eu1") else None
