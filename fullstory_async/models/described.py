"""Describe an event to people: one line of text, whether it is an error, signs of frustration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fullstory_async.html_pages.moments import Look
from fullstory_async.models.event_data import SourceData
from fullstory_async.models.views import EventViews
from fullstory_async.tables import rules

__all__ = ["DescribedEvent", "clock", "look_of", "place_of"]

_BACKGROUND_TYPES = frozenset(
    {
        "cumulative_layout_shift", "first_input_delay", "interaction_to_next_paint", "load",
        "page_properties", "page_view", "consent", "identify",
    }
)  # fmt: skip
"""Events that aren't user actions."""


class DescribedEvent(EventViews):
    """The part of `SessionEvent` for people, computed from its type and views."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def source_type(self) -> str | None:
            """The kind of its source: ``web``, ``mobile_app``, ``server``, and others."""
            raise NotImplementedError

        @property
        def source(self) -> SourceData:
            """The documented fields of its source."""
            raise NotImplementedError

    @property
    def description(self) -> str:
        """What happened, in one line without control characters."""
        # reading the source is slow, and only this type's description names it
        source = self.source if self.type == "navigate" else None
        data = getattr(self, self.type) if rules.is_known(self.type) else None
        return rules.describe(self.type, data, source)

    @property
    def is_error(self) -> bool:
        """Whether it is an exception, a console error, a failed request or an app crash."""
        return rules.is_error(self.type, self.console_message or self.request)

    @property
    def frustrations(self) -> tuple[str, ...]:
        """Signs of frustration, such as ``rage click``.

        The others are ``dead click``, ``error click`` and ``mouse thrash``.
        """
        return rules.frustrations_of(self.type, self.click)


def look_of(event: DescribedEvent, signs: tuple[str, ...]) -> Look:
    """Return what an event is to a reader of a timeline; ``signs`` are its frustrations."""
    if event.is_error:
        return "error"
    if signs:
        return "warn"
    if event.type == "navigate":
        return "go"
    return "dim" if event.type in _BACKGROUND_TYPES else "act"


def place_of(event: DescribedEvent) -> str:
    """Return the page, the app or the kind of source of an event."""
    source = event.source
    if source.url is not None:
        path = source.url.path or source.url.full_url or ""
        return f"{source.title}  {path}" if source.title else path
    if source.app is not None:
        return f"{source.app.name or 'App'} {source.app.version or ''}".strip()
    return {"server": "Sent by a server", "mobile_app": "The app"}.get(event.source_type or "", "Events")


def clock(seconds: float) -> str:
    """Format seconds from a start: ``0:05.2``, ``1:02:03.4``."""
    # round first: 59.97 s is 1:00.0, not 0:60.0
    tenths = round(abs(seconds) * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if seconds < 0 and tenths else ""
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{sign}{head}:{rest / 10:04.1f}"
