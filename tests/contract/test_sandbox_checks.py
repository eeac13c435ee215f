"""The sandbox's own checks of options and events, from the service's documentation."""

from __future__ import annotations

import ast
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
import yarl

import fullstory_async.sandbox
from fullstory_async import (
    BadRequestError,
    CacheOptions,
    ContextOptions,
    EventOptions,
    LLMOptions,
    MediaOptions,
    ProfileConfiguration,
    ResponseSchema,
    SliceOptions,
)
from fullstory_async.codec import request_bodies
from fullstory_async.sandbox import Sandbox
from fullstory_async.sandbox.events import EVENT_TYPES, events_of
from fullstory_async.sandbox.options import CONTEXT_REQUEST, OVERRIDES, PROFILE, RESPONSE_SCHEMA
from fullstory_async.sandbox.world import World
from tests.wire.servers import connected

FOLDER = Path(fullstory_async.sandbox.__file__).parent
OPTION_CLASSES = {
    "CacheOptions", "ContextOptions", "EventOptions", "LLMOptions", "MediaOptions", "ProfileConfiguration",
    "ResponseSchema", "SliceOptions",
}  # fmt: skip


def test_no_module_of_the_sandbox_uses_the_clients_codec_or_option_classes() -> None:
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("fullstory_async.codec"), path
                assert not OPTION_CLASSES & {alias.name for alias in node.names}, path


@pytest.mark.parametrize(("right", "wrong"), [("event_limit", "eventLimit"), ("mode", "modus")])
async def test_a_field_that_the_client_misspells_is_refused(
    monkeypatch: pytest.MonkeyPatch, right: str, wrong: str
) -> None:
    dump = request_bodies.dump_options

    def misspell(options: Any) -> dict[str, Any]:
        return {wrong if name == right else name: value for name, value in dump(options).items()}

    monkeypatch.setattr(request_bodies, "dump_options", misspell)
    monkeypatch.setattr(request_bodies, "parse_options", lambda *_, **__: None)
    monkeypatch.setattr(request_bodies, "validate_options", lambda *_, **__: None)
    sandbox, part = Sandbox(users=1, sessions=1, mean_events=5), SliceOptions(mode="LAST", event_limit=3)
    async with connected(sandbox) as client:
        one, configuration = sandbox.session_ids[0], ProfileConfiguration(slice=part)
        for call in (
            client.sessions.context(one, slice=part),
            client.sessions.summary(one, overrides=configuration),
            client.profiles.create("n", configuration),
            client.profiles.update("support", configuration=configuration),
        ):
            with pytest.raises(BadRequestError, match=rf"invalid_field: slice\.{wrong} is not known"):
                await call
    assert sandbox.activations == 0


