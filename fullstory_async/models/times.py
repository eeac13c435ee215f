"""Times as FullStory writes them: ISO 8601, or epoch seconds or milliseconds as a number or digits."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

__all__ = ["timestamp"]

_EPOCH_MILLISECONDS = 1e11
"""Numbers above this are epoch milliseconds: as seconds they would be in the year 5138."""


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
