"""The tables of a job: its records as rows.

Ids are texts, since many readers can't hold 64-bit numbers exactly. Beside each time is the original text, so
that an event with an invalid time is not lost. Free-form values stay JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import attrs

from fullstory_async.codec import decode_summary, events_with_times
from fullstory_async.errors import ConfigurationError, DecodeError, InvalidSessionId
from fullstory_async.jobs.export.redaction import Redaction
from fullstory_async.jobs.export.responses import response_values
from fullstory_async.jobs.plan import EVENTS, SUMMARY, JobPlan
from fullstory_async.jobs.storage.records import JobFailure, Record
from fullstory_async.json_ready import replace_surrogates, time_text
from fullstory_async.messages import Response
from fullstory_async.session_id import SessionId
from fullstory_async.tables.answer import ParsedEvent
from fullstory_async.tables.columns import SCHEMAS, Column, Row, Schema, Table
from fullstory_async.tables.events import Answer, EventColumns, columns_of_answers, columns_of_parsed
from fullstory_async.tables.ids import SessionIds, replay_url
from fullstory_async.tables.json_text import dump_json
from fullstory_async.tables.pages import NO_TOTALS, Visit, page_rows, session_totals, visits_of
from fullstory_async.tables.shapes import StructShape
from fullstory_async.validators import shown

__all__ = ["Tables", "portions"]

_PORTION = 20
"""Sessions that are converted together at most."""
_PORTION_BYTES = 1_000_000
"""Bytes of responses after which a portion ends."""

_JSON_COLUMNS = ("event_properties", "source_properties")
_OF_EVENTS = ("view_id", "description")
"""Columns of events that are redacted before other tables are made from them."""
_DONE = frozenset(
    {
        *_JSON_COLUMNS, *_OF_EVENTS, "properties", "response", "response_schema", "user_uid", "user_email",
        "browser", "operating_system", "device_type", "country", "city", "app_version", "page_url",
        "page_path", "page_title", "element_text", "element_selector", "custom_name",
    }
)  # fmt: skip
"""Columns that are redacted before they become rows: those of a field of the JSON are redacted with it."""
_DONE_IN = {"failures": frozenset[str](), "pages": _DONE | {"url", "path", "title"}}


def _check_schema(_: object, __: object, schema: object) -> None:
    # not in the mapping itself: the value may not be hashable
    if schema not in tuple(SCHEMAS):
        raise ConfigurationError(
            f"schema (--schema) must be one of {', '.join(SCHEMAS)}, not {shown(schema)}"
        )


class _OwnEvents(NamedTuple):
    """The events of one session, among those that were read together."""

    columns: EventColumns
    place: int
    """The session's place there."""
    visits: Sequence[Visit]

    @property
    def totals(self) -> tuple[Any, ...]:
        return session_totals(self.columns, self.place, self.visits)

    @property
    def pages(self) -> Sequence[Row]:
        return page_rows(self.columns, self.place, self.visits)


