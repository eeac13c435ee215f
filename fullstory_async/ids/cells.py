"""Cells: what one value of a table or of a JSON document says about a session id."""

from __future__ import annotations

import enum
import re
from decimal import Decimal
from numbers import Integral, Real
from typing import Any
from uuid import UUID

import attrs

from fullstory_async.errors import InvalidSessionId
from fullstory_async.session_id import SessionId

__all__ = [
    "Cell",
    "Kind",
    "is_damaged_pair",
    "is_long_half",
    "is_missing",
    "is_opaque_id",
    "long_pairs",
    "read_cell",
]

_STRIPPED = " \t\r\n\f\v\ufeff\u200b\u200e\u200f\u2060\u00a0\x1a\x00"
"""What programs leave around a value; the last two are the end mark of DOS and padding."""
_NO_ID = frozenset(
    {
        "", "null", "(null)", "<null>", "[null]", "\\n", "n/a", "#n/a", "na", "<na>", "none", "nan", "nat",
        "nil", "-", "--", "–", "—", "undefined", "(not set)", "(none)", "(empty)", "(blank)", "#ref!",
        "#value!", "?",
    }
)  # fmt: skip
"""How programs and people write a missing value, in lower case."""
_LONG_HALF = 10
"""Digits from which on a number may be half of a full session id; shorter ones count something else."""
_TIMES = (range(1_200_000_000, 2_200_000_000), range(1_200_000_000_000, 2_200_000_000_000))
"""Times from 2008 to 2039, in seconds and in milliseconds."""
_LARGEST_EXACT = 2**53
_PLAIN_PAIR = re.compile(r"([0-9]{1,20}):([0-9]{1,20})")
_HALF = re.compile(r"-?[0-9]{1,20}")
_WHOLE_FLOAT = re.compile(r"(-?[0-9]{1,16})[.,]0+")
_GUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_ROUNDED = r"-?[0-9]+(?:[.,][0-9]+)?E\+?[0-9]+|-?[0-9]{10,}(?:\.[0-9]+|,[0-9]{1,6})"
_ROUNDED_HALF = re.compile(rf"(?:{_ROUNDED})(?: *[:!].*)?|.*[:!] *(?:{_ROUNDED})", re.IGNORECASE)
_SPACED_PAIR = re.compile(r"(\S+) *[:!\uff1a] *(\S+)")
_CUT_LINK = re.compile(
    r"https?://\S*fullstory\.com/\S*/(?:client-)?sessions?/[0-9A-Fa-f-]*(?:(?::|%3A)-?)?", re.IGNORECASE
)
_QUOTES = tuple(
    re.compile(pattern)
    for pattern in (r"=?\"([^\"]*)\"", r"'([^']*)'", r"`([^`]*)`", r"'([^']+)", r"[“‘«]([^”’»]*)[”’»]")
)
"""Quotation marks, the text formulas of spreadsheets, and the apostrophe that marks a text in them."""
_NOT_AN_ID = re.compile(r"[\s,;|\"'\[\]{}()<>@#]|^[^0-9]*$|[0-9]E\+[0-9]")
"""Text that can't be a session id: it has such a character, has no digit, or was rounded by a spreadsheet."""

_DAMAGED_PAIR = re.compile(r"[0-9]{10,}[:!\uff1a\u2236\ua789](?:-?[0-9]{10,}|\W*$)")
_LONG_PAIR = re.compile(r"-?[0-9]{10,20}(?::|%3A|%253A|!)-?[0-9]{10,20}", re.IGNORECASE)


class Kind(enum.Enum):
    """What a cell is."""

    EMPTY = enum.auto()
    """No value."""
    LINK = enum.auto()
    """A text with one replay URL in it, or with several of one session."""
    PAIR = enum.auto()
    """A full session id of two GUIDs or of two numbers as long as FullStory's."""
    SHORT_PAIR = enum.auto()
    """A pair of shorter numbers, which may also be a time or a ratio."""
    HALF = enum.auto()
    """A number or a GUID that may be half of a full session id."""
    ROUNDED = enum.auto()
    """A number, or a pair of them, that a program has rounded."""
    CUT = enum.auto()
    """A replay URL that ends within the id."""
    SEVERAL = enum.auto()
    """A text with the replay URLs of several sessions."""
    TEXT = enum.auto()
    """Any other text or value."""


@attrs.frozen
class Cell:
    """What a cell is, with its text."""

    kind: Kind
    text: str
    """The id, the half, or the text as it is."""
    ends_with_link: bool = False
    """Whether a link is the end of the text, so that it may have been cut."""


