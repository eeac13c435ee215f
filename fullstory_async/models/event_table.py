"""The events of a session with the columns of an export, and as an Arrow table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fullstory_async.json_ready import time_text
from fullstory_async.models.event import SessionEvent
from fullstory_async.models.event_decoding import read_events_with_times
from fullstory_async.tables.answer import ParsedEvent
from fullstory_async.tables.arrow import column_batch, import_pyarrow
from fullstory_async.tables.columns import TABLES
from fullstory_async.tables.events import Answer, EventColumns, columns_of_answers, columns_of_parsed

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["EVENT_TABLE", "event_columns", "event_table"]


EVENT_TABLE = tuple(column for column in TABLES["events"] if column.name != "fetched_at")
"""The columns of events in memory: no one has kept when they were fetched."""


def event_table(columns: EventColumns) -> pa.Table:
    """Return events as an Arrow table, with all columns of an export.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """
    table = TABLES["events"]
    return import_pyarrow().Table.from_batches([column_batch(table, [columns.rows(table).columns])])


def event_columns(session_id: str, events: Sequence[SessionEvent], body: bytes) -> EventColumns:
    """Return the columns of events.

    Args:
        session_id: the full session id.
        events: the events in order.
        body: the response that they came from, if it is known.

    Raises:
        DecodeError: an event is nested too deeply.
    """
    return _columns_of_body(session_id, body) if body else _columns_of_events(session_id, events)


def _columns_of_body(session_id: str, body: bytes) -> EventColumns:
    answer = Answer(session_id, body, None)
    columns = columns_of_answers([answer])
    if columns is not None:
        return columns
    pairs = read_events_with_times(body)
    return columns_of_parsed(answer, [_parsed(event, when) for event, when in pairs])


def _columns_of_events(session_id: str, events: Sequence[SessionEvent]) -> EventColumns:
    times = [None if event.timestamp is None else time_text(event.timestamp) for event in events]
    parsed = [_parsed(event, when) for event, when in zip(events, times, strict=True)]
    return columns_of_parsed(Answer(session_id, b"", None), parsed)


def _parsed(event: SessionEvent, when: Any) -> ParsedEvent:
    return ParsedEvent(
        event.type, when, event.device_id, event.view_id, event.source_type, event.data,
        event.source_properties,
    )  # fmt: skip
