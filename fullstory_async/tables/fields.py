"""The fields of an event that columns need, as structures that msgspec fills from a slice of JSON.

Each field has the documented type. A slice that has a value of another type is parsed, and each value is read
by `coerce`, as the typed views of `SessionEvent` are: the result is the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, get_args

import msgspec

from fullstory_async import coerce, safe_json
from fullstory_async.errors import DecodeError

__all__ = [
    "App", "Custom", "Device", "Fields", "Identify", "Location", "Source", "Target", "Targeted", "Url",
    "UserAgent", "fields_by_type", "joined_by_type", "parse", "parsed_fields_of", "read_fields", "source_of",
]  # fmt: skip

T = TypeVar("T", bound=msgspec.Struct)
Number = int | float


class Target(msgspec.Struct, gc=False):
    """The element that the user acted on."""

    text: str | None = None
    masked: bool | None = None
    raw_selector: str | None = None


class Url(msgspec.Struct, gc=False):
    """A page or another resource."""

    full_url: str | None = None
    path: str | None = None


class Fields(msgspec.Struct, gc=False):
    """The fields of an event's properties; each type of event has a class of its own."""


class Targeted(Fields, gc=False):
    """An action on an element."""

    target: Target | None = None


class _Click(Targeted, gc=False):
    fs_dead_count: int | None = None
    fs_rage_count: int | None = None
    fs_error_kind: str | None = None


class _Consent(Fields, gc=False):
    is_consent_given: bool | None = None
    consent_scope: str | None = None


class _Message(Fields, gc=False):
    message: str | None = None
    console_message_level: str | None = None


class _LayoutShift(Fields, gc=False):
    cumulative_layout_shift: Number | None = None


class Custom(Fields, gc=False):
    """An event sent by the customer's code."""

    event_name: str | None = None
    event_properties: dict[str, Any] | None = None


class _ElementSeen(Targeted, gc=False):
    element_visible_duration_millis: Number | None = None


class _InputDelay(Fields, gc=False):
    first_input_delay_millis: Number | None = None


class _Restart(Fields, gc=False):
    elapsed_millis: Number | None = None


class Identify(Fields, gc=False):
    """The customer's code identified the user."""

    user_id: str | None = None
    user_email: str | None = None
    user_display_name: str | None = None


class _NextPaint(Targeted, gc=False):
    event_name: str | None = None
    interaction_to_next_paint_millis: Number | None = None


class _Load(Fields, gc=False):
    load_time_millis: Number | None = None


class _Navigate(Fields, gc=False):
    navigate_reason: str | None = None


class _Page(Fields, gc=False):
    page_name: str | None = None
    duration_millis: Number | None = None


class _Pinch(Fields, gc=False):
    pinch_gesture_type: str | None = None


class _Request(Fields, gc=False):
    request_method: str | None = None
    request_status: int | None = None
    request_duration_millis: Number | None = None
    request_url: Url | None = None


class UserAgent(msgspec.Struct, gc=False):
    """The browser."""

    device: str | None = None
    operating_system: str | None = None
    browser: str | None = None


class Device(msgspec.Struct, gc=False):
    """A phone or tablet."""

    operating_system: str | None = None


class Location(msgspec.Struct, gc=False):
    """Where the device is."""

    country: str | None = None
    city: str | None = None


class App(msgspec.Struct, gc=False):
    """A mobile app."""

    version: str | None = None


class Source(msgspec.Struct, gc=False):
    """The fields of an event's source: page, browser, device, place and app."""

    user_agent: UserAgent | None = None
    url: Url | None = None
    location: Location | None = None
    title: str | None = None
    device: Device | None = None
    app: App | None = None


_NO_FIELDS = Fields()

_KINDS: Mapping[str, type[Fields]] = {
    "change": Targeted, "click": _Click, "consent": _Consent, "console_message": _Message, "copy": Targeted,
    "cumulative_layout_shift": _LayoutShift, "custom": Custom, "element_seen": _ElementSeen,
    "exception": _Message, "first_input_delay": _InputDelay, "force_restart": _Restart,
    "form_abandon": Targeted, "highlight": Targeted, "identify": Identify,
    "interaction_to_next_paint": _NextPaint, "load": _Load, "navigate": _Navigate, "page_properties": _Page,
    "page_view": _Page, "paste": Targeted, "pinch_gesture": _Pinch, "request": _Request,
}  # fmt: skip
"""Type of event → its fields; other types have none that a column needs."""

