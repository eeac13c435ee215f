"""Scrubbing: taking out of what a server or gateway says what it was told in confidence. Some quote what they refuse."""

from __future__ import annotations

from fullstory_async.http.messages import Request
from fullstory_async.privacy import Secret

__all__ = ["Scrubber"]

_SHORTEST_KEY = 8


class Scrubber:
    """Takes out one API key, and whom a request asks about."""

    __slots__ = ("_forms",)

    def __init__(self, key: str) -> None:
        """Know the key; a very short one is none of FullStory's, and perhaps a common word."""
        # as it is, and as JSON may write it
        forms = (Secret(key), Secret(key.replace("/", "\\/")))
        self._forms = forms if len(key) >= _SHORTEST_KEY else ()

    def text(self, text: str, request: Request) -> str:
        """Return a text of an answer to a request without them."""
        for form in self._forms:
            text = text.replace(form, "[the API key]")
        return request.without_persons(text)

    def body(self, body: bytes, request: Request) -> bytes:
        """Do the same to a body, whatever its bytes are."""
        return self.text(body.decode("utf-8", "surrogateescape"), request).encode("utf-8", "surrogateescape")
