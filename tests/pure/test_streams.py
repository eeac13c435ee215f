"""Streams: what a trigger's body says in any mapping, and the inbox that keeps triggers until they are done."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fullstory_async import (
    ConfigurationError,
    DecodeError,
    InvalidSessionId,
    SessionId,
    StorageError,
    safe_json,
)
from fullstory_async.streams import StreamInbox, StreamTrigger

URL = "https://app.fullstory.com/ui/ORG/session/1:2"
GUIDS = "11111111-2222-3333-4444-555555555555:66666666-7777-8888-9999-000000000000"


def body(n: int = 0, **more: Any) -> bytes:
    return json.dumps({"replay": URL, "n": n, **more}).encode()


@pytest.mark.parametrize(
    ("data", "session_id"),
    [
        ({"text": f"Rage click: {URL}?x=1"}, "1:2"),
        ({"blocks": [{"text": {"text": f"<{URL}|replay>"}}]}, "1:2"),
        ({"session": {"session_id": "3:4"}}, "3:4"),
        ({"session": {"session_id": "1ENq:4", "client_session_id": GUIDS}}, GUIDS),  # an organisation's id
        ({"session_id": "3:4", "url": URL}, "1:2"),
        ({"session_id": "1ENq:4"}, None),
        ({"session_id": 5, "client_session_id": ""}, None),
        ({}, None),
    ],
)
def test_a_trigger_knows_its_session_in_any_mapping(data: dict[str, Any], session_id: str | None) -> None:
    trigger = StreamTrigger.from_json(json.dumps({**data, "new": {"field": [1]}}).encode())
    assert trigger.session_id == session_id
    assert trigger.data["new"] == {"field": [1]}


def test_a_trigger_knows_its_time() -> None:
    for value in ("2026-05-04T10:00:00Z", 1777888800, "1777888800000"):
        found = StreamTrigger.from_json(json.dumps({"event": {"timestamp": value}}).encode())
        assert found.timestamp == datetime(2026, 5, 4, 10, tzinfo=UTC)
    assert StreamTrigger.from_json(b'{"timestamp": "soon"}').timestamp is None
    assert json.dumps(found.to_dict())


@pytest.mark.parametrize("wrong", [b"", b"[]", b"5", b"{", b"\xff", b"[" * 100_000])
async def test_what_is_no_object_is_refused_and_not_kept(wrong: bytes, tmp_path: Path) -> None:
    inbox = StreamInbox(tmp_path / "inbox")
    with pytest.raises(DecodeError, match="the body of a stream's request"):
        await inbox.put(wrong)
    assert await inbox.waiting() == []


async def test_a_trigger_waits_until_it_is_done_also_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "inbox"
    assert [await StreamInbox(path).put(body(n)) for n in range(3)] == [True] * 3
    first, *rest = await StreamInbox(path).waiting()
    assert (first.session_id, first.raw, len(rest)) == ("1:2", body(0), 2)
    assert first.received is not None
    inbox = StreamInbox(path)
    await inbox.done(first)
    await inbox.done(first)
    assert [each.data["n"] for each in await inbox.waiting()] == [1, 2]
    assert [each.data["n"] for each in await inbox.waiting(limit=1)] == [1]
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_retried_request_is_taken_in_once_also_when_it_is_done(tmp_path: Path) -> None:
    now = [1000.0]
    inbox = StreamInbox(tmp_path / "inbox", remember=60, clock=lambda: now[0])
    assert await inbox.put(body()) is True
    assert await inbox.put(body()) is False
    [trigger] = await inbox.waiting()
    await inbox.done(trigger)
    now[0] += 59
    assert await inbox.put(body()) is False
    now[0] += 2
    assert await inbox.put(body()) is True


async def test_a_key_of_ones_own_identifies_triggers(tmp_path: Path) -> None:
    inbox = StreamInbox(tmp_path / "inbox")
    assert [await inbox.put(body(n), key="event-1") for n in range(2)] == [True, False]


async def test_many_at_once_from_two_inboxes_are_each_taken_in_once(tmp_path: Path) -> None:
    inboxes = [StreamInbox(tmp_path / "inbox") for _ in range(2)]
    taken = await asyncio.gather(*(inbox.put(body(n)) for n in range(10) for inbox in inboxes))
    assert sum(taken) == 10
    assert len(await inboxes[0].waiting()) == 10


async def test_a_flood_is_refused(tmp_path: Path) -> None:
    inbox = StreamInbox(tmp_path / "inbox", max_waiting=2, max_bytes=200)
    assert [await inbox.put(body(n)) for n in range(2)] == [True, True]
    with pytest.raises(StorageError, match="is full: 2 triggers wait"):
        await inbox.put(body(3))
    assert await inbox.put(body(1)) is False  # a repetition is no flood
    with pytest.raises(DecodeError, match="over 200"):
        await inbox.put(body(4, text="x" * 200))


async def test_taking_in_a_trigger_costs_the_same_beside_many_that_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, connect = 0, sqlite3.connect

    def step() -> None:
        nonlocal steps
        steps += 1

    def counting(*arguments: Any, **settings: Any) -> sqlite3.Connection:
        database: sqlite3.Connection = connect(*arguments, **settings)
        database.set_progress_handler(step, 1)
        return database

    async def cost(n: int) -> int:
        before = steps
        assert await inbox.put(body(n)) is True
        return steps - before

    inbox = StreamInbox(tmp_path / "inbox", clock=lambda: 1000.0)
    await inbox.put(body())
    monkeypatch.setattr(sqlite3, "connect", counting)
    few = await cost(1)
    with closing(connect(tmp_path / "inbox")) as database, database:
        rows = [(str(n), 1000.0, 1000.0) for n in range(1000)]
        database.executemany("INSERT INTO triggers (key, received, done) VALUES (?, ?, ?)", rows)
    assert await cost(2) < 2 * few


async def test_only_a_trigger_of_this_inbox_can_be_done(tmp_path: Path) -> None:
    inbox, other = StreamInbox(tmp_path / "inbox"), StreamInbox(tmp_path / "other")
    await inbox.put(body(1))
    await other.put(body(2))
    [foreign] = await other.waiting()
    wrong: list[Any] = [foreign, StreamTrigger.from_json(body(1)), SessionId("1:2"), 1, None]
    for each in wrong:
        with pytest.raises(
            ConfigurationError, match=r"done\(\) takes a trigger that waiting\(\) of this inbox"
        ):
            await inbox.done(each)
    [trigger] = await inbox.waiting()
    assert trigger.data["n"] == 1
    await inbox.done(trigger)
    await inbox.done(trigger)
    assert await inbox.waiting() == []


async def test_a_trigger_that_was_forgotten_while_it_was_worked_on_is_done(tmp_path: Path) -> None:
    inbox = StreamInbox(tmp_path / "inbox")
    await inbox.put(body(1))
    [trigger] = await inbox.waiting()
    await inbox.forget(SessionId("1:2"))
    await inbox.put(body(2))  # it must not get the number of the first
    await inbox.done(trigger)
    [waiting] = await inbox.waiting()
    assert waiting.data["n"] == 2


async def test_what_is_done_or_forgotten_is_erased(tmp_path: Path) -> None:
    inbox = StreamInbox(tmp_path / "inbox")
    await inbox.put(body(1, email="ada@example.com"))
    await inbox.put(body(2, email="ada@example.com"))
    await inbox.done((await inbox.waiting())[0])
    assert await inbox.forget(SessionId("1:2")) == 1
    assert await inbox.waiting() == []
    with closing(sqlite3.connect(tmp_path / "inbox")) as database:
        assert database.execute("SELECT session_id, body FROM triggers").fetchall() == [(None, None)]
    assert b"ada@example.com" not in (tmp_path / "inbox").read_bytes()


async def test_every_spelling_of_a_session_is_forgotten(tmp_path: Path) -> None:
    inbox = StreamInbox(tmp_path / "inbox")
    await inbox.put(b'{"session_id": "1:2"}')
    with pytest.raises(InvalidSessionId):
        await inbox.forget("no session")
    assert await inbox.forget("https://app.fullstory.com/ui/ORG/session/1%3A2") == 1
    assert await inbox.waiting() == []


async def test_a_large_body_is_not_read_in_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, threads, loads = StreamInbox(tmp_path / "inbox"), list[int](), safe_json.loads

    def noted(text: bytes) -> Any:
        threads.append(threading.get_ident())
        return loads(text)

    monkeypatch.setattr(safe_json, "loads", noted)
    assert await inbox.put(b'{"n": 0}')
    with pytest.raises(DecodeError):
        await inbox.put(b"[]")
    await inbox.waiting()
    assert len(threads) == 3
    assert threading.get_ident() not in threads


async def test_a_damaged_trigger_holds_up_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inbox = StreamInbox(tmp_path / "inbox")
    for number in range(3):
        await inbox.put(b'{"n": %d}' % number)
    with closing(sqlite3.connect(inbox.path)) as database, database:
        database.execute("UPDATE triggers SET body = X'7b226e' WHERE seq = 1")
        database.execute("UPDATE triggers SET body = 7 WHERE seq = 2")
    assert [trigger.data["n"] for trigger in await inbox.waiting(1)] == [2]
    assert caplog.messages == [f"erased from the stream inbox {inbox.path}: 2 damaged triggers"]
    assert len(await inbox.waiting()) == 1
    assert await inbox.put(b'{"n": 0}')  # FullStory may send it again


async def test_a_key_may_be_any_text_of_a_body(tmp_path: Path) -> None:
    inbox = StreamInbox(tmp_path / "inbox")
    trigger = StreamTrigger.from_json(rb'{"id": "cut \ud83d"}')
    assert [await inbox.put(trigger.raw, key=trigger.data["id"]) for _ in range(2)] == [True, False]
    number: Any = 7
    with pytest.raises(ConfigurationError, match="key must be a text, not 7"):
        await inbox.put(trigger.raw, key=number)


def test_settings_that_can_not_be_used() -> None:
    for wrong in ({"path": ""}, {"remember": 0}, {"max_waiting": 0}, {"max_bytes": "1"}):
        with pytest.raises(ConfigurationError):
            StreamInbox(**{"path": "inbox", **wrong})  # type: ignore[arg-type]
