"""SessionSummary: what the service's language model wrote about one session."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import attrs

from fullstory_async.json_ready import JsonReady
from fullstory_async.notebook_html import fact_table, preformatted
from fullstory_async.response_info import HasResponseInfo
from fullstory_async.structuring import structure_strictly

__all__ = ["SessionSummary"]

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class SessionSummary(HasResponseInfo, JsonReady):
    """One generated summary: text, or a response in the profile's schema."""

    session_id: str = ""
    """The session that was summarised; from the request if the response omits it."""

    config_profile_id: str | None = None
    """The profile that was used; from the request if the response omits it."""

    summary: str | None = None
    """The text; ``None`` if the profile asks for a structured response."""

    response: Any = attrs.field(default=None, hash=False)
    """The structured response, as decoded JSON; it has not been validated against `response_schema`."""

    response_schema: Any = attrs.field(default=None, hash=False)
    """The profile's response schema, as the service echoes it."""

    raw: bytes = attrs.field(default=b"", repr=False, eq=False)
    """The response body, unchanged."""

    @property
    def text(self) -> str:
        """The summary as printable text; a structured response as JSON.

        Control characters, which a model may copy from a web page, are replaced.
        """
        text = self.summary or ""
        if not text and self.response is not None:
            text = json.dumps(self.response, ensure_ascii=False, indent=2)
        return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)

    def _repr_html_(self) -> str:
        """Return the summary and its profile, for notebooks."""
        facts = {"session": self.session_id, "profile": self.config_profile_id}
        return fact_table("Summary of a session", facts) + preformatted(self.text)

    def as_type(self, kind: type[T]) -> T:
        """Return the structured response as an instance of a class.

        A language model wrote the response, so it is checked strictly: a string is not read as a number,
        and required fields must be present. Keys that the class does not have are ignored.
        `ResponseSchema.from_type` generates the schema that asks for the class.

        Args:
            kind: an attrs class, a dataclass or a `TypedDict`.

        Raises:
            DecodeError: there is no structured response, or it does not fit; the message has the paths.
            ConfigurationError: ``kind`` is not a class that JSON can be read into.
        """
        return structure_strictly(self.response, kind)