@attrs.frozen
class Tables:
    """Converts records to rows, by table."""

    plan: JobPlan
    redaction: Redaction
    schema: Schema = attrs.field(default="v2", validator=_check_schema)
    organisation: str | None = None
    """The organisation, for replay URLs."""
    inputs: Mapping[str, str] = attrs.field(factory=dict)
    """Column of the tables that the ids came from → its name in the table ``sessions``."""
    responses: Mapping[str, Column] = attrs.field(factory=dict)
    """Field of the summaries' responses → its column."""
    shapes: Mapping[str, StructShape] = attrs.field(factory=dict)
    """JSON column of the events → its structure, if it has one."""

    @property
    def names(self) -> tuple[str, ...]:
        """The tables of a job with this plan; the first is the main one."""
        wanted = {
            "events": self.plan.events,
            "summaries": self.plan.summary is not None,
            "sessions": True,
            "pages": self.plan.events,
            "failures": True,
        }
        return tuple(name for name in wanted if wanted[name] and name in SCHEMAS[self.schema])

    def columns(self, name: str) -> Table:
        """Return a table's columns. A redacted one may be null, and a hashed one is text."""
        columns = tuple(map(self._column, self._plain_columns(name)))
        if name != "events":
            return columns
        return tuple(attrs.evolve(column, shape=self.shapes.get(column.name)) for column in columns)

    def _plain_columns(self, name: str) -> Table:
        further: Mapping[str, Iterable[Column]] = {
            "sessions": (Column(each, "text") for each in self._inputs),
            "summaries": self._responses.values(),
        }
        return (*SCHEMAS[self.schema][name], *further.get(name, ()))

    @property
    def _responses(self) -> Mapping[str, Column]:
        """The columns of the responses' fields; a field that is hashed is text."""
        return {
            field: attrs.evolve(column, kind="text")
            if "hash" in (self.redaction.how(column.name), self.redaction.how("response", field))
            else column
            for field, column in self.responses.items()
        }

    @property
    def _inputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.inputs.values()))

    def _column(self, column: Column) -> Column:
        how = self.redaction.how(self._name_of(column.name))
        if how is None:
            return column
        return attrs.evolve(column, is_required=False, kind="text" if how == "hash" else column.kind)

    def rows(self, *records: Record) -> Iterator[tuple[str, Sequence[Row]]]:
        """Yield the rows of sessions, table by table; for several small ones in less time than one by one."""
        failures = [list(record.failures.values()) for record in records]
        events = self._events_of(records, failures)
        summaries = self._summary_rows(records, failures)
        made: dict[str, Callable[[], Iterable[Sequence[Row]]]] = {
            "events": lambda: self._event_rows(events),
            "summaries": lambda: [summaries],
            "sessions": lambda: [list(map(self._session_row, records, events, failures))],
            "pages": lambda: [[row for each in events if each is not None for row in each.pages]],
            "failures": lambda: [[self._failure_row(each) for own in failures for each in own]],
        }
        for name in self.names:
            for rows in made[name]():
                if rows:
                    yield name, self._redacted(name, rows)

    def _events_of(
        self, records: Sequence[Record], failures: Sequence[list[JobFailure]]
    ) -> list[_OwnEvents | None]:
        """Return the events of each session; a response that can't be read is added to its failures."""
        if len(records) > 1 and (together := self._events_together(records)) is not None:
            return together
        found: list[_OwnEvents | None] = []
        for record, own in zip(records, failures, strict=True):
            columns = None
            try:
                columns = self._events(record)
            # one malformed response must not end the export of all others
            except DecodeError as error:
                own.append(record.malformed(EVENTS, error))
            found.append(None if columns is None else _OwnEvents(columns, 0, visits_of(columns)[0]))
        return found

    def _events_together(self, records: Sequence[Record]) -> list[_OwnEvents | None] | None:
        """Return the events of each session; ``None`` if they have to be read one by one."""
        if self.redaction.rules:
            return None
        try:
            columns = columns_of_answers([_answer(record) for record in records if EVENTS in record.bodies])
        except DecodeError:
            return None
        if columns is None:
            return None
        visits = enumerate(visits_of(columns))
        return [_OwnEvents(columns, *next(visits)) if EVENTS in record.bodies else None for record in records]

    def _event_rows(self, events: Iterable[_OwnEvents | None]) -> Iterator[Sequence[Row]]:
        table = SCHEMAS[self.schema]["events"]
        return (each.columns.rows(table) for each in events if each is not None and each.place == 0)

    def _events(self, record: Record) -> EventColumns | None:
        if EVENTS not in record.bodies:
            return None
        answer = _answer(record)
        if not self.redaction.rules:
            columns = columns_of_answers([answer])
            if columns is not None:
                return columns
        parsed = [
            ParsedEvent(
                event.type, raw_time, event.device_id, event.view_id, event.source_type,
                *self._redacted_json(event.data, event.source_properties),
            )
            for event, raw_time in events_with_times(Response(status=200, body=answer.body))
        ]  # fmt: skip
        columns = columns_of_parsed(answer, parsed)
        whole: dict[str, list[Any]] = {
            _JSON_COLUMNS[0]: [event.data for event in parsed],
            _JSON_COLUMNS[1]: [event.source for event in parsed],
        }
        redacted = {name: values for name, values in whole.items() if self.redaction.how(name)}
        for name in filter(self.redaction.how, _OF_EVENTS):
            redacted[name] = self._redacted_values(name, columns.values[name])
        return attrs.evolve(columns, values={**columns.values, **redacted})

    def _redacted_json(self, data: Any, source: Any) -> tuple[Any, Any]:
        # before anything is computed from it: a description may quote a redacted field
        redacted = self.redaction.apply(dict(zip(_JSON_COLUMNS, (data, source), strict=True)))
        return redacted[_JSON_COLUMNS[0]], redacted[_JSON_COLUMNS[1]]

    def _redacted_values(self, name: str, values: Any) -> list[Any]:
        return [self.redaction.apply({name: value})[name] for value in values]

    def _redacted(self, table: str, rows: Sequence[Row]) -> Sequence[Row]:
        if not self.redaction.rules:
            return rows
        names = [self._name_of(column.name) for column in self._plain_columns(table)]
        done = _DONE_IN.get(table, _DONE) | {column.name for column in self.responses.values()}
        redacted = []
        for row in rows:
            given = dict(zip(names, row, strict=True))
            changed = self.redaction.apply({name: given[name] for name in names if name not in done})
            redacted.append(tuple(changed.get(name, given[name]) for name in names))
        return redacted

    def _name_of(self, column: str) -> str:
        """Return the name by which a column is redacted: an input's own, if that is redacted."""
        if self.redaction.how(column):
            return column
        if column == "properties":
            return _JSON_COLUMNS[0]
        own = (name for name, each in self.inputs.items() if each == column and self.redaction.how(name))
        return next(own, column)

    def _summary_rows(self, records: Sequence[Record], failures: Sequence[list[JobFailure]]) -> list[Row]:
        rows = []
        for record, own in zip(records, failures, strict=True):
            try:
                row = self._summary_row(record)
            except DecodeError as error:
                own.append(record.malformed(SUMMARY, error))
            else:
                rows += [] if row is None else [row]
        return rows

    def _summary_row(self, record: Record) -> Row | None:
        if SUMMARY not in record.bodies:
            return None
        response = Response(status=200, body=record.bodies[SUMMARY])
        found = decode_summary(response, SessionId(record.session_id), self.plan.summary)
        redacted = self.redaction.apply(
            {"response": self._redacted_fields(found.response), "response_schema": found.response_schema}
        )
        values = [
            value if value is None or self.redaction.how(name) else dump_json(value)
            for name, value in redacted.items()
        ]
        return (
            *self._ids(record.session_id), _clean(found.config_profile_id), _clean(found.summary), *values,
            time_text(record.fetched[SUMMARY]), *response_values(self._responses, redacted["response"]),
        )  # fmt: skip

    def _redacted_fields(self, response: Any) -> Any:
        """Redact the fields of a response that are named by their columns."""
        named = {
            field: column.name
            for field, column in self.responses.items()
            if self.redaction.how(column.name) and not self.redaction.how("response", field)
        }
        if not named or not isinstance(response, dict):
            return response
        return {
            field: self.redaction.apply({named[field]: value})[named[field]] if field in named else value
            for field, value in response.items()
        }

    def _failure_row(self, failure: JobFailure) -> Row:
        return (
            *self._ids(failure.session_id), failure.operation, failure.error, failure.status,
            _clean(failure.code), _clean(failure.message), failure.attempts, failure.may_have_cost,
            failure.permanent, time_text(failure.at),
        )  # fmt: skip

    def _session_row(self, record: Record, events: _OwnEvents | None, failures: Sequence[JobFailure]) -> Row:
        state = (
            "failed" if failures else "done" if record.bodies.keys() >= set(self.plan.operations) else "left"
        )
        fetched = [record.fetched[name] for name in self.plan.operations if name in record.fetched]
        given = {
            self.inputs[name]: value for name, value in record.input_columns.items() if name in self.inputs
        }
        # a text that isn't an id has no page
        is_id = all(failure.error != InvalidSessionId.__name__ for failure in failures)
        url = replay_url(self.organisation, record.session_id) if is_id else None
        return (
            *self._ids(record.session_id), *(NO_TOTALS if events is None else events.totals), url, state,
            failures[0].error if failures else None, time_text(fetched[0]) if fetched else None,
            _clean(record.input), *(given.get(name) for name in self._inputs),
        )  # fmt: skip

    def _ids(self, session_id: str) -> tuple[str | None, ...]:
        ids = SessionIds.of(_clean(session_id) or "")
        if self.schema == "v1":
            return (ids.full_session_id,)
        return ids.full_session_id, ids.device_id, ids.session_id


def portions(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Yield records, several small ones together."""
    portion: list[Record] = []
    size = 0
    for record in records:
        portion.append(record)
        size += sum(map(len, record.bodies.values()))
        if size >= _PORTION_BYTES or len(portion) == _PORTION:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _answer(record: Record) -> Answer:
    return Answer(record.session_id, record.bodies[EVENTS], time_text(record.fetched[EVENTS]))


def _clean(text: str | None) -> str | None:
    return None if text is None else replace_surrogates(text)
