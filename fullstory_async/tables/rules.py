"""The rules on one event: its description for people, whether it is an error, signs of frustration.

An event's documented fields come as attributes of any object, each with a value of its documented type or
``None``: `SessionEvent` passes its typed views, and the tables pass `fields`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

import attrs
import msgspec

__all__ = [
    "FRUSTRATING",
    "MAY_BE_ERROR",
    "NAMES_PAGE",
    "Quoted",
    "describe",
    "describe_all",
    "frustrations_of",
    "in_one_line",
    "is_error",
    "is_known",
]

_Quote = Callable[[str | None], str]
"""Returns a text as a description quotes it, and an empty one for none."""
_Write = Callable[[Any, Any, _Quote], str]
"""Returns what happened at an event, from the fields of its properties and its source."""

_MAX_QUOTE = 60
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode
_MAX_MILLIS = 1e10
"""Four months. Longer durations are implausible and shown in milliseconds."""
NAMES_PAGE = frozenset({"navigate"})
"""Types of events whose description needs the source."""
MAY_BE_ERROR = frozenset({"exception", "crash", "console_message", "request"})
"""Types of events that may be errors."""
FRUSTRATING = frozenset({"click", "mouse_thrash"})
"""Types of events that may be signs of frustration."""


def is_known(kind: str) -> bool:
    """Return whether a type of event is documented, and so has fields to describe it by."""
    return kind in _BY_TYPE


def describe(kind: str, data: Any, source: Any) -> str:
    """Return what happened, in one line without control characters.

    Args:
        kind: the event's type.
        data: the documented fields of its properties, if the type is documented.
        source: the documented fields of its source, needed for ``navigate`` only.
    """
    write = _BY_TYPE.get(kind)
    if write is None:
        return _one_line(kind.replace("_", " ") or "unknown event")
    return _one_line(write(data, source, _quote))


def describe_all(kind: str, data: Sequence[Any], sources: Iterable[Any], quoted: Quoted) -> Iterable[str]:
    """Return what happened at each of some events of one type, as `describe` does, before `in_one_line`.

    Args:
        kind: the type.
        data: the documented fields of each event's properties.
        sources: those of each event's source, needed for ``navigate`` only.
        quoted: what the texts of further events are put into.
    """
    write = _BY_TYPE.get(kind)
    if write is None:
        return [describe(kind, None, None)] * len(data)
    if isinstance(write, _OnTarget):
        return write.all(data, quoted)
    return map(write, data, sources, repeat(quoted.__getitem__))


def in_one_line(texts: list[str]) -> list[str]:
    """Return descriptions without control characters, each in one line."""
    # one look at all of them: hardly any text needs a change. A space at a text's end makes two
    joined = f" {' '.join(texts)} "
    return texts if joined.isprintable() and "  " not in joined else list(map(_one_line, texts))


def is_error(kind: str, data: Any) -> bool:
    """Return whether it is an exception, a console error, a failed request or an app crash."""
    if kind in ("exception", "crash"):
        return True
    if kind == "console_message":
        # the service keeps only errors today, so a missing level is one
        return (data.console_message_level or "error").lower() == "error"
    if kind == "request":
        return data.request_status is None or not 100 <= data.request_status < 400
    return False


def frustrations_of(kind: str, data: Any) -> tuple[str, ...]:
    """Return the signs of frustration of a click, or of the mouse.

    They are ``rage click``, ``dead click``, ``error click`` and ``mouse thrash``.
    """
    if kind == "mouse_thrash":
        return ("mouse thrash",)
    if kind != "click":
        return ()
    signs: tuple[str, ...] = ("rage click",) if (data.fs_rage_count or 0) > 0 else ()
    if (data.fs_dead_count or 0) > 0:
        signs += ("dead click",)
    error = data.fs_error_kind
    if error and error != "unknown" and error.lower() != "unknown":
        signs += ("error click",)
    return signs


def _one_line(text: str) -> str:
    """Return a text from a web page as one printable line."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    # of all white space, only the space is printable
    return " ".join(text.split()) if "  " in text or text[:1] == " " or text[-1:] == " " else text


def _quote(text: str | None) -> str:
    plain = _one_line(text) if text else ""
    if not plain:
        return ""
    return f"“{plain[: _MAX_QUOTE - 1]}…”" if len(plain) > _MAX_QUOTE else f"“{plain}”"


class Quoted(dict[str | None, str]):
    """Texts as descriptions quote them; one that many elements have is quoted once."""

    def __missing__(self, text: str | None) -> str:
        shown = self[text] = _quote(text)
        return shown


def _element(target: Any, quote: _Quote) -> str:
    """Return an element's text, or else the end of its selector."""
    if target is None:
        return "something"
    if not target.masked and (shown := quote(target.text)):
        return shown
    selector = (target.raw_selector or "").rpartition(" > ")[2]
    return selector[:_MAX_QUOTE] or "something"


def _seconds(millis: float | None) -> str:
    if millis is None:
        return "an unknown time"
    if not -1000 < millis < _MAX_MILLIS:
        return f"{millis:.3g} ms"
    return f"{millis:.0f} ms" if millis < 1000 else f"{millis / 1000:.1f} s"


