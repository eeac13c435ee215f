"""Decoding: both wire forms into the same models, oddities tolerated, and errors that name the path."""

from __future__ import annotations

import copy
import itertools
import json
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullstory_async import (
    DecodeError,
    InvalidSessionId,
    Session,
    SessionEvent,
    SessionEvents,
    SessionId,
    SessionSummary,
)
from fullstory_async.codec import decode_events, decode_sessions, decode_summary
from fullstory_async.coerce import timestamp
from fullstory_async.messages import Response
from fullstory_async.models.event import _NULL
from fullstory_async.models.event_decoding import check_utf8
from fullstory_async.models.payloads import decode_payload

ID = SessionId("5736495272951808:5629499534213120")
MOMENT = datetime(2024, 5, 23, 14, 40, tzinfo=UTC)
LIVE_EVENT: dict[str, Any] = {
    "device_id": "5736495272951808", "session_id": "5629499534213120", "view_id": "88",
    "event_time": "2026-05-04T10:00:05.120Z", "event_type": "click",
    "event_properties": {"target": {"text": "Zur Kasse", "masked": False}, "fs_rage_count": 4},
    "source_type": "web", "source_properties": {"url": {"query": {"ref": {"values": ["mail"]}}}},
}  # fmt: skip


def response_of(value: Any, status: int = 200) -> Response:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Response(status=status, body=body)


def test_a_response_that_was_kept_is_read_again() -> None:
    body = json.dumps(
        {"events": [LIVE_EVENT, {"event_type": "=", "event_properties": {"n": math.nan}}]}
    ).encode()
    kept = decode_events(response_of(body), ID)
    again = SessionEvents.from_json(kept.raw)
    assert repr(again) == repr(kept)
    assert again.raw == body
    assert again[0] == kept[0]
    assert (
        SessionEvents.from_json(body.decode(), "https://app.fullstory.com/ui/A/session/1%3A2").session_id
        == "1:2"
    )
    assert SessionEvents.from_json(b'{"events": [{"type": "click"}]}').session_id == ""
    with pytest.raises(DecodeError, match=r"expected a list, not int @ \$\.events"):
        SessionEvents.from_json(b'{"events": 5}')
    with pytest.raises(DecodeError, match="empty"):
        SessionEvents.from_json(b"")


def events(*items: Any) -> SessionEvents:
    return decode_events(response_of({"events": list(items)}), ID)


LIVE_SESSION = {
    "userId": "5736495272951808",
    "sessionId": "5629499534213120",
    "createdTime": "1716475200",
    "fsUrl": "https://x",
}


@pytest.mark.parametrize(
    "item",
    [
        LIVE_SESSION,
        {
            "user_id": 5736495272951808,
            "session_id": 5629499534213120,
            "created_time": 1716475200,
            "fs_url": "https://x",
        },
        {
            "UserId": 5736495272951808,
            "SessionId": 5629499534213120,
            "CreatedTime": 1716475200000,
            "FsUrl": "https://x",
        },
        {**LIVE_SESSION, "createdTime": "2024-05-23T14:40:00Z", "surprise": [1]},
    ],
)
def test_every_spelling_of_a_session_is_the_same_session(item: dict[str, Any]) -> None:
    page = decode_sessions(response_of({"sessions": [item]}))
    assert list(page) == [
        Session(session_id="5629499534213120", user_id="5736495272951808", url="https://x", created=MOMENT)
    ]
    assert page[0].id == ID
    assert json.loads(page[0].raw) == item


def test_the_published_form_of_a_session() -> None:
    item = {"sessionId": "abc", "url": "https://x", "created": "2024-05-23T16:40:00+02:00"}
    (session,) = decode_sessions(response_of({"sessions": [item]}))
    assert (session.session_id, session.user_id, session.url, session.created) == (
        "abc",
        None,
        "https://x",
        MOMENT,
    )
    assert session.id == "abc"
    assert Session(session_id="1:2", user_id="9").id == "1:2"


