"""Columns of structured summaries: one for each field of a schema that all responses share."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from fullstory_async.jobs import JobPlan
from fullstory_async.jobs.export.redaction import Redaction
from fullstory_async.jobs.export.responses import response_columns
from fullstory_async.jobs.export.tables import Tables
from fullstory_async.jobs.storage.records import Record
from fullstory_async.tables.columns import Column

FIELDS = {
    "tone": {"type": "STRING"}, "Tone": {"type": "string"}, "calls": {"type": "INTEGER"},
    "score": {"type": "number"}, "solved": {"type": "BOOLEAN"}, "steps": {"type": "ARRAY"}, "schema": {},
}  # fmt: skip


@attrs.frozen
class Stored:
    """What the columns need of a job."""

    bodies: list[bytes]
    plan: JobPlan = attrs.field(factory=lambda: JobPlan(summary="p"))

    def records(self, *, with_bodies: str) -> list[Record]:
        assert with_bodies == "summary"
        when = datetime(2026, 5, 4, tzinfo=UTC)
        return [
            Record(
                seq=n, session_id=f"1:{n}", input="", input_columns={}, bodies={"summary": body},
                fetched={"summary": when}, failures={},
            )
            for n, body in enumerate(self.bodies)
        ]  # fmt: skip


def answer(response: Any, fields: Any = FIELDS) -> bytes:
    return json.dumps({"response": response, "response_schema": {"properties": fields}}).encode()


def test_a_shared_schema_gives_typed_columns() -> None:
    full = {
        "tone": "calm", "Tone": "\ud800", "calls": "4", "score": 1, "solved": True, "steps": ["a"], "schema": 5,
    }  # fmt: skip
    odd = {"tone": 5, "calls": 2**70, "score": float("nan"), "solved": "yes", "steps": None}
    job: Any = Stored([answer(full), answer(odd), b'{"summary": "text"}', b"[]"])
    columns = response_columns(job)
    assert list(columns.values()) == [
        Column("response_tone", "text"), Column("response_Tone_2", "text"), Column("response_calls", "integer"),
        Column("response_score", "number"), Column("response_solved", "boolean"),
        Column("response_steps", "json"), Column("response_schema_2", "json"),
    ]  # fmt: skip
    tables = Tables(job.plan, Redaction.of((), "s"), responses=columns)
    names = [column.name for column in tables.columns("summaries")]
    rows = [
        row
        for record in job.records(with_bodies="summary")
        for row in dict(tables.rows(record)).get("summaries", [])
    ]
    first, second, third = (dict(zip(names, row, strict=True)) for row in rows)
    found = [[row[column.name] for column in columns.values()] for row in (first, second, third)]
    assert found == [
        ["calm", "\ufffd", 4, 1.0, True, '["a"]', "5"], [None] * 7, [None] * 7,
    ]  # fmt: skip
    assert (third["summary"], third["response"]) == ("text", None)


def test_schemas_that_differ_give_no_columns() -> None:
    job: Any = Stored([answer({}), answer({}, {"tone": {"type": "integer"}})])
    assert response_columns(job) == {}
    assert response_columns(attrs.evolve(job, plan=JobPlan(events=True))) == {}


@pytest.mark.parametrize("name", ["tone", "response_tone", "response_*", "*tone*"])
def test_a_redacted_field_is_redacted_as_a_column_and_in_the_response(name: str) -> None:
    job: Any = Stored([answer({"tone": "angry", "calls": 7}), answer({"tone": None})])
    columns = response_columns(job)
    first, second = job.records(with_bodies="summary")
    dropped = Tables(job.plan, Redaction.of([name], "s"), responses=columns)
    assert "angry" not in str(list(dropped.rows(first)))
    hashed = Tables(job.plan, Redaction.of({name: "hash"}, "s"), responses=columns)
    names = [column.name for column in hashed.columns("summaries")]
    row, empty = (
        dict(zip(names, dict(hashed.rows(each))["summaries"][0], strict=True)) for each in (first, second)
    )
    assert "angry" not in str(row)
    assert json.loads(row["response"])["tone"] == row["response_tone"]
    assert len(row["response_tone"]) == 16
    assert empty["response_tone"] is None


def test_a_hashed_number_or_response_is_a_text() -> None:
    job: Any = Stored([answer({"calls": 7, "steps": ["a"]})])
    columns = response_columns(job)
    (record,) = job.records(with_bodies="summary")
    for name in ("calls", "steps", "response"):
        tables = Tables(job.plan, Redaction.of({name: "hash"}, "s"), responses=columns)
        plain = {column.name: column for column in tables.columns("summaries")}
        row = dict(zip(plain, dict(tables.rows(record))["summaries"][0], strict=True))
        column = name if name == "response" else f"response_{name}"
        assert (plain[column].kind, len(row[column])) == ("text", 16)
