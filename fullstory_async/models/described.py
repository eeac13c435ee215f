"""Describe an event to people: one line of text, whether it is an error, signs of frustration."""

from __future__ import annotations

from fullstory_async.models.event_data import SourceData
from fullstory_async.models.views import EventViews
from fullstory_async.tables import rules

__all__ = ["DescribedEvent", "clock"]


class DescribedEvent(EventViews):
    """The part of `SessionEvent` for people, computed from its type and views."""

    __slots__ = ()

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


def clock(seconds: float) -> str:
    """Format seconds from a start: ``0:05.2``, ``1:02:03.4``."""
    # round first: 59.97 s is 1:00.0, not 0:60.0
    tenths = round(abs(seconds) * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if seconds < 0 and tenths else ""
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{sign}{head}:{rest / 10:04.1f}"
