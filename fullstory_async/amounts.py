"""Amounts as people read them: ``1 event``, ``1,200 events``; ``45 s``, ``10 min 54 s``, ``3 h 29 min``."""

from __future__ import annotations

__all__ = ["counted", "span"]

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def counted(count: int, noun: str) -> str:
    """Return ``1 event`` or ``2 events``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def span(seconds: float) -> str:
    """Return a duration in its largest unit and the next one, as people read it.

    Args:
        seconds: the duration. Below 10 s it keeps one decimal, unless that is zero.
    """
    if round(seconds, 1) < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    if whole < 2 * _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return _two(whole, _MINUTE, "min", 1, "s")
    if whole < 2 * _DAY:
        return _two(whole, _HOUR, "h", _MINUTE, "min")
    return _two(whole, _DAY, "days", _HOUR, "h")


def _two(seconds: int, unit: int, name: str, below: int, name_below: str) -> str:
    """Return a duration in two units; the second one is left out if it is zero."""
    count, rest = divmod(round(seconds / below) * below, unit)
    return f"{count} {name}" + (f" {rest // below} {name_below}" if rest else "")
