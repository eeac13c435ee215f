"""The tables and their columns, by schema: the names of FullStory's warehouse and API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import attrs

from fullstory_async.tables.shapes import StructShape

__all__ = ["SCHEMAS", "SCHEMA_VERSIONS", "TABLES", "Column", "Kind", "Row", "RowWriter", "Schema", "Table"]

Kind = Literal["text", "name", "integer", "number", "boolean", "time", "json", "texts"]
Schema = Literal["v2", "v1", "warehouse"]

Row = tuple[Any, ...]
"""The values of one row, in the order of the table's columns. All but required ones may be ``None``.

text and name: a `str` without lone surrogates. time: a `str` in UTC such as ``2026-05-04T10:00:00.500000Z``.
json: a `str` of valid JSON without NaN and infinities. texts: a tuple of `str`. number: a finite `float`.
"""
RowWriter = Callable[[Sequence[Row]], None]
"""Writes rows to the table that it was opened for."""


@attrs.frozen
class Column:
    """One column of a table."""

    name: str
    kind: Kind
    """``name`` is a text with few distinct values, ``texts`` is a list of texts."""

    is_required: bool = False
    """Whether it always has a value."""

    shape: StructShape | None = None
    """The structure as which Parquet, DuckDB and Arrow have a JSON column; others have its text."""


Table = tuple[Column, ...]


def _columns(*required: str, **kinds: Kind) -> Table:
    return tuple(Column(name, kind, name in required) for name, kind in kinds.items())


_IDS: dict[str, Kind] = {"full_session_id": "text", "device_id": "text", "session_id": "text"}

_FAILURE: dict[str, Kind] = {
    "operation": "name", "error": "name", "status": "integer", "code": "text", "message": "text",
    "attempts": "integer", "may_have_cost": "boolean", "permanent": "boolean", "failed_at": "time",
}  # fmt: skip
_SUMMARY: dict[str, Kind] = {
    "config_profile_id": "text", "summary": "text", "response": "json", "response_schema": "json",
    "fetched_at": "time",
}  # fmt: skip

TABLES: Mapping[str, Table] = {
    "events": _columns(
        "full_session_id", "seq", "event_type", "event_properties", "source_properties", "is_error",
        "frustrations", "description",
        **_IDS, seq="integer", event_type="name", event_time="time", event_time_raw="text",
        event_properties="json", source_type="name", source_properties="json", view_id="text",
        page_url="text", page_path="text", page_title="text", description="text", is_error="boolean",
        frustrations="texts", element_text="text", element_selector="text", custom_name="name",
        browser="name", operating_system="name", device_type="name", country="name", city="name",
        app_version="name", user_uid="text", user_email="text", fetched_at="time",
    ),
    "sessions": _columns(
        "full_session_id", "state", "input",
        **_IDS, user_uid="text", user_email="text", started_at="time", ended_at="time",
        duration_seconds="number", events="integer", pages="integer", errors="integer",
        rage_clicks="integer", dead_clicks="integer", error_clicks="integer", mouse_thrashes="integer",
        first_page="text", last_page="text", browser="name", operating_system="name", device_type="name",
        country="name", replay_url="text", state="name", error="text", fetched_at="time", input="text",
    ),
    "pages": _columns(
        "full_session_id", "number", "events", "errors", "frustrations",
        **_IDS, number="integer", view_id="text", url="text", path="text", title="text", entered_at="time",
        seconds="number", events="integer", errors="integer", frustrations="integer",
    ),
    "summaries": _columns("full_session_id", **_IDS, **_SUMMARY),
    "failures": _columns("full_session_id", **_IDS, **_FAILURE),
}  # fmt: skip
"""Table → columns of the current schema. ``seq`` numbers a session's events in the order of time."""

_V1: Mapping[str, Table] = {
    "events": _columns(
        "session_id", "seq",
        session_id="text", seq="integer", event_type="name", event_time="time", event_time_raw="text",
        source_type="name", device_id="text", view_id="text", properties="json", source_properties="json",
        fetched_at="time",
    ),
    "summaries": _columns("session_id", session_id="text", **_SUMMARY),
    "failures": _columns("session_id", session_id="text", **_FAILURE),
}  # fmt: skip

_WAREHOUSE: Mapping[str, Table] = {
    "events": _columns(
        "event_id", "event_type", "event_properties", "source_properties",
        event_id="text", event_time="time", processed_time="time", updated_time="time", device_id="text",
        session_id="text", view_id="text", event_type="name", event_properties="json", source_type="name",
        source_properties="json",
    ),
    "failures": TABLES["failures"],
}  # fmt: skip

SCHEMAS: Mapping[Schema, Mapping[str, Table]] = {"v2": TABLES, "v1": _V1, "warehouse": _WAREHOUSE}
"""Schema → table → columns.

``v1`` has the rows of earlier versions, whose ``session_id`` is the id that was asked for and whose
``device_id`` is the event's own. ``warehouse`` has the columns that FullStory's dbt package reads.
"""

SCHEMA_VERSIONS: Mapping[Schema, int] = {"v1": 1, "v2": 2, "warehouse": 2}
"""The version that an exported database carries. Databases of before carry none, and have ``v1``."""
