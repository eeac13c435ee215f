"""SessionId: every form of a session id that a person pastes, made into the one that the API takes.

The API's id is the pair ``<user id>:<session id>``, two int64 in decimal; each SDK session also has a
client id, a pair of GUIDs, that the API accepts in its place. The web app shows the pair in other
clothes: inside replay URLs, with ``:`` percent-encoded (once or twice), with ``!`` for ``:``, with an
individual's id in front (``INDIVIDUAL:USER!SESSION``), with a millisecond timestamp behind
(``…/session/A:B:1716480000000``), or in the parentheses of a segment URL. All of these are recognised.

Anything else is opaque: the published contract allows any string, so it is taken as it is. Refused
are only strings that can't be one path segment: empty, ``.``, ``..``, with a slash, with control
characters or lone surrogates, plain or percent-encoded, or over 512 bytes.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Self
from urllib.parse import unquote

from fullstory_async.errors import InvalidSessionId

__all__ = ["SessionId"]

_AROUND = " \t\r\n\f\v\ufeff\u200b\u200e\u200f\u2060\u00a0"
"""What a paste may bring along at either end: white space, a byte order mark, invisible marks."""
_MAX_BYTES = 512
_SHOWN = 80
_PART = r"(?:-?[0-9]+|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})"
_PAIR = re.compile(rf"({_PART}):({_PART})")
_BANG = re.compile(rf"(?:{_PART}:)?({_PART})!({_PART})")
_STAMPED = re.compile(r"(.+):([0-9]{13})")
_STAMP_RANGE = range(1_200_000_000_000, 4_000_000_000_000)
"""Milliseconds that are plausibly a date (2008 to 2096), as opposed to a third id."""
_URL = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*(/[^?#]*)?|[A-Za-z0-9.-]*fullstory\.com(/[^?#]*)", re.IGNORECASE
)
_AFTER_MARKER = re.compile(r".*/(?:client-session|sessions?)/([^/]+)")
_IN_PARENTHESES = re.compile(r"\(([^()]+)(?=[()])")


class SessionId(str):
    """A session id as the API takes it; a `str`, so it hashes, compares and serialises as one.

    ``SessionId(text)`` and ``SessionId.parse(text)`` are the same: no unchecked one can exist.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Read any form that the module describes. Raises `InvalidSessionId`."""
        if type(text) is cls:
            return text
        return super().__new__(cls, _canonical(text))

    @classmethod
    def parse(cls, text: str) -> SessionId:
        """Read any form of a session id: a pair, a client id, a replay URL, or an opaque string.

        Raises:
            InvalidSessionId: the text can't be sent as one path segment, or is a URL without an id.
        """
        return cls(text)

    @property
    def is_pair(self) -> bool:
        """Whether this is a ``USER:SESSION`` or ``GUID:GUID`` pair, the forms the live service knows."""
        return _PAIR.fullmatch(self) is not None

    def __repr__(self) -> str:
        return f"SessionId({str(self)!r})"


def _canonical(text: str) -> str:
    if not isinstance(text, str):
        raise InvalidSessionId(f"a session id is text, not {type(text).__name__}: {text!r:.{_SHOWN}}")
    if _PAIR.fullmatch(text):  # as nearly all are
        return text
    given = text.strip(_AROUND)
    decoded = unquote(unquote(given))
    if problem := _unsendable(given) or _unsendable(decoded):
        raise InvalidSessionId(f"{_show(text)} is not a session id: it {problem}")
    url = _URL.fullmatch(given.split("#")[0].split("?")[0])
    if url is not None:
        segment = _from_url(url[1] or url[2] or "")
        if segment is None:
            raise InvalidSessionId(f"{_show(text)} is a URL without a session id: nothing after /session/")
        return _canonical(segment)
    found = _pair(decoded) or _from_parentheses(decoded) or given
    if problem := _not_one_segment(found) or _not_one_segment(unquote(unquote(found))):
        raise InvalidSessionId(f"{_show(text)} is not a session id: it {problem}")
    return found


def _from_url(path: str) -> str | None:
    """Find the id in a URL's path; one that is no pair keeps the escapes of its own."""
    decoded = unquote(unquote(path))
    opaque = _AFTER_MARKER.match(path)
    segment = _AFTER_MARKER.match(decoded)
    pair = segment and _pair(re.split("[?#;]", segment[1])[0])
    return pair or _from_parentheses(decoded) or (opaque and unquote(opaque[1]))


def _from_parentheses(text: str) -> str | None:
    return next(filter(None, map(_pair, _IN_PARENTHESES.findall(text))), None)


def _pair(text: str) -> str | None:
    """Return ``A:B`` where the text is a pair in one of its spellings."""
    if match := _PAIR.fullmatch(text) or _BANG.fullmatch(text):
        return f"{match[1]}:{match[2]}"
    if (match := _STAMPED.fullmatch(text)) and int(match[2]) in _STAMP_RANGE:
        return _pair(match[1])
    return None


def _unsendable(text: str) -> str | None:
    if not text:
        return "is empty"
    for char in text:
        category = unicodedata.category(char)
        if category == "Cc":
            return "holds a control character"
        if category == "Cs":
            return "holds a lone surrogate"
    return None


def _not_one_segment(text: str) -> str | None:
    if text in (".", ".."):
        return "is a relative path"
    if "/" in text or "\\" in text:
        return "holds a slash"
    if len(text.encode()) > _MAX_BYTES:
        return f"is longer than {_MAX_BYTES} bytes"
    return None


def _show(text: str) -> str:
    return ascii(text) if len(text) <= _SHOWN else ascii(text[:_SHOWN]) + "…"
