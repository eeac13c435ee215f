"""The page behind a replay URL of the sandbox: a session's timeline, for people.

It is the page of `SessionEvents.to_html`, with headers that forbid scripts and other resources.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fullstory_async.amounts import counted
from fullstory_async.html_pages.document import POLICY, document
from fullstory_async.models import SessionEvent, SessionEvents
from fullstory_async.models.event_page import EventPage
from fullstory_async.notebook_html import escape
from fullstory_async.sandbox.world import ORG_ID, WorldSession

__all__ = ["PAGE_HEADERS", "index_page", "replay_page", "replay_path"]

PAGE_HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def replay_path(session: WorldSession) -> str:
    """Return the path of a session's page."""
    return f"/ui/{ORG_ID}/session/{session.id}"


def replay_page(session: WorldSession, events: list[SessionEvent], summary: Mapping[str, Any]) -> bytes:
    """Return a session's page as HTML; ``summary`` is the response to a call for its summary."""
    found = SessionEvents(session.id, events)
    page = EventPage(
        session_id=str(session.id), events=found, session=found, duration=found.duration, users=found.users(),
        summary=summary.get("summary") or json.dumps(summary["response"], ensure_ascii=False),
        title=f"Session of {session.user.name}",
        note=f"A replay of the sandbox: invented users, invented events. {session.user.email}",
    )  # fmt: skip
    return page.to_html().encode()


def index_page(sessions: Mapping[str, WorldSession]) -> bytes:
    """Return the start page as HTML: every session by its replay URL."""
    rows = "".join(
        f"<tr><td>{session.created:%Y-%m-%d %H:%M}</td><td>{escape(session.user.email)}</td>"
        f'<td><a href="{escape(url)}">{escape(session.id)}</a>, '
        f"{counted(session.event_count, 'event')}</td></tr>"
        for url, session in sessions.items()
    )
    text = 'A local FullStory with invented users. <a href="/_sandbox/stats">Requests so far</a>.'
    body = f'<h1>The sandbox</h1><p class="dim">{text}</p><table>{rows}</table>'
    return document("Sandbox", [body]).encode()