def _compact(value: Any) -> str:
    if not value:
        return ""
    try:
        text = msgspec.json.format(msgspec.json.encode(value), indent=0).decode()
    except RecursionError:
        # it was decoded with a few levels more than can be encoded
        return "…"
    except UnicodeError:
        # half of a surrogate pair
        text = _encode(value)
    return text[: _MAX_QUOTE - 1] + "…" if len(text) > _MAX_QUOTE else text


@attrs.frozen
class _OnTarget:
    """Describes an action on an element."""

    verb: str

    def __call__(self, data: Any, _: Any, quote: _Quote) -> str:
        return f"{self.verb} {_element(data.target, quote)}"

    def all(self, data: Sequence[Any], quoted: Quoted) -> list[str]:
        """Describe several actions. Many are on elements of the same text, and have one description."""
        known, quote = _Known(self.verb, quoted), quoted.__getitem__
        return [
            (target is not None and not target.masked and known[target.text]) or self(each, None, quote)
            for each in data
            for target in (each.target,)
        ]


class _Known(dict[str | None, str]):
    """Text of an element → the description of an action on it; nothing for one that can't be quoted."""

    def __init__(self, verb: str, quoted: Quoted) -> None:
        self._verb, self._quoted = verb, quoted

    def __missing__(self, text: str | None) -> str:
        shown = self._quoted[text]
        description = self[text] = shown and f"{self._verb} {shown}"
        return description


def _navigate(data: Any, source: Any, _: _Quote) -> str:
    url = source.url
    place = (url and (url.path or url.full_url)) or source.title or "a page"
    verbs = {"reload": "Reloaded", "back_forward": "Went back or forward to", "prerender": "Prerendered"}
    return f"{verbs.get(data.navigate_reason, 'Opened')} {place}"


def _request(data: Any, *_: Any) -> str:
    url = data.request_url
    place = (url and (url.path or url.full_url)) or "a URL"
    status = "no response" if data.request_status is None else data.request_status
    took = "" if data.request_duration_millis is None else f" after {_seconds(data.request_duration_millis)}"
    return f"{data.request_method or 'Request'} {place} → {status}{took}"


def _custom(data: Any, *_: Any) -> str:
    return f"{data.event_name or 'Custom event'} {_compact(data.event_properties)}"


def _consent(data: Any, *_: Any) -> str:
    given = {True: "Gave consent", False: "Withdrew consent"}.get(data.is_consent_given, "Consent")
    return f"{given}: {data.consent_scope}" if data.consent_scope else given


def _identify(data: Any, *_: Any) -> str:
    return f"Identified as {data.user_display_name or data.user_id or data.user_email or 'somebody'}"


def _element_seen(data: Any, _: Any, quote: _Quote) -> str:
    return f"Saw {_element(data.target, quote)} for {_seconds(data.element_visible_duration_millis)}"


def _page_view(data: Any, _: Any, quote: _Quote) -> str:
    return f"Viewed {quote(data.page_name) or 'a page'} for {_seconds(data.duration_millis)}"


def _next_paint(data: Any, *_: Any) -> str:
    took = _seconds(data.interaction_to_next_paint_millis)
    return f"Page responded to {data.event_name or 'an input'} after {took}"


_BY_TYPE: dict[str, _Write] = {
    "background": lambda *_: "Put the app into the background",
    "change": _OnTarget("Changed"),
    "click": _OnTarget("Clicked"),
    "consent": _consent,
    "console_message": lambda data, *_: f"Console: {data.message or 'no text'}",
    "copy": _OnTarget("Copied from"),
    "crash": lambda *_: "The app crashed",
    "cumulative_layout_shift": lambda data, *_: (
        f"The page's layout shifted by {data.cumulative_layout_shift}"
    ),
    "custom": _custom,
    "element_seen": _element_seen,
    "exception": lambda data, *_: f"Exception: {data.message or 'no text'}",
    "first_input_delay": lambda data, *_: f"First input waited {_seconds(data.first_input_delay_millis)}",
    "force_restart": lambda data, *_: f"Restarted the app after {_seconds(data.elapsed_millis)}",
    "form_abandon": _OnTarget("Abandoned a form at"),
    "highlight": _OnTarget("Highlighted"),
    "identify": _identify,
    "interaction_to_next_paint": _next_paint,
    "keyboard_close": lambda *_: "Closed the keyboard",
    "keyboard_open": lambda *_: "Opened the keyboard",
    "load": lambda data, *_: f"Page loaded in {_seconds(data.load_time_millis)}",
    "low_memory": lambda *_: "The device ran low on memory",
    "mouse_thrash": lambda *_: "Thrashed the mouse",
    "navigate": _navigate,
    "page_properties": lambda data, _, quote: f"Page is {quote(data.page_name) or 'described'}",
    "page_view": _page_view,
    "paste": _OnTarget("Pasted into"),
    "pinch_gesture": lambda data, *_: f"Pinched {data.pinch_gesture_type or ''}",
    "request": _request,
}
"""Documented type → how an event of it is described."""
