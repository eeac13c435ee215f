"""SessionSummary: what a language model wrote about one session."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import attrs

from fullstory_async.structuring import structured

__all__ = ["SessionSummary"]

T = TypeVar("T")


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

    @property
    def text(self) -> str:
        """The summary as text that can be printed anywhere: what was written, or else the response as JSON.

        Control characters, which a model may pick up from a page, are replaced.
        """
        text = self.summary or ""
        if not text and self.response is not None:
            text = json.dumps(self.response, ensure_ascii=False, indent=2)
        return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)

    def as_type(self, kind: type[T]) -> T:
        """Make an instance of an attrs class, a dataclass or a `TypedDict` from the structured response.

        A model wrote the response, so it is checked strictly: a text is no number, and what is required must be there.
        Keys that the class does not know are left out. `ResponseSchema.from_type` makes the schema that asks for the
        class.

        Raises:
            DecodeError: there is no structured response, or it does not fit; the message has the paths.
            ConfigurationError: ``kind`` is no class that JSON can be read into.
        """
        return structured(self.response, kind)
