"""Parsing JSON that somebody else wrote: what Python's ``json`` takes, without its traps.

It takes more than the standard: ``NaN``, numbers beyond a float's range, lone surrogates, a byte order mark. Two things in
it are turned around here. An integer of more digits than Python converts (4 300) is an infinite number, as ``1e999`` is, and not an
error; and nesting is bounded, so that whatever is parsed can also be walked, shown and written again.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["MAX_DEPTH", "check_depth", "loads"]

MAX_DEPTH = 250
"""Levels of nesting; Python's own functions give up between 300 and 1 000, depending on where they are called from."""
_LEAST_OF_OBJECT = len('{"":}')
"""Bytes that a level of an object takes at least. Counting braces takes a quarter of the time of parsing, so it is seldom done."""
_TOO_DEEP = "it is nested too deeply"


def loads(text: bytes) -> Any:
    """Parse a document.

    Raises:
        ValueError: it is no JSON, not in UTF-8, -16 or -32, or nested too deeply.
    """
    try:
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise
        except ValueError:  # an integer of too many digits
            value = json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    check_depth(text, value)
    return value


def check_depth(text: bytes, value: Any) -> None:
    """Raise `ValueError` if what was parsed from a text is nested too deeply."""
    size = len(text)
    if size <= 2 * MAX_DEPTH:  # a level takes two bytes at least
        return
    arrays = text.count(b"[")
    if arrays + size // _LEAST_OF_OBJECT <= MAX_DEPTH or arrays + text.count(b"{") <= MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for each in level for inner in _members(each) if isinstance(inner, (dict, list))]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _members(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _whole(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)
