"""SessionSummary: what a language model wrote about one session."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["SessionSummary"]


@attrs.frozen(kw_only=True)
class SessionSummary:
    """One generated summary: text, or a structured response where the profile has a schema."""

    session_id: str = ""
    """The session that was summarised; from the request where the answer does not repeat it."""

    config_profile_id: str | None = None
    """The profile that was used; from the request where the answer does not repeat it."""

    summary: str | None = None
    """The text; ``None`` where the profile asks for a structured response."""

    response: Any = attrs.field(default=None, hash=False)
    """The structured response, JSON untouched; nobody has checked it against `response_schema`."""

    response_schema: Any = attrs.field(default=None, hash=False)
    """The schema that the profile asked for, as the service echoes it."""

    raw: bytes = attrs.field(default=b"", repr=False, eq=False)
    """The answer as it came."""
