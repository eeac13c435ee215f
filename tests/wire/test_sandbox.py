"""The sandbox: determined by its seed, true to the service's wire forms, strict about its limits."""

from __future__ import annotations

import asyncio
import gzip
import json
import statistics
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from fullstory_async import ClientStateError, ConfigurationError, RateLimit, SessionId
from fullstory_async.sandbox import Fault, Sandbox
from fullstory_async.sandbox.events import EVENT_TYPES, events_of
from fullstory_async.sandbox.faults import CallNext
from fullstory_async.sandbox.faults.exchange import Exchange
from fullstory_async.sandbox.state import Wire
from fullstory_async.sandbox.world import World

DOCUMENTED_TYPES = {
    "background", "change", "click", "consent", "console_message", "copy",
    "crash", "cumulative_layout_shift", "custom", "element_seen", "exception", "first_input_delay",
    "force_restart", "form_abandon", "highlight", "identify", "interaction_to_next_paint", "keyboard_close",
    "keyboard_open", "load", "low_memory", "mouse_thrash", "navigate", "page_properties",
    "page_view", "paste", "pinch_gesture", "request",
}  # fmt: skip


def asking(sandbox: Sandbox, **headers: Any) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        sandbox.url, headers={"Authorization": f"Basic {sandbox.api_key}", **headers}
    )


async def get(
    session: aiohttp.ClientSession, path: str, **options: Any
) -> tuple[int, Any, Mapping[str, str]]:
    async with session.get(path, **options) as response:
        return response.status, await response.json(), response.headers


def test_a_seed_determines_everything() -> None:
    one, same, other = World(7, 5, 30, 40), World(7, 5, 30, 40), World(8, 5, 30, 40)
    assert one.users == same.users
    assert one.sessions == same.sessions
    assert list(one.sessions) != list(other.sessions)
    for session in one.sessions.values():
        assert list(events_of(one, session)) == list(events_of(same, session))


def test_sessions_are_log_normal_around_the_mean_and_events_of_every_type() -> None:
    world = World(0, 20, 2000, 100)
    counts = [session.event_count for session in world.sessions.values()]
    assert 80 < statistics.mean(counts) < 120
    assert statistics.median(counts) < 70
    assert max(counts) <= 20_000
    seen = {
        event["event_type"]
        for session in list(world.sessions.values())[:300]
        for event in events_of(world, session)
    }
    assert seen == EVENT_TYPES == DOCUMENTED_TYPES


def test_every_session_has_its_number_of_events_in_order() -> None:
    world = World(0, 3, 30, 30)
    for session in world.sessions.values():
        events = list(events_of(world, session))
        times = [event["event_time"] for event in events]
        assert len(events) == session.event_count
        assert times == sorted(times)
        assert {event["device_id"] for event in events} == {session.device_id}


def test_every_user_has_a_session_and_ids_are_too_large_for_floats() -> None:
    world = World(0, 10, 40, 1)
    assert all(world.of_user(uid=user.uid, email=None) for user in world.users)
    assert all(int(part) > 2**53 for i in world.sessions for part in i.split(":"))
    assert (world.users[0].email, world.users[0].uid) == ("ada@example.com", "u-1")
    assert len({user.email for user in World(0, 100, 0, 1).users}) == 100


async def test_refusals_in_both_forms() -> None:
    forms: tuple[tuple[Wire, str | int], ...] = (("live", "unauthorized"), ("spec", 401))
    for wire, code in forms:
        async with Sandbox(users=1, sessions=1, wire=wire) as sandbox:
            async with aiohttp.ClientSession(sandbox.url) as anonymous:
                status, body, _ = await get(anonymous, "/sessions/v2?uid=u-1")
                assert (status, body["code"]) == (401, code)
            async with asking(sandbox) as session:
                assert (await get(session, "/sessions/v2"))[0] == 400
                assert (await get(session, "/sessions/v2?uid=u-1&limit=x"))[0] == 400
                assert (await get(session, "/v2/sessions/1%3A2/events"))[0] == 404
                assert (await get(session, "/v2/nothing"))[0] == 404
                assert (await get(session, f"/v2/sessions/{sandbox.session_ids[0]}/summary"))[0] == (
                    200 if wire == "live" else 400
                )


