"""Activations over time as bars, at most 200, each of a round length of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from fullstory_async.amounts import counted
from fullstory_async.notebook_html import escape

__all__ = ["Payment", "spending"]

_BARS = 200
_USUAL_BARS = 40
_STEPS = (
    ("second", timedelta(seconds=1)), ("10 seconds", timedelta(seconds=10)), ("minute", timedelta(minutes=1)),
    ("10 minutes", timedelta(minutes=10)), ("hour", timedelta(hours=1)), ("6 hours", timedelta(hours=6)),
    ("day", timedelta(days=1)), ("week", timedelta(days=7)), ("30 days", timedelta(days=30)),
    ("300 days", timedelta(days=300)), ("3 000 days", timedelta(days=3000)),
)  # fmt: skip
"""Lengths of time that a bar may stand for; the last one covers more years than any clock is wrong by."""
_WIDTH, _HEIGHT = 5, 60


class Payment(NamedTuple):
    """When an activation was spent."""

    at: datetime
    is_at_risk: bool
    """Whether it was possibly not charged."""


def spending(payments: Sequence[Payment]) -> Iterator[str]:
    """Yield a figure of the activations over time; nothing without any."""
    if not payments:
        return
    first, last = min(each.at for each in payments), max(each.at for each in payments)
    name, step = next((each for each in _STEPS if (last - first) / each[1] < _BARS), _STEPS[-1])
    counts = Counter((min(int((each.at - first) / step), _BARS - 1), each.is_at_risk) for each in payments)
    bars = max(number for number, _ in counts) + 1
    highest = max(counts[number, False] + counts[number, True] for number in range(bars))
    # a short job has a few bars of the usual width, not one that fills the page
    width = max(bars, _USUAL_BARS) * _WIDTH
    label = f"{counted(len(payments), 'activation')}, at most {highest:,} per {name}"
    yield f'<figure><svg viewBox="0 0 {width} {_HEIGHT}" preserveAspectRatio="none" '
    yield f'height="{_HEIGHT * 2}" role="img" aria-label="{escape(label)}">'
    for number in range(bars):
        paid, at_risk = counts[number, False], counts[number, True]
        if paid or at_risk:
            start = f"{(first + number * step).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
            yield f"<g><title>{start}: {paid:,} paid, {at_risk:,} at risk</title>"
            yield _bar(number, 0, paid, highest, "act")
            yield _bar(number, paid, at_risk, highest, "warn") + "</g>"
    span = " to ".join(f"{each.astimezone(UTC):%Y-%m-%d %H:%M:%S}" for each in (first, last))
    yield f"</svg><figcaption><span>{span} UTC</span>"
    yield '<span class="key act">results</span><span class="key warn">at risk: possibly not charged</span>'
    yield f"<span>at most {highest:,} per {name}</span></figcaption></figure>"


def _bar(number: int, below: int, count: int, highest: int, look: str) -> str:
    if not count:
        return ""
    top, tall = _HEIGHT * (1 - (below + count) / highest), _HEIGHT * count / highest
    return (
        f'<rect class="{look}" x="{number * _WIDTH}" y="{top:.1f}" width="{_WIDTH - 1}" height="{tall:.1f}"/>'
    )
