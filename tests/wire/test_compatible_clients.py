"""The sandbox as FullStory's own tools read it: members are there without a check; and the client without them."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from yarl import URL

from fullstory_async import (
    EventOptions,
    FullStoryClient,
    LLMOptions,
    ProfileConfiguration,
    Session,
    SessionId,
    SliceOptions,
)
from fullstory_async.config import ListApi
from fullstory_async.sandbox import Fault, Sandbox, Wire
from fullstory_async.sandbox.faults import read_fault
from tests.wire.servers import connected

PROFILES = "/v2/visit_profile"
THREE_DIGITS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def small(wire: Wire = "live", public_url: str | None = None) -> Sandbox:
    return Sandbox(users=3, sessions=12, mean_events=40, wire=wire, public_url=public_url)


@asynccontextmanager
async def asking(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Basic {sandbox.api_key}"}
    async with sandbox, aiohttp.ClientSession(sandbox.url, headers=headers) as session:
        yield session


async def ask(session: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
    url = URL(path, encoded=True)
    async with session.request(method, url, data=None if body is None else json.dumps(body)) as response:
        assert response.status == 200, await response.text()
        return json.loads(await response.read())


def nulls(value: Any, path: str = "$") -> Iterator[str]:
    """Return the place of every null."""
    if value is None:
        yield path
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from nulls(item, f"{path}.{name}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from nulls(item, f"{path}[{number}]")


async def test_the_profile_list_holds_no_null_and_always_a_configuration() -> None:
    async with asking(small()) as session:
        for body in (
            {"name": "bare"},
            {"name": "half", "llm": {"pre_prompt": "p"}, "slice": {}, "events": None},
        ):
            made = await ask(session, "POST", PROFILES, body)
            assert made["configuration"] == {}
            assert (await ask(session, "GET", f"{PROFILES}/{made['id']}"))["configuration"] == {}
            changed = await ask(session, "POST", f"{PROFILES}/{made['id']}", {"name": "n"})
            assert changed["configuration"] == {}
        seen, path = [], f"{PROFILES}?limit=2"
        while path:
            page = await ask(session, "GET", path)
            assert list(nulls(page)) == []
            # as the tools do it: no check of an entry, an id or a configuration
            seen += [
                (each["id"], each["name"], each["configuration"].get("slice")) for each in page["profiles"]
            ]
            token = page.get("next_pagination_token")
            path = token and f"{PROFILES}?limit=2&pagination_token={token}"
        assert [name for _, name, _ in seen] == ["Support", "Sales", "Triage", "n", "n"]
        assert seen[2][2] == {"mode": "LAST", "event_limit": 500}


@pytest.mark.parametrize("wire", ["live", "spec"])
@pytest.mark.parametrize("query", ["uid=nobody", "email=nobody@example.com", "session_uid=none", "uid=u-1:x"])
async def test_the_list_of_an_unknown_user_is_an_empty_list(wire: Wire, query: str) -> None:
    async with asking(small(wire)) as session:
        assert await ask(session, "GET", f"/sessions/v2?{query}&limit=100") == {"sessions": []}
        if wire == "live":
            assert await ask(session, "GET", f"/v2/sessions?{query}&limit=100") == {"results": []}


async def test_no_response_holds_a_null_where_the_tools_iterate() -> None:
    sandbox = small()
    async with asking(sandbox) as session:
        for one in sandbox.session_ids:
            path = f"/v2/sessions/{one.replace(':', '%3A')}"
            assert list(nulls(await ask(session, "POST", f"{path}/context", {}))) == []
            assert None not in (await ask(session, "GET", f"{path}/events"))["events"]
            assert list(nulls(await ask(session, "GET", f"{path}/summary?config_profile=triage"))) == []


async def test_context_times_have_three_digits() -> None:
    sandbox = small()
    async with asking(sandbox) as session:
        for one in sandbox.session_ids:
            found = await ask(session, "POST", f"/v2/sessions/{one.replace(':', '%3A')}/context", {})
            about = found["context_data"]["context"]
            pages = found["context_data"].get("pages", [])
            times = [event["timestamp"] for page in pages for event in page["events"]]
            assert times
            for time in (about["session_created_at"], *times):
                assert THREE_DIGITS.fullmatch(time), time


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("context", {"zoom": 3, "slice": {"mode": "LAST", "event_limit": 3, "eventLimit": 1, "x": None}}),
        ("context", {"llm": {"pre_prompt": 5}, "media": {"full_page": True}, "events": {"x": [{}]}}),
        ("summary", {"config_profile_id": "nonsense", "media": {}, "llm": {"model": "GEMINI_2_FLASH"}}),
        ("summary", {"llm": {"response_schema": {"type": "STRING", "minLength": 1, "anyOf": [1]}}}),
        ("profile", {"name": "n", "weather": {"a": [1]}, "profile_id": "mine", "configuration": {"slice": 5}}),
        ("profile", {"name": "n", "cache": {"enable_event_cache": True, "ttl": 5}, "": 1, "slice": {"x": 1}}),
    ],
)  # fmt: skip
async def test_unknown_fields_are_ignored_and_refused_only_by_the_strict_form(
    path: str, body: dict[str, Any]
) -> None:
    for wire in ("live", "spec"):
        sandbox = small(wire)
        async with asking(sandbox) as session:
            one = sandbox.session_ids[0].replace(":", "%3A")
            url = URL(PROFILES if path == "profile" else f"/v2/sessions/{one}/{path}", encoded=True)
            async with session.post(url, data=json.dumps(body)) as response:
                found = await response.json()
            if wire == "spec":
                assert (response.status, sandbox.activations) == (400, 0)
                assert "is not known" in found["message"]
                continue
            assert response.status == 200, found
            text = json.dumps(found)
            assert not re.search("weather|ttl|minLength|anyOf|GEMINI|eventLimit|mine", text)
            if path == "context" and "slice" in body:
                pages = found["context_data"].get("pages", [])
                assert sum(len(page["events"]) for page in pages) <= 3, "the known fields count"


@pytest.mark.parametrize("name", ["$schema", "$id", "$ref", "$defs"])
async def test_what_must_be_removed_from_a_response_schema_is_refused(name: str) -> None:
    schema = {"type": "OBJECT", "properties": {"$a": {"type": "STRING", name: "x"}}}
    async with asking(small()) as session:
        for response_schema in (schema, {"type": "STRING", name: "x"}):
            body = {"name": "n", "llm": {"response_schema": response_schema}}
            async with session.post(PROFILES, data=json.dumps(body)) as response:
                assert response.status == 400
                assert f"{name} is not known" in (await response.json())["message"]


@pytest.mark.parametrize("wire", ["live", "spec"])
@pytest.mark.parametrize(
    "public_url", ["https://sandbox.test", "https://sandbox.test:8443/", "https://x.test/a/b/"]
)
async def test_replay_urls_may_have_an_https_base(wire: Wire, public_url: str) -> None:
    sandbox, base = small(wire, public_url), public_url.rstrip("/")
    async with asking(sandbox) as session:
        listed = (await ask(session, "GET", "/sessions/v2?uid=u-1"))["sessions"]
        replays = [each["fsUrl" if wire == "live" else "url"] for each in listed]
        if wire == "live":
            replays += [
                each["app_url"] for each in (await ask(session, "GET", "/v2/sessions?uid=u-1"))["results"]
            ]
        one = SessionId.parse(replays[0])
        body = {"media": {"include_screenshots": True}}
        found = await ask(session, "POST", f"/v2/sessions/{one.replace(':', '%3A')}/context", body)
        replays.append(found["context_data"]["context"]["session_url"])
        pages = found["context_data"].get("pages", [])
        replays += [
            event["screenshot_url"] for page in pages for event in page["events"] if "screenshot_url" in event
        ]
        assert len(replays) > 4
        for url in replays:
            assert url.startswith(f"{base}/ui/SANDBOX/session/"), url
            assert SessionId.parse(url) in sandbox.session_ids
        assert sandbox.url.startswith("http://127.0.0.1:")
        # the sandbox's own pages still lead to each other, and the contract to the sandbox
        async with session.get("/") as response:
            assert f'"{sandbox.url}/ui/SANDBOX/session/{one}"' in await response.text()
        assert (await ask(session, "GET", "/openapi.json"))["servers"] == [{"url": sandbox.url}]


CONFIGURATION = ProfileConfiguration(llm=LLMOptions(pre_prompt="p"), slice=SliceOptions(mode="LAST"))


async def use_profiles(client: FullStoryClient) -> list[Any]:
    listed = [(each.id, each.name, each.configuration) async for each in client.profiles.list()]
    bare = await client.profiles.create("bare", ProfileConfiguration())
    made = await client.profiles.create("m", CONFIGURATION)
    changed = await client.profiles.update(
        bare.id, configuration=ProfileConfiguration(events=EventOptions(exclude_api_events=True))
    )
    again = [(each.id, each.name, each.configuration) async for each in client.profiles.list(limit=None)]
    found = [await client.profiles.get(each.id) for each in (bare, made)]
    assert [each.configuration for each in found] == [changed.configuration, CONFIGURATION]
    await client.profiles.delete(bare.id)
    return [listed, again, bare, made, changed]


@pytest.mark.row(64)
async def test_the_client_reads_the_same_of_profiles_of_the_alpha() -> None:
    results = []
    for fault in (None, Fault.legacy_profiles()):
        sandbox = small()
        if fault is not None:
            sandbox.inject(fault, times=None)
        async with connected(sandbox) as client:
            results.append(await use_profiles(client))
            page = await client.profiles.list()
            assert (page.received, len(page)) == ((4, 4) if fault is None else (6, 4))
            assert b"null" in page.raw if fault is not None else b"null" not in page.raw
    assert results[0] == results[1]
    assert [name for _, name, _ in results[0][1]] == ["Support", "Sales", "Triage", "bare", "m"]


async def test_relics_come_on_the_first_page_only_and_configurations_are_left_out() -> None:
    sandbox = small()
    sandbox.inject(Fault.legacy_profiles(), times=None)
    async with asking(sandbox) as session:
        first = await ask(session, "GET", f"{PROFILES}?limit=2")
        assert first["profiles"][:2] == [None, {"name": "A profile of the alpha"}]
        assert ["configuration" in each for each in first["profiles"][2:]] == [False, False]
        rest = await ask(
            session, "GET", f"{PROFILES}?limit=2&pagination_token={first['next_pagination_token']}"
        )
        assert [each["id"] for each in rest["profiles"]] == ["triage"]
        assert "configuration" in rest["profiles"][0]
        assert "configuration" not in await ask(session, "GET", f"{PROFILES}/sales")
        assert await ask(session, "DELETE", f"{PROFILES}/sales") == {}


@pytest.mark.row(64)
@pytest.mark.parametrize("fault", ["empty_lists_omitted", "empty_lists_omitted operation=list"])
@pytest.mark.parametrize("wire", ["live", "spec"])
async def test_the_client_takes_a_list_that_is_left_out_for_an_empty_one(wire: Wire, fault: str) -> None:
    sandbox = small(wire)
    made, conditions = read_fault(fault)
    sandbox.inject(made, **conditions)
    async with connected(sandbox) as client:
        for query in ({"uid": "nobody"}, {"email": "none@x.test"}, {"session_uid": "none"}):
            page = await client.sessions.list(**query)  # type: ignore[arg-type]  # its values are texts
            assert (page.items, page.raw) == ((), b"{}")
        everything: list[Session] = [session async for session in client.sessions.list(uid="u-1", limit=None)]
        assert everything
        assert [session.id for session in everything] == [
            each.id for each in sandbox._service.world.of_user(uid="u-1", email=None)
        ]


@pytest.mark.row(61)
@pytest.mark.parametrize("wire", ["live", "spec"])
@pytest.mark.parametrize("list_api", ["v1", "v2"])
async def test_the_client_lists_the_same_from_either_endpoint(wire: Wire, list_api: ListApi) -> None:
    sandbox = small(wire)
    async with connected(sandbox, list_api=list_api) as client:
        session = next(iter(sandbox._service.world.sessions.values()))
        listed = [each async for each in client.sessions.list(uid=session.user.uid, limit=None)]
        [one] = await client.sessions.list(session_uid=session.session_uid)
    world = sandbox._service.world.of_user(uid=session.user.uid, email=None)
    assert [(each.id, each.url[-len(each.id) :]) for each in listed] == [(each.id, each.id) for each in world]
    for each, right in zip(listed, world, strict=True):
        assert each.created is not None
        assert abs(each.created - right.created).total_seconds() < 1
    assert one.id == session.id
    asked = [(request.raw_path.partition("?")[0], request.status) for request in sandbox.requests]
    v1, v2 = "/sessions/v2", "/v2/sessions"
    assert (
        asked
        == {
            ("live", "v1"): [(v1, 200), (v2, 200)],
            ("live", "v2"): [(v2, 200), (v2, 200)],
            ("spec", "v1"): [(v1, 200), (v2, 404), (v1, 200)],
            # the first answer of v1 was remembered
            ("spec", "v2"): [(v2, 404), (v1, 200), (v1, 200)],
        }[(wire, list_api)]
    )
    assert sandbox.activations == 0
