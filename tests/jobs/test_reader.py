"""JobReader: the same pass for asynchronous and for synchronous code."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from fullstory_async.jobs import JobPlan, JobReader, JobSession
from fullstory_async.jobs.storage import reader as storage_reader
from fullstory_async.jobs.storage import schema
from fullstory_async.tables.columns import TABLES
from tests.jobs.test_job import opened, run_once


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader") / "j"

    async def fetch() -> None:
        async with opened(sessions=6, mean_events=3) as (sandbox, client):
            plan = JobPlan(events=True, summary="support")
            await run_once(folder, client, plan, [*sandbox.session_ids[:5], "not an id"])

    asyncio.run(fetch())
    return folder


def test_synchronous_code_reads_the_same_as_asynchronous_code(folder: Path) -> None:
    reader = JobReader(folder)
    results = list(reader.results())
    assert [result.events is not None for result in results] == [True] * 5 + [False]
    failures = list(reader.failures())
    assert {failure.session_id for failure in failures} == {"not an id"}

    async def read() -> None:
        assert [result async for result in reader.results()] == results
        assert [failure async for failure in reader.failures()] == failures

    asyncio.run(read())


def test_each_for_loop_starts_again(folder: Path) -> None:
    results = JobReader(folder).results()
    first = next(iter(results))
    assert next(iter(results)) == first
    assert len(list(results)) == 6


async def test_an_asynchronous_pass_continues_where_it_was_left(folder: Path) -> None:
    results = JobReader(folder).results()
    first = await anext(results)
    others = [result async for result in results]
    assert first not in others
    assert len(others) == 5
    await results.aclose()


def test_sessions_are_in_figures_whether_they_were_fetched_or_not(folder: Path) -> None:
    found = list(JobReader(folder).sessions())
    results = list(JobReader(folder).results())
    assert [each.session_id for each in found] == [each.session_id for each in results]
    assert [each.state for each in found] == ["done"] * 5 + ["failed"]
    for each, result in zip(found[:5], results, strict=False):
        assert result.events is not None
        assert (each.events, each.errors) == (len(result.events), len(result.events.errors()))
        times = [event.timestamp for event in result.events if event.timestamp is not None]
        assert (each.started_at, each.ended_at) == (min(times), max(times))
        assert each.duration_seconds == result.events.duration
        assert each.input == each.session_id
    assert (found[5].events, found[5].error, found[5].started_at) == (None, "InvalidSessionId", None)


def test_a_session_in_figures_has_the_columns_of_its_table() -> None:
    columns = {column.name for column in TABLES["sessions"]} - {"full_session_id", "device_id"}
    assert columns <= {field.name for field in attrs.fields(JobSession)}


def test_a_status_is_of_one_moment(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time that the status opens the file, the job that runs has settled another call."""
    job = tmp_path / "j"
    shutil.copytree(folder, job)

    def settle_one() -> None:
        with closing(sqlite3.connect(job / "job.sqlite3")) as database, database:
            database.execute("UPDATE meta SET value = value + 1 WHERE name = 'spent'")
            database.execute("UPDATE meta SET value = value - 1 WHERE name = 'set_aside'")

    with closing(sqlite3.connect(job / "job.sqlite3")) as database, database:
        database.execute("REPLACE INTO meta VALUES ('set_aside', 10)")
    reader, real = JobReader(job), schema.open_reader

    def open_reader(folder: Path) -> sqlite3.Connection:
        settle_one()
        return real(folder)

    before = reader.status()
    monkeypatch.setattr(storage_reader, "open_reader", open_reader)
    monkeypatch.setattr(storage_reader, "lock_holder", lambda _: "another process")
    now = reader.status()
    assert now.reserved < 10
    assert now.spent + now.reserved == before.spent == 20
