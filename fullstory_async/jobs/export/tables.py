"""The tables of an export: their columns, and a job's records as rows of them.

Ids are texts, since many readers can't hold 64-bit numbers exactly. Times are in UTC. Beside each parsed time
is the original text, so that an event with an invalid time is not lost. Free-form values stay JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from fullstory_async.codec import decode_summary, events_with_times
from fullstory_async.errors import DecodeError
from fullstory_async.jobs.export.columns import TABLES, Column, Table
from fullstory_async.jobs.export.redaction import Redaction
from fullstory_async.jobs.plan import EVENTS, SUMMARY, JobPlan
from fullstory_async.jobs.storage.records import Record
from fullstory_async.messages import Response
from fullstory_async.session_id import SessionId

__all__ = ["TABLES", "Column", "Row", "RowWriter", "Table", "Tables"]

Row = dict[str, Any]
RowWriter = Callable[[Row], None]
"""Writes one row to the table that it was opened for."""


@attrs.frozen
class Tables:
    """Converts records to rows, by table."""

    plan: JobPlan
    redaction: Redaction

    @property
    def names(self) -> tuple[str, ...]:
        """The tables of a job with this plan; the first is the main one."""
        names = (("events",) if self.plan.events else ()) + (("summaries",) if self.plan.summary else ())
        return (*names, "failures")

    def columns(self, name: str) -> Table:
        """Return a table's columns. A redacted one may be null, and a hashed one is text."""
        how = self.redaction.how
        return tuple(
            attrs.evolve(
                column, is_required=False, kind="text" if how[column.name] == "hash" else column.kind
            )
            if column.name in how
            else column
            for column in TABLES[name]
        )

    def rows(self, record: Record) -> Iterator[tuple[str, Row]]:
        """Yield the rows of one session, each with its table."""
        failures = list(record.failures.values())
        for operation, table, make in (
            (EVENTS, "events", _event_rows),
            (SUMMARY, "summaries", self._summary_rows),
        ):
            if operation not in record.bodies:
                continue
            try:
                for row in make(record):
                    yield table, self.redaction.apply(row)
            # One malformed response must not end the export of all others.
            except DecodeError as error:
                failures.append(record.malformed(operation, error))
        for failure in failures:
            row = attrs.asdict(
                failure, recurse=False, filter=lambda field, _: field.name not in ("at", "body")
            )
            yield "failures", self.redaction.apply({**row, "failed_at": failure.at})

    def _summary_rows(self, record: Record) -> Iterator[Row]:
        response = Response(status=200, body=record.bodies[SUMMARY])
        found = decode_summary(response, SessionId(record.session_id), self.plan.summary)
        yield {
            "session_id": record.session_id, "config_profile_id": found.config_profile_id,
            "summary": found.summary, "response": found.response, "response_schema": found.response_schema,
            "fetched_at": record.fetched[SUMMARY],
        }  # fmt: skip


def _event_rows(record: Record) -> Iterator[Row]:
    response = Response(status=200, body=record.bodies[EVENTS])
    for seq, (event, raw_time) in enumerate(events_with_times(response)):
        yield {
            "session_id": record.session_id, "seq": seq, "event_type": event.type,
            "event_time": event.timestamp, "event_time_raw": raw_time, "source_type": event.source_type,
            "device_id": event.device_id, "view_id": event.view_id, "properties": event.data,
            "source_properties": event.source_properties, "fetched_at": record.fetched[EVENTS],
        }  # fmt: skip
