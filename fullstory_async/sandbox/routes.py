"""The sandbox's paths: those of the API with their operations, and those beside it.

Beside the API, without key, limit or record: ``/_sandbox/stats`` and ``/_sandbox/sessions`` for observers,
``/openapi.json`` for programs that read contracts, and for people a start page and a page at each replay URL.
They are served only under a name of this machine, or the public URL's. A page of another site, whose name was
made to lead here after it was loaded (DNS rebinding), sends its own name, and gets nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from aiohttp import web
from msgspec.json import encode
from yarl import URL

from fullstory_async.networks import is_loopback
from fullstory_async.sandbox.contract import contract
from fullstory_async.sandbox.options import read_body
from fullstory_async.sandbox.replay import PAGE_HEADERS, index_page, replay_path
from fullstory_async.sandbox.service import Service
from fullstory_async.sandbox.state import ApiError, Recorder, Wire
from fullstory_async.sandbox.world import ORG_ID

__all__ = ["Work", "admin_routes", "routes"]

_EXAMPLES = 2

Work = Callable[[Service, web.Request, bytes], bytes]
"""Does one operation on the account: from a request and its body to the body of the response."""


def _profile(request: web.Request) -> str:
    return request.match_info["profile_id"]


def _session(request: web.Request) -> str:
    return request.match_info["session_id"]


_PROFILES = "/v2/visit_profile"
_NEWEST_LIST = "/v2/sessions"
_UNKNOWN = "unknown"
_API: tuple[tuple[str, str, str, Work], ...] = (
    ("GET", "/me", "whoami", lambda s, _, __: s.me()),
    ("GET", "/sessions/v2", "list", lambda s, r, _: s.list(r.query)),
    ("GET", _NEWEST_LIST, "list", lambda s, r, _: s.list_newest(r.query)),
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
    (
        "DELETE", _PROFILES + "/{profile_id}", "delete profile",
        lambda s, r, _: encode(s.profiles.delete(_profile(r))),
    ),
)  # fmt: skip


def _refuse_path(*_: object) -> bytes:
    raise ApiError(404, "resource_not_found", "no such path")


def _refuse_method(path: str) -> Work:
    allow = tuple(method for method, each, _, _ in _API if each == path)

    def refuse(*_: object) -> bytes:
        raise ApiError(405, "method_not_allowed", f"this path only allows {', '.join(allow)}", allow=allow)

    return refuse


def routes(wire: Wire) -> tuple[tuple[str, str, str, Work], ...]:
    """Return every route of a wire form, in matching order: method, path, operation, work."""
    # the published description has no other list than /sessions/v2
    served = [route for route in _API if wire == "live" or route[1] != _NEWEST_LIST]
    paths = dict.fromkeys(path for _, path, _, _ in served)
    # unknown paths and methods are routes too, so that they are recorded and can have faults
    return (
        *served,
        *(("*", path, _UNKNOWN, _refuse_method(path)) for path in paths),
        ("*", "/{unknown:.*}", _UNKNOWN, _refuse_path),
    )


def admin_routes(service: Service, recorder: Recorder, public_host: str | None) -> list[web.RouteDef]:
    """Return the routes beside the API; they are served under this machine's names and ``public_host``."""

    # read from the world in each request, because sessions may be added
    async def serve_stats(_: web.Request) -> web.Response:
        return web.json_response(recorder.stats(service.meter))

    async def serve_sessions(_: web.Request) -> web.Response:
        users = [{"uid": user.uid, "email": user.email} for user in service.world.users]
        sessions = service.world.sessions
        uids = {str(each.id): each.session_uid for each in sessions.values()}
        return web.json_response({"session_ids": list(sessions), "session_uids": uids, "users": users})

    async def serve_contract(_: web.Request) -> web.Response:
        # tools call the examples, so these are the smallest sessions
        sessions = service.world.sessions
        examples = sorted(sessions, key=lambda each: sessions[each].event_count)[:_EXAMPLES]
        return web.json_response(contract(service.wire, service.base_url, list(map(str, examples))))

    async def serve_index(_: web.Request) -> web.Response:
        # its own address, since the public URL of replays may lead elsewhere
        sessions = service.world.sessions.values()
        return _page(index_page({service.base_url + replay_path(each): each for each in sessions}))

    async def serve_replay(request: web.Request) -> web.Response:
        try:
            return _page(service.replay(_session(request)))
        except ApiError as error:
            return web.Response(status=error.status, text=error.message, headers=PAGE_HEADERS)

    handlers = {
        "/_sandbox/stats": serve_stats,
        "/_sandbox/sessions": serve_sessions,
        "/openapi.json": serve_contract,
        "/": serve_index,
        f"/ui/{ORG_ID}/session/{{session_id}}": serve_replay,
    }
    return [web.get(path, partial(_serve_here, handler, public_host)) for path, handler in handlers.items()]


async def _serve_here(
    handler: Callable[[web.Request], Awaitable[web.Response]], public_host: str | None, request: web.Request
) -> web.Response:
    """Serve a request if its ``Host`` is this machine or the public URL's host."""
    if all(host is not None and (is_loopback(host) or host == public_host) for host in _hosts_of(request)):
        return await handler(request)
    text = "This sandbox serves this page to its own machine only; to serve it elsewhere, set public_url.\n"
    return web.Response(status=421, text=text)


def _hosts_of(request: web.Request) -> tuple[str | None, ...]:
    """Return the hosts that a request names: its ``Host``, and its target if that is a whole URL."""
    header = request.headers.get("Host", "")
    if set("@/\\?#") & set(header):
        return (None,)
    try:
        return URL(f"http://{header}").host, request.url.host
    except ValueError:
        return (None,)


def _page(html: bytes) -> web.Response:
    return web.Response(body=html, content_type="text/html", charset="utf-8", headers=PAGE_HEADERS)
