"""What people do with events: order, typed views, selections, descriptions."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullstory_async import ConfigurationError, SessionEvent, SessionEvents, UnknownEventTypeWarning
from fullstory_async.codec import decode_events
from fullstory_async.messages import Response
from fullstory_async.models.event_data import EventData
from fullstory_async.models.views import EVENT_TYPES, EventViews
from fullstory_async.session_id import SessionId
from fullstory_async.tables.columns import TABLES
from fullstory_async.tables.rules import describe
from tests.pure.test_id_rows import NaT

T0 = datetime(2026, 5, 4, 10, tzinfo=UTC)


def event(kind: str, second: float = 0, view: str | None = "v1", **data: Any) -> SessionEvent:
    return SessionEvent(type=kind, timestamp=T0 + timedelta(seconds=second), view_id=view, data=data)


def decoded(*items: Any) -> SessionEvents:
    body = json.dumps({"events": list(items)}).encode()
    return decode_events(Response(status=200, body=body), SessionId("1:2"))


def wire(kind: str = "click", when: str | None = "2026-05-04T10:00:00.000Z", **more: Any) -> dict[str, Any]:
    return {"event_type": kind, "event_time": when, "event_properties": {}, **more}


TARGET = {
    "text": "Checkout", "masked": False, "raw_selector": "main > button.btn", "element_properties": {"total": 84.5},
    "element_definition_id": "ed_901", "additional_element_definition_ids": ["ed_1"],
}  # fmt: skip
URL = {
    "full_url": "https://a.test/v1/orders?x=1",
    "host": "a.test",
    "path": "/v1/orders",
    "query": {"x": {"values": ["1"]}},
}

VIEWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "navigate": ({"navigate_reason": "reload", "event_definition_id": None}, {"navigate_reason": "reload"}),
    "click": (
        {"target": TARGET, "fs_dead_count": 0, "fs_rage_count": "4", "fs_error_kind": "exception", "is_click_long": False,
         "is_click_unhandled": True, "event_definition_id": "ev_77", "additional_event_definition_ids": ["ev_1", None]},
        {"fs_dead_count": 0, "fs_rage_count": 4, "fs_error_kind": "exception", "is_click_long": False,
         "is_click_unhandled": True, "event_definition_id": "ev_77", "additional_event_definition_ids": ("ev_1",)},
    ),
    "change": ({"target": TARGET}, {}), "copy": ({"target": TARGET}, {}), "paste": ({"target": TARGET}, {}),
    "highlight": ({"target": TARGET}, {}), "form_abandon": ({"target": TARGET}, {}),
    "element_seen": (
        {"target": TARGET, "element_type": "watched", "element_start_type": "visible",
         "element_render_duration_millis": 31, "element_visible_duration_millis": "4200"},
        {"element_type": "watched", "element_render_duration_millis": 31, "element_visible_duration_millis": 4200},
    ),
    "load": ({"load_time_millis": 1820, "time_to_first_byte_millis": 120.5}, {"load_time_millis": 1820, "time_to_first_byte_millis": 120.5}),
    "cumulative_layout_shift": ({"cumulative_layout_shift": 0.12}, {"cumulative_layout_shift": 0.12}),
    "first_input_delay": ({"first_input_delay_millis": 12}, {"first_input_delay_millis": 12}),
    "interaction_to_next_paint": (
        {"event_name": "pointerdown", "interaction_to_next_paint_millis": 412, "target": {"raw_selector": "b"}},
        {"event_name": "pointerdown", "interaction_to_next_paint_millis": 412},
    ),
    "custom": ({"event_name": "Added", "event_properties": {"sku": "A-1"}}, {"event_name": "Added", "event_properties": {"sku": "A-1"}}),
    "request": (
        {"request_method": "POST", "request_status": "502", "request_duration_millis": 3021, "request_url": URL},
        {"request_method": "POST", "request_status": 502, "request_duration_millis": 3021},
    ),
    "exception": ({"message": "m", "exception_count": 1, "exception_source_file": "f", "is_exception_handled": False}, {"message": "m", "exception_count": 1}),
    "console_message": ({"message": "m", "console_message_level": "error"}, {"console_message_level": "error"}),
    "consent": ({"is_consent_given": True, "consent_scope": "capture"}, {"is_consent_given": True, "consent_scope": "capture"}),
    "identify": ({"user_id": "u-1", "user_email": "a@b.c", "user_display_name": "Ann", "user_properties": {"seats": 4}}, {"user_id": "u-1", "user_properties": {"seats": 4}}),
    "page_properties": ({"page_name": "Cart", "section": "shop"}, {"page_name": "Cart"}),
    "page_view": ({"page_name": "Cart", "duration_millis": 5, "max_scroll_depth": 0.5}, {"page_name": "Cart", "max_scroll_depth": 0.5}),
    "pinch_gesture": ({"pinch_gesture_type": "zoom_in"}, {"pinch_gesture_type": "zoom_in"}),
    "force_restart": ({"elapsed_millis": 1000}, {"elapsed_millis": 1000}),
    **{kind: ({"event_definition_id": "ev_1"}, {"event_definition_id": "ev_1"}) for kind in (
        "background", "crash", "keyboard_open", "keyboard_close", "low_memory", "mouse_thrash")},
}  # fmt: skip


def test_the_table_names_every_documented_type() -> None:
    assert set(VIEWS) == set(EVENT_TYPES)


@pytest.mark.parametrize("kind", VIEWS)
def test_each_type_has_a_view_of_its_documented_fields(kind: str) -> None:
    data, expected = VIEWS[kind]
    (found,) = decoded(wire(kind, event_properties=data))
    view: Any = getattr(found, kind)
    assert isinstance(getattr(found, kind), EventData)
    assert {name: getattr(view, name) for name in expected} == expected
    if "target" in data and len(data["target"]) > 1:
        assert view.target.text == "Checkout"
        assert view.target.element_properties == {"total": 84.5}
        assert view.target.additional_element_definition_ids == ("ed_1",)
    assert found.data == data  # as it came
    others = [name for name in EVENT_TYPES if name != kind]
    assert all(getattr(found, name) is None for name in others)
    assert getattr(EventViews, kind).__doc__


def test_a_view_reads_urls_and_the_source_reads_web_mobile_and_server() -> None:
    request = event("request", request_url=URL)
    assert request.request is not None
    assert request.request.request_url is not None
    assert request.request.request_url.path == "/v1/orders"
    web = SessionEvent(
        source_properties={
            "user_agent": {"browser": "Chrome"},
            "url": URL,
            "location": {"city": "Atlanta"},
            "title": "Cart",
        }
    )
    assert web.source.user_agent is not None
    assert web.source.url is not None
    assert web.source.location is not None
    assert (web.source.user_agent.browser, web.source.url.host, web.source.location.city) == (
        "Chrome",
        "a.test",
        "Atlanta",
    )
    assert (web.source.title, web.source.device, web.source.app) == ("Cart", None, None)
    mobile = SessionEvent(
        source_properties={
            "device": {"model": "S", "screen_width": "1080"},
            "app": {"name": "Acme"},
            "initial_referrer": None,
        }
    )
    assert mobile.source.device is not None
    assert mobile.source.app is not None
    assert (mobile.source.device.screen_width, mobile.source.app.name) == (1080, "Acme")
    server = SessionEvent(source_properties={"origin": "server", "integration": "fs"})
    assert (server.source.origin, server.source.url) == ("server", None)
    assert SessionEvent().source.url is None


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted(
    {field for data, _ in VIEWS.values() for field in data} | {"text", "raw_selector", "full_url", "path"}
)


@given(st.sampled_from(EVENT_TYPES), st.dictionaries(st.sampled_from(FIELDS), ODD))
def test_no_data_is_too_odd_for_a_view_a_description_or_a_verdict(kind: str, data: dict[str, Any]) -> None:
    odd = SessionEvent(type=kind, data=data, source_properties=data)
    assert isinstance(getattr(odd, kind), EventData)
    assert odd.source is not None
    assert odd.description.isprintable()
    assert odd.is_error in (True, False)
    assert set(odd.frustrations) <= {"rage click", "dead click", "error click", "mouse thrash"}


def test_views_keep_what_events_were() -> None:
    one = event("click", target=TARGET)
    assert pickle.loads(pickle.dumps(one)) == one
    assert one.click == one.click
    changed = attrs.evolve(one, type="change").change
    assert one.click is not None
    assert changed is not None
    assert changed.target == one.click.target


def test_events_are_in_the_order_of_time_and_ties_stay() -> None:
    times = [
        "2026-05-04T10:00:02Z",
        "2026-05-04T10:00:01Z",
        None,
        "2026-05-04T10:00:01Z",
        "2026-05-04T10:00:00.5+00:00",
    ]
    found = decoded(*(wire(when=when, view_id=str(n)) for n, when in enumerate(times)))
    # the third has no time, and stays behind the one before it
    assert [each.view_id for each in found] == ["4", "1", "2", "3", "0"]
    spec = decoded({"type": "b", "timestamp": "1716480001"}, {"type": "a", "timestamp": 1716480000})
    assert [each.type for each in spec] == ["a", "b"]
    slow = decoded(
        {"type": "b", "timestamp": "1716480001", "data": {"x": float("nan")}},
        {"type": "a", "timestamp": 1716480000},
    )
    assert [each.type for each in slow] == ["a", "b"]


@given(st.lists(st.integers(0, 5)))
def test_sorting_is_stable(seconds: list[int]) -> None:
    items = [wire(when=f"2026-05-04T10:00:{second:02}Z", view_id=str(n)) for n, second in enumerate(seconds)]
    expected = [item["view_id"] for item in sorted(items, key=lambda item: item["event_time"])]
    assert [each.view_id for each in decoded(*items)] == expected


SESSION = SessionEvents(
    "1:2",
    [
        event("navigate", 0, navigate_reason="navigate"),
        event("identify", 1, user_id="u-1", user_email="a@b.c"),
        event("click", 2, target=TARGET, fs_rage_count=4, fs_dead_count=1, fs_error_kind="console"),
        event("click", 3, "v2", target=TARGET, fs_error_kind="unknown"),
        event("exception", 4, "v2", message="boom"),
        event("console_message", 5, "v2", console_message_level="error"),
        event("console_message", 6, "v2", console_message_level="info"),
        event("request", 7, "v2", request_status=502),
        event("request", 8, "v2", request_status=200),
        event("mouse_thrash", 9, "v1"),
        event("identify", 10, "v1", user_id="u-1", user_display_name="Ann"),
        event("crash", 11, None),
        SessionEvent(type="made_up"),
    ],
)


def kinds(events: Iterable[SessionEvent]) -> list[str]:
    return [each.type for each in events]


def test_of_type() -> None:
    assert kinds(SESSION.of_type("click", "crash")) == ["click", "click", "crash"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kinds(SESSION.of_type("made_up")) == ["made_up"]  # not documented, but here
        assert kinds(SESSION.of_type("paste")) == []  # documented, but not here
    with pytest.warns(UnknownEventTypeWarning, match="did you mean 'click'") as caught:
        assert not SESSION.of_type("clik")
    assert caught[0].filename == __file__
    with pytest.warns(UnknownEventTypeWarning, match="did you mean 'mouse_thrash'"):
        SESSION.of_type("mouse-thrash")
    with pytest.warns(UnknownEventTypeWarning, match="FullStory documents"):
        SESSION.of_type("zzzzzz")


def test_a_missing_time_of_pandas_is_no_bound() -> None:
    nat = NaT(2026, 1, 1, tzinfo=UTC)
    assert len(SESSION.between(nat, nat)) == len(SESSION.between()) == 12
    assert kinds(SESSION.between(T0 + timedelta(seconds=11), nat)) == ["crash"]


def test_between() -> None:
    assert kinds(SESSION.between(T0 + timedelta(seconds=2), T0 + timedelta(seconds=4))) == ["click", "click"]
    assert len(SESSION.between()) == 12  # the one without a time is no part of any span
    assert len(SESSION.between(end=T0)) == 0
    assert kinds(SESSION.between(start=T0 + timedelta(seconds=11))) == ["crash"]
    for span in ((datetime(2026, 5, 4), None), (None, datetime(2026, 5, 4))):  # noqa: DTZ001
        with pytest.raises(ConfigurationError, match=r"has no time zone: .* tzinfo="):
            SESSION.between(*span)
    wrong: Any = "2026-05-04"
    with pytest.raises(ConfigurationError, match="start must be a datetime"):
        SESSION.between(wrong)


def test_errors_and_frustrations() -> None:
    assert kinds(SESSION.errors()) == ["exception", "console_message", "request", "crash"]
    assert kinds(SESSION.frustrations()) == ["click", "mouse_thrash"]
    assert SESSION[2].frustrations == ("rage click", "dead click", "error click")
    assert SESSION[3].frustrations == ()
    assert [event("request", request_status=status).is_error for status in (0, 404, None, "500")] == [
        True
    ] * 4


def test_pages_users_and_duration() -> None:
    pages = SESSION.pages()
    assert [(page.view_id, len(page.events)) for page in pages] == [("v1", 5), ("v2", 6), (None, 2)]
    assert (pages[0].url, pages[0].title) == (None, None)
    web = SessionEvent(view_id="v", source_properties={"url": URL, "title": "Cart"})
    (page,) = SessionEvents("1:2", [SessionEvent(view_id="v"), web]).pages()
    assert (page.url, page.title) == (URL["full_url"], "Cart")
    (user,) = SESSION.users()
    assert (user.user_id, user.user_display_name) == ("u-1", "Ann")  # what was said last
    assert SESSION.duration == 11.0
    assert SessionEvents("1:2").duration == 0.0
    assert SESSION.of_type("click").duration == 1.0


def test_selections_are_events_again_and_hold_no_answer() -> None:
    found = decoded(wire("click"), wire("navigate"), {"event_type": "click"})
    clicks = found.of_type("click")
    assert clicks.session_id == found.session_id
    assert (len(clicks), clicks.raw) == (2, b"")
    assert clicks[0] is found[0]
    assert kinds(clicks.between()) == ["click"]


def test_to_dicts_is_ready_for_json() -> None:
    (row,) = json.loads(json.dumps(SessionEvents("1:2", [SESSION[2]]).to_dicts()))
    assert row["event_time"] == "2026-05-04T10:00:02.000000Z"
    assert row["event_properties"]["fs_rage_count"] == 4
    assert row["frustrations"] == ["rage click", "dead click", "error click"]
    assert list(row) == [column.name for column in TABLES["events"] if column.name != "fetched_at"]


def test_a_selection_keeps_the_numbers_and_the_user_of_its_session() -> None:
    rows = [*SESSION.errors().to_dicts(), *SESSION.pages()[1].events.of_type("click").to_dicts()]
    every = SESSION.to_dicts()
    assert [row["seq"] for row in rows] == [4, 5, 7, 11, 3]
    assert rows == [every[row["seq"]] for row in rows]
    assert {(row["user_uid"], row["user_email"]) for row in every} == {("u-1", "a@b.c")}


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (event("click", target=TARGET), "Clicked “Checkout”"),
        (event("click", target={**TARGET, "masked": True}), "Clicked button.btn"),
        (event("click"), "Clicked something"),
        (event("click", target={"text": "a\x1b[2Jb\nc\u202ed"}), "Clicked “a [2Jb c d”"),
        (event("click", target={"text": "x" * 100}), "Clicked “" + "x" * 59 + "…”"),
        (event("request", request_method="POST", request_status=502, request_duration_millis=3021, request_url=URL), "POST /v1/orders → 502 after 3.0 s"),
        (event("request"), "Request a URL → no response"),
        (event("exception", message="boom"), "Exception: boom"),
        (event("custom", event_name="Added", event_properties={"a": 1}), 'Added {"a": 1}'),
        (event("navigate", navigate_reason="back_forward"), "Went back or forward to a page"),
        (event("load", load_time_millis=412), "Page loaded in 412 ms"),
        (event("identify", user_display_name="Ann"), "Identified as Ann"),
        (event("consent", is_consent_given=False), "Withdrew consent"),
        (event("made_up_thing"), "made up thing"),
        (event(""), "unknown event"),
    ],
)  # fmt: skip
def test_descriptions(one: SessionEvent, text: str) -> None:
    assert one.description == text


def test_the_deepest_properties_that_can_be_decoded_can_be_described() -> None:
    nested: dict[str, Any] = {}
    for _ in range(100_000):  # deeper than any version of Python serialises
        nested = {"a": nested}
    event = SimpleNamespace(event_name="x", event_properties=nested)
    assert describe("custom", event, None) == "x …"
