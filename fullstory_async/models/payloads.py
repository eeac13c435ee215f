"""Decode the payloads of events: ``data`` and ``source_properties``, one or many at a time."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
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
    latest: msgspec.Raw | None = None
    repeats = 0
    for payload in payloads:
        if payload == latest:
            repeats += 1
            continue
        if repeats:
            values += _copies(values[-1], repeats)
            repeats = 0
        value, latest = payload, None
        if type(payload) is _Raw:
            try:
                value = _decode_shallow(payload)
            except _MSGSPEC_ERRORS:
                pass  # whoever reads it gets the value, or the error
            else:
                latest = payload if type(value) is dict else None
        values.append({} if value is None else value)
    if repeats:
        values += _copies(values[-1], repeats)
    return values


def _copies(container: Any, count: int) -> list[Any]:
    """Return copies of an object or a list that share no container."""
    copies = list(map(type(container).copy, repeat(container, count)))
    for key, item in container.items() if type(container) is dict else enumerate(container):
        if type(item) is dict or type(item) is list:
            for copied, inner in zip(copies, _copies(item, count), strict=True):
                copied[key] = inner
    return copies


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
