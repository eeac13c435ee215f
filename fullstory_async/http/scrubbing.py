"""Scrubbing: taking out of what a server or gateway says what it was told in confidence. Some quote what they refuse."""

from __future__ import annotations

import re

from fullstory_async.http.messages import Request, spelled
from fullstory_async.privacy import Secret

__all__ = ["Scrubber"]

_SHORTEST_KEY = 8


class Scrubber:
    """Takes out one API key, and whom a request asks about."""

    __slots__ = ("_forms", "_pattern")

    def __init__(self, key: str) -> None:
        """Know the key; a very short one is none of FullStory's, and perhaps a common word."""
        # as it is, and as JSON may write it
        forms = (Secret(key), Secret(key.replace("/", "\\/")))
        self._forms = forms if len(key) >= _SHORTEST_KEY else ()
        self._pattern = Secret(spelled(key) if self._forms else "(?!)")

    def text(self, text: str, request: Request) -> str:
        """Return a header, or the text of an exception, without them."""
        for form in self._forms:
            text = text.replace(form, "[the API key]")
        return request.without_persons(text)

    def body(self, body: bytes, request: Request) -> bytes:
        """Do the same to the body of a refusal, whatever its bytes are and however it escapes characters."""
        text = body.decode("utf-8", "surrogateescape")
        text = re.sub(self._pattern, "[the API key]", text, flags=re.IGNORECASE)
        return request.without_persons(text).encode("utf-8", "surrogateescape")
