"""Reading answers that were paid for, or that list what is there: whatever can be read is kept.

A profile or a context is many optional fields. One of an odd kind is left out, and the answer's bytes still have it;
an error would take everything else along.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar, get_args, get_origin

import attrs

from fullstory_async.errors import ConfigurationError
from fullstory_async.models import coerce
from fullstory_async.models.times import timestamp

__all__ = ["lenient"]

T = TypeVar("T", bound=attrs.AttrsInstance)

_READ = {
    str: coerce.text, int: coerce.whole, float: coerce.number, bool: coerce.flag, datetime: timestamp,
}  # fmt: skip


def lenient(value: Any, kind: type[T], keys: Mapping[str, str] | None = None) -> T:
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


def _is_accepted(kind: type[T], name: str, value: Any) -> bool:
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
            return lenient(value, each) if isinstance(value, Mapping) else None
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