def read_cell(value: Any) -> Cell:
    """Return what a value is: text, a number, or a value of pandas, numpy or a database driver."""
    text = _text_of(value)
    if text is None:
        return Cell(Kind.TEXT, f"{value!r:.60}")
    # most ids of a fan-out or a job; the steps below would find the same
    if (pair := _PLAIN_PAIR.fullmatch(text)) is not None:
        long = min(map(len, pair.groups())) >= _LONG_HALF
        return Cell(Kind.PAIR if long else Kind.SHORT_PAIR, text, ends_with_link=True)
    return _read_bare(_unquoted(text))


def _read_bare(text: str) -> Cell:
    if text.lower() in _NO_ID:
        return Cell(Kind.EMPTY, "")
    # a plain number is the most frequent content by far
    if _HALF.fullmatch(text) or _GUID.fullmatch(text):
        return Cell(Kind.HALF, text)
    if (whole := _WHOLE_FLOAT.fullmatch(text)) and abs(int(whole[1])) <= _LARGEST_EXACT:
        return Cell(Kind.HALF, whole[1])
    if _ROUNDED_HALF.fullmatch(text):
        return Cell(Kind.ROUNDED, text)
    return _read_text(text)


def is_long_half(cell: Cell) -> bool:
    """Return whether a cell may be half of a full session id: a number of 10 digits or more, or a GUID."""
    if cell.kind is not Kind.HALF or len(cell.text.lstrip("-")) < _LONG_HALF:
        return False
    # other programs number their sessions by the time; a random id is in these ranges once in a million
    is_number = not _GUID.fullmatch(cell.text)
    return not (is_number and any(int(cell.text) in times for times in _TIMES))


def is_opaque_id(text: str) -> bool:
    """Return whether a text that isn't a pair may be a session id all the same."""
    return not _NOT_AN_ID.search(text)


def is_damaged_pair(text: str) -> bool:
    """Return whether a text that isn't an id contains one, or the beginning of one."""
    return _DAMAGED_PAIR.search(text) is not None


def long_pairs(text: str) -> set[str]:
    """Return the distinct full session ids of numbers that stand anywhere in a text, decoded."""
    return {re.sub("%3A|%253A|!", ":", pair, flags=re.IGNORECASE) for pair in _LONG_PAIR.findall(text)}


def is_missing(value: Any) -> bool:
    """Return whether a value of a table stands for none: ``None``, NaN, or NaT and NA of pandas."""
    # NaN and NaT are the values that equal nothing; NA can't be compared
    return value is None or type(value).__name__ == "NAType" or _is_nan(value)


def _text_of(value: Any) -> str | None:
    """Return a value as text, without loss; ``None`` for a value that no id can be read from."""
    if isinstance(value, str):
        return str.__str__(value)
    if is_missing(value):
        return ""
    if isinstance(value, (Decimal, Real)) and not isinstance(value, bool):
        return _number_text(value)
    return str(value) if isinstance(value, UUID) else None


def _number_text(value: Any) -> str:
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return str(int(value))
    number = float(value)
    is_exact = number.is_integer() and abs(number) <= _LARGEST_EXACT
    return str(int(number)) if is_exact else repr(number)


def _is_nan(value: Any) -> bool:
    try:
        return bool(value != value)  # noqa: PLR0124
    except ArithmeticError:
        # a NaN of `decimal` that signals
        return True
    except (TypeError, ValueError):
        return False


def _unquoted(text: str) -> str:
    """Return a text without the quotation marks and separators around it."""
    text = text.strip(_STRIPPED)
    bare = text.rstrip(",;").strip(_STRIPPED)
    for pattern in _QUOTES:
        if match := pattern.fullmatch(bare):
            return _unquoted(match[1])
    return bare


def _read_text(text: str) -> Cell:
    if (pair := _pair(text)) is not None:
        halves = pair.split(":")
        long = all(_GUID.fullmatch(half) or len(half.lstrip("-")) >= _LONG_HALF for half in halves)
        kind = Kind.LINK if "://" in text else Kind.PAIR if long else Kind.SHORT_PAIR
        return Cell(kind, pair, ends_with_link=text.endswith(halves[1]))
    found = SessionId.find_all(text)
    if len(found) == 1:
        return Cell(Kind.LINK, found[0], ends_with_link=text.endswith(found[0].split(":")[1]))
    if found:
        return Cell(Kind.SEVERAL, text)
    return Cell(Kind.CUT if _CUT_LINK.search(text) else Kind.TEXT, text)


def _pair(text: str) -> str | None:
    """Return the pair that the whole text is, in any form; spaces around its colon don't matter."""
    for candidate in (text, *(f"{match[1]}:{match[2]}" for match in [_SPACED_PAIR.fullmatch(text)] if match)):
        try:
            parsed = SessionId(candidate)
        except InvalidSessionId:
            continue
        if parsed.is_pair:
            return str(parsed)
    return None
