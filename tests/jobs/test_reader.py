"""JobReader: the same pass for asynchronous and for synchronous code."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fullstory_async.jobs import JobPlan, JobReader
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
