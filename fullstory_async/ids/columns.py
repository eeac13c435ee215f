"""Columns: choose by content which column of a table holds the session ids."""

from __future__ import annotations

import enum
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from fullstory_async.errors import ConfigurationError
from fullstory_async.ids.cells import Cell, Kind, is_long_half, read_cell

__all__ = ["Choice", "choose", "find_named", "normalised_name"]

_DEVICE_COLUMNS = ("deviceid", "userid")
"""Columns of the first half, best first: ``user_id`` is FullStory's only in lists of sessions."""
_SESSION_COLUMN = "sessionid"
_NAMES = (
    "fullsessionid", "fullstorysessionid", "sessionid", "fsurl", "sessionurl", "sessionlink", "replayurl",
    "fullstoryurl", "fullstorysessionurl", "session", "replay", "url", "id",
)  # fmt: skip
_PART_OF_NAME = ("fullstory", "session", "replay")
_CLOCK = re.compile(r"(?:[01]?[0-9]|2[0-3]):[0-5][0-9]")
_REPEATED = re.compile(r" \(column [0-9]+\)$")
_ENOUGH = 0.9
"""Share of the best column's rows that another column needs to compete with it."""
_MOST = 0.8
"""Share of the rows in which a device id and a session id must be long."""
_MAX_SHOWN = 12


class _Evidence(enum.IntEnum):
    """How surely a column holds session ids; larger is surer."""

    NAME = 1
    """Its name, and texts that may be ids."""
    SHORT_PAIR = 2
    HALVES = 3
    PAIR = 4
    LINK = 5


@attrs.frozen
class Choice:
    """Where the ids of a table are."""

    columns: tuple[str, ...]
    """One column of ids, or those of the first and the second halves."""
    allows_opaque: bool = False
    """Whether an id may be something else than a pair."""


@attrs.frozen
class _Candidate:
    choice: Choice
    evidence: _Evidence
    rank: int
    coverage: int
    ids: tuple[str, ...] = attrs.field(repr=False)


def normalised_name(name: str) -> str:
    """Return a column's name without case, spaces, invisible characters and its path."""
    name = unicodedata.normalize("NFKC", _REPEATED.sub("", name)).rpartition(".")[2]
    return re.sub(r"[\W_]+", "", name).lower()


def find_named(column: str, columns: Iterable[str]) -> str | None:
    """Return the column that a person named; case and invisible characters don't matter."""
    columns = list(columns)
    if column in columns:
        return column
    wanted = re.sub(r"[\s\u200b\ufeff]+", " ", column).strip().lower()
    for each in columns:
        if re.sub(r"[\s\u200b\ufeff]+", " ", each).strip(" \"'").lower() == wanted:
            return each
    found = [each for each in columns if normalised_name(each) == normalised_name(column)]
    return found[0] if len(found) == 1 else None


def choose(rows: Sequence[Mapping[str, Any]]) -> Choice:
    """Return which columns of some rows hold the ids.

    A replay URL is the best evidence, then a full session id, then two columns of halves. A column with ids
    in clearly fewer rows than another one doesn't count. Names only break ties.

    Raises:
        ConfigurationError: no column has ids, or two have different ones.
    """
    cells = _cells_by_column(rows)
    candidates = [found for name, column in cells.items() if (found := _judge(name, column))]
    if (halves := _join_halves(cells)) is not None:
        candidates.append(halves)
    if not any(found.evidence > _Evidence.NAME for found in candidates) and _has_both_halves(cells):
        candidates = []
    if not candidates:
        raise ConfigurationError(_describe_lack(cells))
    most = max(found.coverage for found in candidates)
    strong = [found for found in candidates if found.coverage >= _ENOUGH * most]
    strong.sort(key=lambda found: (-found.evidence, found.rank))
    best = strong[0]
    for other in strong[1:]:
        if (other.evidence, other.rank) == (best.evidence, best.rank) and other.ids != best.ids:
            raise ConfigurationError(
                f"the columns {best.choice.columns[0]!r} and {other.choice.columns[0]!r} hold different "
                "session ids; name one with --id-column, or remove the other"
            )
    return best.choice


def _cells_by_column(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Cell]]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [read_cell(row.get(name)) for row in rows] for name in names}


