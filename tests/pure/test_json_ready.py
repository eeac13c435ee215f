"""Models at the edges of other programs: as dicts for JSON, in encoders, and as types of pydantic."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from operator import methodcaller
from typing import Any

import attrs
import msgspec
import pytest

from fullstory_async import (
    InvalidSessionId,
    Page,
    Profile,
    ProfileConfiguration,
    ResponseSchema,
    Session,
    SessionContext,
    SessionEvents,
    SessionId,
    SessionSummary,
    Stats,
    models,
)
from fullstory_async.jobs import JobReport, StopReason
from fullstory_async.json_ready import JsonReady
from fullstory_async.models import ContextPage, UserContext

BODY = b"""{"events": [
 {"event_type": "load", "event_time": "2026-05-04T10:00:00Z", "event_properties": {"n": 1.5, "deep": [{"a": null}]}},
 {"event_type": "click", "event_time": "2026-05-04T10:00:01.5Z", "source_properties": {"url": {"host": "a.test"}}},
 {"event_type": "custom", "event_time": "2026-05-04T10:00:02Z", "event_properties": {"x": "y"}}
]}"""


def events() -> SessionEvents:
    return SessionEvents.from_json(BODY, "1:2")


def written(model: JsonReady) -> dict[str, Any]:
    """Return a model as strict JSON has it."""
    read: dict[str, Any] = json.loads(json.dumps(model.to_dict(), allow_nan=False))
    assert read == model.to_dict()
    return read


def test_events_have_their_fields() -> None:
    assert written(events())["session_id"] == "1:2"
    load, click, custom = written(events())["events"]
    assert load["data"] == {"n": 1.5, "deep": [{"a": None}]}
    assert click == {
        "type": "click", "timestamp": "2026-05-04T10:00:01.500000Z", "device_id": None, "session_id": None, "view_id": None,
        "source_type": None, "data": {}, "source_properties": {"url": {"host": "a.test"}},
    }  # fmt: skip
    assert custom["data"] == {"x": "y"}


def test_numbers_that_json_can_not_express_are_null() -> None:
    huge = SessionEvents.from_json(BODY.replace(b"1.5,", b"1e400,"), "1:2")
    assert huge[0].data["n"] == float("inf")
    assert written(huge)["events"][0]["data"]["n"] is None


def test_the_dict_is_a_copy() -> None:
    kept = events()
    kept.to_dict()["events"][1]["source_properties"]["url"]["host"] = "b.test"
    assert kept[1].source_properties == {"url": {"host": "a.test"}}


def test_pages_summaries_contexts_and_profiles() -> None:
    east = timezone(timedelta(hours=2))
    session = Session(session_id="2", user_id="1", created=datetime(2026, 5, 4, 12, tzinfo=east), raw=b"{}")
    assert written(Page(items=(session,), next_token="t", raw=b"{}")) == {
        "items": [{"session_id": "2", "user_id": "1", "url": "", "created": "2026-05-04T10:00:00.000000Z"}],
        "next_token": "t",
        "received": None,
    }
    context = SessionContext(
        session_id="1:2", user=UserContext(properties={"n": (1, 2)}), pages=(ContextPage(),)
    )
    assert written(context)["user"]["properties"] == {"n": [1, 2]}
    assert written(context)["pages"] == [{"url": None, "title": None, "tab": None, "events": []}]
    assert written(SessionSummary(response={"a": [1]}, raw=b"x"))["response"] == {"a": [1]}
    schema = ResponseSchema(type="OBJECT", properties={"a": ResponseSchema(type="STRING")})
    assert written(schema)["properties"]["a"]["type"] == "STRING"
    assert json.dumps(Profile(id="p", configuration=ProfileConfiguration()).to_dict())


def test_reports_and_counters() -> None:
    report = JobReport(
        reason=StopReason.BUDGET_REACHED, detail="", done=1, failed=Counter({"NotFoundError": 2}), spent=3, at_risk=0,
        new_responses=1, newly_spent=3, dropped=0, left=4, seconds=1.5,
    )  # fmt: skip
    assert written(report)["reason"] == "budget reached"
    assert written(report)["failed"] == {"NotFoundError": 2}
    assert written(Stats(requests=2))["requests"] == 2


def test_every_model_has_it() -> None:
    kinds = [getattr(models, name) for name in models.__all__]
    assert not [kind for kind in kinds if attrs.has(kind) and not issubclass(kind, JsonReady)]


def test_what_json_has_no_place_for_is_an_error() -> None:
    with pytest.raises(TypeError, match="object can't be written as JSON"):
        UserContext(properties={"x": object()}).to_dict()


def test_encoders_of_others_leave_no_event_out() -> None:
    encoded = msgspec.json.decode(msgspec.json.encode(events()))
    # msgspec writes the wire form, which can be read again
    again = SessionEvents.from_json(json.dumps({"events": encoded["events"]}), "1:2")
    assert list(again) == list(events())
    assert len(attrs.asdict(events())["events"]) == 3
    assert json.loads(json.dumps(events(), default=methodcaller("to_dict"))) == events().to_dict()
    assert (
        json.loads(json.dumps([*events()], default=methodcaller("to_dict"))) == events().to_dict()["events"]
    )
    with pytest.raises(TypeError):
        json.dumps(events())


def test_an_event_that_was_read_is_encoded_like_one_that_was_not() -> None:
    read = events()
    for event in read:
        assert (event.timestamp, event.data, event.source_properties) is not None
    times = [event["event_time"] for event in msgspec.json.decode(msgspec.json.encode([*read][:2]))]
    assert times == ["2026-05-04T10:00:00Z", "2026-05-04T10:00:01.500000Z"]
    [published] = SessionEvents.from_json(
        b'{"events": [{"type": "load", "timestamp": "2026-05-04T10:00:00Z", "data": {}}]}'
    )
    assert msgspec.json.encode(published) == b'{"type":"load","timestamp":"2026-05-04T10:00:00Z","data":{}}'


def test_pydantic_gets_a_schema_without_being_imported() -> None:
    """tests/frameworks tries it with pydantic."""
    schema = SessionEvents.__get_pydantic_core_schema__(SessionEvents, None)
    assert (schema["type"], schema["cls"]) == ("is-instance", SessionEvents)
    assert schema["serialization"]["function"](events()) == events().to_dict()
    assert SessionEvents.__get_pydantic_json_schema__(schema, None) == {
        "type": "object",
        "title": "SessionEvents",
    }
    parse = SessionId.__get_pydantic_core_schema__(SessionId, None)["function"]["function"]
    assert repr(parse("https://app.fullstory.com/ui/ORG/session/1%3A2")) == "SessionId('1:2')"
    with pytest.raises(ValueError, match="'a b' is not a session id: it contains white space") as caught:
        parse("a b")
    assert not isinstance(caught.value, InvalidSessionId)  # its fields would be shown to users


def test_a_slice_of_events_is_a_selection() -> None:
    first = events()[:2]
    assert isinstance(first, SessionEvents)
    assert [event.type for event in first] == ["load", "click"]
    assert first.session_id == "1:2"
    assert events()[::-1][0].type == "custom"
    # selections keep the numbers that their events have in the session
    assert [row["seq"] for row in events()[1:].to_dicts()] == [row["seq"] for row in events().to_dicts()][1:]
    assert first.errors() == SessionEvents("1:2")
    assert events()[5:] == SessionEvents("1:2")
    assert first[0].timestamp == datetime(2026, 5, 4, 10, tzinfo=UTC)


def test_half_a_character_and_a_number_that_no_float_holds_stop_no_encoder() -> None:
    body = rb"""{"events": [{"event_type": "cut \ud83d", "event_properties": {"k\ud83d": ["\ud83d\ude00 \ude00"],
     "huge": 1%s, "large": 18446744073709551615}}]}""" % (b"0" * 400)
    value = SessionEvents.from_json(body).to_dict()
    assert value["events"][0]["type"] == "cut \ufffd"
    assert value["events"][0]["data"] == {"k\ufffd": ["\U0001f600 \ufffd"], "huge": None, "large": 2**64 - 1}
    # FastAPI writes a response in this way
    assert json.loads(json.dumps(value, ensure_ascii=False, allow_nan=False).encode()) == value
    assert msgspec.json.decode(msgspec.json.encode(value)) == value
