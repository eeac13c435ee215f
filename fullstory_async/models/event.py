"""SessionEvent and SessionEvents: what happened in one session.

A session has hundreds to thousands of events, and most readers look at a few fields of a few of them.
So nothing is built before it is asked for: `SessionEvents` makes an event when it is first reached,
and an event decodes its ``data`` and ``source_properties`` when they are first read. Both keep what
they made, so an event is the same object on every pass. Until both are read an event refers to the answer's
bytes; keep ``event.data`` rather than the event to let a large answer go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, overload

import attrs

__all__ = ["SessionEvent", "SessionEvents"]


class _Deferred:
    """Lets slots of a frozen attrs class stay empty until they are first read.

    An empty slot sends the look-up here; its source is decoded, put into the slot, and never asked for again.
    """

    __slots__ = ("_decode", "_sources")

    if not TYPE_CHECKING:  # a type checker would otherwise allow any attribute name

        def __getattr__(self, name: str) -> Any:
            find = object.__getattribute__
            try:
                sources, decode = find(self, "_sources"), find(self, "_decode")
                source = sources[name]
            except (AttributeError, KeyError):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None
            value = decode(source)
            object.__setattr__(self, name, value)
            del sources[name]  # with the last one goes the event's hold on the answer's bytes
            return value


@attrs.frozen(kw_only=True)
class SessionEvent(_Deferred):
    """One event of a session. Both wire forms give the same fields; the live service fills more."""

    type: str = ""
    """What happened: ``click``, ``navigate``, …; an open set. Empty where the answer names none."""

    timestamp: datetime | None = None
    """When, with a time zone, by the device's clock; ``None`` where the answer has no readable time."""

    device_id: str | None = None
    """The device, equal to `Session.user_id`. Live service only."""

    session_id: str | None = None
    """The session's part of the id; ``None`` for server events tied to no session. Live service only."""

    view_id: str | None = None
    """The page load, screen or tab. Live service only."""

    source_type: str | None = None
    """``web``, ``mobile_app``, ``server``, …; an open set. Live service only."""

    data: dict[str, Any] = attrs.field(factory=dict, hash=False)
    """The event's own properties, JSON untouched; decoded on first reading."""

    source_properties: dict[str, Any] = attrs.field(factory=dict, hash=False)
    """Browser, URL, location and device, JSON untouched; decoded on first reading. Live service only."""

    @classmethod
    def _deferred(
        cls,
        *,
        type: str,  # noqa: A002  (the field's name)
        timestamp: datetime | None,
        device_id: str | None,
        session_id: str | None,
        view_id: str | None,
        source_type: str | None,
        sources: dict[str, Any],
        decode: Callable[[Any], Any],
    ) -> SessionEvent:
        """Make an event whose ``sources`` are decoded when the field of their name is first read."""
        event = cls.__new__(cls)
        put = object.__setattr__
        put(event, "type", type)
        put(event, "timestamp", timestamp)
        put(event, "device_id", device_id)
        put(event, "session_id", session_id)
        put(event, "view_id", view_id)
        put(event, "source_type", source_type)
        put(event, "_sources", sources)
        put(event, "_decode", decode)
        return event


@attrs.frozen(eq=False, repr=False)
class SessionEvents(Sequence[SessionEvent]):
    """All events of one session, in the order of the answer: a sequence, built as it is read."""

    session_id: str
    """The session that was asked for."""

    _events: list[Any] = attrs.field(factory=list, alias="events")
    _build: Callable[[Any], SessionEvent] | None = attrs.field(default=None, alias="build", kw_only=True)

    raw: bytes = attrs.field(default=b"", kw_only=True)
    """The answer as it came."""

    @overload
    def __getitem__(self, index: int) -> SessionEvent: ...
    @overload
    def __getitem__(self, index: slice) -> list[SessionEvent]: ...
    def __getitem__(self, index: int | slice) -> SessionEvent | list[SessionEvent]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        event = self._events[index]
        if not isinstance(event, SessionEvent) and self._build is not None:
            event = self._events[index] = self._build(event)
        return event  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[SessionEvent]:
        return map(self.__getitem__, range(len(self._events)))

    def __len__(self) -> int:
        return len(self._events)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SessionEvents):
            return NotImplemented
        return self.session_id == other.session_id and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # a list of events has no stable hash

    def __repr__(self) -> str:
        return f"SessionEvents(session_id={self.session_id!r}, {len(self)} events)"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.session_id, list(self), self.raw)


def _restore(session_id: str, events: list[SessionEvent], raw: bytes) -> SessionEvents:
    return SessionEvents(session_id, events, raw=raw)
