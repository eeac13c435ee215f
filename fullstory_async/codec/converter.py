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
from typing import Any, TypeVar

import cattrs
from cattrs.gen import make_dict_structure_fn

from fullstory_async.errors import DecodeError
from fullstory_async.models import KeyOwner, Session, SessionEvent, SessionSummary
from fullstory_async.models.times import timestamp
from fullstory_async.structuring import reasons

__all__ = ["register", "structure"]

T = TypeVar("T")

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


def register(cls: type[T], hook: Callable[[Any, Any], T]) -> None:
    """Let a class be made by ``hook(value, cls)``."""
    _converter.register_structure_hook_func(lambda kind: kind == cls, hook)


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
    converter.register_structure_hook(datetime | None, lambda value, _: timestamp(value))
    converter.register_structure_hook_func(_is_json_object, lambda value, _: value)
    for cls in _KEYS:
        _register(converter, cls)
    return converter


_converter = _make_converter()