def test_an_empty_session_has_no_id() -> None:
    (session,) = decode_sessions(response_of({"sessions": [{}]}))
    assert session == Session()
    with pytest.raises(InvalidSessionId):
        _ = session.id


@pytest.mark.parametrize("value", [{}, {"sessions": []}, {"sessions": None}, {"sessions": [None]}, []])
def test_a_missing_list_is_empty(value: Any) -> None:
    page = decode_sessions(response_of(value))
    assert (page.items, page.next_token) == ((), None)


def test_204_is_an_empty_answer() -> None:
    assert len(decode_sessions(response_of(b"", 204))) == 0
    assert len(decode_events(response_of(b"", 204), ID)) == 0
    assert decode_summary(response_of(b"", 204), ID, "p") == SessionSummary(
        session_id=str(ID), config_profile_id="p"
    )


def test_the_v1_list_is_read() -> None:
    assert decode_sessions(response_of([{"SessionId": 1}]))[0].session_id == "1"
    item = {"UserId": 2**62, "SessionId": 5, "CreatedTime": 1716475200, "FsUrl": "https://x"}
    page = decode_sessions(response_of([None, item]))
    assert (page.received, len(page)) == (2, 1)
    assert (page[0].id, page[0].url, page[0].created) == (f"{2**62}:5", "https://x", MOMENT)
    assert json.loads(page[0].raw) == item
    with pytest.raises(DecodeError, match=r"expected an object, not str @ \$\[1\]"):
        decode_sessions(response_of([item, "x"]))


NEWEST_SESSION = {"id": str(ID), "app_url": "https://x", "created_time": "2024-05-23T14:40:00Z"}


@pytest.mark.row(62)
@pytest.mark.parametrize(
    "body",
    [
        {"results": [NEWEST_SESSION]}, {"sessions": [NEWEST_SESSION]}, [NEWEST_SESSION],
        {"sessions": [], "results": [NEWEST_SESSION]}, {"sessions": None, "results": [NEWEST_SESSION]},
        {"results": [LIVE_SESSION]}, {"sessions": [LIVE_SESSION], "results": []}, [LIVE_SESSION],
        {"results": [{**NEWEST_SESSION, "created_time": 1716475200}], "profiles": [1, 2]},
        {"results": [{**NEWEST_SESSION, "created_time": "1716475200"}], "error": None, "code": 0},
        {"sessions": [LIVE_SESSION], "warnings": ["slow"], "data": {}},
    ],
)  # fmt: skip
def test_the_list_of_either_endpoint_is_read(body: Any) -> None:
    (session,) = page = decode_sessions(response_of(body))
    assert (session.id, session.url, session.created) == (ID, "https://x", MOMENT)
    assert (session.user_id, session.session_id) == tuple(ID.split(":"))
    assert json.loads(session.raw)["created_time" if "id" in json.loads(session.raw) else "createdTime"]
    assert (page.received, page.next_token) == (1, None)


def test_an_id_counts_only_where_there_is_no_session_id() -> None:
    (session,) = decode_sessions(response_of({"results": [{"id": "row-7", "sessionId": "5", "userId": "4"}]}))
    assert session.id == "4:5"
    for odd in (7, "7", "a:", ":b", "a%3Ab", "0f0e:0e0f:1"):
        assert decode_sessions(response_of({"results": [{"id": odd}]}))[0].id == SessionId(str(odd))
    (session,) = decode_sessions(response_of({"results": [{"id": "4:5", "user_id": "my-user"}]}))
    assert (session.id, session.user_id) == ("4:5", "my-user")


@pytest.mark.row(62)
@pytest.mark.parametrize(
    "body",
    [
        {"results": []}, {"results": None}, {"sessions": [], "results": []}, {"total": 0, "more": False},
        {"sessions": [], "data": {}}, {"results": [], "other": [1]}, {"sessions": [], "x": {"by": "y"}},
        {"next": None, "message": "none"}, {"code": 5}, {"sessions": [], "error": None},
    ],
)  # fmt: skip
def test_an_empty_list_of_either_endpoint_is_empty(body: Any) -> None:
    page = decode_sessions(response_of(body))
    assert (page.items, page.received, page.next_token) == ((), 0, None)


