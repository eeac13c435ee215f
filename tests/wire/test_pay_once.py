"""Pay once, look often: what is shared, what a cache of any kind gives back, and what each result says it cost."""

from __future__ import annotations

import asyncio
import gc
import logging
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from fullstory_async import (
    APITimeoutError,
    ClientConfig,
    ConfigurationError,
    FullStoryClient,
    RateLimit,
    ResponseCache,
    RetryPolicy,
    SessionEvents,
    StorageError,
    SummaryCache,
    concurrency,
)
from fullstory_async.codec import decode_events
from fullstory_async.files import private_database, response_cache
from fullstory_async.files.checksums import checksum
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.messages import Request, Response
from fullstory_async.sandbox import Fault, Sandbox

CONTEXT = Request(operation="context", method="POST", path="/context", session_id="1:2", body=b"{}")
EVENTS = Request(operation="events", path="/events", session_id="1:2")


def client_of(sandbox: Sandbox, **options: Any) -> FullStoryClient:
    retry = options.pop("retry", RetryPolicy(wait_initial=0.01, wait_jitter=0))
    config = ClientConfig(
        api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(1000, 1000), retry=retry
    )
    return FullStoryClient(config=config, **options)


async def test_forty_people_ask_at_once_and_one_activation_is_spent() -> None:
    async with Sandbox(users=1, sessions=1, mean_events=5) as sandbox, client_of(sandbox) as client:
        (one,) = sandbox.session_ids
        found = await asyncio.gather(*(client.sessions.events(one) for _ in range(40)))
        contexts = await asyncio.gather(*(client.sessions.context(one) for _ in range(40)))
        assert sandbox.activations == 2
        assert sum(each.activations for each in (*found, *contexts)) == 2
        for _ in range(2):
            assert len([event async for event in client.sessions.stream_events(one)]) == len(found[0])
        assert sandbox.activations == 4  # each consumer of a stream has its own pace
        assert client.api.shared == {}


async def test_the_first_caller_leaves_and_the_others_get_its_request() -> None:
    async with (
        Sandbox(users=1, sessions=1, mean_events=5, latency=0.2) as sandbox,
        client_of(sandbox) as client,
    ):
        (one,) = sandbox.session_ids
        hasty = asyncio.create_task(client.sessions.events(one, timeout=0.1))
        cancelled = asyncio.create_task(client.sessions.events(one))
        last = asyncio.create_task(client.sessions.events(one))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        with pytest.raises(APITimeoutError) as caught:
            await hasty
        assert caught.value.may_have_cost
        assert len(await last) > 0
        assert sandbox.activations == len(sandbox.requests) == 1


async def test_a_result_says_what_its_failed_attempts_may_have_cost() -> None:
    retry = RetryPolicy(wait_initial=0.01, wait_jitter=0, repeat_metered=True)
    async with (
        Sandbox(users=1, sessions=1, mean_events=5) as sandbox,
        client_of(sandbox, retry=retry) as client,
    ):
        (one,) = sandbox.session_ids
        sandbox.inject(Fault.status(503), operation="events")
        events = await client.sessions.events(one)
        assert (events.activations, client.stats.spent) == (2, 2)
        stream = client.sessions.stream_events(one)
        assert [event async for event in stream] == list(events)
        assert stream.response_info is not None
        assert stream.response_info.activations == 1
        assert (await client.whoami()).activations == 0
        assert SessionEvents.from_json(events.raw).activations == 0


async def test_events_are_kept_where_asked_for(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path / "c.db", events_ttl=60)
    async with Sandbox(users=1, sessions=1, mean_events=5) as sandbox:
        (one,) = sandbox.session_ids
        for expected in (1, 0):
            async with client_of(sandbox, cache=cache) as client:
                found = [await client.sessions.events(one), await client.sessions.context(one)]
                assert [each.activations for each in found] == [expected] * 2
                async with client.sessions.events_many([one, one]) as outcomes:
                    many = [outcome.value async for outcome in outcomes]
                assert many == [found[0]] * 2
        infos = [each.response_info for each in found]
        assert [info.source for info in infos if info is not None] == ["cache"] * 2
        assert sandbox.activations == 2
        async with client_of(sandbox, cache=cache) as client:
            await client.sessions.events(one, enable_event_cache=True)
            await client.sessions.context(one, extra_headers={"X-Version": "2"})
        assert sandbox.activations == 4
        other_key = ClientConfig(api_key="na1.other", base_url=sandbox.url)
        async with FullStoryClient(config=other_key, cache=cache) as client:
            assert await cache.get(client.api.name, EVENTS) is None


