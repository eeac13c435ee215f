"""SessionEvent: one thing that happened in a session.

Building every nested object of a long session costs ten times as much as finding out where each one is, and most are
never looked at. So msgspec, which checks the whole answer as JSON, fills each event with its few texts and two slices of
the answer. Whoever reads a field first pays for it, once. Until ``data`` and ``source_properties`` are both read, an event
refers to the answer's bytes; keep ``event.data`` rather than the event to let a large answer go.

To everybody else an event is a frozen attrs class: compared, shown, copied, pickled and structured by what its fields
say, never by whether they have been read. What it holds is a msgspec structure with the fields of both wire forms.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from fullstory_async.errors import DecodeError
from fullstory_async.json_text import loads, refuse_depth
from fullstory_async.models import description
from fullstory_async.models.event_data import SourceData
from fullstory_async.models.times import timestamp as read_time
from fullstory_async.models.views import EventViews

__all__ = ["SessionEvent", "times_as_they_came"]

_Text = str | int | float | bool | None
"""A text, or what some answers have in its place."""

_Raw = msgspec.Raw
_NULL = _Raw(b"null")
_MAYBE_TEXT: Any = str | None
_MAYBE_TIME: Any = datetime | None
_FIELDS = {
    "type": attrs.field(type=str, default=""),
    "timestamp": attrs.field(type=_MAYBE_TIME, default=None),
    **{
        name: attrs.field(type=_MAYBE_TEXT, default=None)
        for name in ("device_id", "session_id", "view_id", "source_type")
    },
    "data": attrs.field(type=dict[str, Any], factory=dict, hash=False),
    "source_properties": attrs.field(type=dict[str, Any], factory=dict, hash=False),
}
_LEVELS = 6
"""More than events have; with each, the decoder below takes twice the time to make."""
_decode = msgspec.json.Decoder().decode


def _shallow_decoder() -> msgspec.json.Decoder[Any]:
    """Make what refuses more levels than usual, at no cost: how deep the others are is counted afterwards."""
    kind: Any = None | bool | int | float | str
    for _ in range(_LEVELS):
        kind = None | bool | int | float | str | list[kind] | dict[str, kind]
    return msgspec.json.Decoder(kind)


_decode_shallow = _shallow_decoder().decode
_REFUSED = (msgspec.MsgspecError, RecursionError)


class _Meta(type(msgspec.Struct)):  # type: ignore[misc]
    """Lets an event be made by hand of what its attrs fields are called; msgspec does not come by here."""

    if not TYPE_CHECKING:  # which reads the signature off `SessionEvent.__init__`

        def __call__(
            cls,
            *,
            type: str = "",  # noqa: A002
            data: Any = None,
            source_properties: Any = None,
            **texts: Any,
        ) -> Any:
            """Make an event by hand."""
            unknown = texts.keys() - _FIELDS.keys()
            if unknown:
                raise TypeError(f"SessionEvent has no field {min(unknown)!r}")
            return super().__call__(
                _event_type=type, _event_properties={} if data is None else data,
                _source_properties={} if source_properties is None else source_properties,
                _event_time=texts.pop("timestamp", None), **{f"_{name}": text for name, text in texts.items()},
            )  # fmt: skip


@attrs.frozen(these=_FIELDS, init=False, slots=False, kw_only=True, match_args=False)
class SessionEvent(EventViews, msgspec.Struct, metaclass=_Meta, gc=False):
    """One event of a session. Both wire forms give the same fields; the live service fills more.

    The attributes that are called like a type of event (``event.click``, ``event.request``, …) give the documented fields
    of that type as an attrs class, and ``None`` where the event is of another type.
    """

    _event_type: _Text = msgspec.field(default=None, name="event_type")
    _event_time: _Text = msgspec.field(default=None, name="event_time")
    _event_properties: msgspec.Raw = msgspec.field(default=_NULL, name="event_properties")
    _device_id: _Text = msgspec.field(default=None, name="device_id")
    _session_id: _Text = msgspec.field(default=None, name="session_id")
    _view_id: _Text = msgspec.field(default=None, name="view_id")
    _source_type: _Text = msgspec.field(default=None, name="source_type")
    _source_properties: msgspec.Raw = msgspec.field(default=_NULL, name="source_properties")
    _type: _Text = msgspec.field(default=None, name="type")
    _timestamp: _Text = msgspec.field(default=None, name="timestamp")
    _data: msgspec.Raw = msgspec.field(default=_NULL, name="data")

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            type: str = "",  # noqa: A002  (the field's name)
            timestamp: datetime | None = None,
            device_id: str | None = None,
            session_id: str | None = None,
            view_id: str | None = None,
            source_type: str | None = None,
            data: dict[str, Any] | None = None,
            source_properties: dict[str, Any] | None = None,
        ) -> None:
            """Make an event by hand, as for a test."""

    @property
    def type(self) -> str:
        """What happened: ``click``, ``navigate``, …; an open set. Empty where the answer names none."""
        name = self._event_type
        if name is None:
            name = self._type
        return name if type(name) is str else _text(name) or ""

    @property
    def timestamp(self) -> datetime | None:
        """When, with a time zone, by the device's clock; ``None`` where the answer has no readable time."""
        other = self._timestamp  # before the other one, which another thread may be replacing
        when: Any = self._event_time
        if isinstance(when, datetime):
            return when
        found = read_time(other if when is None else when)
        _keep_event_time(self, found)
        return found

    @property
    def device_id(self) -> str | None:
        """The device, equal to `Session.user_id`. Live service only."""
        return _text(self._device_id)

    @property
    def session_id(self) -> str | None:
        """The session's part of the id; ``None`` for server events tied to no session. Live service only."""
        return _text(self._session_id)

    @property
    def view_id(self) -> str | None:
        """The page load, screen or tab. Live service only."""
        return _text(self._view_id)

    @property
    def source_type(self) -> str | None:
        """``web``, ``mobile_app``, ``server``, …; an open set. Live service only."""
        return _text(self._source_type)

    @property
    def data(self) -> dict[str, Any]:
        """The event's own properties, JSON untouched; decoded on first reading."""
        value: Any = self._event_properties
        if type(value) is _Raw:
            other = self._data
            if other is not _NULL and bytes(value) == b"null":  # the published form
                value = other
            try:
                value = _decode_shallow(value)
            except _REFUSED:
                value = _deep(bytes(value))
            if value is None:
                value = {}
            _keep_event_properties(self, value)  # first, as another thread may be reading it too
            if other is not _NULL:
                _keep_data(self, _NULL)
        return value  # type: ignore[no-any-return]

    @property
    def source_properties(self) -> dict[str, Any]:
        """Browser, URL, location and device, JSON untouched; decoded on first reading. Live service only."""
        value: Any = self._source_properties
        if type(value) is _Raw:
            try:
                value = _decode_shallow(value)
            except _REFUSED:
                value = _deep(bytes(value))
            if value is None:
                value = {}
            _keep_source_properties(self, value)
        return value  # type: ignore[no-any-return]

    @property
    def source(self) -> SourceData:
        """The documented fields of `source_properties`: page, browser, device, app and place."""
        return SourceData.read(self.source_properties)

    @property
    def description(self) -> str:
        """What happened, as one line for people; without control characters."""
        return description.describe(self)

    @property
    def is_error(self) -> bool:
        """Whether it is an exception, an error on the console, a failed request, or a crash of the app."""
        return description.is_error(self)

    @property
    def frustrations(self) -> tuple[str, ...]:
        """The signs of annoyance in it: ``rage click``, ``dead click``, ``error click``, ``mouse thrash``."""
        return description.frustrations(self)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return list(attrs.asdict(self, recurse=False).items())

    def __replace__(self, /, **changes: Any) -> SessionEvent:
        return attrs.evolve(self, **changes)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (attrs.asdict(self, recurse=False),)


