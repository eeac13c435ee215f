"""Odd answers of the events call: drift of types, times, NaN, duplicate keys, formulas, missing ids."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["ODD_BODIES"]


def event(when: Any, kind: str = "custom", data: Any = None, **others: Any) -> dict[str, Any]:
    """Return an event in the live form."""
    return {
        "device_id": "5736495272951808", "session_id": "5629499534213120", "view_id": "7", "event_time": when,
        "event_type": kind, "event_properties": {} if data is None else data, "source_type": "web",
        "source_properties": {"url": {"full_url": "https://x.test/"}}, **others,
    }  # fmt: skip


def body(*events: dict[str, Any]) -> bytes:
    """Return an answer."""
    return json.dumps({"events": events}).encode()


TIMES = (
    "2026-05-04T10:00:00Z", "2026-05-04T10:00:00.500Z", "2026-05-04T10:00:01Z",
    "2026-05-04T12:00:02.25+02:00", "2026-05-04T10:00:03.123456789Z", "1777888804", 1777888805123,
    "2026-05-04 10:00:06", "20260504T100007Z", None, "",
)  # fmt: skip
FAR_TIMES = (
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999-12:00", "1677-01-01T00:00:00Z",
    "2300-01-01T00:00:00Z", "2026-06-30T23:59:60Z", "0001-01-01T00:00:00Z", "2026-02-30T00:00:00Z",
)  # fmt: skip
NOT_JSON = (
    '{"events":[{"device_id":"1","session_id":"2","view_id":"3","event_time":"2026-05-04T10:00:00.001Z",'
    '"event_type":"custom","event_properties":{"a":1,"a":2,"nan":NaN,"inf":-Infinity,"f":1e400,'
    '"u":"x\u2028y\u2029z\x85w","lone":"\\ud800","nul":"a\\u0000b"},"source_type":"web",'
    '"source_properties":{}}]}'
).encode()
PRETTY = json.dumps(
    {"events": [event("2026-05-04T10:00:00.001Z", "click", {"target": {"text": "a\nb"}})]}, indent=2
).encode()
HUGE = NOT_JSON.replace(b"NaN", b"1").replace(b"-Infinity", b"9" * 400).replace(b'"\\ud800"', b'"e"')
DRIFT = body(
    event(
        "2026-05-04T10:00:00.001Z",
        data={"event_name": "a", "event_properties": {"price": 1, "n": None, "": 3}},
    ),
    event(
        "2026-05-04T10:00:00.002Z", data={"event_name": 5, "event_properties": {"price": "1,50", "Price": 2}}
    ),
    event(
        "2026-05-04T10:00:00.003Z", data={"event_name": None, "event_properties": {"price": {"amount": 1}}}
    ),
    event("2026-05-04T10:00:00.004Z", data=[1, 2]),
    event("2026-05-04T10:00:00.005Z", "click", {"target": {"text": 5, "masked": "no"}, "fs_rage_count": "4"}),
    event("2026-05-04T10:00:00.006Z", "click", {"target": "button", "fs_dead_count": 1.0}),
    event("2026-05-04T10:00:00.007Z", "request", {"request_status": "502", "request_url": None}),
    event("2026-05-04T10:00:00.008Z", "load", {"load_time_millis": "412.5"}, source_properties=None),
    event("2026-05-04T10:00:00.009Z", "console_message", {"console_message_level": 7, "message": "a\tb"}),
    event("2026-05-04T10:00:00.010Z", "navigate", {}, source_properties={"url": [], "title": 12}),
)
FORMULAS = body(
    event(
        "2026-05-04T10:00:00.001Z", "=cmd|' /C calc'!A0", {"text": "=1+1"}, view_id='=HYPERLINK("x")',
        source_type="@SUM(1)",
    ),
    event("2026-05-04T10:00:00.002Z", "\t=1+1"), event("2026-05-04T10:00:00.003Z", "\r=1+1"),
    event("2026-05-04T10:00:00.004Z", "\u200b=1+1"), event("2026-05-04T10:00:00.005Z", "-1+1|x"),
)  # fmt: skip

ODD_BODIES = {
    "times": body(*map(event, TIMES)),
    "far times": body(*map(event, FAR_TIMES)),
    "no JSON": NOT_JSON,
    "numbers beyond a float": HUGE,
    "pretty": PRETTY,
    "drift": DRIFT,
    "formulas": FORMULAS,
    "no events": body(),
    "missing ids": body(
        event("2026-05-04T10:00:00.001Z", device_id=None, view_id=None),
        event("2026-05-04T10:00:00.002Z", view_id=9007199254740993, source_type=True),
    ),
    "unicode": body(event("2026-05-04T10:00:00.001Z", data={"text": "Zoë – 東京 😀"})),
    "the published form": json.dumps(
        {"events": [{"type": "click", "timestamp": "2026-05-04T10:00:00Z", "data": {"fs_rage_count": 1}}]}
    ).encode(),
    "both forms": json.dumps(
        {"events": [{"type": "x", "event_type": "click", "timestamp": 5, "data": {"fs_rage_count": 1}}]}
    ).encode(),
    "out of order": body(*(event(f"2026-05-04T10:00:0{n}Z") for n in (3, 1, 2)), event(None)),
}
"""What they show → an answer."""
