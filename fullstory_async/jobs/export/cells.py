"""Cells of CSV files that no spreadsheet runs as a formula."""

from __future__ import annotations

import re

__all__ = ["harmless"]

_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are these characters in full width, which some spreadsheets take for the same."""
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def harmless(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would run; a number is left alone, as ids may be negative."""
    if text.lstrip()[:1] in _FORMULA_STARTS and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text
