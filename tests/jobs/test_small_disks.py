"""Responses in flight on a disk that becomes full: all of them have room, whatever their size and number."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fullstory_async import FullStoryClient
from fullstory_async.http.call import Attempt
from fullstory_async.jobs import Job, JobPlan, JobReader, run_state
from fullstory_async.jobs.byte_budget import MAX_BYTES, ByteBudget, OpenCall, SizeEstimate
from fullstory_async.jobs.report import JobProgress
from fullstory_async.messages import Request, Response
from tests.jobs.test_job import opened, run_once

EVENTS = JobPlan(events=True)
MB = 1_000_000


class LargeResponses:
    """A transport whose events are as large as a test wants them; other requests go on to the real one."""

    slots: asyncio.Semaphore | None = None

    def __init__(self, client: FullStoryClient, *sizes: int) -> None:
        pipeline = client.api.pipeline
        self._real = pipeline._transport
        pipeline._transport = self
        text = base64.b64encode(os.urandom(max(sizes)))  # hardly compressible
        bodies = {size: b'{"events": [{"event_type": "%s"}]}' % text[:size] for size in set(sizes)}
        self._bodies = [bodies[size] for size in sizes]
        self.sent = self.in_flight = self.most_bytes = 0

    def check(self) -> object:
        return self._real.check()

    async def send(
        self, request: Request, deadline: float, attempt: Attempt, *, streamed: bool = False
    ) -> Response:
        if not request.metered:
            return await self._real.send(request, deadline, attempt, streamed=streamed)
        body = self._bodies[self.sent % len(self._bodies)]
        self.sent += 1
        self.in_flight += len(body)
        self.most_bytes = max(self.most_bytes, self.in_flight)
        await asyncio.sleep(0.002)
        self.in_flight -= len(body)
        return Response(status=200, headers={"content-type": "application/json"}, body=body, elapsed=0.0)


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of some megabytes, as root can mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={request.param}m", "none", str(folder)]
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("run it as root on Linux, where a small tmpfs can be mounted")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.row(104)
@pytest.mark.parametrize(
    ("disk", "concurrency", "sizes"),
    [
        (40, 32, (4 * MB,)),
        (22, 128, (3 * MB // 10,)),
        (40, 64, (20_000, 20_000, 20_000, 2 * MB)),
        (40, 64, (MB,)),  # the log of the earlier ones is not copied into the file in their room
        (50, 8, (20 * MB,)),  # the first response alone says how large they are
        (60, 32, (*(200_000,) * 150, *(2 * MB,) * 50)),  # suddenly ten times as large
    ],
    indirect=["disk"],
)
async def test_a_disk_that_becomes_full_has_room_for_all_responses_in_flight(
    disk: Path, concurrency: int, sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_state, "STORAGE_PATIENCE", 0.1)
    async with opened(sessions=1) as (_, client):
        served = LargeResponses(client, *sizes)
        report = await run_once(
            disk / "j", client, EVENTS, [f"1:{n}" for n in range(500)], concurrency=concurrency
        )
    assert (report.reason, report.dropped) == ("storage failed", 0)
    assert "full" in report.detail
    assert report.done == report.spent == served.sent >= 1
    assert JobReader(disk / "j").status().done == served.sent


@pytest.mark.row(112)
@pytest.mark.parametrize("disk", [40], indirect=True)
async def test_jobs_on_one_disk_leave_each_other_their_spare_room(disk: Path) -> None:
    """Room that one of them gives back is not taken for further calls of another."""

    async def run(name: str) -> tuple[int, int, int]:
        async with opened(sessions=1) as (_, client):
            served = LargeResponses(client, 300_000)
            ids = [f"1:{n}" for n in range(300)]
            report = await run_once(disk / name, client, EVENTS, ids, concurrency=32)
            assert (report.reason, report.dropped) == ("storage failed", 0)
            return served.sent, report.done, report.spent

    for sent, done, spent in await asyncio.gather(*(run(f"j{n}") for n in range(3))):
        assert sent == done == spent


@pytest.mark.row(112)
@pytest.mark.parametrize("disk", [20], indirect=True)
async def test_a_disk_that_another_program_fills_is_full_before_the_spare_room_is_needed(disk: Path) -> None:
    async with opened(sessions=40) as (sandbox, client):
        async with Job.open(disk / "j", client=client, plan=EVENTS) as job:
            await job.add(sandbox.session_ids)

            def fill(now: JobProgress) -> None:
                if now.done >= 5 and not (disk / "other").exists():
                    rest = shutil.disk_usage(disk).free - 64 * 1024
                    (disk / "other").write_bytes(bytes(rest))

            report = await job.run(concurrency=4, progress=fill)
        assert (report.reason, report.done, report.spent) == (
            "storage failed",
            sandbox.activations,
            report.done,
        )
        assert "full" in report.detail
        assert report.done < 15
        assert (disk / "j" / "spare-room").stat().st_size > 0
        (disk / "other").unlink()
        async with Job.open(disk / "j", client=client) as job:
            report = await job.run()
        assert (report.reason, sandbox.activations) == ("finished", 40)


async def test_large_responses_leave_the_memory_flat(tmp_path: Path) -> None:
    async with opened(sessions=1) as (_, client):
        served = LargeResponses(client, 9 * MB)
        report = await run_once(tmp_path / "j", client, EVENTS, [f"1:{n}" for n in range(10)], concurrency=16)
    assert (report.reason, report.done) == ("finished", 10)
    assert 2 * 9 * MB < served.most_bytes < MAX_BYTES
    assert (tmp_path / "j" / "spare-room").stat().st_size == 8 * 1024 * 1024  # given back at the end


def test_the_sizes_are_learnt_from_the_responses() -> None:
    known = SizeEstimate()
    for _ in range(50):
        known.record(20_000)
    assert known.expected(32) == pytest.approx(640_000)
    for _ in range(200):
        known.record(400_000)
    assert known.expected(10) == pytest.approx(4_000_000, rel=0.3)
    mixed = SizeEstimate()
    for number in range(500):
        mixed.record(19 * MB if number % 100 == 0 else 20_000)
    # a large one among a hundred needs room, but doesn't bring the others to a halt
    assert 19 * MB < mixed.expected(32) < MAX_BYTES


def test_small_responses_soon_use_every_worker() -> None:
    budget, room, turns = ByteBudget(), 8 * 1024 * 1024, []
    for _ in range(5):
        places: list[OpenCall] = []
        while len(places) < 128 and budget.allows(room):
            places.append(budget.open())
        turns.append(len(places))
        for place in places:
            place.received(20_000)
            place.close()
    assert turns == [4, 20, 100, 128, 128]
    assert budget.is_idle
