"""Describe an event to people: one line of text, whether it is an error, signs of frustration."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fullstory_async.models.event_data import Target
from fullstory_async.models.views import EventViews

__all__ = ["DescribedEvent", "clock"]

_MAX_QUOTE = 60
_MAX_MILLIS = 1e10
"""Four months. Longer durations are implausible and shown in milliseconds."""


class DescribedEvent(EventViews):
    """The part of `SessionEvent` for people, computed from its type and views."""

    __slots__ = ()

    @property
    def description(self) -> str:
        """What happened, in one line without control characters."""
        write = _BY_TYPE.get(self.type)
        return _one_line(write(self) if write is not None else self.type.replace("_", " ") or "unknown event")

    @property
    def is_error(self) -> bool:
        """Whether it is an exception, a console error, a failed request or an app crash."""
        if self.type in ("exception", "crash"):
            return True
        if (console := self.console_message) is not None:
            # the service keeps only errors today, so a missing level is one
            level = console.console_message_level or "error"
            return level.lower() == "error"
        if (request := self.request) is not None:
            return request.request_status is None or not 100 <= request.request_status < 400
        return False

    @property
    def frustrations(self) -> tuple[str, ...]:
        """Signs of frustration, such as ``rage click``.

        The others are ``dead click``, ``error click`` and ``mouse thrash``.
        """
        if self.type == "mouse_thrash":
            return ("mouse thrash",)
        click = self.click
        if click is None:
            return ()
        signs = {
            "rage click": (click.fs_rage_count or 0) > 0,
            "dead click": (click.fs_dead_count or 0) > 0,
            "error click": (click.fs_error_kind or "unknown").lower() != "unknown",
        }
        return tuple(sign for sign, is_present in signs.items() if is_present)


def clock(seconds: float) -> str:
    """Format seconds from a start: ``0:05.2``, ``1:02:03.4``."""
    # round first: 59.97 s is 1:00.0, not 0:60.0
    tenths = round(abs(seconds) * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if seconds < 0 and tenths else ""
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{sign}{head}:{rest / 10:04.1f}"


def _one_line(text: str) -> str:
    """Return a text from a web page as one printable line."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(shown.split())


def _quote(text: str | None, default: str = "") -> str:
    plain = _one_line(text or "")
    if not plain:
        return default
    return f"“{plain[: _MAX_QUOTE - 1]}…”" if len(plain) > _MAX_QUOTE else f"“{plain}”"


def _element(target: Target | None) -> str:
    """Return an element's text, or else the end of its selector."""
    if target is None:
        return "something"
    selector = (target.raw_selector or "").split(" > ")[-1]
    return _quote(None if target.masked else target.text, selector[:_MAX_QUOTE] or "something")


def _seconds(millis: float | None) -> str:
    if millis is None:
        return "an unknown time"
    if not -1000 < millis < _MAX_MILLIS:
        return f"{millis:.3g} ms"
    return f"{millis:.0f} ms" if millis < 1000 else f"{millis / 1000:.1f} s"


def _compact(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if value else ""
    return text[: _MAX_QUOTE - 1] + "…" if len(text) > _MAX_QUOTE else text


def _on_target(verb: str) -> Callable[[Any], str]:
    def write(event: Any) -> str:
        return f"{verb} {_element(getattr(event, event.type).target)}"

    return write


def _navigate(event: Any) -> str:
    source, reason = event.source, event.navigate.navigate_reason
    url = source.url
    place = (url and (url.path or url.full_url)) or source.title or "a page"
    verbs = {"reload": "Reloaded", "back_forward": "Went back or forward to", "prerender": "Prerendered"}
    return f"{verbs.get(reason, 'Opened')} {place}"


def _request(event: Any) -> str:
    data = event.request
    url = data.request_url
    place = (url and (url.path or url.full_url)) or "a URL"
    status = "no response" if data.request_status is None else data.request_status
    took = "" if data.request_duration_millis is None else f" after {_seconds(data.request_duration_millis)}"
    return f"{data.request_method or 'Request'} {place} → {status}{took}"


def _custom(event: Any) -> str:
    data = event.custom
    return f"{data.event_name or 'Custom event'} {_compact(data.event_properties)}"


def _consent(event: Any) -> str:
    given = {True: "Gave consent", False: "Withdrew consent"}.get(event.consent.is_consent_given, "Consent")
    return f"{given}: {event.consent.consent_scope}" if event.consent.consent_scope else given


def _identify(event: Any) -> str:
    data = event.identify
    return f"Identified as {data.user_display_name or data.user_id or data.user_email or 'somebody'}"


def _element_seen(event: Any) -> str:
    data = event.element_seen
    return f"Saw {_element(data.target)} for {_seconds(data.element_visible_duration_millis)}"


def _page_view(event: Any) -> str:
    data = event.page_view
    return f"Viewed {_quote(data.page_name, 'a page')} for {_seconds(data.duration_millis)}"


_BY_TYPE: dict[str, Callable[[Any], str]] = {
    "background": lambda _: "Put the app into the background",
    "change": _on_target("Changed"),
    "click": _on_target("Clicked"),
    "consent": _consent,
    "console_message": lambda e: f"Console: {e.console_message.message or 'no text'}",
    "copy": _on_target("Copied from"),
    "crash": lambda _: "The app crashed",
    "cumulative_layout_shift": lambda e: (
        f"The page's layout shifted by {e.cumulative_layout_shift.cumulative_layout_shift}"
    ),
    "custom": _custom,
    "element_seen": _element_seen,
    "exception": lambda e: f"Exception: {e.exception.message or 'no text'}",
    "first_input_delay": lambda e: (
        f"First input waited {_seconds(e.first_input_delay.first_input_delay_millis)}"
    ),
    "force_restart": lambda e: f"Restarted the app after {_seconds(e.force_restart.elapsed_millis)}",
    "form_abandon": _on_target("Abandoned a form at"),
    "highlight": _on_target("Highlighted"),
    "identify": _identify,
    "interaction_to_next_paint": lambda e: (
        f"Page responded to {e.interaction_to_next_paint.event_name or 'an input'} after "
        f"{_seconds(e.interaction_to_next_paint.interaction_to_next_paint_millis)}"
    ),
    "keyboard_close": lambda _: "Closed the keyboard",
    "keyboard_open": lambda _: "Opened the keyboard",
    "load": lambda e: f"Page loaded in {_seconds(e.load.load_time_millis)}",
    "low_memory": lambda _: "The device ran low on memory",
    "mouse_thrash": lambda _: "Thrashed the mouse",
    "navigate": _navigate,
    "page_properties": lambda e: f"Page is {_quote(e.page_properties.page_name, 'described')}",
    "page_view": _page_view,
    "paste": _on_target("Pasted into"),
    "pinch_gesture": lambda e: f"Pinched {e.pinch_gesture.pinch_gesture_type or ''}",
    "request": _request,
}
