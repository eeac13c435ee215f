"""SessionId: normalises every form of a session id that people paste to the API's own.

The API's full session id is the pair ``<device id>:<session id>``, two int64 in decimal. Each SDK session
also has a client id, a pair of GUIDs, which the API accepts instead. The web app shows the pair in other
forms: inside replay URLs, with ``:`` percent-encoded (once or twice), with ``!`` for ``:``, after an
individual's id (``INDIVIDUAL:USER!SESSION``), before a timestamp in milliseconds
(``…/session/A:B:1716480000000``), or in the parentheses of a segment URL. All of these are recognised.

The wrappings of chats and documents are taken off: Slack's ``<URL|label>``, Markdown's ``[label](URL)`` and
code marks, HTML links, and links that a mail filter rewrote (SafeLinks, URL Defense).

Any other string is opaque and kept unchanged, because the published OpenAPI description allows any string.
Only strings that can't be an id or one path segment are rejected: empty ones, ``.``, ``..``, those with white
space, a slash, a control character or a lone surrogate, plain or percent-encoded, and those over 512 bytes.
"""

from __future__ import annotations

import re
from typing import Any, Self
from urllib.parse import unquote

from fullstory_async.error_base import without_secrets
from fullstory_async.errors import InvalidSessionId

__all__ = ["SessionId", "UnusableId"]

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
_UNSENDABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and lone surrogates."""
_WRAPPINGS = tuple(
    re.compile(pattern, re.DOTALL | re.IGNORECASE)
    for pattern in (
        r"<([^<>|\s]+)(?:\|[^<>]*)?>",  # Slack, and an autolink of Markdown
        r"!?\[[^\]]*\]\(\s*<?([^\s<>]+?)>?(?:\s+[\"'(].*)?\s*\)",  # Markdown
        r"\[\[([^\]\s]+)\](?:\[[^\]]*\])?\]",  # Org mode
        r"\[(?:[^\]|]*\|)?([a-z]+://[^\]\s|]+)(?:[\s|][^\]]*)?\]",  # Jira and MediaWiki
        r"<a\s[^>]*?href\s*=\s*[\"']?([^\"'\s>]+)[^>]*>.*</a>",
        r"`{1,3}([^`]+)`{1,3}",
    )
)
"""Wrappings that no session id has."""
_QUOTED = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:[-*+•]|[0-9]+[.)]) +(\S.*)",
        r"([*_~]{1,3})(.+)\1",
        r"=?([\"'])(.+)\1",
        r"[“‘«](.+)[”’»]",
    )
)
"""Wrappings that an opaque id might have; they are taken off a pair or a URL only."""
_MAX_WRAPPINGS = 4
_LINK_END = r"\s<>\"'`|\\"
_REPLAY_URL = re.compile(
    rf"(?:https?://|fullstory\.com)(?:(?!https?://)[^{_LINK_END}?#&]){{0,300}}?"
    rf"/(?:client-session|sessions?)/([^{_LINK_END}/?#&\]),;]+)",
    re.IGNORECASE,
)
_SEGMENT_URL = re.compile(
    rf"fullstory\.com/[^{_LINK_END}?#]{{0,300}}?\(([^{_LINK_END}()]+)[()]", re.IGNORECASE
)
_URL_DEFENSE = re.compile(r"urldefense\.proofpoint\.com/v2/url\?u=([^&\s]+)", re.IGNORECASE)
_URL_DEFENSE_3 = re.compile(r"urldefense\.(?:us|com)/v3/__\S+?__;JS?[QU]", re.IGNORECASE)
"""A wrapped link whose percent signs were replaced with asterisks; what follows is ``%`` in base64."""
_AFTER_LINK = ".,;:!?*_~)]}"
"""What the sentence or the markup around a link leaves at its end."""


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
        if isinstance(text, UnusableId):
            raise InvalidSessionId(text.reason)
        # the text itself: str() of a member of an Enum is its name
        return super().__new__(cls, _canonical(str.__str__(text) if isinstance(text, str) else text))

    @classmethod
    def parse(cls, text: str) -> SessionId:
        """Parse any form of a session id: pair, client id, replay URL, opaque string.

        Raises:
            InvalidSessionId: the text can't be sent as one path segment, or is a URL without an id.
        """
        return cls(text)

    @classmethod
    def find_all(cls, text: str) -> list[SessionId]:
        """Return the distinct ids of the replay URLs that a text contains, in order.

        Only URLs with a pair count. They may be percent-encoded up to three times, as within another URL.
        """
        found: dict[str, None] = {}
        text = _URL_DEFENSE.sub(lambda url: url[1].replace("_", "/").replace("-", "%"), text)
        text = _URL_DEFENSE_3.sub(lambda url: url[0].replace("*", "%"), text)
        text = text.replace("\\/", "/")
        for _ in range(4):
            for match in (*_REPLAY_URL.finditer(text), *_SEGMENT_URL.finditer(text)):
                segment = unquote(unquote(match[1])).partition("__;")[0]
                if pair := _parse_pair(re.split("[?#;&]", segment)[0].rstrip(_AFTER_LINK)):
                    found[pair] = None
            # a pair that is followed by an encoded parameter shows only when it is decoded
            decoded = unquote(text)
            if found or decoded == text:
                break
            text = decoded
        return [cls(pair) for pair in found]

    @property
    def is_pair(self) -> bool:
        """Whether this is a pair, ``DEVICE:SESSION`` or ``GUID:GUID``.

        Those are the forms that the live service knows.
        """
        return _PAIR.fullmatch(self) is not None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> dict[str, Any]:
        """Let pydantic and FastAPI read every form of an id; other texts are validation errors."""
        parse = {"type": "no-info", "function": _parse_for_pydantic}
        return {"type": "function-after", "function": parse, "schema": {"type": "str"}}

    def __repr__(self) -> str:
        return f"SessionId({str(self)!r})"


class UnusableId(str):
    """A text in the place of a session id that isn't one, with the reason.

    It is reported like an invalid id wherever it is used as one, and never sent.
    """

    __slots__ = ("reason",)
    reason: str
    """Why it is not a session id."""

    def __new__(cls, text: str, reason: str) -> Self:
        """Keep a text and the reason why it is not a session id."""
        made = super().__new__(cls, str.__str__(text))
        made.reason = reason
        return made

    def __reduce__(self) -> tuple[type[UnusableId], tuple[str, str]]:
        return UnusableId, (str.__str__(self), self.reason)


def _parse_for_pydantic(text: str) -> SessionId:
    try:
        return SessionId(text)
    except InvalidSessionId as error:
        problem = error.message
    # a plain ValueError: FastAPI's response for a validation error shows the fields of any other
    raise ValueError(problem)


def _canonical(text: str) -> str:
    if not isinstance(text, str):
        raise InvalidSessionId(
            f"a session id must be a string, not {type(text).__name__}: {text!r:.{_MAX_SHOWN}}"
        )
    # the fast path: nearly all ids come in this form
    if _PAIR.fullmatch(text):
        return text
    stripped = _unwrapped(text)
    # twice: some of the web app's forms are encoded two times
    decoded = unquote(unquote(stripped))
    if problem := _text_problem(stripped) or _text_problem(decoded) or _link_problem(stripped):
        raise InvalidSessionId(f"{_show(text)} is not a session id: it {problem}")
    url = _URL.fullmatch(stripped.split("#")[0].split("?")[0])
    if url is not None:
        segment = _find_in_url(url[1] or url[2] or "")
        if segment is None:
            # a link that a mail filter wrapped into its own
            if len(inner := SessionId.find_all(stripped)) == 1:
                return str(inner[0])
            raise InvalidSessionId(f"{_show(text)} is a URL without a session id: nothing after /session/")
        return _canonical(segment)
    found = _parse_pair(decoded.rstrip(",;.")) or _find_in_parentheses(decoded) or stripped
    # decoded as well: a proxy that decodes the path once more would see another path
    if problem := _segment_problem(found) or _segment_problem(unquote(unquote(found))):
        raise InvalidSessionId(f"{_show(text)} is not a session id: it {problem}")
    return found


def _unwrapped(text: str) -> str:
    """Return a text without the wrappings of chats, documents and spreadsheets."""
    text = _URL_DEFENSE_3.sub(lambda url: url[0].replace("*", "%"), text.strip(_STRIPPED))
    for _ in range(_MAX_WRAPPINGS):
        match = next(filter(None, (pattern.fullmatch(text) for pattern in _WRAPPINGS)), None)
        if match is not None:
            text = match[1].strip(_STRIPPED)
            continue
        match = next(filter(None, (pattern.fullmatch(text) for pattern in _QUOTED)), None)
        inner = "" if match is None else _unwrapped(match[match.re.groups])
        return inner if _parse_pair(inner) or "://" in inner[:10] else text
    return text


def _find_in_url(path: str) -> str | None:
    """Return the id in a URL's path; an opaque id is decoded only once."""
    decoded = unquote(unquote(path))
    opaque = _AFTER_MARKER.match(path)
    segment = _AFTER_MARKER.match(decoded)
    # URL Defense ends the link that it wraps with "__;"
    end = segment and re.split("[?#;]", segment[1])[0].removesuffix("__")
    # the sentence or the markup around the link may have left something at its end
    pair = end and _parse_pair(end.rstrip(_AFTER_LINK + "\"'>|"))
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
    if (found := _UNSENDABLE.search(text)) is None:
        return None
    return "contains a lone surrogate" if found[0] >= "\ud800" else "contains a control character"


def _link_problem(text: str) -> str | None:
    """Return why a text is more than one link, or ``None``."""
    # a space after a URL means that another text follows
    if any(map(str.isspace, text)):
        return "contains white space"
    if text.count("://") > 1 and len(SessionId.find_all(text)) > 1:
        return "holds the URLs of several sessions"
    return None


def _segment_problem(text: str) -> str | None:
    """Return why a text can't be one path segment of an id, or ``None``."""
    if without_secrets(text) != text:
        return "looks like an API key"
    if any(map(str.isspace, text)):
        return "contains white space"
    if text in (".", ".."):
        return "is a relative path"
    if "/" in text or "\\" in text:
        return "contains a slash"
    if len(text.encode()) > _MAX_BYTES:
        return f"is longer than {_MAX_BYTES} bytes"
    return None


def _show(text: str) -> str:
    return ascii(text) if len(text) <= _MAX_SHOWN else ascii(text[:_MAX_SHOWN]) + "…"
