"""Amounts as people read them."""

from __future__ import annotations

import pytest

from fullstory_async.amounts import counted, span


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.04, "0 s"), (0.26, "0.3 s"), (5, "5 s"), (9.94, "9.9 s"), (9.96, "10 s"), (11.25, "11 s"),
        (119.4, "119 s"), (119.6, "2 min"), (120, "2 min"), (654.4, "10 min 54 s"), (3_599, "59 min 59 s"),
        (3_600, "1 h"), (5_430, "1 h 30 min"), (7_199, "2 h"), (12_500, "3 h 28 min"), (12_550, "3 h 29 min"), (2 * 86_400, "2 days"),
        (3 * 86_400 - 1, "3 days"), (2_592_000, "30 days"), (200_000, "2 days 8 h"),
    ],
)  # fmt: skip
def test_a_duration_has_at_most_two_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 events"), (1, "1 event"), (2, "2 events"), (1200, "1,200 events")]
)
def test_a_count_agrees_with_its_noun(count: int, text: str) -> None:
    assert counted(count, "event") == text