async def test_the_profile_counts_under_the_name_of_the_wire_form() -> None:
    async with Sandbox(users=1, sessions=1, mean_events=2) as sandbox, asking(sandbox) as session:
        path = f"/v2/sessions/{sandbox.session_ids[0]}/summary"
        assert (await get(session, path, params={"config_profile": "nonsense"}))[0] == 404
        assert (await get(session, path, params={"config_profile_id": "nonsense"}))[0] == 200
    async with (
        Sandbox(users=1, sessions=1, mean_events=2, wire="spec") as sandbox,
        asking(sandbox) as session,
    ):
        path = f"/v2/sessions/{sandbox.session_ids[0]}/summary"
        assert (await get(session, path, params={"config_profile_id": "nonsense"}))[0] == 404
        assert (await get(session, path, params={"config_profile_id": "triage"}))[1][
            "configProfileId"
        ] == "triage"


async def test_uid_and_email_give_the_union() -> None:
    async with Sandbox(users=2, sessions=10) as sandbox, asking(sandbox) as session:
        both = (await get(session, "/sessions/v2?uid=u-1&email=grace@example.com"))[1]["sessions"]
        assert len(both) == 10
        last = (await get(session, "/sessions/v2?uid=u-1&limit=2"))[1]["sessions"]
        assert last == (await get(session, "/sessions/v2?uid=u-1"))[1]["sessions"][-2:]
        assert (await get(session, "/sessions/v2?uid=nobody"))[1] == {"sessions": []}


async def test_the_bucket_refuses_with_whole_seconds() -> None:
    async with (
        Sandbox(users=1, sessions=1, rate_limit=RateLimit(0.4, 2)) as sandbox,
        asking(sandbox) as session,
    ):
        responses = [await get(session, "/sessions/v2?uid=u-1") for _ in range(4)]
    assert [status for status, _, _ in responses] == [200, 200, 429, 429]
    assert responses[2][2]["Retry-After"] == "3"
    assert responses[2][1]["code"] == "too_many_requests"
    assert sandbox.stats()["by_status"] == {"200": 2, "429": 2}


async def test_a_number_is_a_rate_limit() -> None:
    async with Sandbox(users=1, sessions=1, rate_limit=2) as sandbox, asking(sandbox) as session:
        assert [(await get(session, "/sessions/v2?uid=u-1"))[0] for _ in range(3)] == [200, 200, 429]


async def test_metering_by_request_and_by_session() -> None:
    async with (
        Sandbox(users=1, sessions=2, mean_events=1, activation_quota=2) as sandbox,
        asking(sandbox) as session,
    ):
        a, b = sandbox.session_ids
        statuses = [
            (await get(session, path))[0]
            for path in (
                f"/v2/sessions/{a}/events",
                "/sessions/v2?uid=u-1",
                f"/v2/sessions/{a}/summary",
                f"/v2/sessions/{b}/events",
            )
        ]
        status, stats, _ = await get(session, "/_sandbox/stats")
    assert statuses == [200, 200, 200, 429]
    assert [r.activations for r in sandbox.requests] == [1, 0, 1, 0]
    assert (status, sandbox.activations) == (200, 2)
    assert stats == {
        "requests": 4, "activations": 2, "by_status": {"200": 3, "429": 1},
        "by_operation": {"events": 2, "list": 1, "summary": 1},
        "by_session": {a: {"requests": 2, "activations": 2}, b: {"requests": 1, "activations": 0}},
    }  # fmt: skip


async def test_ids_and_users_are_listed_without_a_key() -> None:
    async with Sandbox(users=2, sessions=3) as sandbox, aiohttp.ClientSession(sandbox.url) as anonymous:
        _, body, _ = await get(anonymous, "/_sandbox/sessions")
    assert [SessionId(i) for i in body["session_ids"]] == sandbox.session_ids
    assert body["users"][0] == {"uid": "u-1", "email": "ada@example.com"}
    assert sandbox.requests == []


async def test_responses_are_compressed_only_on_request() -> None:
    async with Sandbox(users=1, sessions=1, mean_events=100) as sandbox:
        path = f"/v2/sessions/{sandbox.session_ids[0]}/events"
        async with aiohttp.ClientSession(sandbox.url, auto_decompress=False) as session:
            headers = {"Authorization": f"Basic {sandbox.api_key}"}
            async with session.get(path, headers={**headers, "Accept-Encoding": "gzip"}) as response:
                packed = await response.read()
                assert response.headers["Content-Encoding"] == "gzip"
            async with session.get(path, headers={**headers, "Accept-Encoding": "identity"}) as response:
                plain = await response.read()
                assert "Content-Encoding" not in response.headers
    assert gzip.decompress(packed) == plain
    assert json.loads(plain)["events"]


