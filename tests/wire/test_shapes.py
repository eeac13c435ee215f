"""Every answer of the sandbox against what FullStory documents, field by field, in both wire forms.

The shapes are written down here once more, independently of the code: a name that no table has is a mistake, and so is
a value of another kind. Nothing that is empty may be there where the service leaves it out.
"""

from __future__ import annotations

import json
import re
from types import TracebackType
from typing import Any

import aiohttp
import pytest
import yarl

from fullstory_async import SessionId
from fullstory_async.sandbox import Sandbox
from fullstory_async.sandbox.state import Wire

INT64 = re.compile(r"-?[0-9]{1,19}")
PAIR = re.compile(r"[0-9]{1,19}:[0-9]{1,19}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|support|sales|triage")
REPLAY = re.compile(r"http://127\.0\.0\.1:\d+/ui/SANDBOX/session/\d+:\d+(\?[a-z_=&]+)?(#\S*)?")
NUMBER = (int, float)
ANY = object()


def fits(value: Any, shape: Any, path: str = "$") -> None:
    """Assert that a value has a shape: a type, a pattern for text, ``[items]``, or a dict of required and optional? names."""
    if shape is ANY:
        return
    if isinstance(shape, re.Pattern):
        assert isinstance(value, str), path
        assert shape.fullmatch(value), f"{path}: {value!r}"
    elif isinstance(shape, list):
        assert isinstance(value, list), path
        for number, item in enumerate(value):
            fits(item, shape[0], f"{path}[{number}]")
    elif isinstance(shape, dict):
        assert isinstance(value, dict), path
        names = {name.rstrip("?") for name in shape}
        assert set(value) <= names, f"{path}: {sorted(set(value) - names)} are not documented"
        for name, inner in shape.items():
            if name.endswith("?") and name[:-1] not in value:
                continue
            assert name.rstrip("?") in value, f"{path}.{name} is missing"
            fits(value[name.rstrip("?")], inner, f"{path}.{name}")
    elif isinstance(shape, tuple):
        assert isinstance(value, shape), f"{path}: {value!r}"
        assert bool in shape or not isinstance(value, bool), path
    elif shape is None:
        assert value is None, path
    else:
        fits(value, (shape,), path)


def nothing_empty(value: Any, path: str = "$") -> None:
    """Assert that proto JSON would write this: no false, 0, "", null, [] or {} anywhere."""
    assert value not in (None, False, 0, "", [], {}), f"{path} is {value!r}"
    for name, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        nothing_empty(inner, f"{path}.{name}")


