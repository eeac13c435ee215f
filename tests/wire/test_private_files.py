"""The ledger and the response cache as files: damaged, of an earlier format, of another journal, of another clock."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from fullstory_async import ActivationLedger, ConfigurationError, FullStoryError, ResponseCache, StorageError
from fullstory_async.messages import Request
from fullstory_async.streams import StreamInbox

ASK = Request(operation="summary", path="/v2/sessions/1%3A2/summary", session_id="1:2")
MONTH, TIME = "2026-11", 1_795_000_000.0
FIRST_LEDGER = (
    (
        "CREATE TABLE spent (key TEXT NOT NULL, month TEXT NOT NULL, activations INTEGER NOT NULL, "
        "PRIMARY KEY (key, month)) WITHOUT ROWID"
    ),
    "INSERT INTO spent VALUES ('k', '2026-11', 7), ('old', '2026-10', 900)",
    f"PRAGMA application_id = {0x46534C47}",
    "PRAGMA user_version = 1",
)
FIRST_CACHE = (
    (
        "CREATE TABLE summaries (key TEXT PRIMARY KEY, session_id TEXT NOT NULL, stored REAL NOT NULL, "
        "expires REAL NOT NULL, body BLOB NOT NULL)"
    ),
    "CREATE INDEX by_session ON summaries (session_id)",
    f"PRAGMA application_id = {0x46535343}",
    "PRAGMA user_version = 1",
)
"""The files of version 0.1."""


def ledger_at(path: Path, **settings: Any) -> ActivationLedger:
    return ActivationLedger(path, clock=lambda: TIME, **settings)


def execute(path: Path, *statements: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as database, database:
        return [database.execute(statement).fetchall() for statement in statements]


async def outcome(call: Awaitable[object], errors: tuple[type[FullStoryError], ...]) -> object:
    """Return a call's result, or its error if it is one of ours."""
    try:
        return await call
    except errors as error:
        return error


@pytest.mark.parametrize("kind", [ActivationLedger, ResponseCache, StreamInbox])
def test_a_path_that_can_not_be_one_is_refused_at_once(kind: Callable[[Any], object], tmp_path: Path) -> None:
    for path in ("", 7, "a\0b", "~nobody-of-this-name/file"):
        with pytest.raises(ConfigurationError, match="path"):
            kind(path)
    before = Path.cwd()
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    try:
        gone.rmdir()
        with pytest.raises(ConfigurationError, match="can't be used: .*No such file"):
            kind("file")
    finally:
        os.chdir(before)


@pytest.mark.row(98)
async def test_a_summary_of_a_clock_that_was_ahead_is_not_used(tmp_path: Path) -> None:
    now = [TIME]
    cache = ResponseCache(tmp_path / "s.db", ttl=60, clock=lambda: now[0])
    await cache.put("a", ASK, b"right")
    now[0] += 10 * 365 * 86_400
    await cache.put("a", attrs.evolve(ASK, path="/ahead"), b"from the future")
    now[0] = TIME
    assert await cache.get("a", attrs.evolve(ASK, path="/ahead")) is None
    await cache.put("a", attrs.evolve(ASK, path="/ahead"), b"again")  # which removes it from the file
    assert await cache.get("a", attrs.evolve(ASK, path="/ahead")) == b"again"
    assert b"from the future" not in (tmp_path / "s.db").read_bytes()
    now[0] -= 5  # a clock that was set back a little
    assert await cache.get("a", attrs.evolve(ASK, path="/ahead")) is None
    now[0] += 6
    assert await cache.get("a", attrs.evolve(ASK, path="/ahead")) == b"again"
    now[0] += 60
    assert await cache.get("a", attrs.evolve(ASK, path="/ahead")) is None


@pytest.mark.row(99)
async def test_a_damaged_entry_is_dropped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s.db"
    cache, other = ResponseCache(path), attrs.evolve(ASK, path="/other")
    changes = (
        "body = CAST(substr(body, 1, 5) AS BLOB)", "body = 'text'", "body = 7", "stored = stored - 1",
        "expires = expires + 1e9", "session_id = '3:4'", "checksum = x'00'", "checksum = 'text'",
    )  # fmt: skip
    for change in changes:
        await cache.put("a", ASK, b"right")
        await cache.put("a", other, b"kept")
        caplog.clear()
        key = execute(path, "SELECT key FROM responses ORDER BY stored, rowid LIMIT 1")[0][0][0]
        execute(path, f"UPDATE responses SET {change} WHERE key = '{key}'")
        assert await cache.get("a", ASK) is None, change
        assert caplog.text.count("damaged entry") == 1
        assert await cache.get("a", other) == b"kept"
        assert await cache.get("a", ASK) is None
        assert caplog.text.count("damaged entry") == 1  # it is gone
        await cache.clear()


@pytest.mark.row(99)
async def test_a_damaged_count_never_goes_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "l.db"
    changes = (
        "activations = 1", "activations = 10000", "activations = 'text'", "checksum = x'00'",
        "month = '2026-10'", "key = x'00ff'",
    )  # fmt: skip
    tables = ["spent", "spent_copy"]
    for change in changes:
        tables.reverse()
        path.unlink(missing_ok=True)
        ledger = ledger_at(path, monthly_cap=100)
        await ledger.add("k", 7)
        execute(path, f"UPDATE {tables[0]} SET {change}")
        assert await ledger.spent("k") == 7, change
        assert "its copy is used" in caplog.text
        await ledger.add("k", 1)
        caplog.clear()
        assert await ledger.spent("k") == 8
        assert "copy" not in caplog.text  # it was repaired
        execute(path, *(f"DELETE FROM {table} WHERE activations != 8" for table in tables))
        execute(path, *(f"UPDATE {table} SET {change}" for table in tables))
        for call in (ledger.spent("k"), ledger.add("k", 1), ledger.add("k", -1)):
            with pytest.raises(StorageError, match="count of this month can't be known"):
                await call
    path.unlink()
    ledger = ledger_at(path, monthly_cap=100)
    await ledger.add("k", 7, month="2026-10")
    execute(path, "UPDATE spent SET key = 'unknown'")
    assert await ledger.spent("k") == 0  # in another month, which the copy doesn't have either


