"""Times of rows: texts in UTC with six digits, such as ``2026-05-04T10:00:00.500000Z``.

Their order as texts is their order in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fullstory_async import coerce
from fullstory_async.json_ready import time_text

__all__ = ["canonical_time", "canonical_times", "order_by_time"]

_PADDING = {
    len("2026-05-04T10:00:00Z"): ".000000Z",
    len("2026-05-04T10:00:00.123Z"): "000Z",
    len("2026-05-04T10:00:00.123456Z"): "Z",
}
"""Length of a time → what its Z becomes."""
_MARKS = ((4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":"))


def canonical_time(value: Any) -> str | None:
    """Return a time that the service sent as a text; ``None`` if it can't be read."""
    when = coerce.timestamp(value)
    return None if when is None else time_text(when)


def canonical_times(values: Sequence[Any]) -> list[str | None]:
    """Return times that the service sent as texts; ``None`` for those that can't be read."""
    return _padded(values) or [canonical_time(value) for value in values]


def order_by_time(times: Sequence[str | None]) -> list[int] | None:
    """Return the indexes of times in order, or ``None`` if they are in order.

    The order is stable, and one without a time stays behind its predecessor.
    """
    keys, latest = [], ""
    for when in times:
        latest = when or latest
        keys.append(latest)
    return None if keys == sorted(keys) else sorted(range(len(keys)), key=keys.__getitem__)


def _padded(values: Sequence[Any]) -> list[str | None]:
    """Return times that all have one usual format with the missing digits; an empty list for others."""
    # a few operations on one long text instead of a check of each time: this runs over every event
    try:
        joined = "\n".join(values)
        size = len(values[0])
        marks = (*_MARKS, (size - 1, "Z"), *(((19, "."),) if size > 20 else ()))
        step, padding = size + 1, _PADDING[size]
        if len(joined) != len(values) * step - 1 or joined[size::step] != "\n" * (len(values) - 1):
            return []
        if any(joined[place::step] != mark * len(values) for place, mark in marks) or not joined.isascii():
            return []
        # Python checks the calendar. It reads 24:00 as the next day in some versions, and the year 1 is no
        # time of an event
        dates = [datetime.fromisoformat(value) for value in values]
    except (TypeError, IndexError, KeyError, ValueError):
        return []
    if "T24" in joined or min(dates).year == 1:
        return []
    return list(joined.replace("Z", padding).split("\n"))