TEXT_OR_NULL = (str, type(None))
DEFINED = {"event_definition_id?": TEXT_OR_NULL, "additional_event_definition_ids?": [str]}
TARGET = {
    "text?": TEXT_OR_NULL, "masked?": bool, "raw_selector": str, "element_properties?": dict, "element_definition_id?": str,
    "additional_element_definition_ids?": [str],
}  # fmt: skip
URL = {"full_url": str, "host": str, "path": str, "query": dict}
MILLIS = (int,)
PROPERTIES: dict[str, Any] = {
    "navigate": {"navigate_reason": re.compile("navigate|reload|back_forward|prerender")},
    "click": {
        "target": TARGET, "fs_dead_count": int, "fs_rage_count": int, "fs_error_kind": re.compile("unknown|console|exception"),
        "is_click_long": bool, "is_click_unhandled": bool,
    },
    **{key: {"target": TARGET} for key in ("change", "copy", "paste", "highlight", "form_abandon")},
    "element_seen": {
        "target": TARGET, "element_type": str, "element_start_type": re.compile("rendered|visible|end"),
        "element_render_duration_millis": MILLIS, "element_visible_duration_millis": MILLIS,
    },
    "load": {f"{name}_millis": MILLIS for name in (
        "load_time", "dom_content_time", "first_paint_time", "largest_paint_time", "time_to_first_byte", "time_to_interactive", "total_blocking_time")},
    "cumulative_layout_shift": {"cumulative_layout_shift": float},
    "first_input_delay": {"first_input_delay_millis": MILLIS},
    "interaction_to_next_paint": {"event_name": str, "interaction_to_next_paint_millis": MILLIS, "target": TARGET},
    "custom": {"event_name": str, "event_properties": dict},
    "request": {"request_method": str, "request_status": int, "request_duration_millis": MILLIS, "request_url": URL},
    "exception": {"message": str, "exception_count": int, "exception_source_file": str, "is_exception_handled": bool},
    "console_message": {"message": str, "console_message_level": re.compile("error")},
    "consent": {"is_consent_given": bool, "consent_scope": str, "consent_action_type": str},
    "identify": {"user_id": str, "user_email": str, "user_display_name": str, "user_properties": dict},
    "page_properties": {"page_name": str, "section": str},
    "page_view": {
        "page_name": str, "start_time": TIME, "end_time": TIME, "duration_millis": MILLIS, "active_duration_millis": MILLIS,
        "inactive_duration_millis": MILLIS, "max_scroll_depth": float,
    },
    "pinch_gesture": {"pinch_gesture_type": str},
    "force_restart": {"elapsed_millis": MILLIS},
    **{key: {} for key in ("background", "crash", "keyboard_open", "keyboard_close", "low_memory", "mouse_thrash")},
}  # fmt: skip
LOCATION = {"ip_address": str, "country": str, "region": str, "city": str, "lat_long": str}
SOURCES: dict[str, Any] = {
    "web": {
        "user_agent": dict.fromkeys(("raw_user_agent", "device", "operating_system", "browser", "browser_version"), str),
        "url": URL, "initial_referrer?": None, "location": LOCATION, "title": str,
    },
    "mobile_app": {
        "device": {
            "manufacturer": str, "model": str, "operating_system": str, "screen_width": int, "screen_height": int,
            "viewport_width": int, "viewport_height": int,
        },
        "app": {"name": str, "version": str, "package_name": str}, "location": LOCATION,
    },
    "server": {"origin": re.compile("server|dom"), "integration": str},
}  # fmt: skip
SCHEMA = {
    "type": re.compile("STRING|NUMBER|INTEGER|BOOLEAN|ARRAY|OBJECT"), "title?": str, "description?": str, "items?": dict,
    "properties?": dict, "required?": [str], "nullable?": bool, "enum?": [str], "format?": str,
}  # fmt: skip
PROFILE = {
    "id": UUID, "name": str,
    "configuration?": {
        "slice?": {
            "mode?": re.compile("FIRST|LAST|TIMESTAMP"), "event_limit?": int, "duration_limit_ms?": INT64,
            "start_timestamp?": TIME, "end_timestamp?": TIME,
        },
        "context?": {"include?": [str], "exclude?": [str], "exclude_org_context?": bool},
        "events?": {"include_types?": [str], "exclude_types?": [str], "exclude_api_events?": bool},
        "cache?": {"enable_event_cache?": bool},
    },
    "llm?": {"pre_prompt?": str, "post_prompt?": str, "temperature?": NUMBER, "response_schema?": SCHEMA},
}  # fmt: skip
SIZE = {"height_pixels": int, "width_pixels": int}
CONTEXT = {
    "context_data": {
        "context": {
            "session_id": PAIR, "session_url": REPLAY, "session_created_at": TIME,
            "org_context?": dict.fromkeys(("org_id", "name", "industry", "domain", "country"), str),
            "user_context?": {"user_uid": str, "display_name": str, "email": str, "properties?": dict},
            "location_context?": {"country": str, "region": str, "city": str},
            "device_context?": {"browser?": str, "operating_system": str, "screen_size": SIZE, "viewport_size": SIZE},
        },
        "pages": [{
            "url?": str, "title?": str, "tab?": int,
            "events": [{
                "type": str, "description?": str, "timestamp?": TIME, "content?": str, "properties?": dict, "screenshot_url?": REPLAY,
            }],
        }],
    }
}  # fmt: skip


