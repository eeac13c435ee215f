"""Parsed JSON of responses: parse it, and require what it has to be; errors name the path."""

from __future__ import annotations

import json
import math
from typing import Any

from fullstory_async import safe_json
from fullstory_async.errors import DecodeError

__all__ = ["parse_json", "read_text", "require_list", "require_object", "unexpected"]


def parse_json(body: bytes) -> Any:
    """Parse JSON as `safe_json.loads` does.

    Raises:
        DecodeError: the body is empty, is not valid JSON, or is nested too deeply.
    """
    try:
        return safe_json.loads(body)
    except ValueError as error:
        reason = str(error)
    size = len(body)
    raise DecodeError(
        f"the response ({size} bytes) can't be read as JSON: {reason}" if size else "the response is empty"
    )


def require_object(value: Any, path: str = "$") -> dict[str, Any]:
    """Return an object. Raises `DecodeError` if it is something else."""
    if not isinstance(value, dict):
        raise unexpected("an object", value, path)
    return value


def require_list(body: dict[str, Any], key: str) -> list[Any]:
    """Return a list of the response; a missing one is empty."""
    value = body.get(key)
    # the service omits empty lists
    if value is None:
        return []
    if not isinstance(value, list):
        raise unexpected("a list", value, f"$.{key}")
    return value


def unexpected(expected: str, value: Any, path: str) -> DecodeError:
    """Return the error for a value of another kind."""
    kind = type(value).__name__
    return DecodeError(f"the response has an unexpected structure: expected {expected}, not {kind} @ {path}")


def read_text(value: Any) -> str:
    """Read a string, or a number in its place: ids are int64 and come as either.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return json.dumps(value)
    raise TypeError(f"expected text, not {type(value).__name__}")