async def test_a_cache_that_fails_loses_no_paid_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(private_database, "_BUSY_SECONDS", 0.05)
    monkeypatch.setattr(concurrency, "_STORAGE_SECONDS", 0.05)
    cache = ResponseCache(tmp_path / "c.db", events_ttl=60)
    await cache.clear()
    async with (
        Sandbox(users=1, sessions=1, mean_events=5) as sandbox,
        client_of(sandbox, cache=cache) as client,
    ):
        (one,) = sandbox.session_ids
        with closing(sqlite3.connect(cache.path)) as other:
            other.execute("BEGIN EXCLUSIVE")
            for call in (client.sessions.events, client.sessions.context):
                with pytest.raises(StorageError, match=r"c\.db can't be used now"):
                    await call(one)
        assert sandbox.activations == 0

        async def costs() -> list[int]:
            found = [await client.sessions.events(one), await client.sessions.context(one)]
            return [each.activations for each in found]

        with closing(sqlite3.connect(cache.path)) as other:
            other.execute("BEGIN IMMEDIATE")  # others can read, and not write
            assert await costs() == [1, 1]
        assert caplog.text.count("was not cached") == 2
        assert await costs() == [1, 1]
        assert await costs() == [0, 0]


@attrs.define
class BrokenStore:
    """A store of a program's own, whose server is down."""

    name: str = "the store in Redis"

    def keeps(self, request: Request) -> bool:
        return True

    async def get(self, account: str, request: Request) -> bytes | None:
        return None

    async def put(self, account: str, request: Request, body: bytes) -> None:
        raise RuntimeError(f"connection refused while storing {body!r}")


async def test_a_store_of_a_program_may_fail_in_any_way(caplog: pytest.LogCaptureFixture) -> None:
    async with Sandbox(users=1, sessions=1, mean_events=5) as sandbox:
        async with client_of(sandbox, cache=BrokenStore()) as client:
            assert await client.sessions.events(sandbox.session_ids[0])
            await asyncio.sleep(0)
        gc.collect()
    # asyncio would report the task's error, with the response in its text
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "a response (events) was not cached: RuntimeError of the store in Redis"
    ]


async def test_each_kind_has_its_time_to_live(tmp_path: Path) -> None:
    now = [1000.0]
    cache = ResponseCache(tmp_path / "c.db", ttl=1000, events_ttl=10, clock=lambda: now[0])
    for request in (CONTEXT, EVENTS):
        await cache.put("a", request, b'{"a": 1}')
    now[0] += 9
    assert [await cache.get("a", request) for request in (CONTEXT, EVENTS)] == [b'{"a": 1}'] * 2
    now[0] += 2
    assert [await cache.get("a", request) for request in (CONTEXT, EVENTS)] == [b'{"a": 1}', None]
    assert not ResponseCache(tmp_path / "c.db").keeps(EVENTS)
    assert not cache.keeps(Request(operation="list", path="/sessions/v2"))


async def test_those_that_were_not_used_for_the_longest_time_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # bodies as they come, so that their sizes are known
    monkeypatch.setattr(response_cache, "compressor", lambda: lambda bodies: bodies)
    now = [1000.0]
    cache = ResponseCache(tmp_path / "c.db", max_bytes=100, clock=lambda: now[0])
    requests = [attrs.evolve(CONTEXT, path=f"/{n}") for n in range(5)]
    body = b"{" + b" " * 28 + b"}"
    for request in requests[:3]:
        await cache.put("a", request, body)
        now[0] += 100
    assert await cache.get("a", requests[0]) == body
    await cache.put("a", requests[3], body)
    kept = [await cache.get("a", request) is not None for request in requests]
    assert kept == [True, False, True, True, False]
    await cache.put(
        "a", requests[4], b"{" + b" " * 200 + b"}"
    )  # larger than all: not kept, and nothing goes for it
    assert [await cache.get("a", request) is not None for request in requests] == kept