@pytest.mark.row(63)
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"items": [1]}, "other arrays"), ({"items": []}, "other arrays"), ({"Sessions": [{}]}, "other arrays"),
        ({"users": [], "total": 0}, "other arrays"), ({"result": {"sessions": []}}, "other arrays or objects"),
        ({"data": None}, "'data'"), ({"data": []}, "'data'"), ({"data": {"sessions": []}}, "'data'"),
        ({"data": {}, "sessions": None}, "'data'"), ({"error": None}, "'error'"), ({"error": "no"}, "'error'"),
        ({"error": {"code": 5}, "sessions": []}, "'error'"), ({"errors": [{"message": "m"}]}, "other arrays"),
        ({"code": 5, "message": "m"}, "'code' and a 'message'"),
        ({"code": "server_error", "message": "", "sessions": []}, "'code' and a 'message'"),
    ],
)  # fmt: skip
def test_what_is_not_a_list_of_sessions_is_an_error(body: Any, reason: str) -> None:
    with pytest.raises(DecodeError, match=rf"not a list of sessions: .*{reason}"):
        decode_sessions(response_of(body))


@pytest.mark.row(63)
@pytest.mark.parametrize(
    "body",
    [{"sessions": 5}, {"sessions": 0}, {"sessions": ""}, {"results": "x"}, {"results": {"a": 1}}, 5, "x"],
)
def test_a_list_of_sessions_of_another_type_is_an_error(body: Any) -> None:
    with pytest.raises(DecodeError, match="unexpected structure"):
        decode_sessions(response_of(body))


def test_a_session_of_a_body_that_only_json_reads_keeps_its_content() -> None:
    (session,) = decode_sessions(response_of(b'\xef\xbb\xbf{"sessions":[{"sessionId":"a", "x": NaN}]}'))
    assert session.session_id == "a"
    assert b"NaN" in session.raw


@pytest.mark.parametrize("key", ["pagination_token", "next_pagination_token", "nextPaginationToken"])
def test_a_page_token_is_found(key: str) -> None:
    assert decode_sessions(response_of({"sessions": [], key: "t"})).next_token == "t"
    assert decode_sessions(response_of({"sessions": [], key: ""})).next_token is None


def test_a_live_event() -> None:
    (event,) = events({**LIVE_EVENT, "unknown": {"a": 1}})
    assert event == SessionEvent(
        type="click", timestamp=datetime(2026, 5, 4, 10, 0, 5, 120_000, tzinfo=UTC),
        device_id="5736495272951808", session_id="5629499534213120", view_id="88", source_type="web",
        data=LIVE_EVENT["event_properties"], source_properties=LIVE_EVENT["source_properties"],
    )  # fmt: skip


def test_a_published_event() -> None:
    (event,) = events(
        {"type": "click", "timestamp": "2026-05-04T10:00:05.120Z", "data": {"a": [1, {"b": None}]}}
    )
    assert (event.type, event.data, event.device_id) == ("click", {"a": [1, {"b": None}]}, None)
    assert event.timestamp is not None
    assert event.timestamp.tzinfo is not None
    assert event.source_properties == {}


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"events": None},
        {"event_type": None, "data": None, "event_properties": None},
        {"event_time": "gestern"},
    ],
)
def test_an_event_of_nothing(item: dict[str, Any]) -> None:
    (event,) = events(item)
    assert event == SessionEvent()


@pytest.mark.parametrize("aside", [{}, {"x": float("nan")}])
def test_numbers_for_ids_are_texts(aside: dict[str, Any]) -> None:
    item = {"device_id": 9007199254740993, "view_id": 88.5, "event_type": 5, "session_id": True, **aside}
    (event,) = events(item)
    assert (event.device_id, event.view_id, event.type, event.session_id) == (
        "9007199254740993",
        "88.5",
        "5",
        "true",
    )


