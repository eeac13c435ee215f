"""A value that is redacted in one place of an export is in no other column or table that is made of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from fullstory_async import InvalidSessionId
from fullstory_async.jobs import JobPlan
from fullstory_async.jobs.export.redaction import Redaction
from fullstory_async.jobs.export.tables import Tables
from fullstory_async.jobs.storage.records import JobFailure, Record
from fullstory_async.tables.columns import Schema

ID = "6100490361070812345:1511755620562823211"
SOURCE = {
    "url": {"full_url": "https://shop/SECRET-url", "path": "/SECRET-path"}, "title": "SECRET-title",
    "user_agent": {"browser": "SECRET-browser", "device": "SECRET-device", "operating_system": "SECRET-os"},
    "location": {"country": "SECRET-country", "city": "SECRET-city"},
    "app": {"version": "SECRET-version"},
}  # fmt: skip
EVENTS = [
    {"event_type": "identify", "event_properties": {"user_email": "SECRET-mail", "user_id": "SECRET-uid"}},
    {"event_type": "click", "event_properties": {"target": {"text": "SECRET-text", "raw_selector": "SECRET-css"}}},
    {"event_type": "custom", "event_properties": {"event_name": "SECRET-name", "event_properties": {"a": 1}}},
]  # fmt: skip
RECORD = Record(
    seq=1,
    session_id=ID,
    input=f"https://app.fullstory.com/ui/O/session/{ID}",
    input_columns={"E-Mail": "SECRET-input", "Ticket": "T1"},
    bodies={
        "events": json.dumps(
            {"events": [{"event_time": "2026-05-04T10:00:00Z", "source_properties": SOURCE, **each} for each in EVENTS]}
        ).encode()
    },
    fetched={"events": datetime(2026, 5, 4, tzinfo=UTC)},
    failures={},
)  # fmt: skip


def cells(redact: Any, schema: Schema = "v2") -> dict[str, list[Any]]:
    """Return the values of each column, as ``table.column``."""
    inputs = {"E-Mail": "input_e_mail", "Ticket": "input_ticket"}
    tables = Tables(JobPlan(events=True), Redaction.of(redact, "secret"), schema, "O", inputs)
    found: dict[str, list[Any]] = {}
    for name, rows in tables.rows(RECORD):
        for column, values in zip(tables.columns(name), zip(*rows, strict=True), strict=True):
            found[f"{name}.{column.name}"] = list(values)
    return found


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("user_email", "SECRET-mail"), ("user_uid", "SECRET-uid"), ("user_id", "SECRET-uid"),
        ("page_title", "SECRET-title"), ("page_path", "SECRET-path"), ("path", "SECRET-path"),
        ("full_url", "SECRET-url"), ("page_url", "SECRET-url"), ("element_text", "SECRET-text"),
        ("event_properties.target.text", "SECRET-text"), ("element_selector", "SECRET-css"),
        ("browser", "SECRET-browser"), ("device_type", "SECRET-device"), ("city", "SECRET-city"),
        ("operating_system", "SECRET-os"), ("country", "SECRET-country"), ("app_version", "SECRET-version"),
        ("custom_name", "SECRET-name"), ("e-mail", "SECRET-input"), ("input_E_mail", "SECRET-input"),
        ("*mail*", "SECRET-mail"), ("*mail*", "SECRET-input"), ("source_properties", "SECRET-title"),
        ("event_properties", "SECRET-text"), ("device_id", "6100490361070812345"),
        ("first_page", "SECRET-url"), ("last_page", "SECRET-url"), ("properties", "SECRET-mail"),
        ("properties.user_email", "SECRET-mail"), ("full_session_id", "1511755620562823211"), ("full_session_id", "6100490361070812345"),
    ],
)  # fmt: skip
def test_no_other_column_keeps_the_value(name: str, secret: str) -> None:
    assert secret in repr(cells([])), "the case says nothing"
    for how in ("drop", "hash"):
        kept = {column for column, values in cells({name: how}).items() if secret in repr(values)}
        assert not kept, how


@pytest.mark.parametrize("name", ["properties", "event_properties", "event_properties.user_email", "PROP*"])
def test_v1_has_other_names_for_the_same(name: str) -> None:
    found = repr(cells({name: "drop"}, "v1"))
    assert "SECRET-mail" not in found
    assert "SECRET-title" in found


@pytest.mark.parametrize(("name", "schema"), [("event_properties", "v2"), ("source_properties", "warehouse")])
def test_a_json_column_is_null_or_a_fingerprint(name: str, schema: Schema) -> None:
    assert set(cells([name], schema)[f"events.{name}"]) == {None}
    assert {len(value) for value in cells({name: "hash"}, schema)[f"events.{name}"]} == {16}


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("user_email", ("events.user_email", "sessions.user_email")),
        ("title", ("events.page_title", "pages.title")),
        ("page_url", ("events.page_url", "pages.url", "sessions.first_page")),
        ("full_session_id", ("events.full_session_id", "sessions.full_session_id", "pages.full_session_id")),
    ],
)
def test_a_fingerprint_is_the_same_in_every_table(name: str, columns: tuple[str, ...]) -> None:
    found = cells({name: "hash"})
    values = {value for column in columns for value in found[column]}
    assert len(values) == 1
    assert len(values.pop()) == 16


def test_the_table_of_sessions_has_the_inputs() -> None:
    found = cells([])
    assert found["sessions.input"] == [RECORD.input]
    assert (found["sessions.input_e_mail"], found["sessions.input_ticket"]) == (["SECRET-input"], ["T1"])
    assert not [column for column in cells([], "v1") if "input" in column]


def test_a_text_that_is_no_id_has_no_replay_url() -> None:
    failure = JobFailure(
        session_id="no id", operation="events", error=InvalidSessionId.__name__, status=None, code=None,
        message="", attempts=0, may_have_cost=False, permanent=True, at=datetime(2026, 5, 4, tzinfo=UTC),
    )  # fmt: skip
    record = attrs.evolve(RECORD, session_id="no id", bodies={}, fetched={}, failures={"events": failure})
    for each, url in ((record, None), (RECORD, f"https://app.fullstory.com/ui/O/session/{ID}")):
        tables = Tables(JobPlan(events=True), Redaction.of((), "secret"), organisation="O")
        names = [column.name for column in tables.columns("sessions")]
        (row,) = dict(tables.rows(each))["sessions"]
        assert row[names.index("replay_url")] == url