def event_shape(event: dict[str, Any]) -> dict[str, Any]:
    kind, source = event["event_type"], event["source_type"]
    tied = {"session_id": INT64, "view_id": INT64} if source != "server" else {}
    return {
        "device_id": INT64, **tied, "event_time": TIME, "event_type": str, "source_type": str,
        "event_properties": {**PROPERTIES[kind], **DEFINED}, "source_properties": SOURCES[source],
    }  # fmt: skip


async def ask(
    session: aiohttp.ClientSession,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    status: int = 200,
) -> dict[str, Any]:
    url = yarl.URL(str(session._base_url).rstrip("/") + path, encoded=True)
    async with session.request(method, url, data=None if body is None else json.dumps(body)) as answer:
        assert answer.status == status, await answer.text()
        assert answer.content_type == "application/json"
        read: dict[str, Any] = json.loads(await answer.read())
        return read


@pytest.fixture(params=["live", "spec"])
def wire(request: pytest.FixtureRequest) -> Wire:
    wire: Wire = request.param
    return wire


async def test_lists(wire: Wire) -> None:
    async with opened(wire) as (sandbox, session):
        shape = {"userId": INT64, "sessionId": INT64, "createdTime": INT64, "fsUrl": REPLAY}
        if wire == "spec":
            shape = {"sessionId": PAIR, "url": REPLAY, "created": TIME}
        uid = next(iter(sandbox._service.world.sessions.values())).session_uid
        for query in ("uid=u-1", "email=grace@example.com&limit=3", f"session_uid={uid}"):
            answer = await ask(session, "GET", f"/sessions/v2?{query}")
            assert answer["sessions"]
            fits(answer, {"sessions": [shape]})
        assert await ask(session, "GET", "/sessions/v2?uid=nobody") == (
            {} if wire == "live" else {"sessions": []}
        )


async def test_events(wire: Wire) -> None:
    async with opened(wire) as (sandbox, session):
        seen = set()
        for one in sandbox.session_ids:
            for cached in ("", "?enable_event_cache=true"):
                answer = await ask(session, "GET", f"/v2/sessions/{quoted(one)}/events{cached}")
                fits(answer, {"events": [ANY]})
                for number, event in enumerate(answer["events"]):
                    if wire == "spec":
                        shape = {
                            "type": str,
                            "timestamp": TIME,
                            "data": {**PROPERTIES[event["type"]], **DEFINED},
                        }
                    else:
                        shape = event_shape(event)
                    fits(event, shape, f"$.events[{number}]")
                    seen.add(event.get("event_type") or event["type"])
        assert seen == set(PROPERTIES)


async def test_summaries(wire: Wire) -> None:
    async with opened(wire) as (sandbox, session):
        path = f"/v2/sessions/{quoted(sandbox.session_ids[0])}/summary"
        name = "config_profile" if wire == "live" else "config_profile_id"
        text = (
            {"summary": str}
            if wire == "live"
            else {"sessionId": PAIR, "summary": str, "configProfileId": str}
        )
        structured = {
            "response": {"summary": str, "pages": [str], "rage_clicks": int, "errors": int, "needs_follow_up": bool},
            "response_schema": SCHEMA,
        }  # fmt: skip
        fits(await ask(session, "GET", f"{path}?{name}=support"), text)
        fits(await ask(session, "GET", f"{path}?{name}=sales&end_timestamp=2026-06-04T00:00:00Z"), text)
        fits(await ask(session, "GET", f"{path}?{name}=triage"), structured if wire == "live" else text)
        body = {
            "config_profile": "triage",
            "llm": {"pre_prompt": "x"},
            "slice": {"duration_limit_ms": "60000"},
        }
        fits(await ask(session, "POST", path, body), structured if wire == "live" else text)
        fits(await ask(session, "POST", path, {"llm": {"pre_prompt": "x"}}), text)
        assert sandbox.activations == 5