@pytest.mark.parametrize("aside", [{}, {"x": float("nan")}])
def test_with_both_names_there_the_live_one_counts_unless_it_is_null(aside: dict[str, Any]) -> None:
    both = {"type": "a", "event_type": "b", "data": {"a": 1}, "event_properties": {"b": 1}, **aside}
    (event,) = events(both)
    assert (event.type, event.data) == ("b", {"b": 1})
    (event,) = events({**both, "event_type": None, "event_properties": None})
    assert (event.type, event.data) == ("a", {"a": 1})


TOLERATED = [
    b'{"events":[{"event_type":"a","event_properties":{"n":NaN}}]}',
    b'{"events":[{"event_type":"a","event_properties":{"n":"\\ud800"}}]}',
    b'\xef\xbb\xbf{"events":[{"event_type":"a"}]}',
    b'{"events":[{"event_type":"a","event_properties":{"n":1e999}}]}',
]


@pytest.mark.parametrize("body", TOLERATED)
def test_what_only_pythons_json_reads_is_read(body: bytes) -> None:
    decoded = decode_events(response_of(body), ID)
    assert decoded[0].type == "a"
    assert decoded[0].data == pytest.approx(
        json.loads(body.decode("utf-8-sig"))["events"][0].get("event_properties", {}), nan_ok=True
    )


def test_both_ways_of_decoding_agree() -> None:
    strict = {
        "events": [
            LIVE_EVENT,
            None,
            {"type": "x", "data": {"big": 2**70 + 1, "f": 0.1, "u": "\u00e9\U0001f600"}},
            {},
        ]
    }
    tolerant = {**strict, "aside": float("nan")}
    one, other = decode_events(response_of(strict), ID), decode_events(response_of(tolerant), ID)
    assert one == other
    assert one[1].data["big"] == 2**70 + 1
    assert type(one[1].data["big"]) is int


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"), (b"{", "JSON"), (b'{"events":[', "JSON"), (b"<html>", "JSON"), (b"\xff\xfe", "JSON"),
        (b'{"events":[{"event_properties":{"a":"\xff"}}]}', "JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"events":[{"view_id":' + b"9" * 5000 + b"}]}", r"expected text, not float @ \$\.events\[0\]\.view_id"),
        (b"[]", r"expected an object, not list @ \$"), (b"null", "expected an object"), (b'"x"', "expected an object"),
        (b'{"events":{}}', r"expected a list, not dict @ \$\.events"),
        (b'{"events":[{}, 5]}', r"expected an object, not int @ \$\.events\[1\]"),
        (b'{"events":[{"event_type":{}}]}', r"expected text, not dict @ \$\.events\[0\]\.type"),
        (b'{"events":[{"view_id":[1]}]}', r"expected text, not list @ \$\.events\[0\]\.view_id"),
    ],
)  # fmt: skip
def test_an_unreadable_answer_names_the_place(body: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode_events(response_of(body), ID)


def test_unreadable_lists_and_summaries_name_the_place() -> None:
    with pytest.raises(DecodeError, match=r"\$\.sessions\[1\]\.url"):
        decode_sessions(response_of({"sessions": [{}, {"url": ["x"]}]}))
    with pytest.raises(DecodeError, match=r"expected an object, not str @ \$\.sessions\[0\]"):
        decode_sessions(response_of({"sessions": ["x"]}))
    with pytest.raises(DecodeError, match=r"\$\.summary"):
        decode_summary(response_of({"summary": {"a": 1}}), ID, None)


@pytest.mark.parametrize("beside", [b"", b',"event_type":"\\ud800"', b',"source_properties":{"n":NaN}'])
def test_a_number_that_nothing_can_hold_is_infinite_whichever_way_it_is_read(beside: bytes) -> None:
    body = b'{"events":[{"event_properties":{"n":[-' + b"9" * 5000 + b",1e999,17]}" + beside + b"}]}"
    (event,) = decode_events(response_of(body), ID)
    assert event.data == {"n": [-math.inf, math.inf, 17]}


@pytest.mark.parametrize("beside", [b"", b',"event_type":"\\ud800"'])
@pytest.mark.parametrize("depth", [260, 400, 900, 5000])
def test_properties_that_are_nested_too_deeply_are_refused_whichever_way_they_are_read(
    beside: bytes, depth: int
) -> None:
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    body = b'{"events":[{"event_properties":' + deep + beside + b"}]}"
    with pytest.raises(DecodeError, match="nested too deeply"):
        _ = decode_events(response_of(body), ID)[0].data


def test_summaries_of_both_forms() -> None:
    live = decode_summary(response_of({"summary": "text"}), ID, "support")
    assert live == SessionSummary(session_id=str(ID), config_profile_id="support", summary="text")
    published = decode_summary(
        response_of({"sessionId": "s", "summary": "text", "configProfileId": "p"}), ID, "support"
    )
    assert published == SessionSummary(session_id="s", config_profile_id="p", summary="text")
    schema = {"type": "OBJECT", "properties": {}}
    structured = decode_summary(
        response_of({"response": {"a": [None]}, "response_schema": schema, "new": 1}), ID, None
    )
    assert structured == SessionSummary(session_id=str(ID), response={"a": [None]}, response_schema=schema)
    assert json.loads(structured.raw)["new"] == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1716475200", MOMENT), (1716475200, MOMENT), (1716475200.0, MOMENT), ("1716475200000", MOMENT),
        ("2024-05-23T14:40:00Z", MOMENT), ("2024-05-23T14:40:00", MOMENT), ("2024-05-23T14:40:00.000000000Z", MOMENT),
        (" 2024-05-23T16:40:00+0200 ", MOMENT), ("20240523T144000Z", MOMENT),
        ("20240523", datetime(2024, 5, 23, tzinfo=UTC)),
        ("1891-01-01T00:00:00Z", datetime(1891, 1, 1, tzinfo=UTC)), ("-1", MOMENT.fromtimestamp(-1, UTC)),
        ("2024-05-23T14:40:60Z", None), ("2024-05-23T24:00:00Z", None), ("", None), ("soon", None), (None, None),
        (True, None), ({}, None), ([], None), (float("nan"), None), (float("inf"), None), ("9" * 30, None), (10**400, None),
    ],
)  # fmt: skip
def test_timestamps(value: Any, expected: datetime | None) -> None:
    assert timestamp(value) == expected


