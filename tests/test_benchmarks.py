"""The benchmarks that need no network and no other clients still run against the package's interfaces."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks import exports, fanout, jobs
from benchmarks.bodies import body_of
from fullstory_async.jobs import JobReader


def test_the_fan_out_benchmark_runs() -> None:
    cpu_seconds, first_result = asyncio.run(fanout.walk(100))
    assert cpu_seconds > 0
    assert first_result > 0


def test_the_single_call_benchmark_runs() -> None:
    assert asyncio.run(fanout.single(10)) > 0


@pytest.mark.parametrize("count", [1, 200])
def test_the_job_benchmark_runs(tmp_path: Path, count: int) -> None:
    assert asyncio.run(jobs.many(count, tmp_path / "a.job")) > 0


def test_the_job_of_the_export_benchmark_is_written(tmp_path: Path) -> None:
    asyncio.run(exports.write_job(tmp_path / "a.job", 3, [body_of(2), body_of(4)]))
    sizes = [len(each.events or ()) for each in JobReader(tmp_path / "a.job").results()]
    assert sizes == [2, 4, 2]
