"""The tables of an export: their columns, and a job's records as rows of them.

Ids are texts, since many readers can't hold 64-bit numbers exactly. Times are in UTC. Beside each parsed time
is the original text, so that an event with an invalid time is not lost. Free-form values stay JSON.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import attrs

from fullstory_async.codec import decode_summary, events_with_times
from fullstory_async.errors import ConfigurationError, DecodeError
from fullstory_async.jobs.plan import EVENTS, SUMMARY, JobPlan
from fullstory_async.jobs.storage.records import Record
from fullstory_async.jobs.storage.schema import fingerprint
from fullstory_async.messages import Response
from fullstory_async.models import event_data
from fullstory_async.session_id import SessionId

__all__ = ["TABLES", "Column", "Redaction", "Row", "RowWriter", "Table", "Tables"]

Row = dict[str, Any]
RowWriter = Callable[[Row], None]
"""Writes one row to the table that it was opened for."""
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

_DOCUMENTED = [each for each in vars(event_data).values() if isinstance(each, type) and attrs.has(each)]
_KNOWN = frozenset(
    [column.name for columns in TABLES.values() for column in columns]
    + [field.name for each in _DOCUMENTED for field in attrs.fields(each)]
)
"""Documented names: to redact one that occurs nowhere in the job is not a mistake."""


@attrs.frozen
class Redaction:
    """The fields to redact, as a column or at any depth of the JSON in one."""

    how: Mapping[str, Literal["drop", "hash"]]
    secret: str = attrs.field(repr=False)
    hidden: Counter[str] = attrs.field(factory=Counter, eq=False)
    """Number of values redacted per name so far, nested ones included."""
    seen: set[str] = attrs.field(factory=set, eq=False)
    """Names seen so far, even if their value was null."""

    @classmethod
    def of(cls, fields: Any, secret: str) -> Redaction:
        """Read ``["user_email"]``, or ``{"user_email": "hash"}``.

        Raises:
            ConfigurationError: it is something else.
        """
        if isinstance(fields, Redaction):
            return fields
        if isinstance(fields, str):
            raise ConfigurationError(
                "redact must be a list of names, or a mapping of names to 'drop' or 'hash'"
            )
        given: dict[Any, Any] = dict(fields) if isinstance(fields, Mapping) else dict.fromkeys(fields, "drop")
        for name, how in given.items():
            if not isinstance(name, str) or not name or how not in ("drop", "hash"):
                raise ConfigurationError(
                    f"redact takes 'drop' or 'hash' for a field's name, not {name!r}: {how!r}"
                )
        return cls(given, secret)

    def apply(self, row: Row) -> Row:
        """Return the row with its values redacted."""
        if not self.how:
            return row
        redacted: Row = self._redact_inside(row)
        return redacted

    @property
    def missing(self) -> list[str]:
        """The names not seen so far that are neither a column nor a documented field."""
        return sorted(set(self.how) - self.seen - _KNOWN)

    def _redact_inside(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: self._redact_value(name, item) if name in self.how else self._redact_inside(item)
                for name, item in value.items()
            }
        return [self._redact_inside(item) for item in value] if isinstance(value, list) else value

    def _redact_value(self, name: str, value: Any) -> Any:
        self.seen.add(name)
        if value is None:
            return None
        self.hidden[name] += 1
        self._redact_inside(value)  # for the counts: the names inside are redacted with it
        if self.how[name] == "drop":
            return None
        # Sorted: equal values have the same hash, in whatever order a response has their fields.
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
        return fingerprint(self.secret, text)


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