@pytest.mark.row(74)
def test_row_74_the_zero_time_of_a_service_is_no_time() -> None:
    texts = "0001-01-01T00:00:00Z", "0001-01-01T00:00:00", "0001-01-01T05:00:00+05:00", "0001-01-01"
    assert {timestamp(value) for value in (*texts, -62135596800, -62135596800000)} == {None}
    body = {"events": [{"event_time": "2026-05-04T10:00:00Z"}, {"event_time": "0001-01-01T00:00:00Z"}]}
    first, last = decode_events(response_of(body), ID)
    assert (first.timestamp, last.timestamp) == (datetime(2026, 5, 4, 10, tzinfo=UTC), None)
    zero = {"id": "1:2", "created_time": "0001-01-01T00:00:00Z"}
    session = decode_sessions(response_of({"sessions": [zero]}))[0]
    assert session.created is None
    assert timestamp("0002-01-01T00:00:00Z") is not None


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.booleans()))
def test_any_timestamp_is_aware_or_none(value: object) -> None:
    parsed = timestamp(value)
    assert parsed is None or parsed.tzinfo is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_free_form_json_is_untouched(properties: dict[str, Any]) -> None:
    (event,) = events(
        {"event_type": "custom", "event_properties": properties, "source_properties": properties}
    )
    assert event.data == properties
    assert event.source_properties == properties


@given(JSON)
def test_any_json_is_decoded_or_a_decode_error(value: Any) -> None:
    for decode in (
        decode_sessions,
        lambda r: list(decode_events(r, ID)),
        lambda r: decode_summary(r, ID, None),
    ):
        try:
            decode(response_of(value))
        except DecodeError:
            continue


