"""The sandbox's context: a session's events as a language model would be told of them, by the caller's options.

Which events count, and under which type, is decided here for summaries too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from fullstory_async.models import (
    ContextOptions,
    EventOptions,
    MediaOptions,
    ProfileConfiguration,
    SessionEvent,
    SessionEvents,
    SessionPage,
    SliceOptions,
)
from fullstory_async.sandbox.profiles import without_empty
from fullstory_async.sandbox.world import WorldSession

__all__ = ["apply_slice", "context_of", "context_type"]

Json = dict[str, Any]

_TOLD_AS = {
    "navigate": "navigate", "change": "input-change", "request": "network-error", "console_message": "console-error",
    "exception": "console-error", "mouse_thrash": "mouse-thrash", "highlight": "highlight", "copy": "copy",
    "paste": "paste", "element_seen": "element-seen",
}  # fmt: skip
_SWITCHES = {
    "org": "exclude_org_context", "user": "exclude_user_context", "location": "exclude_location",
    "device": "exclude_device",
}  # fmt: skip
_DEFAULT_SHOTS = ("navigate", "click")


def context_type(event: SessionEvent) -> str | None:
    """Return an event's type in context; ``None`` for what a language model is not told."""
    if event.type == "click":
        signs = event.frustrations
        return signs[0].replace(" ", "-") if signs else "click"
    if (custom := event.custom) is not None:
        return custom.event_name
    return _TOLD_AS.get(event.type)


def apply_slice(events: SessionEvents, configuration: ProfileConfiguration) -> SessionEvents:
    """Return the events that a slice and a choice of types leave."""
    chosen = _sliced(events, configuration.slice or SliceOptions())
    options = configuration.events or EventOptions()

    def wanted(event: SessionEvent) -> bool:
        kind = context_type(event)
        if options.include_types and kind not in options.include_types:
            return False
        if options.exclude_types and kind in options.exclude_types:
            return False
        return not (options.exclude_api_events and event.type == "custom")

    return SessionEvents(events.session_id, list(filter(wanted, chosen)))


def _sliced(events: SessionEvents, part: SliceOptions) -> SessionEvents:
    start = part.start_timestamp if part.mode == "TIMESTAMP" else None
    chosen = list(events.between(start, part.end_timestamp))
    from_end = part.mode == "LAST"
    limit = part.event_limit or len(chosen)
    chosen = chosen[max(0, len(chosen) - limit) :] if from_end else chosen[:limit]
    if part.duration_limit_ms and chosen:
        longest = timedelta(milliseconds=part.duration_limit_ms)
        edge = chosen[-1 if from_end else 0].timestamp
        if edge is not None:
            edge = start or edge
            chosen = [e for e in chosen if e.timestamp is not None and abs(e.timestamp - edge) <= longest]
    return SessionEvents(events.session_id, chosen)


def context_of(
    session: WorldSession,
    events: SessionEvents,
    configuration: ProfileConfiguration,
    media: MediaOptions,
    replay_url: str,
) -> Json:
    """Return the answer of a context call."""
    told = apply_slice(events, configuration)
    teller = _Teller(session, configuration, media, replay_url)
    pages = [teller.page(number, page) for number, page in enumerate(told.pages(), 1)]
    about = {
        "session_id": str(session.id),
        "session_url": replay_url,
        "session_created_at": session.created.isoformat().replace("+00:00", "Z"),
        **_surroundings(session, events, configuration.context or ContextOptions()),
    }
    answer = {"context": about, "pages": [page for page in pages if page["events"]]}
    return {"context_data": without_empty(answer)}


