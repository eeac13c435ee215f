"""The benchmarks that need no network and no other clients still run against the package's interfaces."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks import fanout, jobs


def test_the_fan_out_benchmark_runs() -> None:
    cpu_seconds, first_result = asyncio.run(fanout.walk(100))
    assert cpu_seconds > 0
    assert first_result > 0


def test_the_single_call_benchmark_runs() -> None:
    assert asyncio.run(fanout.single(10)) > 0


@pytest.mark.parametrize("count", [1, 200])
def test_the_job_benchmark_runs(tmp_path: Path, count: int) -> None:
    assert asyncio.run(jobs.many(count, tmp_path / "a.job")) > 0
