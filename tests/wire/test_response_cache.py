"""ResponseCache: what is found again, what is not, and what the file is like."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import stat
import sys
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from fullstory_async import (
    ClientConfig,
    ConfigurationError,
    FullStoryClient,
    InvalidSessionId,
    LLMOptions,
    ProfileConfiguration,
    RateLimit,
    ResponseCache,
    ServerError,
    Session,
    SessionId,
    StorageError,
    concurrency,
)
from fullstory_async.files import private_database
from fullstory_async.messages import Request
from fullstory_async.sandbox import Fault, Sandbox
from tests.cli.forked import Forks
from tests.limits import SECONDS

ASK = Request(operation="summary", path="/v2/sessions/1%3A2/summary", session_id="1:2")


def client_of(sandbox: Sandbox, cache: ResponseCache | None, **settings: Any) -> FullStoryClient:
    config = ClientConfig(
        api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(1000, 1000), **settings
    )
    return FullStoryClient(config=config, cache=cache)


async def test_the_same_summary_costs_nothing_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "summaries.db"
    async with Sandbox(users=1, sessions=2, mean_events=5) as sandbox:
        one, other = sandbox.session_ids
        found = []
        for _ in range(2):  # as two runs of a program
            async with client_of(sandbox, ResponseCache(path)) as client:
                found += await asyncio.gather(
                    *(client.sessions.summary(one, config_profile_id="triage") for _ in range(50))
                )
                assert client.stats.activations == sandbox.activations - (1 if len(found) > 50 else 0)
        assert sandbox.activations == 1
        assert all(each == found[0] and each.raw == found[0].raw for each in found)
        async with client_of(sandbox, ResponseCache(path)) as client:
            async with client.sessions.summaries_many([one, other], config_profile_id="triage") as results:
                attempts = {outcome.session_id: outcome.attempts async for outcome in results}
        assert attempts == {one: 0, other: 1}
        assert sandbox.activations == 2


async def test_another_key_host_profile_prompt_or_time_is_another_summary(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path / "summaries.db")
    prompt = ProfileConfiguration(llm=LLMOptions(pre_prompt="x"))
    calls: list[dict[str, Any]] = [
        {}, {"config_profile_id": "support"}, {"overrides": prompt}, {"config_profile_id": "support", "overrides": prompt},
        {"end_timestamp": datetime(2027, 1, 1, tzinfo=UTC)}, {"extra_query": {"a": "b"}},
    ]  # fmt: skip
    async with Sandbox(users=1, sessions=1, mean_events=5) as sandbox:
        (one,) = sandbox.session_ids
        for _ in range(2):
            async with client_of(sandbox, cache) as client:
                for options in calls:
                    await client.sessions.summary(one, **options)
        assert sandbox.activations == len(calls)
        async with client_of(sandbox, cache) as client:
            account = client.api.name
            for _ in range(2):
                await client.sessions.summary(one, extra_headers={"Accept-Language": "de"})
        assert sandbox.activations == len(calls) + 1
    assert sandbox.api_key not in account
    assert await cache.get(f"{account}x", sandbox_request(one)) is None
    other = ClientConfig(api_key="na1.other")
    assert other.key_fingerprint != ClientConfig(api_key=sandbox.api_key).key_fingerprint


def sandbox_request(session_id: SessionId) -> Request:
    return Request(operation="summary", path=f"/v2/sessions/{session_id}/summary", session_id=session_id)


async def test_events_and_errors_are_not_kept_unless_asked_for(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path / "summaries.db")
    async with Sandbox(users=1, sessions=1, mean_events=5) as sandbox, client_of(sandbox, cache) as client:
        (one,) = sandbox.session_ids
        for _ in range(2):
            await client.sessions.events(one)
            await client.sessions.context(one)
        assert sandbox.activations == 3
        sandbox.inject(Fault.status(500), operation="summary")
        with pytest.raises(ServerError):
            await client.sessions.summary(one)
        sandbox.inject(Fault.status(200, body=b"{}"), operation="summary")
        assert (await client.sessions.summary(one)).text == ""
        assert (await client.sessions.summary(one)).text
        assert sandbox.stats()["by_operation"]["summary"] == 3  # an empty answer is asked again as well
        assert sandbox.activations == 4


async def test_time_to_live(tmp_path: Path) -> None:
    now = [1000.0]
    cache = ResponseCache(tmp_path / "s.db", ttl=60, clock=lambda: now[0])
    await cache.put("a", ASK, b"body")
    now[0] += 59.9
    assert await cache.get("a", ASK) == b"body"
    now[0] += 0.2
    assert await cache.get("a", ASK) is None
    await cache.put("a", attrs.evolve(ASK, path="/other"), b"x")  # which clears what is too old
    assert await cache.clear() == 1


async def test_an_entry_that_was_stored_while_a_reader_waited_for_the_file_is_used(tmp_path: Path) -> None:
    now = [1000.0]
    cache = ResponseCache(tmp_path / "s.db", ttl=60, clock=lambda: now[0])
    await cache.put("a", ASK, b"body")
    now[0] -= 1  # when the reader asks
    with closing(sqlite3.connect(tmp_path / "s.db", isolation_level=None)) as another:
        another.execute("BEGIN EXCLUSIVE")
        waiting = asyncio.create_task(cache.get("a", ASK))
        await asyncio.sleep(0.1)  # long enough to wait for the lock; the test can't fail if it is not
        now[0] += 2
        another.execute("COMMIT")
    assert await waiting == b"body"


async def test_a_session_can_be_forgotten_without_a_trace(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path / "s.db")
    await cache.put("a", ASK, b"secret of 1:2")
    await cache.put("b", ASK, b"secret of 1:2, too")
    await cache.put("a", attrs.evolve(ASK, path="/other", session_id="3:4"), b"other")
    assert await cache.forget("1:2") == 2
    assert await cache.get("a", ASK) is None
    assert b"secret" not in (tmp_path / "s.db").read_bytes()
    assert b"other" in (tmp_path / "s.db").read_bytes()
    assert await cache.forget("1:2") == 0


@pytest.mark.skipif(sys.platform == "win32", reason="run it on a system with modes of files, such as Linux")
async def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    await ResponseCache(path).put("a", ASK, b"x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    await ResponseCache(str(path)).get("a", ASK)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_many_at_once_in_a_new_file(tmp_path: Path) -> None:
    caches = [ResponseCache(tmp_path / "s.db") for _ in range(4)]
    requests = [attrs.evolve(ASK, path=f"/{n}") for n in range(40)]
    await asyncio.gather(*(caches[n % 4].put("a", request, b"%d" % n) for n, request in enumerate(requests)))
    assert [await caches[0].get("a", request) for request in requests] == [b"%d" % n for n in range(40)]


HAMMER = """
import asyncio, sys
from fullstory_async import ResponseCache
from fullstory_async.messages import Request