CONTEXT, SUMMARY, PROFILES = "/v2/sessions/{}/context", "/v2/sessions/{}/summary", "/v2/visit_profile"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (CONTEXT, {"slice": {"mode": "last"}}, "slice.mode must be FIRST, LAST or TIMESTAMP, not 'last'"),
        (
            CONTEXT,
            {"slice": {"event_limit": True}},
            "slice.event_limit must be an integer, 0 or more, not True",
        ),
        (CONTEXT, {"slice": {"event_limit": -1}}, "slice.event_limit"),
        (CONTEXT, {"slice": {"event_limit": 2**63}}, "slice.event_limit"),
        (CONTEXT, {"slice": {"duration_limit_ms": "5e3"}}, "slice.duration_limit_ms must be an int64"),
        (CONTEXT, {"slice": {"duration_limit_ms": 5.5}}, "slice.duration_limit_ms must be an int64"),
        (CONTEXT, {"slice": []}, "slice must be an object, not []"),
        (
            CONTEXT,
            {"slice": {"end_timestamp": "2026-05-04T10:00:00"}},
            "slice.end_timestamp must be a time with a time",
        ),
        (CONTEXT, {"slice": {"end_timestamp": "2026-13-04T10:00:00Z"}}, "slice.end_timestamp"),
        (CONTEXT, {"slice": {"end_timestamp": 1777888800}}, "slice.end_timestamp"),
        (CONTEXT, {"slice": {"mode": "TIMESTAMP"}}, "slice.start_timestamp is required"),
        (
            CONTEXT,
            {"slice": {"start_timestamp": "2026-05-04T10:00:00Z"}},
            "needs slice.mode TIMESTAMP, not the default",
        ),
        (
            CONTEXT,
            {"slice": {"mode": "LAST", "start_timestamp": "2026-05-04T10:00:00Z"}},
            "TIMESTAMP, not LAST",
        ),
        (
            CONTEXT,
            {
                "slice": {
                    "mode": "TIMESTAMP",
                    "start_timestamp": "2026-05-04T10:00:00+00:00",
                    "end_timestamp": "2026-05-04T11:00:00.5+02:00",
                }
            },
            "must be before slice.end_timestamp",
        ),
        (CONTEXT, {"context": {"include": ["weather"]}}, "context.include must be an array of org, user"),
        (CONTEXT, {"context": {"include": ["org"], "exclude": ["org"]}}, "context.exclude both name 'org'"),
        (
            CONTEXT,
            {"context": {"include": ["org"], "exclude_org_context": True}},
            "context.exclude_org_context excludes it",
        ),
        (CONTEXT, {"context": {"exclude_device": 1}}, "context.exclude_device must be true or false, not 1"),
        (
            CONTEXT,
            {"events": {"include_types": "click"}},
            "events.include_types must be an array of non-empty strings",
        ),
        (CONTEXT, {"events": {"include_types": [""]}}, "events.include_types"),
        (
            CONTEXT,
            {"events": {"include_types": ["click"], "exclude_types": ["copy", "click"]}},
            "both name 'click'",
        ),
        (
            CONTEXT,
            {"cache": {"enable_event_cache": "true"}},
            "cache.enable_event_cache must be true or false",
        ),
        (
            CONTEXT,
            {"media": {"full_page": True}},
            "media.full_page is not known; did you mean 'full_page_screenshots'?",
        ),
        (CONTEXT, {"llm": {"pre_prompt": "x"}}, "llm is not known"),
        (SUMMARY, {"media": {}}, "media is not known"),
        (SUMMARY, {"config_profile": 3}, "config_profile must be a string, not 3"),
        (
            SUMMARY,
            {"config_profile_id": "support"},
            "config_profile_id is not known; did you mean 'config_profile'?",
        ),
        (
            SUMMARY,
            {"llm": {"temperature": "hot"}},
            "llm.temperature must be a finite number, 0 or more, not 'hot'",
        ),
        (SUMMARY, {"llm": {"temperature": 10**400}}, "llm.temperature must be a finite number"),
        (SUMMARY, {"llm": {"pre_prompt": ["x"]}}, "llm.pre_prompt must be a string"),
        (
            SUMMARY,
            {"llm": {"response_schema": {"type": "object"}}},
            "llm.response_schema.type must be STRING",
        ),
        (SUMMARY, {"llm": {"response_schema": {"properties": {}}}}, "llm.response_schema.type is required"),
        (
            SUMMARY,
            {"llm": {"response_schema": {"type": "ARRAY"}}},
            "llm.response_schema is an ARRAY, so it needs items",
        ),
        (SUMMARY, {"llm": {"response_schema": {"type": "OBJECT"}}}, "is an OBJECT, so it needs properties"),
        (SUMMARY, {"llm": {"response_schema": {"type": "STRING", "minLength": 1}}}, "minLength is not known"),
        (
            SUMMARY,
            {"llm": {"response_schema": {"type": "STRING", "enum": []}}},
            "enum must be a non-empty array",
        ),
        (
            SUMMARY,
            {"llm": {"response_schema": {"type": "STRING", "nullable": "no"}}},
            "nullable must be true or false",
        ),
        (
            SUMMARY,
            {"llm": {"response_schema": {"type": "ARRAY", "items": {"type": "TEXT"}}}},
            "items.type must be STRING",
        ),
        (
            SUMMARY,
            {
                "llm": {
                    "response_schema": {
                        "type": "OBJECT",
                        "properties": {"a": {"type": "STRING"}},
                        "required": ["b"],
                    }
                }
            },
            "required names 'b', which is not one of",
        ),
        (PROFILES, {"name": ["n"]}, "name must be a string"),
        (PROFILES, {"name": "n", "configuration": {}}, "configuration is not known"),
    ],
)
async def test_invalid_options_are_refused_by_name(path: str, body: dict[str, Any], said: str) -> None:
    async with Sandbox(users=1, sessions=1, mean_events=5) as sandbox:
        url = f"{sandbox.url}{path.format(sandbox.session_ids[0].replace(':', '%3A'))}"
        async with aiohttp.ClientSession(headers={"Authorization": f"Basic {sandbox.api_key}"}) as session:
            async with session.post(yarl.URL(url, encoded=True), data=json.dumps(body)) as response:
                error = await response.json()
                assert (response.status, error["code"]) == (400, "invalid_field")
                assert said in error["message"]
        assert sandbox.activations == 0


