"""Row 46: a job's file that is not what was written."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from fullstory_async import JobError
from fullstory_async.jobs import JobPlan, JobReader
from tests.faults.calls import EVERYTHING
from tests.jobs.test_job import opened, run_once


@pytest.mark.row(46)
async def test_row_46_nothing_wrong_is_ever_read(tmp_path: Path) -> None:
    async with opened(sessions=12) as (sandbox, client):
        await run_once(tmp_path / "j", client, JobPlan(events=True), sandbox.session_ids)
    path = tmp_path / "j" / "job.sqlite3"
    whole, right = path.read_bytes(), found(tmp_path)
    assert len(right) == 12
    rng, survivors = random.Random(46), 0
    places = range(0, len(whole), len(whole) // (400 if EVERYTHING else 25))
    for place in places:
        path.write_bytes(whole[:place])
        survivors += len(found(tmp_path, right))
    for _ in places:
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        survivors += len(found(tmp_path, right))
    assert survivors > len(places) * 6  # about half of what was damaged is all there
    path.write_bytes(whole)
    assert found(tmp_path) == right


Kept = dict[str, dict[str, bytes]]


def found(folder: Path, right: Kept | None = None) -> Kept:
    """Return what can be read of a job: answers as they came, or an error of ours."""
    try:
        records = {record.session_id: record.bodies for record in JobReader(folder / "j").records()}
    except JobError:
        return {}
    kept = {session_id: bodies for session_id, bodies in records.items() if bodies}
    if right is not None:
        assert {each: bodies for each, bodies in kept.items() if right.get(each) != bodies} == {}
    return kept
