"""JSON texts of columns: valid for every reader, on one line, without numbers that no float can hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from fullstory_async.json_ready import replace_surrogates

__all__ = ["dump_json", "may_be_huge", "representable"]

_NUMBERS = bytes.maketrans(b"123456789E", b"000000000e")
_NOT_NUMBERS = bytes(set(range(256)) - set(b'0123456789eE-.,:"'))
_EXPONENT = re.compile(b"0e000")
_MANY_DIGITS = b"0" * 200
_HUGE = re.compile(rb"[0-9][eE]\+?[0-9]{3}|[0-9]{200}")
"""An exponent of three digits, or very many digits: numbers without either are below 1e300."""


def may_be_huge(texts: Sequence[Any]) -> bool:
    """Return whether a number of these JSON texts may be beyond a float's range, such as ``1e400``.

    msgspec does not check the numbers that it skips, and many readers reject such a number.
    """
    # Every digit becomes a 0, and most other characters vanish: only then the exact search, which takes ten
    # times as long, for the few texts that may match.
    digits = b",".join(texts).translate(_NUMBERS, _NOT_NUMBERS)
    if _EXPONENT.search(digits) is None and _MANY_DIGITS not in digits:
        return False
    return any(_HUGE.search(text) for text in texts)


def dump_json(value: Any) -> str:
    """Write a value as compact JSON that every reader accepts.

    NaN, infinities and integers beyond a float's range are null, and a lone surrogate is U+FFFD.
    """
    text = json.dumps(representable(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return replace_surrogates(text)


def representable(value: Any) -> Any:
    """Return a parsed value with null for numbers that JSON or a float can't hold."""
    if isinstance(value, dict):
        return {name: representable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [representable(item) for item in value]
    if isinstance(value, int | float) and not _is_finite(value):
        return None
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        # an integer beyond a float's range
        return False