async def test_a_schema_that_is_too_deep_is_refused() -> None:
    schema = '{"type": "ARRAY", "items": ' * 450 + '{"type": "STRING"}' + "}" * 450
    async with Sandbox(users=1, sessions=1, mean_events=5) as sandbox:
        url = f"{sandbox.url}{PROFILES}"
        async with aiohttp.ClientSession(headers={"Authorization": f"Basic {sandbox.api_key}"}) as session:
            body = f'{{"name": "n", "llm": {{"response_schema": {schema}}}}}'
            async with session.post(url, data=body) as response:
                assert response.status == 400


def fields(options: type[Any]) -> set[str]:
    return {field.name for field in attrs.fields(options)}


def test_client_and_sandbox_know_the_same_options() -> None:
    known = OVERRIDES["properties"]
    groups = {
        "llm": LLMOptions, "slice": SliceOptions, "context": ContextOptions, "events": EventOptions,
        "cache": CacheOptions,
    }  # fmt: skip
    for name, options in groups.items():
        assert fields(options) == set(known[name]["anyOf"][0]["properties"])
    assert fields(MediaOptions) == set(CONTEXT_REQUEST["properties"]["media"]["anyOf"][0]["properties"])
    assert (
        fields(ProfileConfiguration)
        == set(known) - {"config_profile"}
        == set(PROFILE["properties"]) - {"name"}
    )
    assert fields(ResponseSchema) == set(RESPONSE_SCHEMA["properties"])


# Events

