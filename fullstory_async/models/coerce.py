"""Reading documented fields of event properties without ever failing.

FullStory's event properties are generous with types (64-bit integers come as strings or as numbers) and
everything in them may be missing. A value of a kind that a field can't hold is ``None``; ``event.data``
still has it as it came.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["flag", "mapping", "number", "text", "texts", "whole"]


def text(value: Any) -> str | None:
    """Read a text, or a number that stands for an id."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def number(value: Any) -> float | None:
    """Read a finite number, or digits that stand for one; an integer stays one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        if not value.isascii() or "_" in value:
            return None
        try:
            value = int(value) if value.strip().lstrip("-").isdigit() else float(value)
        except ValueError:
            return None
    try:
        return value if isinstance(value, (int, float)) and math.isfinite(value) else None
    except OverflowError:  # an integer beyond a float's range
        return None


def whole(value: Any) -> int | None:
    """Read an integer, also one that came as text or as ``4.0``."""
    found = number(value)
    return int(found) if found is not None and found == int(found) else None


def flag(value: Any) -> bool | None:
    """Read a boolean."""
    return value if isinstance(value, bool) else None


def mapping(value: Any) -> dict[str, Any]:
    """Read an object; anything else is an empty one."""
    return dict(value) if isinstance(value, Mapping) else {}


def texts(value: Any) -> tuple[str, ...]:
    """Read a list of texts; anything else is an empty one."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
