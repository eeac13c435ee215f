"""Parse untrusted JSON: everything Python's ``json`` accepts, without its traps.

``json`` accepts more than the standard: ``NaN``, numbers beyond a float's range, lone surrogates, a byte
order mark. Two of its limits are changed here. An integer with more digits than Python converts (4 300)
becomes infinity, as ``1e999`` does, instead of an error. Nesting is bounded, so that every parsed value can
also be walked, shown and serialised.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["MAX_DEPTH", "check_depth", "loads"]

MAX_DEPTH = 250
"""Levels of nesting. Python's own functions fail between 300 and 1 000, depending on the caller's stack."""
_MIN_OBJECT_BYTES = len('{"":}')
"""The fewest bytes that one level of an object takes."""
_TOO_DEEP = "it is nested too deeply"


def loads(text: bytes) -> Any:
    """Parse a document.

    Raises:
        ValueError: it is not JSON, is not in UTF-8, -16 or -32, or is nested too deeply.
    """
    try:
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise
        except ValueError:
            # the only plain ValueError: an integer of too many digits. A custom parse_int is slower, so it
            # is not used from the start.
            value = json.loads(text, parse_int=_int_or_inf)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    check_depth(text, value)
    return value


def check_depth(text: bytes, value: Any) -> None:
    """Raise `ValueError` if a value, parsed from ``text``, is nested too deeply."""
    size = len(text)
    # one level takes at least two bytes, so a short text can't be too deep
    if size <= 2 * MAX_DEPTH:
        return
    arrays = text.count(b"[")
    # counting braces takes a quarter of the time of parsing, so the size bounds the number of objects first
    if arrays + size // _MIN_OBJECT_BYTES <= MAX_DEPTH or arrays + text.count(b"{") <= MAX_DEPTH:
        return
    # level by level and not by recursion, which is what would fail here
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for each in level for child in _children(each) if isinstance(child, (dict, list))]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _children(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _int_or_inf(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)