def _judge(name: str, column: list[Cell]) -> _Candidate | None:
    """Return a column as a candidate, or ``None`` if it holds no ids."""
    kinds = Counter(cell.kind for cell in column)
    rank, is_known = _rank(name), _rank(name) < len(_NAMES) + len(_PART_OF_NAME)
    pairs = kinds[Kind.LINK] + kinds[Kind.PAIR]
    pairs += sum(cell.kind is Kind.ROUNDED and ":" in cell.text for cell in column)
    if pairs:
        evidence = _Evidence.LINK if kinds[Kind.LINK] else _Evidence.PAIR
    elif _are_times(column):
        return None
    elif kinds[Kind.SHORT_PAIR] and is_known:
        evidence = _Evidence.SHORT_PAIR
    elif "session" in normalised_name(name) and len(column) > kinds[Kind.EMPTY] + kinds[Kind.CUT]:
        evidence = _Evidence.NAME
    else:
        return None
    if evidence > _Evidence.NAME:
        coverage = pairs + (kinds[Kind.SHORT_PAIR] if is_known else 0)
    else:
        coverage = len(column) - kinds[Kind.EMPTY]
    choice = Choice((name,), allows_opaque=evidence is _Evidence.NAME)
    return _Candidate(choice, evidence, rank, coverage, tuple(cell.text for cell in column))


def _are_times(column: list[Cell]) -> bool:
    """Return whether all short pairs of a column are times of the day."""
    texts = [cell.text for cell in column if cell.kind is Kind.SHORT_PAIR]
    return len(texts) > 1 and all(map(_CLOCK.fullmatch, texts))


def _rank(name: str) -> int:
    """Return how much a name speaks for ids; 0 is best."""
    name = normalised_name(name)
    if name in _NAMES:
        return _NAMES.index(name)
    parts = [index for index, part in enumerate(_PART_OF_NAME) if part in name]
    return len(_NAMES) + (parts[0] if parts else len(_PART_OF_NAME))


def _join_halves(cells: dict[str, list[Cell]]) -> _Candidate | None:
    """Return two columns of halves as a candidate, if there are such."""
    by_name = {normalised_name(name): name for name in reversed(cells)}
    # the name itself, or with one prefix for both columns, as in fs_device_id and fs_session_id
    sessions = sorted((name for name in by_name if name.endswith(_SESSION_COLUMN)), key=len)
    prefixes = [name.removesuffix(_SESSION_COLUMN) for name in sessions]
    for prefix, name in itertools.product(prefixes, _DEVICE_COLUMNS):
        device, session = by_name.get(prefix + name), by_name[prefix + _SESSION_COLUMN]
        if device is None:
            continue
        rows = [
            pair
            for pair in zip(cells[device], cells[session], strict=True)
            if all(cell.kind is not Kind.EMPTY for cell in pair)
        ]
        long = sum(all(map(_may_be_half, pair)) for pair in rows)
        # a column called user_id often holds the customer's own ids
        if rows and long >= len(rows) * (_MOST if name == _DEVICE_COLUMNS[0] else 1):
            ids = tuple(f"{one.text}:{other.text}" for one, other in rows)
            return _Candidate(Choice((device, session)), _Evidence.HALVES, 0, len(rows), ids)
    return None


def _may_be_half(cell: Cell) -> bool:
    return is_long_half(cell) or (cell.kind is Kind.ROUNDED and ":" not in cell.text)


def _has_both_halves(cells: dict[str, list[Cell]]) -> bool:
    names = set(map(normalised_name, cells))
    prefixes = [name.removesuffix(_SESSION_COLUMN) for name in names if name.endswith(_SESSION_COLUMN)]
    return any(prefix + name in names for prefix in prefixes for name in _DEVICE_COLUMNS)


def _describe_lack(cells: dict[str, list[Cell]]) -> str:
    """Return why no column is chosen, and what to do."""
    for name, column in cells.items():
        if any(cell.kind is Kind.CUT for cell in column):
            return f"the replay URLs in the column {name!r} are cut off; export them at full width"
    if _has_both_halves(cells):
        return (
            "the columns of users and sessions don't hold FullStory's ids, which have 10 digits or more; "
            "export the replay URLs or full session ids (USER:SESSION), or name their column with --id-column"
        )
    names = list(cells)
    shown = ", ".join(names[:_MAX_SHOWN]) + (", …" if len(names) > _MAX_SHOWN else "")
    return (
        "no column holds session ids (replay URLs or USER:SESSION pairs); "
        f"the columns are: {shown}. Name one with --id-column"
    )
