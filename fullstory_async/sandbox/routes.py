"""The sandbox's paths: which method of the service answers which, under which name in records and faults."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from msgspec.json import encode

from fullstory_async.sandbox.api_error import ApiError
from fullstory_async.sandbox.profiles import read_body
from fullstory_async.sandbox.service import Service

__all__ = ["OPERATIONS", "ROUTES", "Work"]


Work = Callable[[Service, web.Request, bytes], bytes]
"""Does one operation on the account: from a request and its body to the answer's body."""


def _profile(request: web.Request) -> str:
    return request.match_info["profile_id"]


def _session(request: web.Request) -> str:
    return request.match_info["session_id"]


_PROFILES = "/v2/visit_profile"
_API: tuple[tuple[str, str, str, Work], ...] = (
    ("GET", "/me", "whoami", lambda s, _, __: s.me()),
    ("GET", "/sessions/v2", "list", lambda s, r, _: s.list(r.query)),
    ("GET", "/v2/sessions/{session_id}/events", "events", lambda s, r, _: s.events(_session(r), r.query)),
    ("GET", "/v2/sessions/{session_id}/summary", "summary", lambda s, r, _: s.summary(_session(r), r.query)),
    (
        "POST", "/v2/sessions/{session_id}/summary", "summary",
        lambda s, r, body: s.summary_with_overrides(_session(r), body),
    ),
    ("POST", "/v2/sessions/{session_id}/context", "context", lambda s, r, body: s.context(_session(r), body)),
    ("GET", _PROFILES, "profiles", lambda s, r, _: encode(s.profiles.list(r.query))),
    ("POST", _PROFILES, "create profile", lambda s, _, body: encode(s.profiles.create(read_body(body)))),
    ("GET", _PROFILES + "/{profile_id}", "profile", lambda s, r, _: encode(s.profiles.get(_profile(r)))),
    (
        "POST", _PROFILES + "/{profile_id}", "update profile",
        lambda s, r, body: encode(s.profiles.update(_profile(r), read_body(body))),
    ),
    ("DELETE", _PROFILES + "/{profile_id}", "delete profile", lambda s, r, _: encode(s.profiles.delete(_profile(r)))),
)  # fmt: skip


def _refuse_path(*_: object) -> bytes:
    raise ApiError(404, "resource_not_found", "no such path")


def _refuse_method(path: str) -> Work:
    allow = tuple(method for method, each, _, _ in _API if each == path)

    def refuse(*_: object) -> bytes:
        raise ApiError(405, "method_not_allowed", f"this path has {', '.join(allow)} alone", allow=allow)

    return refuse


ROUTES = (
    *_API,
    *(("*", path, "unknown", _refuse_method(path)) for path in dict.fromkeys(path for _, path, _, _ in _API)),
    ("*", "/{unknown:.*}", "unknown", _refuse_path),
)
"""Every route, in the order in which they are tried: method, path, operation, work."""

OPERATIONS = tuple(dict.fromkeys(operation for _, _, operation, _ in ROUTES))
"""What operations are called, each once."""
