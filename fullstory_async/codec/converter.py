"""The package's one cattrs converter, and the rules that turn JSON values into fields.

The service's types vary: 64-bit integers come as strings or as numbers, times as ISO 8601 strings or as
epoch seconds in a string, and empty fields are omitted. Keys come in two spellings, and the published
OpenAPI description and the live service also use different names. So each model has a table from wire keys
to fields. A value of the wrong type is an error with its path, but a time that can't be read is ``None``: an
event is not lost because of its clock.

There are two ways to read an object. `structure` rejects values of the wrong type. `structure_lenient` is for
responses that were paid for or that are mostly optional fields: it omits a field of the wrong type, which the
response's bytes still have, because an error would lose all the other fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

from fullstory_async.errors import ConfigurationError, DecodeError
from fullstory_async.json_documents import read_text
from fullstory_async.models import KeyOwner, Session, SessionSummary, coerce
from fullstory_async.structuring import explain

__all__ = ["structure", "structure_lenient"]

T = TypeVar("T")
A = TypeVar("A", bound=attrs.AttrsInstance)

_KEYS: dict[type, dict[str, str]] = {

    Session: {
        # the last name that a session has wins, and "id" only counts alone
        "id": "session_id",
        "session_id": "session_id", "sessionId": "session_id", "SessionId": "session_id",
        "user_id": "user_id", "userId": "user_id", "UserId": "user_id",
        "app_url": "url", "url": "url", "fsUrl": "url", "fs_url": "url", "FsUrl": "url",
        "created": "created", "createdTime": "created", "created_time": "created", "CreatedTime": "created",
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
    """Build a model from decoded JSON.

    Args:
        value: the decoded JSON.
        cls: one of the models that have a table of wire keys.
        path: where the value stands in the response, for the message.

    Raises:
        DecodeError: a value has the wrong type; the message has the path of each.
    """
    try:
        return _converter.structure(value, cls)
    except (cattrs.BaseValidationError, TypeError, ValueError) as error:
        mismatches = explain(error, path)
    # outside the except block, so that the new error does not refer to cattrs' frames, which hold the
    # response
    raise DecodeError(f"the response has an unexpected structure: {mismatches}")


def _is_json_object(kind: Any) -> bool:
    return bool(kind == dict[str, Any])


def _register_model(converter: cattrs.Converter, cls: type) -> None:
    keys = _KEYS[cls]
    structure_fields: Callable[[Mapping[str, Any], Any], Any] = make_dict_structure_fn(cls, converter)

    def structure_object(value: Any, kind: type) -> Any:
        if not isinstance(value, Mapping):
            raise TypeError(f"expected an object, not {type(value).__name__}")
        # in the table's order, so that the live service's name takes precedence over the published one
        given = {field: value[key] for key, field in keys.items() if value.get(key) is not None}
        return structure_fields(given, kind)

    converter.register_structure_hook(cls, structure_object)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    converter.register_structure_hook(str, lambda value, _: read_text(value))
    converter.register_structure_hook(datetime | None, lambda value, _: coerce.timestamp(value))
    # open objects are kept as they are; cattrs would rebuild each of them
    converter.register_structure_hook_func(_is_json_object, lambda value, _: value)
    for cls in _KEYS:
        _register_model(converter, cls)
    return converter


_converter = _make_converter()

_READERS = {
    str: coerce.string, int: coerce.integer, float: coerce.number, bool: coerce.boolean,
    datetime: coerce.timestamp,
}  # fmt: skip


def structure_lenient(value: Any, kind: type[A], keys: Mapping[str, str] | None = None) -> A:
    """Build a model from the fields that can be read, and omit the others.

    Args:
        value: an object; any other value counts as an empty one.
        kind: an attrs class whose fields all have defaults.
        keys: wire key → field, where they differ.
    """
    keys = keys or {}
    readable: dict[str, Any] = {}
    fields = {field.name: field for field in attrs.fields(attrs.resolve_types(kind))}
    for key, item in coerce.mapping(value).items():
        name = keys.get(key, key)
        if name not in fields or item is None:
            continue
        read = _read_as(item, fields[name].type)
        if read is not None and _is_accepted(kind, name, read):
            readable[name] = read
    return kind(**readable)


def _is_accepted(kind: type[A], name: str, value: Any) -> bool:
    """Return whether the class accepts a value for a field."""
    # the validators are meant for callers' input, and the service may send values that they reject
    try:
        kind(**{name: value})
    except ConfigurationError:
        return False
    return True


def _read_as(value: Any, annotation: Any) -> Any:
    """Return a value as one of the types of an annotation, or ``None``."""
    types = [each for each in get_args(annotation) if each is not type(None)]
    for each in types if _is_optional(annotation) else [annotation]:
        if each in _READERS:
            return _READERS[each](value)
        if attrs.has(each):
            return structure_lenient(value, each) if isinstance(value, Mapping) else None
        origin, arguments = get_origin(each), get_args(each)
        if origin is tuple:
            return _read_items(value, arguments[0])
        if origin in (dict, Mapping) and isinstance(value, Mapping):
            return dict(value) if arguments[1] is Any else _read_values(value, arguments[1])
    return None


def _read_items(value: Any, annotation: Any) -> tuple[Any, ...] | None:
    if not isinstance(value, list):
        return None
    return tuple(read for item in value if (read := _read_as(item, annotation)) is not None)


def _read_values(value: Mapping[str, Any], annotation: Any) -> dict[str, Any]:
    read = {name: _read_as(item, annotation) for name, item in value.items()}
    return {name: item for name, item in read.items() if item is not None}


def _is_optional(annotation: Any) -> bool:
    return type(None) in get_args(annotation)