def _surroundings(session: WorldSession, events: SessionEvents, options: ContextOptions) -> Json:
    source = next((event.source for event in events if event.source_type != "server"), None)
    place, agent = (source.location, source.user_agent) if source else (None, None)
    device = source.device if source else None
    found: dict[str, Json] = {
        "org": {"org_id": "SANDBOX", "name": "Acme", "industry": "Retail", "domain": "shop.test", "country": "US"},
        "user": {
            "user_uid": session.user.uid, "display_name": session.user.name, "email": session.user.email,
            "properties": {"plan": "pro"},
        },
        "location": {} if place is None else {"country": place.country, "region": place.region, "city": place.city},
        "device": {
            "browser": agent and f"{agent.browser} {agent.browser_version}",
            "operating_system": agent.operating_system if agent else device and device.operating_system,
            "screen_size": {"width_pixels": 1920, "height_pixels": 1080} if agent else {
                "width_pixels": device and device.screen_width, "height_pixels": device and device.screen_height,
            },
            "viewport_size": {"width_pixels": 1600, "height_pixels": 900} if agent else {
                "width_pixels": device and device.viewport_width, "height_pixels": device and device.viewport_height,
            },
        },
    }  # fmt: skip
    return {f"{name}_context": part for name, part in found.items() if _is_told(name, options)}


def _is_told(name: str, options: ContextOptions) -> bool:
    """Tell whether a part of the surroundings is wanted: the lists win over the booleans."""
    if options.include:
        return name in options.include
    if options.exclude:
        return name not in options.exclude
    return not getattr(options, _SWITCHES[name])


class _Teller:
    """Writes pages and events down as the options say."""

    def __init__(
        self, session: WorldSession, configuration: ProfileConfiguration, media: MediaOptions, replay_url: str
    ) -> None:
        self._mobile = session.mobile
        self._options = configuration.events or EventOptions()
        context = configuration.context or ContextOptions()
        self._described = not context.exclude_descriptions or bool(self._options.include_descriptions)
        self._media = media
        self._replay_url = replay_url

    def page(self, number: int, page: SessionPage) -> Json:
        tab = number if self._options.include_tab_index and not self._mobile else None
        events: Iterable[SessionEvent] = page.events
        return {"url": page.url, "title": page.title, "tab": tab, "events": list(self._events(events))}

    def _events(self, events: Iterable[SessionEvent]) -> Iterator[Json]:
        for event in events:
            if (kind := context_type(event)) is None:
                continue
            when = None if event.timestamp is None else event.timestamp.isoformat().replace("+00:00", "Z")
            yield {
                "type": kind,
                "description": event.description if self._described else None,
                "timestamp": None if self._options.exclude_event_timestamps else when,
                "content": self._content(event),
                "properties": self._properties(event),
                "screenshot_url": self._screenshot(event, kind),
            }

    def _content(self, event: SessionEvent) -> Any:
        target = event.data.get("target")
        return target.get("text") if isinstance(target, dict) else event.data.get("message")

    def _properties(self, event: SessionEvent) -> Json:
        found: Json = {}
        target = event.data.get("target")
        if isinstance(target, dict) and not self._options.exclude_selectors:
            found["selector"] = self._selector(str(target.get("raw_selector") or ""))
        if not self._options.exclude_defined_events:
            found["defined_event"] = event.data.get("event_definition_id")
        if event.type == "request":
            found["status"] = event.data.get("request_status")
        return found

    def _selector(self, selector: str) -> str:
        parts = selector.split(" > ")
        if self._options.trim_to_last_n_selectors:
            parts = parts[-self._options.trim_to_last_n_selectors :]
        if not self._options.include_selector_tags:
            parts = [re.sub(r"^[a-z]+(?=[#.\[])", "", part) for part in parts]
        return " > ".join(parts)

    def _screenshot(self, event: SessionEvent, kind: str) -> str | None:
        media = self._media
        if not media.include_screenshots or kind not in (media.screenshot_event_types or _DEFAULT_SHOTS):
            return None
        wanted = {"crop": media.crop_screenshot_to_selector, "full_page": media.full_page_screenshots}
        query = "&".join(f"{name}=true" for name, on in wanted.items() if on)
        anchor = quote(event.timestamp.isoformat() if event.timestamp else "")
        return f"{self._replay_url}{'?' if query else ''}{query}#{anchor}"
