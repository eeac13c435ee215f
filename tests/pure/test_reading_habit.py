"""Nested objects are decoded with the response where a program reads them, and give the same events."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from fullstory_async import DecodeError, SessionEvent
from fullstory_async.models import event, event_decoding
from fullstory_async.models.event_decoding import read_events
from fullstory_async.models.reading_habit import ReadingHabit

Raw = event._Raw
COUNT = 20


@pytest.fixture(autouse=True)
def habit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start without a habit; the process's own stays as it was."""
    fresh = ReadingHabit()
    for module in (event, event_decoding):
        monkeypatch.setattr(module, "HABIT", fresh)


def body_of(*payloads: str, form: tuple[str, str] = ("event_type", "event_properties")) -> bytes:
    """Return a response with one event for each payload, which is JSON."""
    events = (f'{{"{form[0]}":"click","{form[1]}":{each},"source_properties":{each}}}' for each in payloads)
    return f'{{"events":[{",".join(events)}]}}'.encode()


USUAL = body_of(*('{"a":1}' for _ in range(COUNT)))


def read_all(events: list[SessionEvent]) -> list[Any]:
    return [(each.data, each.source_properties) for each in events]


def is_whole(events: list[SessionEvent]) -> bool:
    """Return whether the nested objects were decoded with the response."""
    return not any(isinstance(each._data, Raw) for each in events)


def learn() -> None:
    """Read every nested object of a response, as a program does that wants all of them."""
    read_all(read_events(USUAL))


def test_nested_objects_stay_raw_until_a_program_reads_those_of_a_response() -> None:
    assert not is_whole(read_events(USUAL))
    events = read_events(USUAL)
    assert not is_whole(events)
    read_all(events)
    # half of what was offered so far is not most of it
    assert not is_whole(read_events(USUAL))


def test_a_program_that_reads_all_gets_the_next_responses_whole() -> None:
    learn()
    assert is_whole(read_events(USUAL))


def test_a_program_that_stops_reading_gets_raw_ones_again() -> None:
    learn()
    kinds = [is_whole(read_events(USUAL)) for _ in range(40)]
    assert kinds[0]
    assert not any(kinds[20:])


def test_a_habit_is_kept_while_it_lasts() -> None:
    kinds = []
    for _ in range(200):
        kinds.append(is_whole(events := read_events(USUAL)))
        read_all(events)
    assert kinds.count(False) < 15


def test_types_alone_are_no_habit() -> None:
    for _ in range(40):
        events = read_events(USUAL)
        assert [each.type for each in events] == ["click"] * COUNT
        assert not is_whole(events)


def test_large_responses_stay_raw() -> None:
    learn()
    assert not is_whole(read_events(body_of(f'{{"a":"{"x" * event_decoding._MAX_WHOLE}"}}')))


ODD = [
    "null", "{}", "[1]", '"text"', "7", '{"a":null,"b":[true,1.5,{"c":"\u00e9"}]}', '{"a":1,"a":2}',
    f'{{"n":{2**70}}}', '{"n":1e999}', '{"a":' * 9 + "1" + "}" * 9, '{"a":NaN}', '{"a":"\\ud800"}',
    '{"n":1' + "0" * 5000 + "}",
]  # fmt: skip


@pytest.mark.parametrize("form", [("event_type", "event_properties"), ("type", "data")])
def test_odd_nested_objects_are_equal_either_way(form: tuple[str, str]) -> None:
    for odd in ODD:
        body = body_of('{"b":2}', odd, form=form)
        raw = read_events(body)
        learn()
        whole = read_events(body)
        # as text: NaN equals nothing
        assert repr(read_all(whole)) == repr(read_all(raw)), odd[:40]
        assert [repr(each) for each in whole] == [repr(each) for each in raw]


def test_an_event_without_nested_objects_has_empty_ones_of_its_own() -> None:
    learn()
    one, other = read_events(b'{"events":[{"event_type":"a"},{"event_type":"b"}]}')
    one.data["x"] = 1
    assert (one.data, other.data, other.source_properties) == ({"x": 1}, {}, {})


def test_a_nested_object_that_is_too_deep_fails_when_it_is_read_either_way() -> None:
    deep = body_of('{"b":2}', "[" * 400 + "]" * 400)
    for prepare in (list, learn):
        prepare()
        first, second = read_events(deep)
        assert first.data == {"b": 2}
        with pytest.raises(DecodeError, match="nested too deeply"):
            _ = second.data


def test_whole_events_are_the_public_class() -> None:
    learn()
    (whole, *_) = read_events(USUAL)
    assert is_whole([whole])
    assert isinstance(whole, SessionEvent)
    assert whole == SessionEvent(type="click", data={"a": 1}, source_properties={"a": 1})
    assert pickle.loads(pickle.dumps(whole)) == whole
    assert type(whole).__name__ == "SessionEvent"
    assert json.dumps(whole.data) == '{"a": 1}'
