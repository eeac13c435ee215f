"""SessionEvent: one thing that happened in a session.

Building every nested object of a long session costs ten times as much as finding out where each one is, and most are
never looked at. So msgspec, which checks the whole answer as JSON, fills each event with its few texts and two slices of
the answer. Whoever reads a field first pays for it, once. Until ``data`` and ``source_properties`` are both read, an event
refers to the answer's bytes; keep ``event.data`` rather than the event to let a large answer go.

To everybody else an event is a frozen attrs class: compared, shown, copied, pickled and structured by what its fields
say, never by whether they have been read. What it holds is a msgspec structure, of which there are two: one for each wire
form, with the same fields, which the answer calls by other names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from fullstory_async.errors import DecodeError
from fullstory_async.models.coerce import timestamp as read_time
from fullstory_async.models.described import DescribedEvent
from fullstory_async.models.event_data import SourceData
from fullstory_async.safe_json import check_depth, loads

__all__ = ["PublishedEvent", "SessionEvent", "raw_times"]

_Text = str | int | float | bool | None
"""A text, or what some answers have in its place."""

_Raw = msgspec.Raw
_NULL = _Raw(b"null")
_MAYBE_TEXT: Any = str | None
_MAYBE_TIME: Any = datetime | None
_FIELDS = {
    "type": attrs.field(default=""),
    "timestamp": attrs.field(type=_MAYBE_TIME, default=None),
    **{
        name: attrs.field(type=_MAYBE_TEXT, default=None)
        for name in ("device_id", "session_id", "view_id", "source_type")
    },
    "data": attrs.field(type=dict[str, Any], factory=dict),
    "source_properties": attrs.field(type=dict[str, Any], factory=dict),
}
_HASHED = tuple(name for name in _FIELDS if name not in ("data", "source_properties"))
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


if TYPE_CHECKING:
    from msgspec import StructMeta
else:
    StructMeta = type(msgspec.Struct)  # not every version tells its name


class _Meta(StructMeta):
    """Lets an event be made by hand of what its attrs fields are called; msgspec does not come by here."""

    if not TYPE_CHECKING:  # which reads the signature off `SessionEvent.__init__`

        def __call__(
            cls,  # noqa: N805
            *,
            type: str = "",  # noqa: A002
            data: Any = None,
            source_properties: Any = None,
            **texts: Any,
        ) -> Any:
            """Make an event by hand, of the one class that is public."""
            unknown = texts.keys() - _FIELDS.keys()
            if unknown:
                raise TypeError(f"SessionEvent has no field {min(unknown)!r}")
            return super(_Meta, SessionEvent).__call__(
                type=type, _data={} if data is None else data,
                _source_properties={} if source_properties is None else source_properties,
                _time=texts.pop("timestamp", None), **{f"_{name}": text for name, text in texts.items()},
            )  # fmt: skip


@attrs.frozen(these=_FIELDS, init=False, slots=False, kw_only=True, match_args=False, eq=False)
class SessionEvent(DescribedEvent, msgspec.Struct, metaclass=_Meta, gc=False):
    """One event of a session. Both wire forms give the same fields; the live service fills more.

    The attributes that are called like a type of event (``event.click``, ``event.request``, …) give the documented fields
    of that type as an attrs class, and ``None`` where the event is of another type.
    """

    type: str = msgspec.field(default="", name="event_type")
    """What happened: ``click``, ``navigate``, …; an open set. Empty where the answer names none."""

    _time: _Text = msgspec.field(default=None, name="event_time")
    _data: msgspec.Raw = msgspec.field(default=_NULL, name="event_properties")
    _device_id: _Text = msgspec.field(default=None, name="device_id")
    _session_id: _Text = msgspec.field(default=None, name="session_id")
    _view_id: _Text = msgspec.field(default=None, name="view_id")
    _source_type: _Text = msgspec.field(default=None, name="source_type")
    _source_properties: msgspec.Raw = msgspec.field(default=_NULL, name="source_properties")
    # what the other wire form says instead must not be there, so that nothing of an answer that mixes them is overlooked
    _no_type: None = msgspec.field(default=None, name="type")
    _no_time: None = msgspec.field(default=None, name="timestamp")
    _no_data: None = msgspec.field(default=None, name="data")

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
    def timestamp(self) -> datetime | None:
        """When, with a time zone, by the device's clock; ``None`` where the answer has no readable time."""
        when: Any = self._time
        if when is None or isinstance(when, datetime):
            return when
        found = read_time(when)
        _keep_time(self, found)
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
        value: Any = self._data
        if type(value) is _Raw:
            value = _nested(value)
            _keep_data(self, value)
        return value  # type: ignore[no-any-return]

    @property
    def source_properties(self) -> dict[str, Any]:
        """Browser, URL, location and device, JSON untouched; decoded on first reading. Live service only."""
        value: Any = self._source_properties
        if type(value) is _Raw:
            value = _nested(value)
            _keep_source_properties(self, value)
        return value  # type: ignore[no-any-return]

    @property
    def source(self) -> SourceData:
        """The documented fields of `source_properties`: page, browser, device, app and place."""
        return SourceData.read(self.source_properties)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SessionEvent):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _FIELDS)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in _HASHED))

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


_keep_time, _keep_data, _keep_source_properties = map(_keeper, ("_time", "_data", "_source_properties"))


class PublishedEvent(SessionEvent, gc=False):
    """An event as the published contract names its fields. To everybody else it is a `SessionEvent`."""

    type: str = msgspec.field(default="", name="type")
    _time: _Text = msgspec.field(default=None, name="timestamp")
    _data: msgspec.Raw = msgspec.field(default=_NULL, name="data")
    _no_type: None = msgspec.field(default=None, name="event_type")
    _no_time: None = msgspec.field(default=None, name="event_time")
    _no_data: None = msgspec.field(default=None, name="event_properties")


PublishedEvent.__name__ = PublishedEvent.__qualname__ = SessionEvent.__name__


def raw_times(events: Sequence[SessionEvent]) -> list[Any]:
    """Return the times of events whose time was not read yet, as the answer has them."""
    return [event._time for event in events]  # noqa: SLF001


def _restore(fields: dict[str, Any]) -> SessionEvent:
    return SessionEvent(**fields)


def _text(value: _Text) -> str | None:
    """Return a text, or the JSON of what stands in its place: ids are int64, and come either way."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _nested(raw: msgspec.Raw) -> Any:
    """Decode a nested object; null is an empty one. Raises `DecodeError` for one that is nested too deeply."""
    try:
        value = _decode_shallow(raw)
    except _REFUSED:
        value = _deep(bytes(raw))
    return {} if value is None else value


def _deep(text: bytes) -> Any:
    """Decode what has more levels than usual, or numbers beyond a float's range."""
    try:
        try:
            value = _decode(text)
        except _REFUSED:
            return loads(text)
        check_depth(text, value)
    except ValueError as error:
        reason = str(error)
    else:
        return value
    raise DecodeError(f"an event's properties can't be read: {reason}")