async def test_contexts(wire: Wire) -> None:
    async with opened(wire) as (sandbox, session):
        for one in sandbox.session_ids:
            for body in ({}, {"events": {"include_tab_index": True}, "media": {"include_screenshots": True}}):
                answer = await ask(session, "POST", f"/v2/sessions/{quoted(one)}/context", body)
                if "pages" not in answer["context_data"]:
                    answer["context_data"]["pages"] = []  # left out, since it is empty
                fits(answer, CONTEXT)
                nothing_empty(answer["context_data"]["context"])
                for page in answer["context_data"]["pages"]:
                    nothing_empty(page)
        assert sandbox.activations == 2 * len(sandbox.session_ids)


async def test_profiles(wire: Wire) -> None:
    async with opened(wire) as (_, session):
        configuration = {
            "slice": {"mode": "LAST", "event_limit": 200, "duration_limit_ms": 600_000}, "context": {"exclude": ["org"], "include": []},
            "events": {"include_types": ["click"], "exclude_api_events": False}, "cache": {"enable_event_cache": True},
            "llm": {"pre_prompt": "p", "temperature": 0.2, "response_schema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}},
        }  # fmt: skip
        made = await ask(session, "POST", "/v2/visit_profile", {"name": "n", **configuration})
        for answer in (
            made,
            await ask(session, "GET", f"/v2/visit_profile/{made['id']}"),
            await ask(session, "POST", f"/v2/visit_profile/{made['id']}", {"name": "m"}),
        ):
            fits(answer, PROFILE)
            nothing_empty(answer)
            assert answer["configuration"]["slice"]["duration_limit_ms"] == "600000"
        first = await ask(session, "GET", "/v2/visit_profile?limit=4")
        fits(first, {"profiles": [ANY], "next_pagination_token": str})
        rest = await ask(
            session, "GET", f"/v2/visit_profile?limit=4&pagination_token={first['next_pagination_token']}"
        )
        fits(rest, {"profiles": [PROFILE]})
        assert first["profiles"][:2] == [
            None,
            {"name": "A profile of the alpha"},
        ]  # as accounts of the alpha have
        for profile in first["profiles"][2:]:
            fits(profile, PROFILE)
        assert await ask(session, "DELETE", f"/v2/visit_profile/{made['id']}") == {}


async def test_the_key(wire: Wire) -> None:
    async with opened(wire) as (_, session):
        role = re.compile("UNKNOWN|ADMIN|USER|VIEW_ONLY|UMBRELLA_MANAGER|ARCHITECT")
        fits(await ask(session, "GET", "/me"), {"email": str, "orgId": str, "role": role})


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/sessions/v2", 400, "required_field"), ("GET", "/v2/sessions/1%3A2/events", 404, "resource_not_found"),
        ("POST", "/v2/sessions/1%3A2/context", 404, "resource_not_found"), ("POST", "/v2/sessions/1%3A2/summary", 404, "resource_not_found"),
        ("GET", "/v2/visit_profile/x", 404, "resource_not_found"), ("DELETE", "/v2/visit_profile/x", 404, "resource_not_found"),
        ("POST", "/v2/visit_profile/x", 404, "resource_not_found"), ("PUT", "/v2/visit_profile/support", 405, "method_not_allowed"),
        ("POST", "/v2/visit_profile", 400, "required_field"),
    ],
)  # fmt: skip
async def test_errors(wire: Wire, method: str, path: str, status: int, code: str) -> None:
    async with opened(wire) as (sandbox, session):
        answer = await ask(session, method, path, {} if method == "POST" else None, status=status)
        fits(answer, {"code": re.compile(code) if wire == "live" else int, "message": str})
        assert sandbox.activations == 0


def quoted(session_id: SessionId) -> str:
    return session_id.replace(":", "%3A")


class opened:  # noqa: N801
    def __init__(self, wire: Wire) -> None:
        self._sandbox = Sandbox(users=3, sessions=40, mean_events=60, wire=wire)

    async def __aenter__(self) -> tuple[Sandbox, aiohttp.ClientSession]:
        await self._sandbox.__aenter__()
        headers = {"Authorization": f"Basic {self._sandbox.api_key}"}
        self._session = aiohttp.ClientSession(self._sandbox.url, headers=headers)
        return self._sandbox, self._session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        await self._sandbox.__aexit__(kind, error, trace)