@pytest.mark.row(99)
async def test_whatever_byte_is_damaged_the_errors_are_ours_and_nothing_wrong_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file.db"
    rng = random.Random(99)

    async def use_ledger() -> None:
        for call in (ledger_at(path).spent("k"), ledger_at(path).add("k", 1)):
            found = await outcome(call, (ConfigurationError, StorageError))
            assert not isinstance(found, int) or found == 7, "spent has changed"

    async def use_cache() -> None:
        cache = ResponseCache(path, clock=lambda: TIME)
        found = await outcome(cache.get("a", ASK), (ConfigurationError, StorageError))
        assert found is None or isinstance(found, FullStoryError) or found == b"body" * 50
        await outcome(cache.put("a", ASK, b"x"), (ConfigurationError, StorageError))
        await outcome(cache.forget("1:2"), (ConfigurationError, StorageError))

    await ledger_at(path).add("k", 7)
    await ledger_at(path).add("other", 3, month="2026-10")
    files: list[tuple[bytes, Callable[[], Awaitable[None]]]] = [(path.read_bytes(), use_ledger)]
    path.unlink()
    await ResponseCache(path, clock=lambda: TIME).put("a", ASK, b"body" * 50)
    files.append((path.read_bytes(), use_cache))
    rounds = int(os.environ.get("FULLSTORY_DAMAGED_FILES", "20"))
    for content, use in files:
        used = [at for at in range(len(content)) if content[at]]
        for number in range(rounds):
            damaged = bytearray(content)
            damaged[rng.choice(used) if number % 2 else rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            if number % 5 == 4:
                del damaged[rng.randrange(100, len(damaged)) :]
            path.write_bytes(damaged)
            await use()


async def test_files_of_the_first_version_stay_readable(tmp_path: Path) -> None:
    execute(tmp_path / "l.db", *FIRST_LEDGER)
    ledger = ledger_at(tmp_path / "l.db", monthly_cap=9)
    assert await ledger.spent("k") == 7
    await ledger.add("k", 2)
    assert await ledger.spent("k") == 9
    old = "SELECT activations, checksum FROM spent_copy WHERE key = 'old'"
    assert execute(tmp_path / "l.db", old) == [[(900, None)]]

    path = tmp_path / "s.db"
    await ResponseCache(path, clock=lambda: TIME).put("a", ASK, b'{"summary": "paid"}')
    ((row,),) = execute(path, "SELECT key, session_id, stored, expires FROM responses")
    path.unlink()
    key, session_id, stored, expires = row
    body = b'{"summary": "paid"}'.hex()
    insert = f"INSERT INTO summaries VALUES ('{key}', '{session_id}', {stored}, {expires}, x'{body}')"
    execute(path, *FIRST_CACHE, insert)
    assert await ResponseCache(path, clock=lambda: TIME + 1).get("a", ASK) == b'{"summary": "paid"}'
    await ResponseCache(path, clock=lambda: TIME + 1).put("a", attrs.evolve(ASK, path="/other"), b"new")
    assert execute(path, "SELECT COUNT(*) FROM responses", "PRAGMA user_version") == [[(2,)], [(3,)]]


@pytest.mark.row(95)
async def test_a_file_with_a_log_of_its_own_is_made_one_file_again(tmp_path: Path) -> None:
    """Another program may have set this mode; then a lost log would take back what was spent."""
    path, copy = tmp_path / "l.db", tmp_path / "copy.db"
    ledger = ledger_at(path)
    await ledger.add("k", 7)
    execute(path, "PRAGMA journal_mode = WAL")
    with closing(sqlite3.connect(path)) as other:  # a browser of databases
        assert other.execute("SELECT activations FROM spent").fetchall() == [(7,)]
        await ledger.add("k", 1)
    await ledger.add("k", 1)
    assert not path.with_name("l.db-wal").exists()
    shutil.copy(path, copy)
    assert await ledger_at(copy).spent("k") == 9


@pytest.mark.row(95)
async def test_a_transaction_that_was_killed_leaves_the_count_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    await ledger_at(path).add("k", 7)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA cache_spill = 1")
        database.execute("BEGIN IMMEDIATE")
        database.execute("UPDATE spent SET activations = 3")
        for name in (path.name, f"{path.name}-journal"):
            if (tmp_path / name).exists():
                shutil.copy(tmp_path / name, tmp_path / f"copy{name}")
        database.execute("ROLLBACK")
    for journal in (True, False):
        if not journal:
            (tmp_path / "copyl.db-journal").unlink(missing_ok=True)
        assert await ledger_at(tmp_path / "copyl.db").spent("k") == 7


async def test_a_disk_that_fails_is_no_wrong_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as broken, pytest.raises(StorageError, match="Permission denied"):
        broken.setattr("fullstory_async.files.private_database.make_private_file", refuse)
        await ledger_at(tmp_path / "l.db").spent("k")
