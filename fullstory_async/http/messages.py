"""Request and Response: frozen values, the only things that enter and leave the transport."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from html import escape
from typing import Any
from urllib.parse import quote, quote_plus

import attrs
from yarl import URL

__all__ = ["Request", "Response", "StreamedResponse", "spelled"]

_PERSONAL = ("email", "uid", "session_uid")
"""The query parameters that tell who somebody is."""
_SHORTEST = 4
"""Characters below which a text is too common to be replaced wherever it stands."""
_LONGEST = 256
"""Characters above which all that holds a text is replaced with it: a pattern of such a text takes too long to make."""
_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})|\\/")


@attrs.frozen(kw_only=True)
class Request:
    """One API call, before the base URL and the key are added."""

    operation: str
    """The operation's short name, as logs and errors print it: ``list``, ``events``, ``summary``, …"""

    method: str = "GET"
    """The HTTP method."""

    path: str
    """The path below the base URL; every segment is already percent-encoded."""

    query: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    """Query parameters in order, not yet encoded. Hidden from repr: they hold e-mails and uids."""

    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """The caller's extra headers. The key is not among them: the transport adds it."""

    body: bytes | None = attrs.field(default=None, repr=False)
    """The JSON that is sent along. Hidden from repr: prompts are nobody else's business."""

    session_id: str | None = None
    """The session that the call is about, if it is about one."""

    metered: bool = False
    """Whether the call costs one activation."""

    repeatable: bool = True
    """Whether sending it twice leaves the account as sending it once does (money aside)."""

    slow: bool = False
    """Whether the answer is written by a language model, so that the longer read timeout applies."""

    priority: bool = False
    """Whether it passes those without, in the wait for the rate limiter."""

    not_found_hint: str = ""
    """What a 404 for this request probably means, for the error's message."""

    role: str = ""
    """The least role that a key probably needs for it, for the message of a 403."""

    def without_persons(self, text: str) -> str:
        """Take out of a text whom this request asks about: services and gateways quote what they refuse."""
        for name, value in self.query:
            if name in _PERSONAL and len(value) >= _SHORTEST:
                text = _without(value, text, instead=f"[the {name}]")
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the headers, and without whom it asks about: a request travels with its error, to logs and other machines."""
        query = tuple((name, "…" if name in _PERSONAL else value) for name, value in self.query)
        return _restored, ({**attrs.asdict(self, recurse=False), "query": query, "headers": {}},)


def _without(value: str, text: str, *, instead: str) -> str:
    """Replace a value in a text, or the whole text where the value stands in it as no pattern finds it.

    Making the pattern takes milliseconds, so that is done only where there is something to replace.
    """
    spellings = _spellings(value)
    written = text.casefold(), _unescaped(text).casefold()
    if not any(spelling.casefold() in each for spelling in spellings for each in written):
        return text
    if len(value) > _LONGEST:
        return instead
    cleaned, times = re.subn("|".join(map(spelled, spellings)), instead, text, flags=re.IGNORECASE)
    return cleaned if times else instead


def _unescaped(text: str) -> str:
    """Return a text without JSON's escapes; two of them may be one character."""
    plain = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)) if escape[1] else "/", text)
    return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def spelled(text: str) -> str:
    """Return a regular expression for a text whose characters may be escaped as JSON allows it: some servers escape ``+`` or ``/``."""
    return "".join(
        rf"(?:{re.escape(char)}|\\u{ord(char):04x}{'|' + re.escape(chr(92) + '/') if char == '/' else ''})"
        for char in text
    )


def _spellings(value: str) -> tuple[str, ...]:
    """Return a text as it is, and as URLs, JSON and HTML write it."""
    sent = URL.build(query={"": value}).raw_query_string.removeprefix("=")
    return (
        value, sent, quote(value), quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1], escape(value),
    )  # fmt: skip


def _restored(fields: dict[str, Any]) -> Request:
    return Request(**fields)


@attrs.frozen(kw_only=True)
class Response:
    """One answer, read to its end; no connection is held by it."""

    status: int
    """The HTTP status."""

    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """The headers; names are in lower case, the last of a repeated header wins."""

    body: bytes = attrs.field(default=b"", repr=False)
    """The whole body, decompressed."""

    elapsed: float = 0.0
    """Seconds from sending to the last byte."""

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300


@attrs.frozen(kw_only=True)
class StreamedResponse(Response):
    """A successful answer whose body is still to be read. It holds a connection until `close`."""

    read: Callable[[], Awaitable[bytes]] = attrs.field(repr=False, eq=False)
    """Return the next piece of the body, decompressed; nothing at its end. Raises `TransportError`."""

    close: Callable[[], None] = attrs.field(repr=False, eq=False)
    """Let the connection go; a body that was not read to its end is given up. A second time does nothing."""
