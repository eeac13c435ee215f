"""Whether an answer is whole, before it is kept: a complete JSON object, of which nothing is built."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from fullstory_async import safe_json
from fullstory_async.codec.events import check_utf8
from fullstory_async.errors import DecodeError
from fullstory_async.messages import Response

__all__ = ["require_json_object"]

_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def require_json_object(response: Response) -> Response:
    """Return an answer that is a complete JSON object. Raises `DecodeError` for anything else."""
    if response.status == 204:
        return attrs.evolve(response, body=b"{}")
    body = response.body
    try:
        check_utf8(body)
        whole = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        whole = _by_json(body)  # Python's own parser knows more: NaN, lone surrogates, a byte order mark
    if not isinstance(whole, dict):
        raise DecodeError(f"the answer ({len(body)} bytes) is no JSON object")
    return response


def _by_json(body: bytes) -> Any:
    try:
        return safe_json.loads(body)
    except ValueError as error:
        raise DecodeError(f"the answer ({len(body)} bytes) can't be read as JSON: {error}") from None