ANY, TEXT, FLAG, INT, NUMBER = object, (str, type(None)), bool, int, (int, float)
URL = {"full_url": str, "host": str, "path": str, "query": dict, "hash_path": str, "hash_query": dict}
TARGET = {
    "text": TEXT, "masked": FLAG, "raw_selector": str, "element_properties": dict,
    "element_definition_id": str,
    "additional_element_definition_ids": list,
}  # fmt: skip
ON_TARGET = {"target": TARGET}
COMMON = {"event_definition_id": TEXT, "additional_event_definition_ids": list}
PROPERTIES: dict[str, dict[str, Any]] = {
    "navigate": {"navigate_reason": str},
    "click": {
        **ON_TARGET,
        "fs_dead_count": INT,
        "fs_rage_count": INT,
        "fs_error_kind": str,
        "is_click_long": FLAG,
        "is_click_unhandled": FLAG,
    },
    **dict.fromkeys(("change", "copy", "paste", "highlight", "form_abandon"), ON_TARGET),
    "element_seen": {
        **ON_TARGET,
        "element_type": str,
        "element_start_type": str,
        "element_render_duration_millis": INT,
        "element_visible_duration_millis": INT,
    },
    "load": dict.fromkeys(
        (
            "load_time_millis",
            "dom_content_time_millis",
            "first_paint_time_millis",
            "largest_paint_time_millis",
            "time_to_first_byte_millis",
            "time_to_interactive_millis",
            "total_blocking_time_millis",
        ),
        INT,
    ),
    "cumulative_layout_shift": {"cumulative_layout_shift": NUMBER},
    "first_input_delay": {"first_input_delay_millis": INT},
    "interaction_to_next_paint": {**ON_TARGET, "event_name": str, "interaction_to_next_paint_millis": INT},
    "custom": {"event_name": str, "event_properties": dict},
    "request": {
        "request_method": str,
        "request_status": INT,
        "request_duration_millis": INT,
        "request_url": URL,
    },
    "exception": {
        "message": str,
        "exception_count": INT,
        "exception_source_file": str,
        "is_exception_handled": FLAG,
    },
    "console_message": {"message": str, "console_message_level": str},
    "consent": {"is_consent_given": FLAG, "consent_scope": str, "consent_action_type": str},
    "identify": {"user_id": str, "user_email": str, "user_display_name": str, "user_properties": dict},
    "page_properties": {"page_name": str, "section": str},
    "page_view": {
        "page_name": str,
        "start_time": str,
        "end_time": str,
        "duration_millis": INT,
        "active_duration_millis": INT,
        "inactive_duration_millis": INT,
        "max_scroll_depth": NUMBER,
    },
    "pinch_gesture": {"pinch_gesture_type": str},
    "force_restart": {"elapsed_millis": INT},
    "background": {},
    "crash": {},
    "keyboard_open": {},
    "keyboard_close": {},
    "low_memory": {},
    "mouse_thrash": {},
}
"""Event type → documented properties and their JSON types; each may be missing."""
LOCATION = dict.fromkeys(("ip_address", "country", "region", "city", "lat_long"), str)
SOURCES = {
    "web": {
        "user_agent": dict.fromkeys(
            ("raw_user_agent", "device", "operating_system", "browser", "browser_version"), str
        ),
        "url": URL, "location": LOCATION, "title": str, "initial_referrer": TEXT,
    },
    "mobile_app": {
        "device": {
            **dict.fromkeys(("manufacturer", "model", "operating_system"), str),
            **dict.fromkeys(("screen_width", "screen_height", "viewport_width", "viewport_height"), INT),
        },
        "app": dict.fromkeys(("name", "version", "package_name"), str), "location": LOCATION,
    },
    "server": {"origin": str, "integration": str},
}  # fmt: skip
BASE = {
    "device_id": str, "session_id": str, "view_id": str, "event_time": str, "event_type": str,
    "source_type": str,
    "event_properties": ANY, "source_properties": ANY,
}  # fmt: skip


def check_shape(value: Any, shape: Any, path: str) -> None:
    if not isinstance(shape, dict):
        assert isinstance(value, shape), path
        assert shape is FLAG or not isinstance(value, bool) or shape is ANY, path
        return
    assert isinstance(value, dict), path
    for name, item in value.items():
        assert name in shape, f"{path}.{name} is not documented"
        check_shape(item, shape[name], f"{path}.{name}")


def test_events_have_the_documented_shape() -> None:
    world = World(0, 5, 200, 60)
    seen = set()
    for session in world.sessions.values():
        for event in events_of(world, session):
            kind, source = event["event_type"], event["source_type"]
            check_shape(event, BASE, kind)
            check_shape(event["event_properties"], {**COMMON, **PROPERTIES[kind]}, kind)
            check_shape(event["source_properties"], SOURCES[source], f"{kind}.source")
            missing = set(BASE) - set(event)
            assert missing == ({"session_id", "view_id"} if source == "server" else set())
            assert event["event_time"] == datetime.fromisoformat(event["event_time"]).isoformat(
                timespec="milliseconds"
            ).replace("+00:00", "Z")
            seen.add((kind, source))
    assert {kind for kind, _ in seen} == EVENT_TYPES == set(PROPERTIES)
    assert {source for _, source in seen} == set(SOURCES)