async def main(path, who):
    cache = ResponseCache(path)
    async def one(n):
        request = Request(operation="summary", path=f"/{who}/{n}", session_id="1:2")
        assert await cache.get("a", request) is None
        await cache.put("a", request, b"x" * 2000)
        assert await cache.get("a", request) == b"x" * 2000
    await asyncio.gather(*(one(n) for n in range(40)))

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def test_several_processes_with_several_threads_share_a_file(forks: Forks, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with ExitStack() as stack:
        running = [
            stack.enter_context(forks.start(str(path), str(n), script=HAMMER, cwd=tmp_path)) for n in range(3)
        ]
    for process in running:
        assert process.wait().code == 0, process.wait().err
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT COUNT(*) FROM responses").fetchone() == (120,)


async def test_a_file_that_is_held_by_somebody_else_fails_that_call_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_database, "_BUSY_SECONDS", 0.05)
    monkeypatch.setattr(concurrency, "_STORAGE_SECONDS", 0.05)
    cache = ResponseCache(tmp_path / "s.db")
    await cache.clear()
    async with Sandbox(users=1, sessions=3, mean_events=5) as sandbox, client_of(sandbox, cache) as client:
        with closing(sqlite3.connect(cache.path)) as other:
            other.execute("BEGIN EXCLUSIVE")
            async with client.sessions.summaries_many(sandbox.session_ids) as results:
                outcomes = [outcome async for outcome in results]
        assert [type(outcome.error) for outcome in outcomes] == [StorageError] * 3
        assert sandbox.activations == 0
        assert (await client.sessions.summary(sandbox.session_ids[0])).text


async def test_a_name_is_a_name_and_one_clients_time_to_live_is_not_anothers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await ResponseCache(":memory:").put("a", ASK, b"x")
    assert await ResponseCache(tmp_path / ":memory:").get("a", ASK) == b"x"
    now = [1000.0]
    lasting, brief = (ResponseCache("s.db", ttl=ttl, clock=lambda: now[0]) for ttl in (1000, 1))
    await lasting.put("a", ASK, b"kept")
    now[0] += 10
    assert await brief.get("a", ASK) is None
    await brief.put("a", attrs.evolve(ASK, path="/other"), b"x")
    assert await lasting.get("a", ASK) == b"kept"


async def test_every_spelling_of_a_session_is_forgotten(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path / "s.db")
    for ref in (
        "1:2",
        "https://app.fullstory.com/ui/O/session/1%3A2",
        "1!2",
        Session(user_id="1", session_id="2"),
    ):
        await cache.put("a", ASK, b"x")
        assert await cache.forget(ref) == 1
    with pytest.raises(InvalidSessionId):
        await cache.forget("../x")


