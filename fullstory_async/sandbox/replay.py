"""The page behind a replay URL of the sandbox: a session's timeline, for people.

It needs no scripts and no other resources, and its headers forbid both. All text from events is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from datetime import datetime

from fullstory_async.models import SessionEvent, SessionEvents, SessionPage
from fullstory_async.models.described import clock
from fullstory_async.sandbox.world import ORG_ID, WorldSession

__all__ = ["PAGE_HEADERS", "index_page", "replay_page", "replay_path"]

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #777; --error: #c62828; --warn: #b26a00; }
@media (prefers-color-scheme: dark) { :root { --dim: #999; --error: #ff8a80; --warn: #ffb74d; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 1.6rem 0 .2rem; }
p { margin: .1rem 0; } .dim { color: var(--dim); overflow-wrap: anywhere; }
ul.facts { list-style: none; display: flex; flex-wrap: wrap; gap: .4rem 1.6rem;
  padding: .6rem 0; margin: .6rem 0 0;
  border-block: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
td { padding: .18rem .7rem .18rem 0; vertical-align: top; border-bottom: 1px solid var(--line); }
td.at { white-space: nowrap; font-variant-numeric: tabular-nums; color: var(--dim); width: 5rem; }
td.kind { white-space: nowrap; color: var(--dim); width: 12.5rem; }
td.what { overflow-wrap: anywhere; }
@media (max-width: 40rem) { td.kind { display: none; } }
.mark { font-size: .8rem; border: 1px solid; border-radius: .6rem; padding: 0 .45rem; margin-left: .5rem;
  white-space: nowrap; }
.error { color: var(--error); } .warn { color: var(--warn); }
"""


def replay_path(session: WorldSession) -> str:
    """Return the path of a session's page."""
    return f"/ui/{ORG_ID}/session/{session.id}"


def replay_page(session: WorldSession, events: list[SessionEvent]) -> bytes:
    """Return a session's page as HTML."""
    # lone surrogates, which JSON may contain, have no UTF-8 form
    return "".join(_page(session, SessionEvents(session.id, events))).encode("utf-8", "replace")


def index_page(sessions: Mapping[str, WorldSession]) -> bytes:
    """Return the start page as HTML: every session by its replay URL."""
    rows = (
        f"<tr><td class=kind>{session.created:%Y-%m-%d %H:%M}<td class=kind>{_escape(session.user.email)}"
        f"<td class=what><a href='{_escape(url)}'>{_escape(session.id)}</a>, {session.event_count} events"
        for url, session in sessions.items()
    )
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>Sandbox</title><style>{_STYLE}</style>"
    text = "A local FullStory with invented users. <a href='/_sandbox/stats'>Requests so far</a>."
    return f"{head}<h1>The sandbox</h1><p class=dim>{text}</p><table>{''.join(rows)}</table>".encode()


def _page(session: WorldSession, events: SessionEvents) -> Iterator[str]:
    title = f"Session of {session.user.name}"
    source = next((event.source for event in events if event.source_type != "server"), None)
    yield "<!doctype html><html lang=en><meta charset=utf-8>"
    yield "<meta name=viewport content='width=device-width, initial-scale=1'>"
    yield f"<title>{_escape(title)}</title><style>{_STYLE}</style>"
    yield f"<h1>{_escape(title)}</h1><p class=dim>{_escape(session.id)}</p>"
    yield "<p class=dim>A replay of the sandbox: invented users, invented events.</p><ul class=facts>"
    facts = [
        f"{session.created:%Y-%m-%d %H:%M} UTC", f"{len(events)} events in {clock(events.duration)}",
        f"{len(events.errors())} errors", f"{len(events.frustrations())} frustrations", session.user.email,
    ]  # fmt: skip
    if source is not None:
        if (agent := source.user_agent) is not None:
            facts.append(f"{agent.browser} on {agent.operating_system}")
        elif (device := source.device) is not None:
            facts.append(f"{device.manufacturer} {device.model}, {device.operating_system}")
        if (location := source.location) is not None:
            facts.append(f"{location.city}, {location.country}")
    yield from (f"<li>{_escape(fact)}" for fact in facts)
    yield "</ul>"
    start = next((event.timestamp for event in events if event.timestamp is not None), session.created)
    for page in events.pages():
        yield from _view(session, page, start)


def _view(session: WorldSession, page: SessionPage, start: datetime) -> Iterator[str]:
    yield f"<h2>{_escape(page.title or ('The app' if session.mobile else 'Sent by a server'))}</h2>"
    if page.url:
        yield f"<p class=dim>{_escape(page.url)}</p>"
    yield "<table>"
    for event in page.events:
        yield _row(start, event)
    yield "</table>"


def _row(start: datetime, event: SessionEvent) -> str:
    when = event.timestamp
    at = "" if when is None else clock((when - start).total_seconds())
    # screenshot URLs in context end in these anchors
    anchor = "" if when is None else f" id='{_escape(when.isoformat())}'"
    marks = [("error", "error")] if event.is_error else []
    marks += [("warn", sign) for sign in event.frustrations]
    shown = "".join(f"<span class='mark {look}'>{_escape(sign)}</span>" for look, sign in marks)
    tone = f" {marks[0][0]}" if marks else ""
    return (
        f"<tr{anchor}><td class=at>{at}<td class=kind>{_escape(event.type)}"
        f"<td class='what{tone}'>{_escape(event.description)}{shown}"
    )


def _escape(text: str) -> str:
    return html.escape(text, quote=True)
