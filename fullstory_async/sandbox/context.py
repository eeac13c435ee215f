"""The sandbox's context: a session's events as a language model would read them, by the caller's options.

Which events count, and under which type, is decided here for summaries too. Everything is read off the wire
form of events, not through the client's views of them; only the line of text that describes an event is the
client's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from fullstory_async.models import SessionEvent
from fullstory_async.sandbox.options import PART_SWITCHES, format_time, parse_time
from fullstory_async.sandbox.profiles import without_empty
from fullstory_async.sandbox.world import ORG_ID, WorldSession

__all__ = ["apply_slice", "context_of", "context_type", "frustration_of", "time_of", "typed_event"]

Json = dict[str, Any]

_CONTEXT_TYPES = {
    "navigate": "navigate", "change": "input-change", "request": "network-error",
    "console_message": "console-error",
    "exception": "console-error", "mouse_thrash": "mouse-thrash", "highlight": "highlight", "copy": "copy",
    "paste": "paste", "element_seen": "element-seen",
}  # fmt: skip
_ORG = {"org_id": ORG_ID, "name": "Acme", "industry": "Retail", "domain": "shop.test", "country": "US"}
_DEFAULT_SCREENSHOT_TYPES = ("navigate", "click")


def frustration_of(event: Json) -> str | None:
    """Return the first sign of frustration in a click: ``rage-click``, ``dead-click`` or ``error-click``."""
    properties = event["event_properties"]
    if properties.get("fs_rage_count"):
        return "rage-click"
    if properties.get("fs_dead_count"):
        return "dead-click"
    return "error-click" if properties.get("fs_error_kind", "unknown") != "unknown" else None


def context_type(event: Json) -> str | None:
    """Return an event's type in context; ``None`` for events that context omits."""
    kind = event["event_type"]
    if kind == "click":
        return frustration_of(event) or "click"
    if kind == "custom":
        return str(event["event_properties"].get("event_name", kind))
    return _CONTEXT_TYPES.get(kind)


def time_of(event: Json) -> datetime:
    """Return an event's time."""
    return datetime.fromisoformat(event["event_time"])


def typed_event(event: Json) -> SessionEvent:
    """Make the client's event of one in wire form, field by field instead of with the client's decoder."""
    return SessionEvent(
        type=event["event_type"], timestamp=time_of(event), device_id=event["device_id"],
        session_id=event.get("session_id"), view_id=event.get("view_id"), source_type=event["source_type"],
        data=event["event_properties"], source_properties=event["source_properties"],
    )  # fmt: skip


def apply_slice(events: list[Json], options: Json) -> list[Json]:
    """Return the events that a slice and a choice of types leave."""
    wanted = options.get("events", {})
    include, exclude = wanted.get("include_types"), wanted.get("exclude_types", ())
    no_api_events = wanted.get("exclude_api_events", False)
    chosen = _sliced(events, options.get("slice", {}))
    if include or exclude:
        # a type that context omits is None, which no list names, so include_types drops it too
        types = [context_type(event) for event in chosen]
        chosen = [
            event
            for event, kind in zip(chosen, types, strict=True)
            if (not include or kind in include) and kind not in exclude
        ]
    return [event for event in chosen if not (no_api_events and event["event_type"] == "custom")]


def _sliced(events: list[Json], part: Json) -> list[Json]:
    mode, start, end = part.get("mode"), part.get("start_timestamp"), part.get("end_timestamp")
    # the service reads start_timestamp only in this mode
    first = parse_time(start) if start is not None and mode == "TIMESTAMP" else None
    if first is not None:
        events = [event for event in events if time_of(event) >= first]
    if end is not None:
        before = parse_time(end)
        events = [event for event in events if time_of(event) < before]
    # limits count after the time bounds, from the end that the mode names; 0 means no limit
    from_end = mode == "LAST"
    limit = part.get("event_limit") or len(events)
    events = events[max(0, len(events) - limit) :] if from_end else events[:limit]
    duration = part.get("duration_limit_ms")
    if not (duration and events):
        return events
    longest = timedelta(milliseconds=duration)
    # with a start the duration counts from there, even if the first event is later
    edge = first or time_of(events[-1 if from_end else 0])
    return [event for event in events if abs(time_of(event) - edge) <= longest]


def context_of(session: WorldSession, events: list[Json], options: Json, replay_url: str) -> Json:
    """Return the response of a context call."""
    writer = _Writer(session, options, replay_url)
    # a view can be left and come back to, so its events need not be neighbours
    views: dict[str | None, list[Json]] = {}
    for event in apply_slice(events, options):
        views.setdefault(event.get("view_id"), []).append(event)
    pages = [writer.page(number, view) for number, view in enumerate(views.values(), 1)]
    about = {
        "session_id": str(session.id),
        "session_url": replay_url,
        "session_created_at": format_time(session.created),
        **_environment(session, events, options.get("context", {})),
    }
    response = {"context": about, "pages": [page for page in pages if page["events"]]}
    return {"context_data": without_empty(response)}


