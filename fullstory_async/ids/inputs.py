"""SessionInput: a session id, with the text and the row of a table that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time
from typing import Any

import attrs

from fullstory_async.ids.cells import is_missing
from fullstory_async.session_id import SessionId, UnusableId

__all__ = ["SessionInput", "text_of_value"]

_LARGEST_EXACT = 2**53


@attrs.frozen
class SessionInput:
    """A session id, with what a job keeps of its origin."""

    session_id: SessionId | UnusableId
    text: str = attrs.field(repr=False)
    """The text that the id was read from, such as a replay URL."""
    columns: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """The other columns of its row that have a value, as texts."""

    @classmethod
    def of_row(
        cls, session_id: SessionId | UnusableId, row: Mapping[str, Any], id_columns: tuple[str, ...]
    ) -> SessionInput:
        """Return an id with the row of a table that it came from."""
        texts = {name: text for name, value in row.items() if (text := text_of_value(value))}
        given = ":".join(texts.pop(name) for name in id_columns if name in texts)
        return cls(session_id, given or str(session_id), texts)


def text_of_value(value: Any) -> str:
    """Return a table's value as text; empty for a missing one."""
    if isinstance(value, str):
        # lone surrogates, which JSON allows, can't be stored, nor can subclasses such as numpy's
        return str.__str__(value) if value.isascii() else value.encode("utf-8", "replace").decode()
    if is_missing(value):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    # Excel and floating-point columns hold numbers without a fraction so
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_EXACT:
        return str(int(value))
    return value.isoformat() if isinstance(value, (date, time)) else str(value)
