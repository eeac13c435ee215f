"""A job's file, damaged at random: reading or opening it raises `JobError`, or yields only intact items.

An item is read as it was stored, or it is missing and counted as damaged. No response is ever another session's.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fullstory_async import JobError
from fullstory_async.jobs import Job, JobPlan, JobReader
from tests.fuzz.mutations import damage, rounds
from tests.wire.servers import Connection, client_of, http, raw_server

IDS = [f"40621433532028{n:04}:38291430702708{n:04}" for n in range(60)]


Known = dict[int, tuple[str, Mapping[str, bytes], set[str]]]
"""Session id, responses and failed operations of each item, by its number."""


async def make(folder: Path) -> None:
    """Run a job to its end: most calls succeed, some fail."""

    async def handler(connection: Connection) -> None:
        target = connection.head.split(b" ")[1]
        if target == b"/me":
            return await connection.send(http(b'{"orgId":"o"}'))
        number = int(target.split(b"%3A")[1].split(b"/")[0][-4:]) if b"%3A" in target else 0
        if number % 10 == 9:
            return await connection.send(
                http(b'{"code":"gone","message":"no such session"}', "404 Not Found")
            )
        said = b"session %d " % number * (1 + number % 7 * 20)
        body = b'{"summary":"%s"}' if b"/summary" in target else b'{"events":[{"event_type":"%s"}]}'
        return await connection.send(http(body % said))

    async with raw_server(handler) as server, client_of(server.url) as client:
        async with Job.open(folder, client=client, plan=JobPlan(events=True, summary="support")) as job:
            await job.add([{"id": each, "ticket": f"T{each}"} for each in IDS])
            report = await job.run()
            shutil.copytree(folder, folder.with_name("with a log"))
    assert report.reason == "finished"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Known]:
    """Return a job's folders, closed and as a killed process leaves it, and its content."""
    folder = tmp_path_factory.mktemp("fuzz") / "job"
    asyncio.run(make(folder))
    known: Known = {
        record.seq: (record.session_id, record.bodies, set(record.failures))
        for record in JobReader(folder).records()
    }
    assert len(known) == 60
    return [folder, folder.with_name("with a log")], known


async def read(folder: Path, known: Known) -> None:
    """Read everything, and compare it with what was stored."""
    reader = JobReader(folder)
    reader.status()
    found = inputs = wrong = 0
    for record in reader.records():
        session_id, bodies, failed = known[record.seq]
        assert record.session_id == session_id
        inputs += record.input_columns == {"ticket": f"T{session_id}"}
        wrong += record.input_columns not in ({}, {"ticket": f"T{session_id}"})
        assert record.bodies.items() <= bodies.items()
        assert set(record.failures) <= failed
        found += len(record.bodies) + len(record.failures)
    total = sum(len(bodies) + len(failed) for _, bodies, failed in known.values())
    assert (found, inputs) == (total, len(known)) or reader.damaged
    assert not wrong


async def results(folder: Path, known: Known) -> tuple[list[Any], list[Any]]:
    return [result async for result in JobReader(folder).results()], [
        each async for each in JobReader(folder).failures()
    ]


async def resumed(folder: Path, known: Known) -> None:
    async with Job.open(folder) as job:
        assert job.counts.items <= len(known)
        await job.add(["1:2"])
        await job.purge(IDS[3])
        await job.export(folder / "all.jsonl")


@pytest.mark.timeout(0)
def test_a_damaged_file_is_an_error_or_intact(kept: tuple[list[Path], Known], tmp_path: Path) -> None:
    folders, known = kept
    with asyncio.Runner() as runner:
        for number, rng in enumerate(rounds(20)):
            source, copy = rng.choice(folders), tmp_path / str(number)
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("spare-room", "*-shm"))
            name = rng.choice(
                [
                    file.name
                    for file in copy.iterdir()
                    if file.name.startswith("job.sqlite3") and file.stat().st_size
                ]
            )
            content = bytearray((copy / name).read_bytes())
            damage(content, rng)
            (copy / name).write_bytes(content)
            for attempt in (read, results, resumed):
                with contextlib.suppress(JobError):
                    runner.run(attempt(copy, known))
            shutil.rmtree(copy)
