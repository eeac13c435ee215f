"""Plausibility: whether a response can be FullStory's. Pure, and the one place for this rule.

A captive portal, a proxy, a web server or another API may answer at the address in use. Their responses are
neither results nor failures of a session. So every response passes `assess` before it is decoded or mapped to
an error status. It goes by content, because gateways mislabel:

* Markup can't be FullStory's at 2xx and 4xx, except at those 4xx that proxies and load balancers send for an
  overload. At 502 to 504 it is an outage, and other error statuses are judged by the status.
* 407 and 511 come from a proxy or a network, whatever their body.
* A 2xx has JSON of the operation's shape; an empty object is fine, and so are unknown further members. A body
  that starts like it and is damaged is left to the decoder. Only a 204 has no body.
* ``code`` and ``message``, or an ``error`` object, at 2xx is an error of the service.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from fullstory_async import safe_json
from fullstory_async.messages import Request, Response

__all__ = ["EXPECTED_START", "Assessment", "Responder", "assess", "assess_head", "is_markup"]


class Responder(enum.StrEnum):
    """Who probably sent a response that can't be FullStory's."""

    SIGN_IN_PAGE = "a sign-in page"
    PROXY = "a proxy"
    WEB_SERVER = "a web server"
    OTHER_API = "another API"


@attrs.frozen
class Assessment:
    """The result of `assess`; without both fields the response is judged by its status and decoded."""

    responder: Responder | None = None
    """Who probably answered instead of FullStory."""
    service_error: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    """The error that a success holds, with its ``code`` and ``message``."""


_PLAUSIBLE = Assessment()

_TOKENS = frozenset({"next_pagination_token", "nextPaginationToken", "pagination_token"})
_PROFILE = frozenset(
    {"id", "profile_id", "name", "configuration", "llm", "slice", "events", "context", "cache", "media"}
)
_RESULTS: dict[str, frozenset[str]] = {
    "events": frozenset({"events", *_TOKENS}),
    "summary": frozenset({"summary", "response", "response_schema"}),
    "context": frozenset({"context_data", "context", "pages"}),
    "profiles": frozenset({"profiles", *_TOKENS}),
    "profile": _PROFILE, "create profile": _PROFILE, "update profile": _PROFILE,
    "whoami": frozenset({"email", "orgId", "org_id", "role"}),
}  # fmt: skip
"""The members of each operation's result. An object with others alone is another API's."""
_ECHOES = frozenset(
    {"session_id", "sessionId", "device_id", "userId", "config_profile_id", "configProfileId"}
)
"""The members that repeat what a call is about. Other services have such names too."""
_OWN_ECHOES = frozenset({"config_profile_id", "configProfileId"})
"""Those of them that no other service has."""

_EMPTY = frozenset({b"null", b"[]", b"{}", b'""'})

_DECODED_ELSEWHERE = frozenset({"list"})
"""Operations whose decoder knows several shapes, and judges them itself."""

_DECODED = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
"""Encodings of a body that has been decoded by now."""
_MAY_BE_MARKUP = frozenset({405, 408, 409, 425, 429})
"""The statuses below 500 that also come from what stands in front of the service."""
_NETWORK_STATUSES = frozenset({407, 511})

_BLANK = b" \t\r\n\x0b\x0c\0\xef\xbb\xbf\xff\xfe"
"""White space, byte order marks, and the zeros between the characters of UTF-16."""

EXPECTED_START: Mapping[str, re.Pattern[bytes]] = {
    operation: re.compile(
        rb'[%b]*+\{\s*(?:"(?:%b)"\s*:\s*"[^"\\]*"\s*,\s*)*+"(?:%b)"\s*:'
        % (re.escape(_BLANK), *("|".join(sorted(each)).encode() for each in (_ECHOES, names)))
    )
    for operation, names in _RESULTS.items()
}
"""The start of each operation's response: an object that begins with its result, perhaps after the ids.

A success that starts so can be FullStory's, whatever follows: a body of megabytes isn't parsed a second time.
"""

_TEXT_LIKE_HTML = re.compile(rb"<[a-z!/]", re.IGNORECASE)
_SIGN_IN = re.compile(
    rb"sign[ -]?in|sign[ -]?on|log[ -]?[io]n|password|passwort|captive|portal|hotspot|saml|oauth|/sso"
    rb"|accept.{0,20}terms|anmelde|connexion",
    re.IGNORECASE,
)
_PROXY_MARKS = re.compile(
    rb"zscaler|squid|bluecoat|forcepoint|fortin?gate|fortiguard|netskope|mcafee|umbrella|web ?filter|proxy",
    re.IGNORECASE,
)
_SEARCHED = 64 * 1024
"""Bytes of a page that are searched for hints."""

_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def assess(request: Request, response: Response) -> Assessment:
    """Decide whether a complete response can be FullStory's. Pure."""
    if response.status in _NETWORK_STATUSES:
        is_page = response.status == 511 or is_markup(response)
        return Assessment(_page_from(response) if is_page else Responder.PROXY)
    if 200 <= response.status < 300:
        return _assess_success(request, response)
    if 400 <= response.status < 500 and response.status not in _MAY_BE_MARKUP and is_markup(response):
        return Assessment(_page_from(response))
    return _PLAUSIBLE


