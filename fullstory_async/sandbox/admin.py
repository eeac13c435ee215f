"""What the sandbox serves beside the API, without key, limit or note.

``/_sandbox/stats`` and ``/_sandbox/sessions`` for who looks on, ``/openapi.json`` for programs that read contracts, and
for people a start page and a page at each session's replay URL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from fullstory_async.sandbox.api_error import ApiError
from fullstory_async.sandbox.contract import contract
from fullstory_async.sandbox.replay import PAGE_HEADERS, index_page
from fullstory_async.sandbox.service import Service
from fullstory_async.sandbox.world import ORG_ID

__all__ = ["admin_routes"]

_EXAMPLES = 2


def admin_routes(service: Service, stats: Callable[[], dict[str, Any]]) -> list[web.RouteDef]:
    """Return the routes, for an account and what is counted of it."""
    sessions = service.world.sessions

    async def serve_stats(_: web.Request) -> web.Response:
        return web.json_response(stats())

    async def serve_sessions(_: web.Request) -> web.Response:
        users = [{"uid": user.uid, "email": user.email} for user in service.world.users]
        uids = {str(each.id): each.session_uid for each in sessions.values()}
        return web.json_response({"session_ids": list(sessions), "session_uids": uids, "users": users})

    async def serve_contract(_: web.Request) -> web.Response:
        examples = sorted(sessions, key=lambda each: sessions[each].event_count)[:_EXAMPLES]
        return web.json_response(contract(service.wire, service.base_url, list(map(str, examples))))

    async def serve_index(_: web.Request) -> web.Response:
        return _page(index_page(sessions.values(), service.replay_url))

    async def serve_replay(request: web.Request) -> web.Response:
        try:
            return _page(service.replay(request.match_info["session_id"]))
        except ApiError as refusal:
            return web.Response(status=refusal.status, text=refusal.message, headers=PAGE_HEADERS)

    return [
        web.get("/_sandbox/stats", serve_stats),
        web.get("/_sandbox/sessions", serve_sessions),
        web.get("/openapi.json", serve_contract),
        web.get("/", serve_index),
        web.get(f"/ui/{ORG_ID}/session/{{session_id}}", serve_replay),
    ]


def _page(html: bytes) -> web.Response:
    return web.Response(body=html, content_type="text/html", charset="utf-8", headers=PAGE_HEADERS)
