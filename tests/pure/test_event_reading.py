"""Loops over events: what they decode ahead, and that it makes no difference to what they read."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from fullstory_async import DecodeError, SessionEvent, SessionEvents

COUNT = 200


def events(**odd: Any) -> SessionEvents:
    """Return events whose data has their number. ``odd`` has other JSON for some of them, by number."""
    items = [
        f'{{"event_type":"custom","event_properties":{odd.get(f"n{n}", json.dumps({"n": n}))}'
        f',"source_properties":{{"s":{n}}}}}'
        for n in range(COUNT)
    ]
    return SessionEvents.from_json(f'{{"events":[{",".join(items)}]}}')


def undecoded(found: SessionEvents, name: str) -> int:
    """Count the events of which a field is still a slice of the response."""
    return sum(isinstance(getattr(event, name), msgspec.Raw) for event in found.events)


def test_a_loop_that_reads_every_event_decodes_ahead() -> None:
    found = events()
    seen = []
    for event in found:
        seen.append(event.data["n"])
        if len(seen) == 100:
            assert undecoded(found, "_data") < 100
    assert seen == list(range(COUNT))
    assert (undecoded(found, "_data"), undecoded(found, "_source_properties")) == (0, COUNT)
    assert [event.source_properties["s"] for event in found] == seen
    assert undecoded(found, "_source_properties") == 0


def test_a_loop_that_skips_events_decodes_what_it_reads() -> None:
    found = events()
    read = [event.data for n, event in enumerate(found) if n % 3 == 0]
    assert undecoded(found, "_data") == COUNT - len(read)
    assert [event.type for event in found] == ["custom"] * COUNT
    assert undecoded(found, "_data") == COUNT - len(read)


def test_what_was_read_before_stays_the_same_object() -> None:
    found = events()
    found[50].data["mine"] = True
    assert [event.data.get("mine", False) for event in found] == [n == 50 for n in range(COUNT)]


def test_odd_payloads_are_read_as_without_a_loop() -> None:
    odd = {"n3": "null", "n60": "null", "n90": '{"f":1e400}', "n150": '{"a":' * 20 + "1" + "}" * 20}
    looped = [event.data for event in events(**odd)]
    assert looped == [event.data for event in events(**odd).events]
    assert (looped[3], looped[60], looped[90]["f"]) == ({}, {}, float("inf"))


def test_a_payload_that_is_nested_too_deeply_is_an_error_where_it_is_read() -> None:
    found = events(n70='{"a":' * 400 + "1" + "}" * 400)
    seen: list[SessionEvent] = []
    with pytest.raises(DecodeError, match="nested too deeply"):
        seen.extend(event for event in found if event.data)
    assert len(list(found[71:])) == COUNT - 71
    assert all(event.data for event in found[71:])
