"""The one cattrs converter of the package, and the rules by which JSON values become fields.

FullStory's answers are generous with types: 64-bit integers come as strings or as numbers, times as ISO
texts or as epoch seconds in a string, empty fields not at all; keys come in two spellings. The
published contract and the live service differ in names besides. So each model has a table from wire keys to
fields, a value of the wrong kind is an error with its path, and a time that can't be read is ``None``:
an event is not lost for its clock.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

from fullstory_async.errors import ConfigurationError, DecodeError
from fullstory_async.models import KeyOwner, Session, SessionEvent, SessionSummary, coerce
from fullstory_async.structuring import reasons

__all__ = ["structure", "structure_lenient"]

T = TypeVar("T")
A = TypeVar("A", bound=attrs.AttrsInstance)

_KEYS: dict[type, dict[str, str]] = {

    Session: {
        "session_id": "session_id", "sessionId": "session_id", "SessionId": "session_id",
        "user_id": "user_id", "userId": "user_id", "UserId": "user_id",
        "url": "url", "fsUrl": "url", "fs_url": "url", "FsUrl": "url",
        "created": "created", "createdTime": "created", "created_time": "created", "CreatedTime": "created",
    },
    SessionEvent: {
        "type": "type", "event_type": "type",
        "timestamp": "timestamp", "event_time": "timestamp",
        "data": "data", "event_properties": "data",
        "device_id": "device_id", "session_id": "session_id", "view_id": "view_id",
        "source_type": "source_type", "source_properties": "source_properties",
    },
    SessionSummary: {
        "sessionId": "session_id", "session_id": "session_id",
        "configProfileId": "config_profile_id", "config_profile_id": "config_profile_id",
        "summary": "summary", "response": "response", "response_schema": "response_schema",
    },
    KeyOwner: {"email": "email", "orgId": "org_id", "org_id": "org_id", "role": "role"},
}  # fmt: skip
"""Wire key → field, for both wire forms and the older spellings."""


def structure(value: Any, cls: type[T], path: str = "$") -> T:
    """Make a model of decoded JSON. Raises `DecodeError` that names the paths of what does not fit."""
    try:
        return _converter.structure(value, cls)
    except (cattrs.BaseValidationError, TypeError, ValueError) as error:
        found = reasons(error, path)
    raise DecodeError(f"the answer is not what it should be: {found}")


def _text(value: Any, _: object = None) -> str:
    """Read a text, or a number that stands for one: ids are int64, and come either way."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return json.dumps(value)
    raise TypeError(f"expected text, not {type(value).__name__}")


def _is_json_object(kind: Any) -> bool:
    return bool(kind == dict[str, Any])


def _register(converter: cattrs.Converter, cls: type) -> None:
    keys = _KEYS[cls]
    by_field: Callable[[Mapping[str, Any], Any], Any] = make_dict_structure_fn(cls, converter)

    def by_wire_key(value: Any, kind: type) -> Any:
        if not isinstance(value, Mapping):
            raise TypeError(f"expected an object, not {type(value).__name__}")
        # in the table's order, so that the live service's name wins over the published one
        given = {field: value[key] for key, field in keys.items() if value.get(key) is not None}
        return by_field(given, kind)

    converter.register_structure_hook(cls, by_wire_key)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(datetime | None, lambda value, _: coerce.timestamp(value))
    converter.register_structure_hook_func(_is_json_object, lambda value, _: value)
    for cls in _KEYS:
        _register(converter, cls)
    return converter


_converter = _make_converter()


_READ = {
    str: coerce.text, int: coerce.whole, float: coerce.number, bool: coerce.flag, datetime: coerce.timestamp,
}  # fmt: skip


def structure_lenient(value: Any, kind: type[A], keys: Mapping[str, str] | None = None) -> A:
    """Make an instance of the fields that can be read.

    Args:
        value: an object; anything else is an empty one.
        kind: an attrs class whose fields all have defaults.
        keys: wire key → field, where they differ.
    """
    given = coerce.mapping(value)
    keys = keys or {}
    found: dict[str, Any] = {}
    fields = {field.name: field for field in attrs.fields(attrs.resolve_types(kind))}
    for key, item in given.items():
        name = keys.get(key, key)
        if name not in fields or item is None:
            continue
        read = _read(item, fields[name].type)
        if read is not None and _is_accepted(kind, name, read):
            found[name] = read
    return kind(**found)


def _is_accepted(kind: type[A], name: str, value: Any) -> bool:
    """Tell whether the class itself takes a value: its validators are meant for what callers write."""
    try:
        kind(**{name: value})
    except ConfigurationError:
        return False
    return True


def _read(value: Any, kind: Any) -> Any:
    """Read a value as one of the kinds that an annotation allows; ``None`` for what it can't be."""
    choices = [each for each in get_args(kind) if each is not type(None)] if _is_union(kind) else [kind]
    for each in choices:
        if each in _READ:
            return _READ[each](value)
        if attrs.has(each):
            return structure_lenient(value, each) if isinstance(value, Mapping) else None
        origin, arguments = get_origin(each), get_args(each)
        if origin is tuple:
            return _read_all(value, arguments[0])
        if origin in (dict, Mapping) and isinstance(value, Mapping):
            inner = arguments[1]
            return dict(value) if inner is Any else _read_named(value, inner)
    return None


def _read_all(value: Any, kind: Any) -> tuple[Any, ...] | None:
    if not isinstance(value, list):
        return None
    return tuple(read for item in value if (read := _read(item, kind)) is not None)


def _read_named(value: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    read = {name: _read(item, kind) for name, item in value.items()}
    return {name: item for name, item in read.items() if item is not None}


def _is_union(kind: Any) -> bool:
    return type(None) in get_args(kind)
