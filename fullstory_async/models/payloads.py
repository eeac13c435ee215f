"""Decode the payloads of events: ``data`` and ``source_properties``, one or many at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from fullstory_async.errors import DecodeError
from fullstory_async.safe_json import check_depth, loads

__all__ = ["decode_payload", "decode_payloads"]

_Raw = msgspec.Raw
_UNION_DEPTH = 6
"""More levels than events have. Each one doubles the time to build the decoder below."""
_decode = msgspec.json.Decoder().decode


def _shallow_decoder() -> msgspec.json.Decoder[Any]:
    """Return a decoder that rejects deep nesting as it decodes, at no extra cost.

    What it rejects is decoded again, and its depth is counted.
    """
    kind: Any = None | bool | int | float | str
    for _ in range(_UNION_DEPTH):
        kind = None | bool | int | float | str | list[kind] | dict[str, kind]
    return msgspec.json.Decoder(kind)


_decode_shallow = _shallow_decoder().decode
_MSGSPEC_ERRORS = (msgspec.MsgspecError, RecursionError)

_Nested = list[tuple[Any, Any, "_Nested"]]
"""The containers in a container: the key or index of each, itself, and those in it."""


def decode_payload(raw: msgspec.Raw) -> Any:
    """Decode a payload; null becomes an empty object.

    Raises:
        DecodeError: it is nested too deeply.
    """
    try:
        value = _decode_shallow(raw)
    except _MSGSPEC_ERRORS:
        value = _decode_deep(bytes(raw))
    return {} if value is None else value


def decode_payloads(payloads: Iterable[Any]) -> list[Any]:
    """Decode payloads in their order; no two results share a container.

    An object that equals the one before it is copied, at half the cost of decoding it again. Most events on
    one page have equal ``source_properties``. Copies share their strings.

    Args:
        payloads: slices of a response. A value of another type was decoded before, and stays.

    Returns:
        The values. A slice stays if `decode_payload` has to decode it in its slow way, or rejects it.
    """
    values: list[Any] = []
    latest: Any = None
    value: Any = None
    nested: _Nested | None = None
    for raw in payloads:
        if type(raw) is not _Raw:
            values.append(raw)
        elif raw == latest:
            if nested is None:
                nested = _nested_in(value)
            values.append(_copy(value, nested))
        else:
            try:
                value = _decode_shallow(raw)
            except _MSGSPEC_ERRORS:
                values.append(raw)
                continue
            if value is None:
                value = {}
            latest = raw if type(value) is dict else None
            nested = None
            values.append(value)
    return values


def _nested_in(value: Any) -> _Nested:
    items = value.items() if type(value) is dict else enumerate(value)
    return [(key, item, _nested_in(item)) for key, item in items if type(item) in (dict, list)]


def _copy(container: Any, nested: _Nested) -> Any:
    copied = container.copy()
    for key, item, inner in nested:
        copied[key] = _copy(item, inner) if inner else item.copy()
    return copied


def _decode_deep(text: bytes) -> Any:
    """Decode an object with deep nesting or with numbers beyond a float's range."""
    try:
        try:
            value = _decode(text)
        except _MSGSPEC_ERRORS:
            return loads(text)
        check_depth(text, value)
    except ValueError as error:
        reason = str(error)
    else:
        return value
    raise DecodeError(f"an event's properties can't be read: {reason}")