async def test_requests_are_recorded_without_the_key() -> None:
    async with Sandbox(users=1, sessions=1) as sandbox, asking(sandbox) as session:
        await get(session, "/sessions/v2?email=ada%40example.com")
        await get(session, "/v2/sessions/a%2Fb/events")
    first, second = sandbox.requests
    assert (first.operation, first.query, first.status) == ("list", {"email": "ada@example.com"}, 200)
    assert (second.session_id, second.raw_path, second.status) == ("a/b", "/v2/sessions/a%2Fb/events", 404)
    assert sandbox.api_key not in repr(sandbox.requests)


async def raw_response(sandbox: Sandbox, head: str) -> bytes:
    """Send a request's head, and return the first line of the response."""
    url = URL(sandbox.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(head.replace("\n", "\r\n").encode())
        return await reader.readline()
    finally:
        writer.close()


async def test_without_the_key_no_body_is_waited_for_or_kept() -> None:
    async with Sandbox(users=1, sessions=1, mean_events=2) as sandbox:
        path = f"/v2/sessions/{sandbox.session_ids[0]}/context"
        for key in ("", "Authorization: Basic wrong\n", f"Authorization: basic {sandbox.api_key}\n"):
            head = f"POST {path} HTTP/1.1\nHost: localhost\n{key}X-Long: {'x' * 8000}\nContent-Length: 16000000\n\n"
            assert b"401" in await raw_response(sandbox, head)
        async with aiohttp.ClientSession(sandbox.url) as anonymous:
            for _ in range(2):
                async with anonymous.post(path, data=b"x" * 900_000) as response:
                    assert response.status == 401
        async with asking(sandbox) as session, session.post(path, data=b"{}") as response:
            assert response.status == 200
    *refused, answered = sandbox.requests
    assert [(each.body, each.headers, each.status) for each in refused] == [(b"", {}, 401)] * 5
    assert (answered.body, answered.status, "host" in answered.headers) == (b"{}", 200, True)
    assert sandbox.stats()["by_status"] == {"401": 5, "200": 1}


async def test_what_is_no_http_is_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Without the line that was rejected: it may hold a key."""
    async with Sandbox(users=1, sessions=1, mean_events=2) as sandbox:
        for head in (
            f"GET /me HTTP/1.1\nHost: x\nAuthorization: Basic {sandbox.api_key}\0\n\n",
            "\x16\x03\x01\n\n",
            "GET / HTTP/1.1\n\n",
        ):
            assert b" 400 " in await raw_response(sandbox, head)
    assert [record.name for record in caplog.records] == ["fullstory_async.sandbox"] * len(caplog.records)
    assert len(caplog.text.splitlines()) == len(caplog.records) >= 2
    assert sandbox.api_key not in caplog.text


async def test_without_the_key_little_of_the_path_is_kept() -> None:
    """Whoever can connect could fill the memory with paths, queries and ids of sessions."""
    async with Sandbox(users=1, sessions=1, mean_events=2) as sandbox:
        for number in range(3):
            path = f"/v2/sessions/{number}{'x' * 4000}/events?{'y' * 3000}={'z' * 1000}"
            assert b"401" in await raw_response(sandbox, f"GET {path} HTTP/1.1\nHost: localhost\n\n")
        stats = sandbox.stats()
    assert [(each.raw_path[:17], each.query, each.session_id) for each in sandbox.requests] == [
        (f"/v2/sessions/{number}xxx", {}, None) for number in range(3)
    ]
    assert len(repr(sandbox.requests)) + len(str(stats)) < 2000
    assert stats["by_operation"] == {"events": 3}


async def test_its_pages_are_served_under_its_own_names_only() -> None:
    async with Sandbox(
        users=1, sessions=1, mean_events=2, public_url="https://Sandbox.test:8443/x"
    ) as sandbox:
        replay = URL((await listed(sandbox))["sessions"][0]["fsUrl"]).raw_path.removeprefix("/x")
        pages = ("/", "/_sandbox/stats", "/_sandbox/sessions", "/openapi.json", replay)
        own = (
            "127.0.0.1",
            "localhost:80",
            "LOCALHOST",
            "a.localhost",
            "[::1]:8765",
            "sandbox.test",
            "SANDBOX.test:1",
        )
        others = (
            "evil.test", "127.0.0.1.evil.test", "localhost.evil.test:80", "192.168.0.1",
            "x.sandbox.test", "", "a b", "[::1", "0.0.0.0", "evil.test@localhost", "localhost/evil.test", "localhost#", "localhost?",
        )  # fmt: skip
        for path in pages:
            for host in own:
                assert b" 200 " in await raw_response(sandbox, f"GET {path} HTTP/1.1\nHost: {host}\n\n"), host
            for host in others:
                said = await raw_response(sandbox, f"GET {path} HTTP/1.1\nHost: {host}\n\n")
                assert b" 421 " in said or b" 400 " in said, (path, host)
        for target, host in (
            ("http://evil.test/_sandbox/stats", "localhost"),
            ("http://localhost/", "evil.test"),
        ):
            assert b" 421 " in await raw_response(sandbox, f"GET {target} HTTP/1.1\nHost: {host}\n\n")
        assert b" 200 " in await raw_response(
            sandbox, "GET http://a.localhost/ HTTP/1.1\nHost: localhost\n\n"
        )
        # the API is protected by its key
        head = f"GET /me HTTP/1.1\nHost: gateway.test\nAuthorization: Basic {sandbox.api_key}\n\n"
        assert b" 200 " in await raw_response(sandbox, head)


async def listed(sandbox: Sandbox) -> Any:
    async with asking(sandbox) as session:
        return (await get(session, "/sessions/v2?uid=u-1"))[1]


@pytest.mark.smoke
async def test_rules_apply_by_their_conditions() -> None:
    async with Sandbox(users=1, sessions=2, mean_events=1) as sandbox, asking(sandbox) as session:
        a, b = sandbox.session_ids
        rule = sandbox.inject(
            Fault.retry_after(9, code=503),
            operation="events",
            session_id=a,
            times=1,
            skip=1,
        )
        paths = [
            f"/v2/sessions/{i}/{op}"
            for i, op in ((a, "events"), (b, "events"), (a, "summary"), (a, "events"), (a, "events"))
        ]
        responses = [await get(session, path) for path in paths]
        assert [status for status, _, _ in responses] == [200, 200, 200, 503, 200]
        assert responses[3][2]["Retry-After"] == "9"
        assert rule.hits == 1

        half = sandbox.inject(Fault.status(500, charged=True), operation="list", times=None, share=0.5)
        statuses = [(await get(session, "/sessions/v2?uid=u-1"))[0] for _ in range(60)]
        assert 10 < statuses.count(500) == half.hits < 50


async def test_a_custom_fault_and_delays() -> None:
    async def teapot(exchange: Exchange, call_next: CallNext) -> web.StreamResponse:
        response = await call_next()
        response.headers["X-Operation"] = exchange.record.operation
        return response

    async with Sandbox(users=1, sessions=1, latency=0.05) as sandbox, asking(sandbox) as session:
        sandbox.inject(Fault("teapot", "Name the operation.", teapot))
        _, _, headers = await get(session, "/sessions/v2?uid=u-1")
        assert headers["X-Operation"] == "list"
        sandbox.inject(Fault.stall(0.2))
        started = asyncio.get_running_loop().time()
        await get(session, "/sessions/v2?uid=u-1")
        assert asyncio.get_running_loop().time() - started >= 0.25


@pytest.mark.parametrize(
    "settings",
    [
        {"users": 0}, {"sessions": -1}, {"mean_events": 0}, {"latency": -1}, {"port": -1},
        {"activation_quota": -1},
        {"wire": "carrier pigeon"}, {"users": "3"}, {"rate_limit": 0}, {"rate_limit": "8"},
        {"rate_limit": RateLimit.adaptive()}, {"public_url": ""}, {"public_url": "sandbox.test"}, {"public_url": "https://"},
        {"public_url": "ftp://x"}, {"public_url": "https://x?a=b"}, {"public_url": "https://x#a"}, {"public_url": "https://u:p@x"},
        {"public_url": "https://x:99999999"}, {"public_url": "https://x y"}, {"public_url": "https://x\n"}, {"public_url": 5},
        {"public_url": b"https://x"}, {"public_url": "javascript://x/"},
    ],
)  # fmt: skip
def test_invalid_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Sandbox(**settings)


async def test_a_port_in_use_and_a_sandbox_not_running_say_so() -> None:
    with pytest.raises(ClientStateError, match="async with Sandbox"):
        _ = Sandbox().url
    async with Sandbox(users=1, sessions=0) as sandbox:
        port = int(sandbox.url.rsplit(":", 1)[1])
        with pytest.raises(ConfigurationError, match=str(port)):
            await Sandbox(users=1, sessions=0, port=port).__aenter__()
        assert sandbox.session_ids == []


async def test_old_records_are_dropped_but_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullstory_async.sandbox.state._KEPT_REQUESTS", 4)
    async with Sandbox(users=1, sessions=1) as sandbox, asking(sandbox) as session:
        for _ in range(6):
            await get(session, "/sessions/v2?uid=u-1")
    assert len(sandbox.requests) == 4
    assert sandbox.stats()["requests"] == 6
