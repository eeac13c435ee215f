"""Broken contents of a paid response: complete over HTTP, but not the expected JSON.

A hostile value stands where a client passes JSON on: in the first event's properties, and in other responses
in a member of its own, ``injected``.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

import attrs
from aiohttp import web

from fullstory_async.errors import ConfigurationError
from fullstory_async.sandbox.faults.bodies import body_of
from fullstory_async.sandbox.faults.exchange import CallNext, Exchange
from fullstory_async.sandbox.faults.registry import Range, fault

__all__ = ["ContentFaults"]

_MARK = "5ba1c8e0-injected"
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)

_Count = Annotated[int, Range(1, 10**8)]


@attrs.frozen
class _MediaType:
    def check(self, name: str, value: object) -> None:
        if not (isinstance(value, str) and _MEDIA_TYPE.fullmatch(value)):
            raise ConfigurationError(f"a fault's {name} must be like 'text/html', not {value!r}")


class ContentFaults:
    """Makers of broken contents."""

    __slots__ = ()

    @fault
    @staticmethod
    async def empty_body(
        exchange: Exchange, call_next: CallNext, code: Annotated[int, Range(200, 299, integer=True)] = 200
    ) -> web.StreamResponse:
        """Do the work, and respond without a body.

        Args:
            code: status, 200 or 204.
        """
        await call_next()
        return web.Response(status=code)

    @fault
    @staticmethod
    async def invalid_json(exchange: Exchange, call_next: CallNext) -> web.StreamResponse:
        """Send a complete body that starts and ends like JSON, but is not."""
        response = await call_next()
        body = body_of(response)
        return _replace_body(response, body[:1] + b"oops " + body[1:])

    @fault
    @staticmethod
    async def invalid_utf8(exchange: Exchange, call_next: CallNext) -> web.StreamResponse:
        """Insert a string with bytes that are not UTF-8."""
        return _insert_value(await call_next(), b'"\xff\xfe"')

    @fault
    @staticmethod
    async def lone_surrogate(exchange: Exchange, call_next: CallNext) -> web.StreamResponse:
        r"""Insert half a surrogate pair, ``"\ud800"``, which is valid JSON but not Unicode."""
        return _insert_value(await call_next(), b'"\\ud800"')

    @fault
    @staticmethod
    async def byte_order_mark(exchange: Exchange, call_next: CallNext) -> web.StreamResponse:
        """Put a byte order mark before the body."""
        response = await call_next()
        return _replace_body(response, b"\xef\xbb\xbf" + body_of(response))

    @fault
    @staticmethod
    async def not_a_number(exchange: Exchange, call_next: CallNext) -> web.StreamResponse:
        """Insert ``NaN``, which some servers write although JSON has no such value."""
        return _insert_value(await call_next(), b"NaN")

    @fault
    @staticmethod
    async def huge_integer(
        exchange: Exchange, call_next: CallNext, digits: _Count = 5000
    ) -> web.StreamResponse:
        """Insert an integer that Python refuses to parse.

        Args:
            digits: number of its digits.
        """
        return _insert_value(await call_next(), b"9" * int(digits))

    @fault
    @staticmethod
    async def deep_json(
        exchange: Exchange, call_next: CallNext, depth: _Count = 100_000
    ) -> web.StreamResponse:
        """Insert arrays nested deeper than a recursive parser can follow.

        Args:
            depth: number of levels.
        """
        return _insert_value(await call_next(), b"[" * int(depth) + b"]" * int(depth))

    @fault
    @staticmethod
    async def wrong_shape(
        exchange: Exchange,
        call_next: CallNext,
        shape: Literal["list", "null", "missing keys", "wrong types"] = "list",
    ) -> web.StreamResponse:
        """Send JSON of a wrong shape: 'list', 'null', 'missing keys' or 'wrong types'.

        Args:
            shape: ``list`` (the response in an array), ``null``, ``missing keys`` (an empty object), or
                ``wrong types`` (a number instead of each member).
        """
        response = await call_next()
        right = json.loads(body_of(response))
        wrong: Any = {"list": [right], "null": None, "missing keys": {}}.get(shape, 5)
        if shape == "wrong types" and isinstance(right, dict):
            wrong = dict.fromkeys(right, 5)
        return _replace_body(response, json.dumps(wrong).encode())

    @fault
    @staticmethod
    async def unknown_keys(exchange: Exchange, call_next: CallNext) -> web.StreamResponse:
        """Add an unknown member to every object of the response; all known members stay right."""
        response = await call_next()
        return _replace_body(response, json.dumps(_with_unknown(json.loads(body_of(response)))).encode())

    @fault
    @staticmethod
    async def legacy_profiles(exchange: Exchange, call_next: CallNext) -> web.StreamResponse:
        """List profiles with entries of the service's alpha: null, and one without an id or a configuration.

        Empty configurations are left out of all other profiles.
        """
        response = await call_next()
        right = json.loads(body_of(response))
        listed = right.get("profiles")
        for profile in [right] if listed is None else listed:
            if profile.get("configuration") == {}:
                del profile["configuration"]
        # on the first page only, as they are the oldest
        if listed is not None and "pagination_token" not in exchange.request.query:
            right["profiles"] = [None, {"name": "A profile of the alpha"}, *listed]
        return _replace_body(response, json.dumps(right).encode())

    @fault
    @staticmethod
    async def empty_lists_omitted(exchange: Exchange, call_next: CallNext) -> web.StreamResponse:
        """Omit empty lists from the response, so that one of no sessions is an empty object."""
        response = await call_next()
        right = json.loads(body_of(response))
        return _replace_body(
            response, json.dumps({name: value for name, value in right.items() if value != []}).encode()
        )

    @fault
    @staticmethod
    async def wrong_content_type(
        exchange: Exchange, call_next: CallNext, content_type: Annotated[str, _MediaType()] = "text/plain"
    ) -> web.StreamResponse:
        """Send the normal response with a wrong ``Content-Type``.

        Args:
            content_type: the media type.
        """
        response = await call_next()
        return _replace_body(response, body_of(response), content_type)


def _replace_body(
    response: web.Response, body: bytes, content_type: str = "application/json"
) -> web.Response:
    return web.Response(status=response.status, body=body, content_type=content_type)


def _insert_value(response: web.Response, value: bytes) -> web.Response:
    """Insert JSON text into a response, even text that a JSON encoder would never write."""
    right = json.loads(body_of(response))
    events = right.get("events") if isinstance(right, dict) else None
    parent = events[0] if events else right
    # each wire form of events has one of these
    for name in ("event_properties", "data"):
        parent = parent.get(name, parent)
    parent["injected"] = _MARK
    # the encoder refuses most of these values, so a mark is encoded and then replaced
    return _replace_body(response, json.dumps(right).encode().replace(f'"{_MARK}"'.encode(), value))


def _with_unknown(value: Any) -> Any:
    if isinstance(value, dict):
        known = {name: _with_unknown(item) for name, item in value.items()}
        return {**known, "x_injected": {"by": "the sandbox"}}
    return list(map(_with_unknown, value)) if isinstance(value, list) else value
