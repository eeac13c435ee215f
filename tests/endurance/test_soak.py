"""A long job against a service that fails in one of twenty calls: every id is accounted for once, the memory is flat, the count is never short.

FULLSTORY_SOAK_SECONDS sets for how long; ``nox -s soak`` takes an hour.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fullstory_async import ClientConfig, FullStoryClient, RateLimit
from fullstory_async.jobs import Job, JobPlan, JobReader, StopReason
from fullstory_async.jobs.report import JobReport
from tests import limits

SECONDS = int(os.environ.get("FULLSTORY_SOAK_SECONDS", "2"))
LIMIT = RateLimit(100, 20)
SESSIONS = int(SECONDS * LIMIT.rate / 2.7)
"""Each takes two calls, and a quarter of the time is pauses that the service asks for."""
MOST_RUNS = 50
GROWTH = 16.0
"""MiB by which the memory may have grown from the first quarter to the last: the allocator's arenas come and go."""
SHORTEST_TO_JUDGE_MEMORY = 60
ROOT = Path(__file__).parent.parent.parent


@contextmanager
def failing_service() -> Iterator[tuple[str, str]]:
    command = [sys.executable, "-m", "tests.endurance.failing_service", str(SESSIONS)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url, api_key = process.stdout.readline().split()
        try:
            yield url, api_key
        finally:
            process.stdin.close()
            process.wait(limits.SECONDS)


def ask(url: str, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(url + path) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def memory() -> float:
    """Return this process's resident MiB: now, where the system tells, or else the most so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * resource.getpagesize() / 2**20


async def sample_memory(samples: list[float]) -> None:
    while True:
        samples.append(memory())
        await asyncio.sleep(max(0.05, SECONDS / 400))


async def run_to_the_end(client: FullStoryClient, folder: Path, ids: list[str]) -> list[JobReport]:
    """Run a job until nothing is left, as a person would: again and again, also what failed for good."""
    reports: list[JobReport] = []
    async with Job.open(folder, client=client, plan=JobPlan(events=True, summary="support")) as job:
        await job.add(ids)
        while not reports or job.counts.answered < 2 * len(ids):
            assert len(reports) < MOST_RUNS, reports
            reports.append(await job.run(retry_failed=True))
            assert reports[-1].reason in (StopReason.FINISHED, StopReason.NETWORK_DOWN), reports[-1]
    return reports


@pytest.mark.timeout(SECONDS * 2 + limits.A_TEST)
async def test_a_long_job_with_a_service_that_often_fails(tmp_path: Path) -> None:
    samples: list[float] = []
    started = time.monotonic()
    sampling = asyncio.create_task(sample_memory(samples))
    with failing_service() as (url, api_key):
        ids = ask(url, "/_sandbox/sessions")["session_ids"]
        config = ClientConfig(api_key=api_key, base_url=url, rate_limit=LIMIT)
        async with FullStoryClient(config=config) as client:
            reports = await run_to_the_end(client, tmp_path / "soak.job", ids)
            stats = client.stats
        service = ask(url, "/_sandbox/stats")
    sampling.cancel()
    await asyncio.wait([sampling])

    reader, found = JobReader(tmp_path / "soak.job"), Counter[str]()
    for record in reader.records():
        found[record.session_id] += 1
        assert sorted(record.bodies) == ["events", "summary"]
        assert not record.failures
    assert found == Counter(ids)  # none lost, none twice
    spent, charged = reader.status().spent, service["activations"]
    assert 2 * len(ids) <= charged <= spent

    quarter = len(samples) // 4
    early, late = statistics.median(samples[:quarter]), statistics.median(samples[-quarter:])
    failed = sum((report.failed for report in reports), Counter())
    print(  # noqa: T201
        f"{time.monotonic() - started:.0f} s, {len(ids)} ids in {len(reports)} runs, {service['requests']} requests, {stats.throttled} "
        f"times throttled, failed: {dict(failed)}; {charged} charged, {spent} counted; {early:.0f} → {late:.0f} MiB"
    )
    assert sum(failed.values()) + stats.retries > 0
    if SECONDS >= SHORTEST_TO_JUDGE_MEMORY:
        assert late - early <= GROWTH