def assess_head(request: Request, response: Response) -> Assessment | None:
    """Decide on a success of which only the beginning has arrived. Pure.

    Returns:
        ``None`` if the beginning does not decide it.
    """
    start = response.body.lstrip(_BLANK)
    if not start:
        return None
    if not start.startswith(b"{"):
        return assess(request, response)
    # a name may also stand in another member's value, so any other beginning needs the whole response
    expected = EXPECTED_START.get(request.operation)
    return _PLAUSIBLE if expected is not None and expected.match(start) else None


def is_markup(response: Response) -> bool:
    """Return whether a body is HTML or XML, by its content first and then by its label."""
    start = response.body.lstrip(_BLANK)
    if start.startswith(b"<"):
        return True
    if start.startswith((b"{", b"[", b'"')) or not start:
        return False
    label = response.headers.get("content-type", "").lower()
    return "html" in label and _TEXT_LIKE_HTML.search(start[:_SEARCHED]) is not None


def _assess_success(request: Request, response: Response) -> Assessment:
    start = response.body[:256].lstrip(_BLANK) or response.body.lstrip(_BLANK)
    expected = EXPECTED_START.get(request.operation)
    if expected is not None and expected.match(response.body):
        return _PLAUSIBLE
    is_encoded = response.headers.get("content-encoding", "").lower() not in _DECODED
    if response.status == 204 or (is_encoded and not is_markup(response)):
        return _PLAUSIBLE
    has_shape = expected is not None
    if not start:
        needs_body = has_shape or request.operation in _DECODED_ELSEWHERE
        return Assessment(_page_from(response)) if needs_body else _PLAUSIBLE
    parsed = _parse(response.body)
    if isinstance(parsed, dict):
        return _assess_object(request, parsed)
    if not start.startswith((b"{", b"[")):
        return Assessment(_page_from(response) if parsed is _UNREADABLE else Responder.OTHER_API)
    is_damaged = parsed is _UNREADABLE and start.startswith(b"{")
    return Assessment(Responder.OTHER_API) if has_shape and not is_damaged else _PLAUSIBLE


def _assess_object(request: Request, body: Mapping[str, Any]) -> Assessment:
    names = _RESULTS.get(request.operation, frozenset())
    results = names & body.keys()
    is_full = not all(_is_empty(body[name]) for name in results)
    if not body or is_full or (results and not isinstance(_plain(body.get("error")), dict)):
        return _PLAUSIBLE
    if (error := _service_error(request, body)) is not None:
        return Assessment(service_error=error)
    if results or not names or _is_empty_result(request, body):
        return _PLAUSIBLE
    return Assessment(Responder.OTHER_API)


def _is_empty_result(request: Request, body: Mapping[str, Any]) -> bool:
    """Return whether an object without results repeats what the request is about."""
    echoes = _ECHOES & body.keys()
    if echoes & _OWN_ECHOES:
        return True
    session_id = request.session_id or ""
    about = {session_id, *session_id.split(":")}
    return len(echoes) == len(body) or any(str(_plain(body[name])) in about for name in echoes)


def _service_error(request: Request, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the error that an object stands for: its ``error``, or itself with code and message."""
    error = _plain(body.get("error"))
    has_result = request.operation in _DECODED_ELSEWHERE and any(
        isinstance(_plain(value), list) for value in body.values()
    )
    if isinstance(error, dict) and not has_result:
        return error
    code, message = _plain(body.get("code")), _plain(body.get("message"))
    # other APIs wrap their results as {"code": 0, "message": "ok", "data": …}
    is_error = isinstance(message, str) and isinstance(code, str | int) and not isinstance(code, bool)
    if is_error and not has_result and "data" not in body:
        return {"code": code, "message": message}
    return None


_UNREADABLE = object()


def _parse(body: bytes) -> Any:
    """Parse a body; an object's members may stay raw."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # not an object, or with something that only Python's own parser accepts
        try:
            return safe_json.loads(body)
        except ValueError:
            return _UNREADABLE


def _is_empty(value: Any) -> bool:
    return bytes(value) in _EMPTY if isinstance(value, msgspec.Raw) else not value


def _plain(value: Any) -> Any:
    """Return a member's value, parsed if it is still raw."""
    if not isinstance(value, msgspec.Raw):
        return value
    try:
        return safe_json.loads(bytes(value))
    except ValueError:
        return None


def _page_from(response: Response) -> Responder:
    """Return who probably sent a page or a text."""
    page = response.body[:_SEARCHED]
    marks = "\n".join(f"{name}: {value}" for name, value in response.headers.items() if name != "location")
    if response.status == 511 or _SIGN_IN.search(page):
        return Responder.SIGN_IN_PAGE
    if response.status == 407 or _PROXY_MARKS.search(page) or _PROXY_MARKS.search(marks.encode()):
        return Responder.PROXY
    return Responder.WEB_SERVER