def _keeper(name: str) -> Callable[[SessionEvent, Any], None]:
    """Return what puts a value into a field of the frozen class, which only this module does."""
    put: Callable[[SessionEvent, Any], None] = SessionEvent.__dict__[name].__set__
    return put


_keep_event_time = _keeper("_event_time")
_keep_event_properties, _keep_data = _keeper("_event_properties"), _keeper("_data")
_keep_source_properties = _keeper("_source_properties")


def times_as_they_came(events: Sequence[SessionEvent]) -> list[Any]:
    """Return the times of events whose time was not read yet, as the answer has them."""
    times = [event._event_time for event in events]  # noqa: SLF001
    if None not in times:
        return times
    others = [event._timestamp for event in events]  # noqa: SLF001
    if times.count(None) == len(times):  # the published form
        return others
    return [other if live is None else live for live, other in zip(times, others, strict=True)]


def _restore(fields: dict[str, Any]) -> SessionEvent:
    return SessionEvent(**fields)


def _text(value: _Text) -> str | None:
    """Return a text, or the JSON of what stands in its place: ids are int64, and come either way."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _deep(text: bytes) -> Any:
    """Decode what has more levels than usual, or numbers beyond a float's range. Raises `DecodeError` for far too many."""
    try:
        try:
            value = _decode(text)
        except _REFUSED:
            return loads(text)
        refuse_depth(text, value)
    except ValueError as error:
        reason = str(error)
    else:
        return value
    raise DecodeError(f"an event's properties can't be read: {reason}")
