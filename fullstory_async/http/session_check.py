"""Whether a response is about the session that was requested. Pure, and the one place for this rule.

An unsolicited response on a kept-alive connection is taken for the next request's, and each later
response for the one after. So the ids in a response are compared with those of its request, as far as both
are decimal pairs:

* Events carry both halves, as ``device_id`` and ``session_id``; server events may carry one or none. If no
  event of those that carry both has the requested ones, the response is about another session.
* A context, and a summary in the live service's form, have the pair. Anything else there is not compared:
  a context that was requested by client id names the decimal pair, and a summary may repeat one half.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypedDict

import msgspec

from fullstory_async import safe_json
from fullstory_async.errors import DecodeError
from fullstory_async.messages import Request, Response

__all__ = ["Halves", "other_session", "other_session_in"]

Halves = tuple[Any, Any]
"""The ids of a device and a session, as a response has them: text, a number, nothing or anything else."""

_DECIMAL = re.compile(r"-?[0-9]{1,20}")
_LARGEST = 10**20
_EXACT = 2**53
"""From this on, a proxy that rewrites JSON may have rounded a number."""


class _Event(TypedDict, total=False):
    device_id: Any
    session_id: Any


class _Events(TypedDict, total=False):
    events: list[_Event]


class _Named(TypedDict, total=False):
    session_id: Any
    sessionId: Any


class _Context(_Named, total=False):
    context: _Named


class _Contexts(_Context, total=False):
    context_data: _Context


_DECODERS: Mapping[str, msgspec.json.Decoder[Any]] = {
    "events": msgspec.json.Decoder(_Events),
    "context": msgspec.json.Decoder(_Contexts),
    "summary": msgspec.json.Decoder(_Named),
}


def other_session(request: Request, response: Response) -> DecodeError | None:
    """Return an error if a success is about another session than was requested."""
    decoder = _DECODERS.get(request.operation)
    # most responses without an id are found without decoding them
    if decoder is None or b'"session' not in response.body:
        return None
    try:
        body = decoder.decode(response.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        try:
            body = safe_json.loads(response.body)
        except ValueError:
            return None  # the decoder says so
    return other_session_in(request, _events(body) if request.operation == "events" else _pair(body))


def other_session_in(request: Request, found: Iterable[Halves]) -> DecodeError | None:
    """Return an error if a response has ids, and none of them are those of the request.

    Args:
        request: what was sent.
        found: the ids that the response has, in its order.
    """
    asked = (request.session_id or "").split(":")
    if len(asked) != 2 or not all(map(_DECIMAL.fullmatch, asked)):
        return None
    other: Halves | None = None
    for halves in found:
        if all(map(_is_decimal, halves)):
            if all(map(_is_same, asked, halves)):
                return None
            other = other or halves
    if other is None:
        return None
    error = DecodeError("the response is about another session, {}:{}".format(*other), request=request)
    # the next response to the same request is probably its own
    error.permanent = False
    return error


def _events(body: Any) -> Iterator[Halves]:
    events = body.get("events") if isinstance(body, dict) else None
    for event in events if isinstance(events, list) else ():
        if isinstance(event, dict):
            yield event.get("device_id"), event.get("session_id")


def _pair(body: Any) -> Iterator[Halves]:
    """Yield the ids of a context or a summary, if it has a pair of them."""
    for name in ("context_data", "context"):
        body = body.get(name, body) if isinstance(body, dict) else None
    if not isinstance(body, dict):
        return
    named = body.get("session_id", body.get("sessionId"))
    halves = named.split(":") if isinstance(named, str) else []
    if len(halves) == 2 and all(map(_is_decimal, halves)):
        yield halves[0], halves[1]


def _is_decimal(value: Any) -> bool:
    if isinstance(value, str):
        return _DECIMAL.fullmatch(value) is not None
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST


def _is_same(asked: str, found: str | int) -> bool:
    if isinstance(found, int) and abs(found) >= _EXACT:
        return float(found) == float(asked)
    return int(asked) == int(found)
