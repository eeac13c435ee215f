"""JSON texts of columns: valid for every reader, on one line, without numbers that no float can hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import repeat
from typing import Any, cast, overload

import attrs
import msgspec

from fullstory_async.json_ready import replace_surrogates

__all__ = ["JsonTexts", "dump_json", "filled", "json_slices", "json_texts", "may_be_huge", "representable"]

_NULL, _EMPTY = msgspec.Raw(b"null"), msgspec.Raw(b"{}")

_NUMBERS = bytes.maketrans(b"123456789E", b"000000000e")
_NOT_NUMBERS = bytes(set(range(256)) - set(b'0123456789eE-.,:"_/ '))
"""What the search for numbers leaves out. No number has a space or a slash, but names of browsers do."""
_EXPONENT = re.compile(b"0e000")
_MANY_DIGITS = b"0" * 200
_HUGE = re.compile(rb"[0-9][eE]\+?[0-9]{3}|[0-9]{200}")
"""An exponent of three digits, or very many digits: numbers without either are below 1e300."""


@attrs.frozen(eq=False)
class JsonTexts(Sequence[str]):
    """A column of JSON that is still slices of an answer; each is a text when it is read."""

    slices: Sequence[msgspec.Raw]
    """Valid JSON on one line."""

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[str]:
        return map(str, cast("Sequence[bytes]", self.slices), repeat("utf-8"))

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> JsonTexts: ...
    def __getitem__(self, index: int | slice) -> str | JsonTexts:
        if isinstance(index, slice):
            return JsonTexts(self.slices[index])
        return str(cast("bytes", self.slices[index]), "utf-8")


def filled(slices: Sequence[msgspec.Raw]) -> Sequence[msgspec.Raw]:
    """Return slices of an answer with an empty object in place of null: an empty one may be omitted."""
    return [_EMPTY if each == _NULL else each for each in slices] if _NULL in slices else slices


def json_texts(slices: Sequence[msgspec.Raw], joined: bytes) -> JsonTexts:
    """Return slices of an answer as a column.

    Args:
        slices: valid JSON, except that msgspec does not check the strings that it skips.
        joined: all of them.

    Raises:
        UnicodeDecodeError: a slice is not UTF-8.
    """
    # one look at all of them
    if not joined.isascii():
        str(joined, "utf-8")
    has_lines = b"\n" in joined or b"\r" in joined
    return JsonTexts([_in_one_line(each) for each in slices] if has_lines else slices)


def _in_one_line(part: msgspec.Raw) -> msgspec.Raw:
    text = bytes(part)
    has_lines = b"\n" in text or b"\r" in text
    return msgspec.Raw(msgspec.json.format(text, indent=-1)) if has_lines else part


def json_slices(texts: Sequence[str | None]) -> Sequence[msgspec.Raw | None]:
    """Return a column of JSON as msgspec writes it unchanged."""
    if isinstance(texts, JsonTexts):
        return texts.slices
    return [None if text is None else msgspec.Raw(text) for text in texts]


def may_be_huge(texts: Collection[Any]) -> bool:
    """Return whether a number of these JSON texts may be beyond a float's range, such as ``1e400``.

    msgspec does not check the numbers that it skips, and many readers reject such a number.
    """
    # Every digit becomes a 0, and most other characters vanish: only then the exact search, which takes ten
    # times as long, for the few texts that may match.
    digits = b",".join(texts).translate(_NUMBERS, _NOT_NUMBERS)
    if _EXPONENT.search(digits) is None and _MANY_DIGITS not in digits:
        return False
    return any(_HUGE.search(text) for text in texts)


def dump_json(value: Any) -> str:
    """Write a value as compact JSON that every reader accepts.

    NaN, infinities and integers beyond a float's range are null, and a lone surrogate is U+FFFD.
    """
    text = json.dumps(representable(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return replace_surrogates(text)


def representable(value: Any) -> Any:
    """Return a parsed value with null for numbers that JSON or a float can't hold."""
    if isinstance(value, dict):
        return {name: representable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [representable(item) for item in value]
    if isinstance(value, int | float) and not _is_finite(value):
        return None
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        # an integer beyond a float's range
        return False
