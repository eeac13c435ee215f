"""SessionId: normalises every form of a session id that people paste to the API's own.

The API's full session id is the pair ``<device id>:<session id>``, two int64 in decimal. Each SDK session
also has a client id, a pair of GUIDs, which the API accepts instead. The web app shows the pair in other
forms: inside replay URLs, with ``:`` percent-encoded (once or twice), with ``!`` for ``:``, after an
individual's id (``INDIVIDUAL:USER!SESSION``), before a timestamp in milliseconds
(``…/session/A:B:1716480000000``), or in the parentheses of a segment URL. All of these are recognised.

Any other string is opaque and kept unchanged, because the published OpenAPI description allows any string.
Only strings that can't be one path segment are rejected: empty ones, ``.``, ``..``, those with a slash, a
control character or a lone surrogate, plain or percent-encoded, and those over 512 bytes.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Self
from urllib.parse import unquote

from fullstory_async.errors import InvalidSessionId

__all__ = ["SessionId"]

_STRIPPED = " \t\r\n\f\v\ufeff\u200b\u200e\u200f\u2060\u00a0"
"""What pasting may add at either end: white space, a byte order mark, invisible characters."""
_MAX_BYTES = 512
_MAX_SHOWN = 80
_PART = r"(?:-?[0-9]+|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})"
_PAIR = re.compile(rf"({_PART}):({_PART})")
_PAIR_WITH_BANG = re.compile(rf"(?:{_PART}:)?({_PART})!({_PART})")
_WITH_TIMESTAMP = re.compile(r"(.+):([0-9]{13})")
_TIMESTAMP_RANGE = range(1_200_000_000_000, 4_000_000_000_000)
"""Milliseconds that are plausibly a date (2008 to 2096), rather than a third id."""
_URL = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*(/[^?#]*)?|[A-Za-z0-9.-]*fullstory\.com(/[^?#]*)", re.IGNORECASE
)
_AFTER_MARKER = re.compile(r".*/(?:client-session|sessions?)/([^/]+)")
_IN_PARENTHESES = re.compile(r"\(([^()]+)(?=[()])")


class SessionId(str):
    """A session id in the API's form.

    A `str`, so it hashes, compares and serialises as one.
    ``SessionId(text)`` and ``SessionId.parse(text)`` do the same: every instance has been checked.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Parse any form that the module describes. Raises `InvalidSessionId`."""
        if type(text) is cls:
            return text
        return super().__new__(cls, _canonical(text))

    @classmethod
    def parse(cls, text: str) -> SessionId:
        """Parse any form of a session id: pair, client id, replay URL, opaque string.

        Raises:
            InvalidSessionId: the text can't be sent as one path segment, or is a URL without an id.
        """
        return cls(text)

    @property
    def is_pair(self) -> bool:
        """Whether this is a pair, ``DEVICE:SESSION`` or ``GUID:GUID``.

        Those are the forms that the live service knows.
        """
        return _PAIR.fullmatch(self) is not None

    def __repr__(self) -> str:
        return f"SessionId({str(self)!r})"


def _canonical(text: str) -> str:
    if not isinstance(text, str):
        raise InvalidSessionId(
            f"a session id must be a string, not {type(text).__name__}: {text!r:.{_MAX_SHOWN}}"
        )
    # the fast path: nearly all ids come in this form
    if _PAIR.fullmatch(text):
        return text
    stripped = text.strip(_STRIPPED)
    # twice: some of the web app's forms are encoded two times
    decoded = unquote(unquote(stripped))
    if problem := _text_problem(stripped) or _text_problem(decoded):
        raise InvalidSessionId(f"{_show(text)} is not a session id: it {problem}")
    url = _URL.fullmatch(stripped.split("#")[0].split("?")[0])
    if url is not None:
        segment = _find_in_url(url[1] or url[2] or "")
        if segment is None:
            raise InvalidSessionId(f"{_show(text)} is a URL without a session id: nothing after /session/")
        return _canonical(segment)
    found = _parse_pair(decoded) or _find_in_parentheses(decoded) or stripped
    # decoded as well: a proxy that decodes the path once more would see another path
    if problem := _segment_problem(found) or _segment_problem(unquote(unquote(found))):
        raise InvalidSessionId(f"{_show(text)} is not a session id: it {problem}")
    return found


def _find_in_url(path: str) -> str | None:
    """Return the id in a URL's path; an opaque id is decoded only once."""
    decoded = unquote(unquote(path))
    opaque = _AFTER_MARKER.match(path)
    segment = _AFTER_MARKER.match(decoded)
    pair = segment and _parse_pair(re.split("[?#;]", segment[1])[0])
    return pair or _find_in_parentheses(decoded) or (opaque and unquote(opaque[1]))


def _find_in_parentheses(text: str) -> str | None:
    return next(filter(None, map(_parse_pair, _IN_PARENTHESES.findall(text))), None)


def _parse_pair(text: str) -> str | None:
    """Return ``A:B`` if the text is a pair in one of its forms, else ``None``."""
    if match := _PAIR.fullmatch(text) or _PAIR_WITH_BANG.fullmatch(text):
        return f"{match[1]}:{match[2]}"
    if (match := _WITH_TIMESTAMP.fullmatch(text)) and int(match[2]) in _TIMESTAMP_RANGE:
        return _parse_pair(match[1])
    return None


def _text_problem(text: str) -> str | None:
    """Return why a text can't be sent at all, or ``None``."""
    if not text:
        return "is empty"
    for char in text:
        category = unicodedata.category(char)
        if category == "Cc":
            return "contains a control character"
        if category == "Cs":
            return "contains a lone surrogate"
    return None


def _segment_problem(text: str) -> str | None:
    """Return why a text can't be one path segment, or ``None``."""
    if text in (".", ".."):
        return "is a relative path"
    if "/" in text or "\\" in text:
        return "contains a slash"
    if len(text.encode()) > _MAX_BYTES:
        return f"is longer than {_MAX_BYTES} bytes"
    return None


def _show(text: str) -> str:
    return ascii(text) if len(text) <= _MAX_SHOWN else ascii(text[:_MAX_SHOWN]) + "…"
