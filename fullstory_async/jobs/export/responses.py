"""Fields of structured summaries as columns, where all of a job's responses have one schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fullstory_async import coerce
from fullstory_async.codec import decode_summary
from fullstory_async.errors import DecodeError
from fullstory_async.jobs.plan import SUMMARY
from fullstory_async.jobs.storage.records import RecordSource
from fullstory_async.json_ready import replace_surrogates
from fullstory_async.messages import Response
from fullstory_async.session_id import SessionId
from fullstory_async.tables.columns import TABLES, Column, Kind
from fullstory_async.tables.json_text import dump_json
from fullstory_async.tables.shapes import distinct_names

__all__ = ["response_columns", "response_values"]

_KINDS: Mapping[Any, Kind] = {
    "string": "text", "integer": "integer", "number": "number", "boolean": "boolean",
}  # fmt: skip
_MAX_INTEGER = 2**63


def response_columns(source: RecordSource) -> dict[str, Column]:
    """Return a column for each field of the job's responses; none if their schemas differ. Reads the job."""
    schema: Any = None
    if source.plan.summary is None:
        return {}
    for record in source.records(with_bodies=SUMMARY):
        if SUMMARY not in record.bodies:
            continue
        response = Response(status=200, body=record.bodies[SUMMARY])
        try:
            found = decode_summary(response, SessionId(record.session_id), None)
        # it becomes a failure when the rows are made
        except DecodeError:
            continue
        if found.response is None:
            continue
        if schema not in (None, found.response_schema):
            return {}
        schema = found.response_schema
    return _columns(schema.get("properties")) if isinstance(schema, dict) else {}


def _columns(properties: Any) -> dict[str, Column]:
    given = coerce.mapping(properties)
    plain = (f"response_{replace_surrogates(field)}" for field in given)
    names = distinct_names(plain, taken=(column.name for column in TABLES["summaries"]))
    columns: dict[str, Column] = {}
    for (field, schema), name in zip(given.items(), names, strict=True):
        kind = schema.get("type") if isinstance(schema, dict) else None
        # FullStory writes its types in capitals, and JSON Schema does not
        columns[field] = Column(name, _KINDS.get(kind.lower(), "json") if isinstance(kind, str) else "json")
    return columns


def response_values(columns: Mapping[str, Column], response: Any) -> list[Any]:
    """Return the values of a response's columns; one of another type than its schema says is null."""
    given = coerce.mapping(response)
    return [_READERS[column.kind](given.get(field)) for field, column in columns.items()]


def _integer(value: Any) -> int | None:
    found = coerce.integer(value)
    return found if found is not None and -_MAX_INTEGER <= found < _MAX_INTEGER else None


def _number(value: Any) -> float | None:
    found = coerce.number(value)
    return None if found is None else float(found)


_READERS: Mapping[Kind, Callable[[Any], Any]] = {
    "text": lambda value: replace_surrogates(value) if isinstance(value, str) else None,
    "integer": _integer, "number": _number, "boolean": coerce.boolean,
    "json": lambda value: None if value is None else dump_json(value),
}  # fmt: skip
