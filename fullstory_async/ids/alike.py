"""Alike ids: those that differ only in leading zeros, or in the case of GUIDs.

Nothing is known about them, so both are fetched and paid for, and a warning names them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fullstory_async.session_id import SessionId

__all__ = ["AlikeIds", "comparable"]

_NUMBERS = re.compile(r"(-?[0-9]+):(-?[0-9]+)")
_MAX_KEPT = 1000
"""Unusual ids that are kept, so that memory stays flat."""


def comparable(session_id: str) -> str:
    """Return an id as it would be without leading zeros and upper case."""
    if match := _NUMBERS.fullmatch(session_id):
        return f"{int(match[1])}:{int(match[2])}"
    return session_id.lower() if isinstance(session_id, SessionId) and session_id.is_pair else session_id


class AlikeIds:
    """Keeps the ids that may also be written in another way, and finds those that are."""

    def __init__(self) -> None:
        """Start without ids."""
        self._unusual: dict[str, list[str]] = {}

    @property
    def usual_forms(self) -> list[str]:
        """The ids that would be alike to those that were added."""
        return list(self._unusual)

    def add(self, session_id: SessionId) -> None:
        """Add an id; it is kept if it has leading zeros or upper case."""
        form = comparable(session_id)
        if form != session_id and (form in self._unusual or len(self._unusual) < _MAX_KEPT):
            kept = self._unusual.setdefault(form, [])
            if session_id not in kept[:2]:
                kept.append(str(session_id))

    def pairs(self, known: Iterable[str] = ()) -> tuple[tuple[str, str], ...]:
        """Return the first and the last id of each group.

        Args:
            known: those of `usual_forms` that belong to the groups as well.
        """
        forms = set(known)
        groups = ([*kept, *({form} & forms)] for form, kept in self._unusual.items())
        return tuple((group[0], group[-1]) for group in groups if len(group) > 1)
