"""Reading documented fields of event properties without ever failing.

FullStory's event properties are generous with types (64-bit integers come as strings or as numbers) and
everything in them may be missing. A value of a kind that a field can't hold is ``None``; ``event.data``
still has it as it came.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = ["flag", "mapping", "number", "text", "texts", "timestamp", "whole"]

_EPOCH_MILLISECONDS = 1e11
"""Numbers above this are epoch milliseconds: as seconds they would be in the year 5138."""


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


def timestamp(value: Any) -> datetime | None:
    """Read a time: ISO 8601, or epoch seconds or milliseconds as a number or digits.

    A text without a time zone is in UTC. What can't be read is ``None``.
    """
    try:
        if isinstance(value, str) and (value[4:5] == "-" or not _is_number(value)):
            parsed = datetime.fromisoformat(value.strip())
            return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
        if value is None or isinstance(value, bool):
            return None
        seconds = float(value)
        if abs(seconds) > _EPOCH_MILLISECONDS:
            seconds /= 1000
        return datetime.fromtimestamp(seconds, UTC) if math.isfinite(seconds) else None
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def _is_number(text: str) -> bool:
    """Tell epoch digits from ISO dates; eight digits are a date (20260504), not a second of the 1970s."""
    return text.isascii() and text.strip().lstrip("-").replace(".", "", 1).isdigit() and len(text) != 8
