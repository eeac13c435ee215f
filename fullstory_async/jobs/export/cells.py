"""Cells: JSON that every reader takes, and text that no spreadsheet runs as a formula."""

from __future__ import annotations

import json
import math
import re
from typing import Any

__all__ = ["harmless", "json_text"]

_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are these characters in full width, which some spreadsheets take for the same."""
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def harmless(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would run; a number is left alone, as ids may be negative."""
    if text.lstrip()[:1] in _FORMULA_STARTS and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def json_text(value: Any, **options: Any) -> str:
    """Write a value as JSON. Numbers that are none (NaN, infinity), which some answers hold and JSON has no word for, are null."""
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
