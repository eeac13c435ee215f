"""SessionEvent: one thing that happened in a session.

To build every nested object of a long session costs ten times as much as to find where each one is, and
most are never read. So msgspec, which validates the whole response as JSON, fills each event with its few
strings and two slices of the response. A field is decoded when it is first read, once. Until ``data`` and
``source_properties`` have both been read, an event keeps the response's bytes alive; keep ``event.data``
instead of the event to release a large response.

To its users, an event is a frozen attrs class: comparing, showing, copying, pickling and structuring depend
on its fields' values, never on whether they have been read. Inside, it is a msgspec structure. There are
two of them, one for each wire form, with the same fields under the names that the form uses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from fullstory_async.coerce import timestamp as read_time
from fullstory_async.json_ready import JsonReady
from fullstory_async.models.described import DescribedEvent
from fullstory_async.models.event_data import SourceData
from fullstory_async.models.payloads import decode_payload, decode_payloads

__all__ = ["PAYLOADS", "Payload", "PublishedEvent", "SessionEvent", "raw_times"]

_Text = str | int | float | bool | None
"""A string, or what some responses have in its place."""

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


if TYPE_CHECKING:
    from msgspec import StructMeta
else:
    # not every supported version of msgspec exports the name
    StructMeta = type(msgspec.Struct)


class _Meta(StructMeta):
    """Lets callers build an event from its public field names.

    msgspec's decoder does not use this.
    """

    # type checkers read the signature from `SessionEvent.__init__`
    if not TYPE_CHECKING:

        def __call__(
            cls,  # noqa: N805
            *,
            type: str = "",  # noqa: A002
            data: Any = None,
            source_properties: Any = None,
            **others: Any,
        ) -> Any:
            """Build an event; of the subclass too, it is the public class."""
            unknown = others.keys() - _FIELDS.keys()
            if unknown:
                raise TypeError(f"SessionEvent has no field {min(unknown)!r}")
            return super(_Meta, SessionEvent).__call__(
                type=type, _data={} if data is None else data,
                _source_properties={} if source_properties is None else source_properties,
                _time=others.pop("timestamp", None), **{f"_{name}": value for name, value in others.items()},
            )  # fmt: skip


@attrs.frozen(these=_FIELDS, init=False, slots=False, kw_only=True, match_args=False, eq=False)
class SessionEvent(DescribedEvent, JsonReady, msgspec.Struct, metaclass=_Meta, gc=False, omit_defaults=True):
    """One event of a session, the same for both wire forms.

    The live service fills more fields than the published OpenAPI description has.

    The attributes with the name of an event type (``event.click``, ``event.request``, …) return the
    documented fields of that type as an attrs class, and ``None`` if the event is of another type.
    """

    type: str = msgspec.field(default="", name="event_type")
    """What happened: ``click``, ``navigate``, …; an open set. Empty if the service sent none."""

    _time: _Text = msgspec.field(default=None, name="event_time")
    _data: msgspec.Raw = msgspec.field(default=_NULL, name="event_properties")
    _device_id: _Text = msgspec.field(default=None, name="device_id")
    _session_id: _Text = msgspec.field(default=None, name="session_id")
    _view_id: _Text = msgspec.field(default=None, name="view_id")
    _source_type: _Text = msgspec.field(default=None, name="source_type")
    _source_properties: msgspec.Raw = msgspec.field(default=_NULL, name="source_properties")
    # The other form's keys must be absent: msgspec ignores unknown keys, and an event that mixes both forms
    # would lose fields. It is decoded by the fallback instead.
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
            """Build an event, for a test for example."""

    @property
    def timestamp(self) -> datetime | None:
        """When, by the device's clock, with a time zone; ``None`` if it can't be read."""
        when: Any = self._time
        if when is None or isinstance(when, datetime):
            return when
        parsed = read_time(when)
        _set_time(self, parsed)
        return parsed

    @property
    def device_id(self) -> str | None:
        """The device id, equal to `Session.user_id`. Live service only."""
        return _as_string(self._device_id)

    @property
    def session_id(self) -> str | None:
        """The session id; ``None`` for events outside any. Live service only."""
        return _as_string(self._session_id)

    @property
    def view_id(self) -> str | None:
        """The page load, screen or tab that it happened in. Live service only."""
        return _as_string(self._view_id)

    @property
    def source_type(self) -> str | None:
        """``web``, ``mobile_app``, ``server``, …; an open set. Live service only."""
        return _as_string(self._source_type)

    @property
    def data(self) -> dict[str, Any]:
        """The event's own properties as decoded JSON; decoded when first read."""
        value: Any = self._data
        if type(value) is _Raw:
            value = decode_payload(value)
            _set_data(self, value)
        return value  # type: ignore[no-any-return]

    @property
    def source_properties(self) -> dict[str, Any]:
        """Browser, URL, location and device as decoded JSON. Live service only.

        Decoded when first read.
        """
        value: Any = self._source_properties
        if type(value) is _Raw:
            value = decode_payload(value)
            _set_source_properties(self, value)
        return value  # type: ignore[no-any-return]

    @property
    def source(self) -> SourceData:
        """The documented fields of `source_properties`: page, browser, device and more."""
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


def _slot_setter(name: str) -> Callable[[SessionEvent, Any], None]:
    """Return a setter for a field of the frozen class, for this module only."""
    # the slot's own setter, since the class is frozen for all other code
    setter: Callable[[SessionEvent, Any], None] = SessionEvent.__dict__[name].__set__
    return setter


_set_time, _set_data, _set_source_properties = map(_slot_setter, ("_time", "_data", "_source_properties"))


@attrs.frozen
class Payload:
    """A field that is a slice of the response until it is decoded."""

    _get: Callable[[SessionEvent], Any]
    _set: Callable[[SessionEvent, Any], None]

    def is_decoded(self, event: SessionEvent) -> bool:
        """Return whether it has been decoded."""
        return type(self._get(event)) is not _Raw

    def decode(self, events: Sequence[SessionEvent]) -> None:
        """Decode it for several events in one pass; what that can't decode, such as deep nesting, stays."""
        write = self._set
        for event, value in zip(events, decode_payloads(map(self._get, events)), strict=True):
            write(event, value)


PAYLOADS = (
    Payload(attrgetter("_data"), _set_data),
    Payload(attrgetter("_source_properties"), _set_source_properties),
)


class PublishedEvent(SessionEvent, gc=False):
    """A `SessionEvent` whose wire names are the published description's."""

    type: str = msgspec.field(default="", name="type")
    _time: _Text = msgspec.field(default=None, name="timestamp")
    _data: msgspec.Raw = msgspec.field(default=_NULL, name="data")
    _no_type: None = msgspec.field(default=None, name="event_type")
    _no_time: None = msgspec.field(default=None, name="event_time")
    _no_data: None = msgspec.field(default=None, name="event_properties")


# users see one class: in the repr, in error messages and in pickles
PublishedEvent.__name__ = PublishedEvent.__qualname__ = SessionEvent.__name__


def raw_times(events: Sequence[SessionEvent]) -> list[Any]:
    """Return the times as they were sent, of events whose time has not been read."""
    return [event._time for event in events]  # noqa: SLF001


def _restore(fields: dict[str, Any]) -> SessionEvent:
    return SessionEvent(**fields)


def _as_string(value: _Text) -> str | None:
    """Return a string, or the JSON of another value: ids come as strings or int64."""
    return value if value is None or isinstance(value, str) else json.dumps(value)