async def test_a_user_is_forgotten_with_every_response_of_the_same_device(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    cache = ResponseCache(path, events_ttl=60)
    bodies = {
        "1:2": b'{"user": "ada@example.com"}', "1:3": b'{"summary": "She left."}',
        "4:5": b'{"u": "\\u0061DA@example.com"}', "6:7": b'{"url": "/?u=ada%40example.com"}',
        "8:9": b'{"user": "bob@example.com"}',
    }  # fmt: skip
    for session_id, body in bodies.items():
        request = attrs.evolve(CONTEXT, path=f"/{session_id}", session_id=session_id)
        await cache.put("a", request, body)
    assert await cache.forget_user(" Ada@example.com") == 4
    assert await cache.forget_user("ada@example.com") == 0
    for wrong in ("ada", "", "@"):
        with pytest.raises(ConfigurationError, match="e-mail"):
            await cache.forget_user(wrong)
    assert await cache.forget("8:9") == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_the_file_of_a_summary_cache_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    async with Sandbox(users=1, sessions=1, mean_events=5) as sandbox:
        (one,) = sandbox.session_ids
        async with client_of(sandbox, cache=ResponseCache(path)) as client:
            summary = await client.sessions.summary(one)
        with closing(sqlite3.connect(path)) as database, database:  # as the second version wrote it
            key, session_id, stored, expires = database.execute(
                "SELECT key, session_id, stored, expires FROM responses"
            ).fetchone()
            database.execute("DROP TABLE responses")
            database.execute(
                "CREATE TABLE summaries (key TEXT PRIMARY KEY, session_id TEXT NOT NULL, stored REAL NOT NULL, "
                "expires REAL NOT NULL, body BLOB NOT NULL, checksum BLOB)"
            )
            row = (key, session_id, stored, expires, summary.raw)
            database.execute("INSERT INTO summaries VALUES (?, ?, ?, ?, ?, ?)", (*row, checksum(*row)))
            database.execute("CREATE INDEX by_session ON summaries (session_id)")
            database.execute("PRAGMA user_version = 2")
        with pytest.warns(DeprecationWarning, match="ResponseCache"):
            old = SummaryCache(path)
        with pytest.warns(DeprecationWarning, match=r"summary_cache=…\) is now called cache"):
            client = client_of(sandbox, summary_cache=old)
        async with client:
            again = await client.sessions.summary(one)
            assert (again, again.activations) == (summary, 0)
            for _ in range(2):  # it never kept contexts
                await client.sessions.context(one)
        assert sandbox.activations == 3


async def test_a_jobs_folder_is_a_cache_that_stays_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "friday.job"
    async with Sandbox(users=1, sessions=2, mean_events=5) as sandbox:
        one, other = sandbox.session_ids
        async with client_of(sandbox) as client:
            async with Job.open(folder, client=client, plan=JobPlan(events=True, summary="support")) as job:
                await job.add([one])
                await job.run()
        assert sandbox.activations == 2
        reader = JobReader(folder)
        before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        async with client_of(sandbox, cache=reader) as client:
            events = await client.sessions.events(one, priority=True)
            summary = await client.sessions.summary(one, config_profile_id="support")
            assert (events.activations, summary.activations, sandbox.activations) == (0, 0, 2)
            assert events == decode_events(Response(status=200, body=events.raw), one)
            await client.sessions.events(other)
            await client.sessions.events(one, extra_query={"a": "b"})
            await client.sessions.summary(one, config_profile_id="triage")
            await client.sessions.context(one)
        assert sandbox.activations == 6
    result = reader.result(one)
    assert result is not None
    assert (result.events, result.summary) == (events, summary)
    assert reader.result(other) is None
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