_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    name: msgspec.json.Decoder(kind).decode for name, kind in _KINDS.items()
}
_LIST_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    name: msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]
    for name, kind in _KINDS.items()
}
_ByType = msgspec.defstruct(
    "_ByType",
    [(name, list[kind]) for name, kind in _KINDS.items()],  # type: ignore[valid-type]
    array_like=True,
    gc=False,
)
"""The fields of events, in a list for each type."""
_decode_by_type = msgspec.json.Decoder(_ByType).decode
_decode_source = msgspec.json.Decoder(Source).decode
_ERRORS = (msgspec.MsgspecError, RecursionError)


def joined_by_type(texts: Mapping[str, Sequence[Any]]) -> bytes:
    """Return the JSON of events' properties as a JSON array with an array for each documented type.

    Behind them come the other types. Whoever looks for something in all properties finds it there.
    """
    joined = {kind: b",".join(own) for kind, own in texts.items()}
    documented = [joined.pop(kind, b"") for kind in _KINDS]
    return b"[[%b]]" % b"],[".join([*documented, *joined.values()])


def fields_by_type(texts: Mapping[str, Sequence[Any]], joined: bytes) -> Mapping[str, Sequence[Fields]]:
    """Return the fields of events, by type, from their properties' JSON.

    Args:
        texts: type of event → the properties of each.
        joined: the same by `joined_by_type`.

    Raises:
        DecodeError: an event is nested too deeply.
    """
    try:
        # at once: a call for each text takes as long as the decoding
        found = _decode_by_type(joined)
    except _ERRORS:
        return {kind: _fields_of_all(kind, own) for kind, own in texts.items()}
    return {
        kind: getattr(found, kind) if kind in _KINDS else [_NO_FIELDS] * len(own)
        for kind, own in texts.items()
    }


def _fields_of_all(kind: str, texts: Sequence[Any]) -> Sequence[Fields]:
    if kind not in _KINDS:
        return [_NO_FIELDS] * len(texts)
    try:
        fields: list[Fields] = _LIST_DECODERS[kind](b"[%b]" % b",".join(texts))
    except _ERRORS:
        return [_fields_of(kind, text) for text in texts]
    return fields


def _fields_of(kind: str, text: Any) -> Fields:
    try:
        fields: Fields = _DECODERS[kind](text)
    except _ERRORS:
        return read_fields(_KINDS[kind], parse(text))
    return fields


def parsed_fields_of(kind: str, value: Any) -> Fields:
    """Return the fields of an event's properties from parsed JSON."""
    return read_fields(_KINDS[kind], value) if kind in _KINDS else _NO_FIELDS


def source_of(text: Any) -> Source:
    """Return the fields of an event's source from its JSON.

    Raises:
        DecodeError: it is nested too deeply.
    """
    try:
        source: Source = _decode_source(text)
    except _ERRORS:
        return read_fields(Source, parse(text))
    return source


def parse(text: Any) -> Any:
    """Parse a slice of an answer.

    Raises:
        DecodeError: it is nested too deeply.
    """
    try:
        return safe_json.loads(bytes(text))
    except ValueError as error:
        reason = str(error)
    raise DecodeError(f"an event's properties can't be read: {reason}")


def read_fields(kind: type[T], value: Any) -> T:
    """Build a structure from parsed JSON; a value that its field can't hold becomes ``None``."""
    given = coerce.mapping(value)
    readers = _readers(kind)
    return kind(**{name: readers[name](given[name]) for name in readers if name in given})


@functools.cache
def _readers(kind: type[msgspec.Struct]) -> Mapping[str, Callable[[Any], Any]]:
    return {field.name: _reader(field.type) for field in msgspec.structs.fields(kind)}


def _reader(annotation: Any) -> Callable[[Any], Any]:
    """Return the function that reads a value for a field with this annotation."""
    for each, read in (
        (str, coerce.string), (bool, coerce.boolean), (float, coerce.number), (int, coerce.integer),
    ):  # fmt: skip
        if each in get_args(annotation):
            return read
    part = next(each for each in get_args(annotation) if each is not type(None))
    if isinstance(part, type) and issubclass(part, msgspec.Struct):
        return lambda value: read_fields(part, value) if isinstance(value, dict) else None
    return coerce.mapping
