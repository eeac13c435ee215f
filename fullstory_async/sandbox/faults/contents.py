"""Spoiled contents of an answer for which the work was done and charged: whole over HTTP, and not what JSON promises.

A hostile value stands where a client passes JSON on: in the first event's properties, and in other answers in
a member of its own, ``injected``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Literal

from aiohttp import web

from fullstory_async.errors import ConfigurationError
from fullstory_async.sandbox.faults.exchange import Behaviour, Exchange, Proceed, status_within, within

__all__ = [
    "byte_order_mark", "deep_json", "empty_body", "huge_integer", "invalid_json", "invalid_utf8", "lone_surrogate",
    "not_a_number", "unknown_keys", "wrong_content_type", "wrong_shape",
]  # fmt: skip

Shape = Literal["list", "null", "missing keys", "wrong types"]

_MARK = "5ba1c8e0-injected"
_SHAPES: dict[str, Callable[[Any], Any]] = {
    "list": lambda answer: [answer],
    "null": lambda _: None,
    "missing keys": lambda _: {},
    "wrong types": lambda answer: dict.fromkeys(answer, 5) if isinstance(answer, dict) else 5,
}
_LARGEST = 10**8
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)


def _spoiled(change: Callable[[bytes], bytes], content_type: str = "application/json") -> Behaviour:
    """Send the right answer's body, changed."""

    async def behave(_: Exchange, proceed: Proceed) -> web.Response:
        answer = await proceed()
        body = answer.body if isinstance(answer.body, bytes) else b""
        return web.Response(status=answer.status, body=change(body), content_type=content_type)

    return behave


def _with_value(value: bytes) -> Behaviour:
    """Plant a value, as JSON text, into the right answer."""

    def change(body: bytes) -> bytes:
        answer = json.loads(body)
        events = answer.get("events") if isinstance(answer, dict) else None
        place = events[0] if events else answer
        for name in ("event_properties", "data"):
            place = place.get(name, place)
        place["injected"] = _MARK
        return json.dumps(answer).encode().replace(f'"{_MARK}"'.encode(), value)

    return _spoiled(change)


def empty_body(code: int = 200) -> Behaviour:
    """Do the work, and answer without a body.

    Args:
        code: the status, 200 or 204.
    """
    status_within(code, 200, 299)

    async def behave(_: Exchange, proceed: Proceed) -> web.Response:
        await proceed()
        return web.Response(status=code)

    return behave


def invalid_json() -> Behaviour:
    """Send a whole body that begins and ends as JSON and is none."""
    return _spoiled(lambda body: body[:1] + b"oops " + body[1:])


def invalid_utf8() -> Behaviour:
    """Plant a text with bytes that are not UTF-8."""
    return _with_value(b'"\xff\xfe"')


def lone_surrogate() -> Behaviour:
    r"""Plant half a surrogate pair, ``"\ud800"``, which is JSON and no Unicode."""
    return _with_value(b'"\\ud800"')


def byte_order_mark() -> Behaviour:
    """Put a byte order mark before the body."""
    return _spoiled(lambda body: b"\xef\xbb\xbf" + body)


def not_a_number() -> Behaviour:
    """Plant ``NaN``, which some servers write and JSON does not know."""
    return _with_value(b"NaN")


def huge_integer(digits: int = 5000) -> Behaviour:
    """Plant an integer that Python refuses to parse.

    Args:
        digits: its length.
    """
    within("digits", digits, 1, _LARGEST)
    return _with_value(b"9" * int(digits))


def deep_json(depth: int = 100_000) -> Behaviour:
    """Plant arrays in arrays, deeper than a recursive parser can go.

    Args:
        depth: how many.
    """
    within("depth", depth, 1, _LARGEST)
    return _with_value(b"[" * int(depth) + b"]" * int(depth))


def wrong_shape(shape: Shape = "list") -> Behaviour:
    """Send JSON of a wrong shape: 'list', 'null', 'missing keys' or 'wrong types'.

    Args:
        shape: ``list`` (the answer in an array), ``null``, ``missing keys`` (an empty object), or ``wrong types``
            (a number in the place of each member).
    """
    if shape not in _SHAPES:
        raise ConfigurationError(f"shape must be one of {', '.join(map(repr, _SHAPES))}, not {shape!r}")
    return _spoiled(lambda body: json.dumps(_SHAPES[shape](json.loads(body))).encode())


def unknown_keys() -> Behaviour:
    """Add a member that nobody knows to every object of the answer; nothing that is known is wrong."""

    def added(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                **{name: added(item) for name, item in value.items()},
                "x_injected": {"by": "the sandbox"},
            }
        return list(map(added, value)) if isinstance(value, list) else value

    return _spoiled(lambda body: json.dumps(added(json.loads(body))).encode())


def wrong_content_type(content_type: str = "text/plain") -> Behaviour:
    """Send the right answer under a wrong ``Content-Type``.

    Args:
        content_type: which one.
    """
    if not (isinstance(content_type, str) and _MEDIA_TYPE.fullmatch(content_type)):
        raise ConfigurationError(f"a fault's content_type must be like 'text/html', not {content_type!r}")
    return _spoiled(lambda body: body, content_type)
