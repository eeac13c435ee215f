"""What a program finds that reads the payloads of one event after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullstory_async import DecodeError, SessionEvent, SessionEvents
from fullstory_async.models.event import PAYLOADS

DATA, SOURCE = PAYLOADS
PAGE = {"url": {"path": "/a", "query": {"x": {"values": ["1", "2"]}}}, "title": "A", "tabs": [[1], {}]}
DEEP = '{"a":' * 300 + "1" + "}" * 300
ODD = [
    "null",
    "{}",
    "[]",
    '"text"',
    "1",
    '{"n":1e400}',
    '{"n":123456789012345678901234567890}',
    DEEP,
    DEEP[500:-100],
]
"""Payloads as they should not come, some of which only the slow decoder reads, and one that none reads."""


def body_of(payloads: list[tuple[str, str]], *, live: bool = True) -> bytes:
    name = "event_properties" if live else "data"
    events = (f'{{"{name}":{data},"source_properties":{source}}}' for data, source in payloads)
    return ('{"events":[' + ",".join(events) + "]}").encode()


def session(count: int, source: Any = PAGE) -> SessionEvents:
    return SessionEvents.from_json(body_of([(f'{{"n":{n}}}', json.dumps(source)) for n in range(count)]))


def attempt(event: SessionEvent, name: str) -> Any:
    try:
        return getattr(event, name)
    except DecodeError as error:
        return str(error)


def containers_in(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from containers_in(item)


def decoded(events: SessionEvents) -> tuple[int, int]:
    """Return how many of the events have each payload decoded."""
    data, source = (sum(map(payload.is_decoded, events.events)) for payload in PAYLOADS)
    return data, source


PAYLOAD = st.sampled_from([*ODD, '{"a":[1,{"b":[]}]}', json.dumps(PAGE)])
RUNS = st.lists(st.tuples(PAYLOAD, PAYLOAD, st.integers(1, 12)), min_size=1, max_size=12)


@given(runs=RUNS, live=st.booleans())
def test_each_event_has_what_it_has_alone(runs: list[tuple[str, str, int]], live: bool) -> None:
    body = body_of([(data, source) for data, source, length in runs for _ in range(length)], live=live)
    one_by_one = SessionEvents.from_json(body).events
    events = SessionEvents.from_json(body)
    for event, alone in zip(events, one_by_one, strict=True):
        for name in ("data", "source_properties"):
            assert attempt(event, name) == attempt(alone, name)
            assert type(attempt(event, name)) is type(attempt(alone, name))


@pytest.mark.parametrize("name", ["data", "source_properties"])
def test_only_the_event_that_cannot_be_read_raises_and_as_often_as_it_is_read(name: str) -> None:
    payloads = [("{}", "{}")] * 40 + [(DEEP, DEEP)] + [("{}", "{}")] * 40
    found = [attempt(event, name) for event in SessionEvents.from_json(body_of(payloads))]
    assert [n for n, value in enumerate(found) if value != {}] == [40]
    again = SessionEvents.from_json(body_of(payloads))
    for _ in range(2):
        with pytest.raises(DecodeError, match="nested"):
            _ = [getattr(event, name) for event in again]


def test_no_two_events_share_an_object_or_a_list() -> None:
    events = session(300)
    for event in events:
        _ = event.data, event.source_properties
    found = [
        id(each)
        for event in events
        for payload in (event.data, event.source_properties)
        for each in containers_in(payload)
    ]
    assert len(found) == 300 * (1 + len(list(containers_in(PAGE))))
    assert len(set(found)) == len(found)


def test_a_program_that_changes_what_it_reads_changes_no_other_event() -> None:
    for event in (events := session(300)):
        assert event.source_properties == PAGE
        event.source_properties["url"]["query"]["x"]["values"].append(str(event.data["n"]))
    for event in events:
        assert event.source_properties["url"]["query"]["x"]["values"] == ["1", "2", str(event.data["n"])]


def test_neighbours_on_one_page_share_their_strings() -> None:
    titles = {id(event.source_properties["url"]["path"]) for event in session(300)}
    assert len(titles) < 100


def test_an_event_keeps_the_object_that_was_read_before() -> None:
    events = session(300)
    kept = [event.data for event in events.events[100:200]]
    for event in events:
        _ = event.data
    assert all(event.data is data for event, data in zip(events[100:200], kept, strict=True))


def test_nothing_is_decoded_for_a_program_that_reads_no_payload() -> None:
    events = session(300)
    assert len([event.type for event in events]) == 300
    assert decoded(events) == (0, 0)


@pytest.mark.parametrize("count", [4, 12, 28, 50, 60])
def test_what_was_read_before_does_not_count(count: int) -> None:
    events = session(300)
    for event in events.events[:count]:
        _ = event.data
    assert len([event.type for event in events]) == 300
    assert decoded(events) == (count, 0)


def test_only_the_payload_that_is_read_is_decoded() -> None:
    events, others = session(300), session(300)
    for event, other in zip(events, others, strict=True):
        _ = event.data, other.source_properties
    assert decoded(events) == (300, 0)
    assert decoded(others) == (0, 300)


@pytest.mark.parametrize("step", [2, 3, 10])
def test_a_program_that_reads_some_events_has_few_others_decoded(step: int) -> None:
    events = session(2000)
    for n, event in enumerate(events):
        if n % step == 0:
            _ = event.data
    assert decoded(events)[0] == 2000 // step + (2000 % step > 0)


@pytest.mark.parametrize("count", [1, 4, 5, 12, 13, 30, 60, 200])
def test_a_program_that_stops_has_had_little_decoded_in_vain(count: int) -> None:
    events = session(20_000)
    for n, event in enumerate(events, 1):
        _ = event.data
        if n == count:
            break
    assert count <= decoded(events)[0] <= 4 + 3 * count


def test_a_program_that_begins_to_read_late_has_little_decoded_in_vain() -> None:
    events = session(2000)
    for n, event in enumerate(events):
        if n >= 1000:
            _ = event.data
        if n == 1050:
            break
    assert 51 <= decoded(events)[0] <= 3 * 51


def test_one_step_decodes_a_bounded_number_of_events() -> None:
    events = session(4_000)
    most = before = 0
    for n, event in enumerate(events):
        _ = event.data
        if n % 61 == 0:
            now = decoded(events)[0]
            most, before = max(most, now - before), now
    assert decoded(events)[0] == 4_000
    assert most <= 61 + 2 * 128


def test_events_that_are_added_during_an_iteration_are_found_as_in_a_list() -> None:
    events = session(300)
    numbers = []
    for event in events:
        numbers.append(event.data["n"])
        if len(numbers) == 250:
            events.events.append(SessionEvent(data={"n": 300}))
    assert numbers == list(range(301))