async def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    text, other, later = tmp_path / "text", tmp_path / "other.db", tmp_path / "later.db"
    text.write_text("not a database, and quite long, " * 100)
    text.chmod(0o644)
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE t (a)")
    database.close()
    await ResponseCache(later).clear()
    with sqlite3.connect(later) as database:
        database.execute("PRAGMA user_version = 4")
    database.close()
    said = {
        text: "not a database",
        other: "something else",
        later: "format 4",
        tmp_path: "it is a folder; name a file",
        tmp_path / "no" / "s.db": "no doesn't exist",
    }
    before = {path: path.read_bytes() for path in (text, other, later)}
    for path, reason in said.items():
        for call in (ResponseCache(path).get("a", ASK), ResponseCache(path).put("a", ASK, b"x")):
            with pytest.raises(ConfigurationError, match=reason):
                await call
    assert before == {path: path.read_bytes() for path in before}
    assert stat.S_IMODE(text.stat().st_mode) == 0o644


async def test_a_cache_that_can_not_be_read_costs_nothing_and_one_that_can_not_be_written_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s.db"
    path.write_text("no database, and long enough to be read as one " * 100)
    async with Sandbox(users=1, sessions=1, mean_events=5) as sandbox:
        (one,) = sandbox.session_ids
        async with client_of(sandbox, ResponseCache(path)) as client:
            with pytest.raises(ConfigurationError, match="can't be used"):
                await client.sessions.summary(one)
            assert sandbox.activations == 0
            path.unlink()
            cache = ResponseCache(path)

        class Full(ResponseCache):
            def _put(self, key: str, session_id: str, ttl: float, body: bytes) -> None:
                raise ConfigurationError("the disk is full")

        async with client_of(sandbox, Full(path)) as client:
            with caplog.at_level(logging.WARNING):
                assert (await client.sessions.summary(one)).text
        assert "was not cached: the disk is full" in caplog.text
        assert await cache.clear() == 0


@pytest.mark.parametrize(
    "arguments", [{"path": ""}, {"path": 3}, {"path": "x", "ttl": 0}, {"path": "x", "ttl": -1}, {"path": "x", "ttl": "1"}, {"path": "x", "ttl": float("inf")}]
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="response cache"):
        ResponseCache(**arguments)


def test_a_client_takes_only_a_cache() -> None:
    with pytest.raises(ConfigurationError, match="cache must be"):
        FullStoryClient("k", cache=cast("Any", "file.db"))


async def test_a_file_that_another_process_holds_loses_no_summary(tmp_path: Path) -> None:
    path = tmp_path / "summaries.db"
    async with Sandbox(users=1, sessions=1, mean_events=5) as sandbox:
        (one,) = sandbox.session_ids
        async with client_of(sandbox, ResponseCache(path)) as client:
            await client.sessions.summary(one, config_profile_id="triage")
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                summary = await client.sessions.summary(one, timeout=1.0)
                asyncio.get_running_loop().call_later(0.2, other.execute, "ROLLBACK")
                again = await client.sessions.summary(one)  # waits for the first one to be written
                assert other.in_transaction is False
        assert summary == again
        assert sandbox.activations == 2
        async with client_of(sandbox, ResponseCache(path)) as client:
            assert await client.sessions.summary(one) == summary
        assert sandbox.activations == 2


async def test_a_damaged_summary_is_asked_for_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "summaries.db"
    async with Sandbox(users=1, sessions=1, mean_events=5) as sandbox:
        (one,) = sandbox.session_ids
        async with client_of(sandbox, ResponseCache(path)) as client:
            summary = await client.sessions.summary(one)
        for bought, checksum in enumerate(("checksum", "NULL"), start=2):
            with closing(sqlite3.connect(path)) as database, database:
                change = f"body = substr(body, 1, length(body) - 5), checksum = {checksum}"
                database.execute(f"UPDATE responses SET {change}")
            caplog.clear()
            async with client_of(sandbox, ResponseCache(path)) as client:
                assert await client.sessions.summary(one) == summary
                assert await client.sessions.summary(one) == summary
            assert sandbox.activations == bought
            assert "generated again" in caplog.text


async def test_a_client_whose_closing_is_cancelled_is_closed_and_what_was_paid_for_is_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "summaries.db"
    async with Sandbox(users=1, sessions=1, mean_events=5) as sandbox:
        (one,) = sandbox.session_ids
        client = await client_of(sandbox, ResponseCache(path)).__aenter__()
        await client.sessions.summary(one, config_profile_id="triage")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await client.sessions.summary(one, timeout=1.0)
            closing_it = asyncio.create_task(client.close())
            await asyncio.sleep(0.1)
            assert not closing_it.done()  # it waits for the file
            assert sandbox._runner is not None
            assert sandbox._runner.server is not None
            assert sandbox._runner.server.connections
            closing_it.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing_it
            other.execute("ROLLBACK")
        assert "closed" in repr(client)
        async with asyncio.timeout(SECONDS):
            while sandbox._runner.server.connections:
                await asyncio.sleep(0.01)
        await client.close()  # again, and now to its end
        async with client_of(sandbox, ResponseCache(path)) as client:
            await client.sessions.summary(one)
        assert sandbox.activations == 2
