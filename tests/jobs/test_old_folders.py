"""A job folder that an earlier version wrote is read, exported and resumed.

``zstandard_job/`` was written by fullstory_async 0.1 with zstandard 0.25, before backports.zstd replaced that library::

    async with Sandbox(seed=0, users=3, sessions=6, mean_events=8) as sandbox:
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url)
        plan = JobPlan(events=True, summary="support", max_activations=9)
        async with FullStoryClient(config=config) as client, Job.open(folder, client=client, plan=plan) as job:
            await job.add(["9:9", *sandbox.session_ids])
            await job.run(concurrency=1)

The files ``lock`` and ``spare-room`` (8 MiB) of the folder are left out; opening the job makes them again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.export import export
from tests.jobs.test_job import opened

PLAN = JobPlan(events=True, summary="support", max_activations=9)
# session id → number of events, and whether there is a summary
STORED = {
    "9:9": (None, False),
    "8958973128304580203:8921541202387572563": (1, True),
    "8958973128304580203:8457194440966900928": (5, True),
    "8362225145817083711:5233963681361231791": (5, True),
    "3584406934483057474:1352410314807591165": (4, False),
    "8362225145817083711:5287006958866857615": (None, False),
    "3584406934483057474:5592511426961476537": (None, False),
}
# SHA-256 of all the stored responses, in the order of the items, as zstandard itself decompressed them
BODIES = "d44f4406cc4910a2a4ccb0c458e681df1c7c530d1631c9fe68b67e5136e49420"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(Path(__file__).parent / "zstandard_job", tmp_path / "old.job"))


def bodies(folder: Path) -> list[bytes]:
    return [record.bodies[name] for record in JobReader(folder).records() for name in sorted(record.bodies)]


def test_its_responses_are_frames_of_zstd(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "job.sqlite3")) as database:
        stored = [body for (body,) in database.execute("SELECT body FROM answers")]
    assert len(stored) == 7
    assert all(body.startswith(b"\x28\xb5\x2f\xfd") for body in stored)


async def test_it_is_read(folder: Path) -> None:
    assert hashlib.sha256(b"".join(bodies(folder))).hexdigest() == BODIES
    reader = JobReader(folder)
    results = [result async for result in reader.results()]
    found = {
        str(each.session_id): (None if each.events is None else len(each.events), each.summary is not None)
        for each in results
    }
    assert found == STORED
    assert [failure.session_id async for failure in reader.failures()] == ["9:9", "9:9"]
    status = reader.status()
    assert (status.done, status.spent) == (7, 9)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.zst", "csv", "sqlite"])
def test_it_is_exported(folder: Path, tmp_path: Path, suffix: str) -> None:
    written = export(JobReader(folder), tmp_path / f"out.{suffix}")
    assert all(path.stat().st_size for path in written)
    if suffix == "jsonl":
        rows = [json.loads(line) for line in written[0].read_text().splitlines()]
        assert len(rows) == sum(events or 0 for events, _ in STORED.values())


async def test_it_is_resumed_and_its_old_responses_stay(folder: Path) -> None:
    before = bodies(folder)
    async with opened(seed=0, users=3, sessions=6, mean_events=8) as (sandbox, client):
        assert set(sandbox.session_ids) == STORED.keys() - {"9:9"}
        async with Job.open(folder, client=client, plan=PLAN) as job:
            assert (job.counts.answered, job.counts.spent) == (7, 9)
        raised = JobPlan(events=True, summary="support", max_activations=20)
        async with Job.open(folder, client=client, plan=raised) as job:
            report = await job.run()
        assert (report.reason, report.done, report.new_responses) == ("finished", 12, 5)
        assert sandbox.activations == report.newly_spent == 5
    assert set(before) < set(bodies(folder))
    results = [result async for result in JobReader(folder).results()]
    assert all(each.events is not None and each.summary for each in results if str(each.session_id) != "9:9")