def test_events_are_a_lazy_sequence_of_lasting_objects() -> None:
    decoded = events(LIVE_EVENT, {"type": "b"}, {"type": "c"})
    assert isinstance(decoded, SessionEvents)
    assert [event.type for event in decoded] == ["click", "b", "c"]
    assert decoded[-1].type == "c"
    assert [event.type for event in decoded[:2]] == ["click", "b"]
    assert decoded[0] is decoded[0] is next(iter(decoded))
    assert decoded[0].data is decoded[0].data
    assert decoded[1] in decoded
    assert len(decoded) == 3
    assert decoded.session_id == ID
    assert json.loads(decoded.raw)["events"][0] == LIVE_EVENT
    assert repr(decoded) == f"SessionEvents(session_id='{ID}', 3 events)"
    with pytest.raises(IndexError):
        decoded[3]
    with pytest.raises(TypeError):
        hash(decoded)
    assert decoded != [1]


def test_events_and_their_parts_copy_and_pickle() -> None:
    decoded = events(LIVE_EVENT, {"type": "b"})
    for twin in (pickle.loads(pickle.dumps(decoded)), copy.deepcopy(decoded)):
        assert twin == decoded
        assert twin.raw == decoded.raw
    event = pickle.loads(pickle.dumps(decoded[0]))
    assert event == decoded[0]
    assert hash(event) == hash(decoded[0])
    assert attrs.asdict(event)["data"] == LIVE_EVENT["event_properties"]
    assert "Zur Kasse" in repr(decoded[0])
    assert attrs.evolve(event, type="x").data == event.data


def test_an_event_that_was_read_lets_the_answer_go() -> None:
    (event,) = events(LIVE_EVENT)
    assert event.data
    assert event.source_properties
    kept = [getattr(event, name) for name in event.__struct_fields__]
    assert not [each for each in kept if isinstance(each, msgspec.Raw) and each is not _NULL]
    (odd,) = decode_events(
        response_of(b'{"events":[{"event_properties":' + b"[" * 500 + b"]" * 500 + b"}]}"), ID
    )
    for _ in range(2):  # what can't be read is said again, not forgotten
        with pytest.raises(DecodeError, match="properties"):
            _ = odd.data


@pytest.mark.parametrize("depth", [0, 1, 4, 5, 6, 7, 8, 60, 248])
@pytest.mark.parametrize(("opening", "closing"), [(b'{"a":', b"}"), (b"[", b"]")])
def test_properties_of_any_usual_depth_are_what_json_says(opening: bytes, closing: bytes, depth: int) -> None:
    values: list[Any] = [2**70, 0.5, True, None, "\u00e9\U0001f600", [], {}]
    for value in values:
        nested = opening * depth + json.dumps(value).encode() + closing * depth
        (event,) = decode_events(response_of(b'{"events":[{"event_properties":{"in":' + nested + b"}}]}"), ID)
        assert event.data == {"in": json.loads(nested)}


def test_an_event_is_the_same_in_both_wire_forms() -> None:
    live = {"event_type": "click", "event_time": "2026-05-04T10:00:00Z", "event_properties": {"n": 1}}
    (one,), (other,) = (
        events(live),
        events({"type": "click", "timestamp": "2026-05-04T10:00:00Z", "data": {"n": 1}}),
    )
    by_hand = SessionEvent(type="click", timestamp=datetime(2026, 5, 4, 10, tzinfo=UTC), data={"n": 1})
    for a, b in itertools.permutations((one, other, by_hand), 2):
        assert (a == b, hash(a) == hash(b), repr(a) == repr(b)) == (True, True, True)
        assert type(attrs.evolve(a, type="x")) is type(pickle.loads(pickle.dumps(b))) is SessionEvent
        assert attrs.evolve(a, type="x") != b
    assert one != "click"
    assert attrs.fields(type(other)) == attrs.fields(SessionEvent)


