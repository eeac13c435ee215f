"""KeyOwner: whose API key it is."""

from __future__ import annotations

import attrs

__all__ = ["KeyOwner"]


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
