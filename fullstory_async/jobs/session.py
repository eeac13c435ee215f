"""JobSession: one session of a job in figures, with or without responses."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from fullstory_async.jobs.storage.records import Record
from fullstory_async.json_ready import JsonReady
from fullstory_async.tables.columns import Row, Table

__all__ = ["JobSession", "session_of_row"]


@attrs.frozen(kw_only=True)
class JobSession(JsonReady):
    """One session of a job: a row of the table ``sessions``."""

    session_id: str
    """The requested session, the column ``full_session_id``."""
    state: str
    """``done``, ``failed`` or ``left``."""
    error: str | None = None
    """The name of the error's class, if a call failed."""
    user_uid: str | None = None
    """Your own id for the user, at the session's end."""
    user_email: str | None = None
    """The user's e-mail address, at the session's end."""
    started_at: datetime | None = None
    """Time of the first event, in UTC."""
    ended_at: datetime | None = None
    """Time of the last event, in UTC."""
    duration_seconds: float | None = None
    """Seconds between them."""
    events: int | None = None
    """Number of events; like the next numbers, ``None`` if the events were not fetched."""
    pages: int | None = None
    """Number of visits of pages."""
    errors: int | None = None
    """Number of exceptions, crashes, console errors and failed requests."""
    rage_clicks: int | None = None
    """Number of rage clicks."""
    dead_clicks: int | None = None
    """Number of dead clicks."""
    error_clicks: int | None = None
    """Number of clicks that caused an error."""
    mouse_thrashes: int | None = None
    """Number of mouse thrashes."""
    first_page: str | None = None
    """The URL of the first page."""
    last_page: str | None = None
    """The URL of the last page."""
    browser: str | None = None
    """The browser; like the next three, the first value of the session's events."""
    operating_system: str | None = None
    """The operating system."""
    device_type: str | None = None
    """The kind of device."""
    country: str | None = None
    """The country."""
    replay_url: str | None = None
    """The session in FullStory's app; ``None`` until a run has learned the key's organisation."""
    fetched_at: datetime | None = None
    """When the first response arrived, in UTC."""
    input: str = ""
    """The text that the id came from."""
    input_columns: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    """The other columns of its row in a table, such as a ticket's number."""


_FIELDS = frozenset(field.name for field in attrs.fields(JobSession))


def session_of_row(record: Record, table: Table, row: Row) -> JobSession:
    """Return a session from its row of the table ``sessions``."""
    values: dict[str, Any] = {
        column.name: datetime.fromisoformat(value) if column.kind == "time" and value is not None else value
        for column, value in zip(table, row, strict=True)
        if column.name in _FIELDS
    }
    values |= {
        "session_id": record.session_id, "input": record.input, "input_columns": record.input_columns,
    }  # fmt: skip
    return JobSession(**values)
