"""Times of rows: texts in UTC with six digits, such as ``2026-05-04T10:00:00.500000Z``.

Their order as texts is their order in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
_FORM = "0000-00-00T00:00:00.000000"
_HOUR = len("2026-05-04T10")
_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")


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
    keys: list[Any] = list(times)
    try:
        in_order = sorted(keys)
    except TypeError:
        # some are missing
        keys = list(_filled(times))
        in_order = sorted(keys)
    return None if in_order == keys else sorted(range(len(keys)), key=lambda n: keys[n])


def _filled(times: Iterable[str | None]) -> Iterator[str]:
    """Yield times with the one before in place of a missing one."""
    latest = ""
    for when in times:
        latest = when or latest
        yield latest


def _padded(values: Sequence[Any]) -> list[str | None]:
    """Return times that all have one usual format with the missing digits; an empty list for others."""
    # a few operations on one long text instead of a check of each time: this runs over every event
    try:
        joined = "\n".join(values)
        size = len(values[0])
        padding, form = _PADDING[size], f"{_FORM[: size - 1]}Z\n".encode()
        lines = joined.encode("ascii") + b"\n"
        if lines.translate(_AS_ZEROS) != form * len(values):
            return []
        if (lines[14 :: size + 1] + lines[17 :: size + 1]).strip(b"012345"):
            # a minute or a second after the 59th
            return []
        # Python checks the calendar, once for each hour. It reads 24:00 as the next day in some versions, and
        # the year 1 is not the time of an event
        first: str = values[0][:_HOUR]
        is_one_hour = joined.count(first) == len(values)
        for hour in (first,) if is_one_hour else {value[:_HOUR] for value in values}:
            if datetime.fromisoformat(f"{hour}:00").year == 1 or hour.endswith("24"):
                return []
    except (TypeError, IndexError, KeyError, ValueError):
        return []
    return list(joined.replace("Z", padding).split("\n"))
