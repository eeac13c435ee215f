"""Settings for vcrpy and pytest-recording, so that cassettes hold neither the key nor the users.

A cassette is a file that is committed and shared. Session ids stay in it, since requests are found by them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from inspect import signature
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from fullstory_async.http.endpoints import PROFILE_PARAMETERS, events_query

__all__ = ["vcr_settings"]

_HIDDEN = "hidden"
_HIDDEN_EMAIL = "hidden@example.com"
_KEPT_PARAMETERS = frozenset({
    "limit", "pagination_token", *PROFILE_PARAMETERS, "end_timestamp", *signature(events_query).parameters,
})  # fmt: skip
"""Query parameters that identify no user; the values of all others are hidden."""
_PERSONAL_FIELDS = frozenset({
    "email", "user_email", "user_id", "user_uid", "uid", "session_uid", "display_name", "user_display_name",
    "ip_address", "lat_long",
})  # fmt: skip
"""JSON fields that identify a user, wherever they are. ``userId`` is half of a session id, and stays."""
_EMAIL = re.compile(r"""[^\s"'<>()\[\]{}:;,/\\@=&?]+(?:@|%40)[\w.-]+\.[A-Za-z]{2,}""")
_DROPPED_HEADERS = frozenset({"set-cookie", "authorization", "proxy-authorization"})


def vcr_settings() -> dict[str, Any]:
    """Return settings for ``vcr.VCR(**vcr_settings())`` and pytest-recording's fixture ``vcr_config``.

    Before a cassette is written, they remove the API key and cookies, the values of query parameters, e-mail
    addresses in all texts, and the fields of bodies that identify a user: uid, display name, IP address,
    coordinates. Other personal data that your pages put into events stays: look at what you commit.
    """
    return {
        "filter_headers": [("authorization", _HIDDEN), ("proxy-authorization", None), ("cookie", None)],
        "before_record_request": _scrub_request,
        "before_record_response": _scrub_response,
        "decode_compressed_response": True,
        "match_on": ["method", "scheme", "host", "port", "path", "query", "body"],
    }


def _scrub_request(request: Any) -> Any:
    """Scrub a request of vcrpy; it does so before it looks a request up as well."""
    request.uri = _scrub_url(request.uri)
    if request.body:
        request.body = _scrub_body(request.body)
    return request


def _scrub_response(response: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a response of vcrpy: the program gets the one that was received."""
    headers = {
        name: value for name, value in response["headers"].items() if name.lower() not in _DROPPED_HEADERS
    }
    body = {**response["body"], "string": _scrub_body(response["body"].get("string") or b"")}
    url = {"url": _scrub_url(response["url"])} if isinstance(response.get("url"), str) else {}
    return {**response, "headers": headers, "body": body, **url}


def _scrub_url(url: str) -> str:
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    query = urlencode([(name, each if name in _KEPT_PARAMETERS else _HIDDEN) for name, each in pairs])
    return urlunsplit((parts.scheme, parts.netloc, _EMAIL.sub(_HIDDEN_EMAIL, parts.path), query, ""))


def _scrub_body(body: bytes | str) -> bytes:
    text = body if isinstance(body, str) else body.decode("utf-8", "replace")
    try:
        document = json.loads(text)
    except ValueError:
        return _EMAIL.sub(_HIDDEN_EMAIL, text).encode()
    return json.dumps(_scrubbed(document), ensure_ascii=False, separators=(",", ":")).encode()


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return _EMAIL.sub(_HIDDEN_EMAIL, value)
    if isinstance(value, list):
        return [_scrubbed(each) for each in value]
    if isinstance(value, Mapping):
        return {_scrubbed(name): _scrubbed_field(name, each) for name, each in value.items()}
    return value


def _scrubbed_field(name: str, value: Any) -> Any:
    if name.lower() in _PERSONAL_FIELDS and isinstance(value, str | int | float):
        return _HIDDEN_EMAIL if "email" in name.lower() else _HIDDEN
    return _scrubbed(value)
