"""The columns of an export's tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

__all__ = ["TABLES", "Column", "Table"]

Kind = Literal["text", "name", "integer", "boolean", "time", "json"]


@attrs.frozen
class Column:
    """One column of a table."""

    name: str
    kind: Kind
    """``name`` is a text with few distinct values."""

    is_required: bool = False
    """Whether it always has a value."""


def _columns(**kinds: Kind) -> tuple[Column, ...]:
    return tuple(Column(name, kind, name in ("session_id", "seq")) for name, kind in kinds.items())


Table = tuple[Column, ...]

TABLES: Mapping[str, Table] = {
    "events": _columns(
        session_id="text", seq="integer", event_type="name", event_time="time", event_time_raw="text",
        source_type="name", device_id="text", view_id="text", properties="json", source_properties="json",
        fetched_at="time",
    ),
    "summaries": _columns(
        session_id="text", config_profile_id="text", summary="text", response="json", response_schema="json",
        fetched_at="time",
    ),
    "failures": _columns(
        session_id="text", operation="name", error="name", status="integer", code="text", message="text",
        attempts="integer", may_have_cost="boolean", permanent="boolean", failed_at="time",
    ),
}  # fmt: skip
"""Table → columns. ``seq`` numbers a session's events in the order of time."""