def test_an_answer_that_mixes_the_forms_is_read_event_by_event() -> None:
    live: dict[str, Any] = {"event_type": "a", "event_properties": {"n": 1}}
    published: dict[str, Any] = {"type": "b", "data": {"n": 2}}
    for order in ([live, published], [published, live], [live, published, {}, live]):
        expected = [
            SessionEvent(
                type=each.get("event_type") or each.get("type") or "",
                data=each.get("data") or each.get("event_properties"),
            )
            for each in order
        ]
        assert list(events(*order)) == expected


def test_events_without_usable_times_are_events() -> None:
    for times in ([""], ["", ""], ["x"], ["2026-05-04"], ["", "2026-05-04T10:00:00Z"]):
        assert len(events(*({"event_time": time} for time in times))) == len(times)


@pytest.mark.parametrize("aside", [{}, {"x": float("nan")}])
def test_an_empty_name_is_a_name(aside: dict[str, Any]) -> None:
    (event,) = events({"event_type": "", "type": "x", **aside})
    assert event.type == ""


def test_two_threads_read_the_same_of_an_event() -> None:
    body = json.dumps(
        {"events": [{"timestamp": "2026-05-04T10:00:00Z", "data": {"n": n}} for n in range(300)]}
    )
    for _ in range(5):
        decoded = decode_events(response_of(body.encode()), ID)
        with ThreadPoolExecutor(4) as pool:
            looks = list(pool.map(lambda all_: [(each.data, each.timestamp) for each in all_], [decoded] * 4))
        assert all(look == looks[0] for look in looks)
        assert [each.data["n"] for each in decoded] == list(range(300))
        assert all(each.timestamp is not None for each in decoded)


def test_whoever_reads_while_another_reads_gets_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from fullstory_async.models import event as module

    (one,) = events({"data": {"n": 1}})
    seen: list[object] = []

    def interrupted(raw: msgspec.Raw) -> Any:
        if not seen:
            seen.append("reading")
            seen.append(one.data)  # as another thread would in this moment
        return decode_payload(raw)

    monkeypatch.setattr(module, "decode_payload", interrupted)
    assert one.data == {"n": 1}
    assert seen == ["reading", {"n": 1}]
    assert one.data == {"n": 1}


def test_an_event_shows_its_fields_to_rich() -> None:
    (event,) = events(LIVE_EVENT)
    assert dict(event.__rich_repr__()) == attrs.asdict(event)


def test_models_are_frozen_and_refuse_unknown_names() -> None:
    (event,) = events(LIVE_EVENT)
    models: list[Any] = [event, Session(), SessionSummary(session_id="x")]
    for model in models:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            model.session_id = "y"
        with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
            _ = model.nonsense
    bare: Any = SessionEvent()
    with pytest.raises(AttributeError):
        _ = bare.nonsense


def test_values_hash_where_they_can() -> None:
    assert hash(SessionSummary(session_id="x", response={"a": 1})) == hash(SessionSummary(session_id="x"))
    assert hash(Session(session_id="x")) == hash(Session(session_id="x", raw=b"{}"))


def test_created_in_a_zone_of_its_own_is_kept() -> None:
    (session,) = decode_sessions(response_of({"sessions": [{"created": "2024-05-23T16:40:00+02:00"}]}))
    assert session.created is not None
    assert session.created.utcoffset() == timedelta(hours=2)


@given(
    st.lists(st.sampled_from([b"a", "é".encode(), "語".encode(), "🎈".encode()]), max_size=6),
    st.integers(0, 5),
    st.sampled_from([b"", b"\x80", b"\x80\x80\x80\x80\x80", b"\xff", b"\xe8\xaa", b"\xed\xa0\x80"]),
)
def test_utf8_is_checked_alike_in_one_piece_and_in_several(
    characters: list[bytes], before: int, odd: bytes
) -> None:
    """The end of the first piece stands somewhere in the characters, or in what is no character."""
    filler = b"x" * (128 * 1024 - before)
    body = filler + b"".join(characters) + odd + b"x" * 9 + "é".encode()
    try:
        body.decode()
    except UnicodeDecodeError:
        with pytest.raises(UnicodeDecodeError):
            check_utf8(body)
    else:
        check_utf8(body)
