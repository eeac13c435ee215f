"""Read documented fields of event properties, without ever raising an error.

The service's types vary (64-bit integers come as strings or as numbers, times in four formats), and every
field may be missing. A value of a type that the field can't hold becomes ``None``; `SessionEvent.data` has
it as it was sent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = ["boolean", "integer", "mapping", "number", "string", "strings", "timestamp"]

_MAX_EPOCH_SECONDS = 1e11
"""Larger numbers are epoch milliseconds: as seconds they would be after the year 5138."""


def string(value: Any) -> str | None:
    """Read a string, or an integer that stands for an id."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def number(value: Any) -> float | None:
    """Read a finite number, or a string of digits; an integer stays an integer."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        # int() and float() accept "1_000" and the digits of other scripts, which the service does not mean
        # as numbers
        if not value.isascii() or "_" in value:
            return None
        try:
            value = int(value) if value.strip().lstrip("-").isdigit() else float(value)
        except ValueError:
            return None
    try:
        return value if isinstance(value, (int, float)) and math.isfinite(value) else None
    except OverflowError:
        # isfinite converts to float, and this integer is beyond its range
        return None


def integer(value: Any) -> int | None:
    """Read an integer, also from a string or from a float such as ``4.0``."""
    found = number(value)
    return int(found) if found is not None and found == int(found) else None


def boolean(value: Any) -> bool | None:
    """Read a boolean."""
    return value if isinstance(value, bool) else None


def mapping(value: Any) -> dict[str, Any]:
    """Read an object; any other value becomes an empty one."""
    return dict(value) if isinstance(value, Mapping) else {}


def strings(value: Any) -> tuple[str, ...]:
    """Read a list of strings; any other value becomes an empty one."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def timestamp(value: Any) -> datetime | None:
    """Read a time: ISO 8601, or epoch seconds or milliseconds as number or digits.

    A time without a zone is in UTC. A value that can't be read becomes ``None``, and so do a time in the
    year 1, which services written in Go send where they have none, and one after the year 9999 in UTC.
    """
    try:
        # the dash of an ISO date is tested first: it is cheap, and decides nearly every time
        if isinstance(value, str) and (value[4:5] == "-" or not _is_epoch(value)):
            parsed = datetime.fromisoformat(value.strip())
        elif value is None or isinstance(value, bool):
            return None
        else:
            seconds = float(value)
            if abs(seconds) > _MAX_EPOCH_SECONDS:
                seconds /= 1000
            parsed = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return parsed if 1 < parsed.year < 9999 or _is_in_range(parsed) else None


def _is_in_range(when: datetime) -> bool:
    """Return whether a time is after the year 1, and can be expressed in UTC."""
    try:
        return when.year > 1 and when.astimezone(UTC).year > 1
    except OverflowError:
        return False


def _is_epoch(text: str) -> bool:
    """Return whether digits are an epoch time; eight are a date, such as 20260504."""
    return text.isascii() and text.strip().lstrip("-").replace(".", "", 1).isdigit() and len(text) != 8