def _environment(session: WorldSession, events: list[Json], options: Json) -> Json:
    # events from a server have no browser, device or location
    source: Json = next((each["source_properties"] for each in events if each["source_type"] != "server"), {})
    agent, device, location = (source.get(name, {}) for name in ("user_agent", "device", "location"))
    screen = {"width_pixels": device.get("screen_width"), "height_pixels": device.get("screen_height")}
    viewport = {"width_pixels": device.get("viewport_width"), "height_pixels": device.get("viewport_height")}
    # the web form of events has no sizes, so browsers get usual ones
    if agent:
        screen = {"width_pixels": 1920, "height_pixels": 1080}
        viewport = {"width_pixels": 1600, "height_pixels": 900}
    found: dict[str, Json] = {
        "org": _ORG,
        "user": {
            "user_uid": session.user.uid, "display_name": session.user.name, "email": session.user.email,
            "properties": {"plan": "pro"},
        },
        "location": {name: location.get(name) for name in ("country", "region", "city")},
        "device": {
            "browser": " ".join(str(agent[name]) for name in ("browser", "browser_version") if name in agent),
            "operating_system": (agent or device).get("operating_system"),
            "screen_size": screen, "viewport_size": viewport,
        },
    }  # fmt: skip
    return {f"{name}_context": part for name, part in found.items() if _is_included(name, options)}


def _is_included(name: str, options: Json) -> bool:
    """Return whether a part of the environment is wanted: the arrays override the booleans."""
    if options.get("include"):
        return name in options["include"]
    if options.get("exclude"):
        return name not in options["exclude"]
    return not options.get(PART_SWITCHES[name])


class _Writer:
    """Writes pages and events as the options ask."""

    def __init__(self, session: WorldSession, options: Json, replay_url: str) -> None:
        self._mobile = session.mobile
        self._options: Json = options.get("events", {})
        self._media: Json = options.get("media", {})
        # include_descriptions overrides the older option
        described = not options.get("context", {}).get("exclude_descriptions")
        self._described = described or bool(self._options.get("include_descriptions"))
        self._replay_url = replay_url

    def page(self, number: int, events: list[Json]) -> Json:
        tab = number if self._options.get("include_tab_index") and not self._mobile else None
        sources = [event["source_properties"] for event in events]
        url = next((source["url"].get("full_url") for source in sources if source.get("url")), None)
        title = next((source["title"] for source in sources if "title" in source), None)
        return {"url": url, "title": title, "tab": tab, "events": list(self._events(events))}

    def _events(self, events: list[Json]) -> Iterator[Json]:
        for event in events:
            if (kind := context_type(event)) is None:
                continue
            when = time_of(event)
            timed = not self._options.get("exclude_event_timestamps")
            target = event["event_properties"].get("target")
            yield {
                "type": kind,
                "description": typed_event(event).description if self._described else None,
                "timestamp": format_time(when) if timed else None,
                "content": target.get("text") if target else event["event_properties"].get("message"),
                "properties": self._properties(event),
                "screenshot_url": self._screenshot(kind, when.isoformat()),
            }

    def _properties(self, event: Json) -> Json:
        found: Json = {}
        properties = event["event_properties"]
        if properties.get("target") and not self._options.get("exclude_selectors"):
            found["selector"] = self._selector(properties["target"].get("raw_selector", ""))
        if not self._options.get("exclude_defined_events"):
            found["defined_event"] = properties.get("event_definition_id")
        if event["event_type"] == "request":
            found["status"] = properties.get("request_status")
        return found

    def _selector(self, selector: str) -> str:
        parts = selector.split(" > ")
        if count := self._options.get("trim_to_last_n_selectors"):
            parts = parts[-count:]
        if not self._options.get("include_selector_tags"):
            parts = [re.sub(r"^[a-z]+(?=[#.\[])", "", part) for part in parts]
        return " > ".join(parts)

    def _screenshot(self, kind: str, when: str) -> str | None:
        media = self._media
        types = media.get("screenshot_event_types") or _DEFAULT_SCREENSHOT_TYPES
        if not media.get("include_screenshots") or kind not in types:
            return None
        wanted = {"crop": "crop_screenshot_to_selector", "full_page": "full_page_screenshots"}
        query = "&".join(f"{name}=true" for name, option in wanted.items() if media.get(option))
        return f"{self._replay_url}{'?' if query else ''}{query}#{quote(when)}"
