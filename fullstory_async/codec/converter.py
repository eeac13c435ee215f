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
from datetime import UTC, datetime
from typing import Any, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

from fullstory_async import models
from fullstory_async.errors import DecodeError
from fullstory_async.models import KeyOwner, Session, SessionContext, SessionEvent, SessionSummary, coerce
from fullstory_async.structuring import reasons

__all__ = ["structure", "timestamp"]

T = TypeVar("T")

_EPOCH_MILLISECONDS = 1e11
"""Numbers above this are epoch milliseconds: as seconds they would be in the year 5138."""

_AS_NAMED = (
    models.OrgContext, models.UserContext, models.LocationContext, models.ScreenSize, models.DeviceContext,
    models.ContextEvent, models.ContextPage, models.ResponseSchema, models.LLMOptions, models.SliceOptions,
    models.ContextOptions, models.EventOptions, models.CacheOptions, models.ProfileConfiguration, models.Profile,
)  # fmt: skip
"""Models whose fields are called as on the wire; a class comes after those that it holds."""

_KEYS: dict[type, dict[str, str]] = {
    **{cls: {field.name: field.name for field in attrs.fields(cls)} for cls in _AS_NAMED},
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
    SessionContext: {
        "session_id": "session_id", "session_url": "session_url", "session_created_at": "created",
        "org_context": "org", "user_context": "user", "location_context": "location", "device_context": "device",
        "pages": "pages",
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


def timestamp(value: Any) -> datetime | None:
    """Read a time: ISO 8601, or epoch seconds or milliseconds as a number or digits.

    A text without a time zone is in UTC. What can't be read is ``None``.
    """
    try:
        if isinstance(value, str) and (value[4:5] == "-" or not _is_number(value)):
            parsed = datetime.fromisoformat(value.strip())
            return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
        if value is None or isinstance(value, bool):
            return None
        seconds = float(value)
        if abs(seconds) > _EPOCH_MILLISECONDS:
            seconds /= 1000
        return datetime.fromtimestamp(seconds, UTC) if math.isfinite(seconds) else None
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def _is_number(text: str) -> bool:
    """Tell epoch digits from ISO dates; eight digits are a date (20260504), not a second of the 1970s."""
    return text.isascii() and text.strip().lstrip("-").replace(".", "", 1).isdigit() and len(text) != 8


def _text(value: Any, _: object = None) -> str:
    """Read a text, or a number that stands for one: ids are int64, and come either way."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return json.dumps(value)
    raise TypeError(f"expected text, not {type(value).__name__}")


def _number(value: Any, _: object = None) -> float:
    """Read a number, or the text that int64 values come as."""
    found = coerce.number(value)
    if found is None:
        raise TypeError(f"expected a number, not {value!r:.40}")
    return found


def _whole(value: Any, _: object = None) -> int:
    found = coerce.whole(value)
    if found is None:
        raise TypeError(f"expected an integer, not {value!r:.40}")
    return found


def _flag(value: Any, _: object = None) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"expected a boolean, not {type(value).__name__}")
    return value


def _is_json_object(kind: Any) -> bool:
    return bool(kind == dict[str, Any])


def _register(converter: cattrs.Converter, cls: type) -> None:
    keys = _KEYS[cls]

    def by_wire_key(value: Any, kind: type) -> Any:
        if not isinstance(value, Mapping):
            raise TypeError(f"expected an object, not {type(value).__name__}")
        # in the table's order, so that the live service's name wins over the published one
        given = {field: value[key] for key, field in keys.items() if value.get(key) is not None}
        return by_field(given, kind)

    converter.register_structure_hook(cls, by_wire_key)  # first, since a class may hold its own kind
    by_field: Callable[[Mapping[str, Any], Any], Any] = make_dict_structure_fn(cls, converter)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    for kind, read in ((str, _text), (float, _number), (int, _whole), (bool, _flag)):
        converter.register_structure_hook(kind, read)
    converter.register_structure_hook(datetime | None, lambda value, _: timestamp(value))
    converter.register_structure_hook_func(_is_json_object, lambda value, _: value)
    for cls in _KEYS:
        _register(converter, cls)
    return converter


_converter = _make_converter()
