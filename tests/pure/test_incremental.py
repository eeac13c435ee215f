"""Streaming: whatever the layout and however it is cut, the same events as from the complete response."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullstory_async import DecodeError, SessionEvent
from fullstory_async.codec import IncrementalEventDecoder, decode_events
from fullstory_async.messages import Response
from fullstory_async.session_id import SessionId

LIVE = {
    "device_id": "1", "session_id": "2", "view_id": "3", "event_time": "2026-05-04T10:00:00.000Z", "event_type": "click",
    "event_properties": {"target": {"text": 'a "},{" b'}, "all": [{"device_id": "x"}, {"device_id": "y", "z": [1]}]},
    "source_type": "web", "source_properties": {"device_id": "no", "url": {"full_url": "https://a.test/\u00fc\U0001f600"}},
}  # fmt: skip
PUBLISHED = {
    "type": "x",
    "timestamp": "2026-05-04T10:00:00Z",
    "data": {"items": [{"type": "a"}, {"type": "b"}]},
}


def streamed(body: bytes, size: int) -> list[SessionEvent]:
    decoder, found = IncrementalEventDecoder(), []
    for start in range(0, len(body), size):
        found += decoder.feed(body[start : start + size])
    return found + decoder.finish()


def decoded(body: bytes) -> list[SessionEvent]:
    return list(decode_events(Response(status=200, body=body), SessionId("1:2")))


VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["},{", '"device_id":', "]}"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["device_id", "type", "a", "}"]), inner, max_size=3)
    ),
    max_leaves=6,
)
EVENT = (
    st.builds(lambda data, kind: {**LIVE, "event_type": kind, "event_properties": {"d": data}}, VALUE, st.text(max_size=5))
    | st.builds(lambda data: {**PUBLISHED, "data": {"d": data}}, VALUE)
    | st.sampled_from([LIVE, PUBLISHED, {}, None, {"view_id": 5}])
)  # fmt: skip
LAYOUTS: tuple[dict[str, Any], ...] = (
    {"separators": (",", ":")}, {}, {"indent": 2}, {"ensure_ascii": False}, {"indent": "\t", "separators": (" ,", " : ")},
)  # fmt: skip


@given(
    events=st.lists(EVENT, max_size=12),
    layout=st.sampled_from(LAYOUTS),
    size=st.integers(1, 400),
    around=st.sampled_from(
        [({}, {}), ({"a": 1}, {}), ({}, {"next": {"events": [1]}, "z": [{"device_id": "1"}]})]
    ),
)
def test_a_stream_gives_what_the_complete_response_gives(
    events: list[Any], layout: dict[str, Any], size: int, around: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    before, after = around
    body = json.dumps({**before, "events": events, **after}, **layout).encode()
    assert streamed(body, size) == decoded(body)


@pytest.mark.parametrize(
    "body",
    [
        b"{}", b'{"events":null}', b'{"events":[]}', b' {"events" : [ ] } ', b'{"events":[null,{},null]}',
        b'\xef\xbb\xbf{"events":[{"type":"a"},{"type":"b"}]}',
        b'{"events":[{"type":"a","data":{"n":NaN}},{"type":"b"},{"type":5,"data":{"n":1e999}},{"type":"\\ud800"}]}',
        b'{"events":[{"\\u0074ype":"a"},{"\\u0074ype":"b"}]}',
        b'{"events":[{"type":"a"},' + b",".join(b'{"type":"b","x":"' + b"y" * 3000 + b'"}' for _ in range(50)) + b"]}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_odd_responses_are_decoded_all_the_same(body: bytes, size: int) -> None:
    assert streamed(body, size) == decoded(body)


@given(st.lists(EVENT, min_size=2, max_size=8), st.data())
def test_a_response_that_is_cut_off_is_an_error_and_what_was_returned_is_right(
    events: list[Any], data: st.DataObject
) -> None:
    body = json.dumps({"events": events}).encode()
    cut = body[: data.draw(st.integers(0, len(body) - 1))]
    decoder, found = IncrementalEventDecoder(), []
    with pytest.raises(DecodeError):
        for start in range(0, len(cut), 50):
            found += decoder.feed(cut[start : start + 50])
        found += decoder.finish()
    assert found == decoded(body)[: len(found)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"), (b"<html>", "JSON"), (b'{"events":[{"type":"a"}] x', "JSON"), (b'{"events":5}', r"list, not int @ \$\.events"),
        (b'{"events":[{"type":"a"},{"type":"b"},{"type":{}},{"type":"c"}]}', r"text, not dict @ \$\.events\[2\]\.type"),
        (b'{"events":[{"type":"a"},{"type":"b"},{"type":"c"},{"type":[]}]}', r"text, not list @ \$\.events\[3\]\.type"),
        (b'{"events":[{"type":"a"},{"type":"b"},{"type":"\xff"}]}', "JSON"),
        (b'{"events":[{"type":"a"},{"type":"b"},[' + b"[" * 100_000, "nested too deeply"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [10, 100_000_000])
def test_what_can_not_be_read_is_named(body: bytes, reason: str, size: int) -> None:
    with pytest.raises(DecodeError, match=reason):
        streamed(body, size)


def test_events_come_as_soon_as_the_next_one_begins() -> None:
    decoder = IncrementalEventDecoder()
    first = json.dumps({**LIVE, "event_properties": {}}).encode()
    second = json.dumps(PUBLISHED).encode()
    assert decoder.feed(b'{"events":[' + first + b",") == []
    assert [event.type for event in decoder.feed(first[:20])] == ["click"]
    assert decoder.feed(first[20:] + b"," + second) == []  # which begins in another way
    assert [event.type for event in decoder.feed(b"," + first)] == ["click", "x"]
    with pytest.raises(DecodeError):
        decoder.finish()


def test_children_that_begin_like_events_cost_no_more_than_their_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    child = {"type": "node", "n": 1}
    body = json.dumps({"events": [{"type": "x", "data": {"all": [child] * 2000}} for _ in range(5)]}).encode()
    decoder, parsed = IncrementalEventDecoder(), 0
    decode = decoder._decode_segment

    def counted(segment: bytearray, *, with_fallback: bool) -> list[SessionEvent] | None:
        nonlocal parsed
        parsed += len(segment) * (1 + with_fallback)
        return decode(segment, with_fallback=with_fallback)

    monkeypatch.setattr(decoder, "_decode_segment", counted)
    found = [event for n in range(0, len(body), 4096) for event in decoder.feed(body[n : n + 4096])]
    assert found + decoder.finish() == decoded(body)
    assert parsed < 40 * len(body)
