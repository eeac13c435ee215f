"""Exports: CPU time and peak memory of each format, relative to parsing the same job's JSON Lines.

Each measurement runs in its own process, whose imports are not counted. A job is written without a network;
its responses are the mix of sessions that `bulk` fetches.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.bodies import MIX, body_of, mixed_bodies
from benchmarks.fanout import NoNetwork
from benchmarks.report import Section, peak_memory, table
from benchmarks.server import with_ids
from fullstory_async import FullStoryClient, RateLimit, RateLimiter, RetryPolicy, SessionEvents
from fullstory_async.api import ApiContext
from fullstory_async.http.call import Attempt
from fullstory_async.http.pipeline import Pipeline
from fullstory_async.jobs import Job, JobPlan
from fullstory_async.messages import Request, Response

__all__ = ["exports"]

LIMITS = {"parquet": 4.05, "jsonl": 1.5, "csv": 3.0, "duckdb": 3.0, "sqlite": 3.0}
"""Format → the promised CPU time, as a multiple of orjson's for the same job.

That of Parquet is a quarter of the 16.2 that it took when its events were parsed.
"""
ROUNDS = 3
SESSIONS = 2_000
LARGE = 5_000
"""Sessions with a million events in total."""
LARGE_EVENTS = 200
TABLE_EVENTS = 20_000
UNLIMITED = RateLimit(1e6, 1e6)


class Prepared(NoNetwork):
    """A transport that responds at once, with prepared events under the ids of the request."""

    def __init__(self, bodies: list[bytes]) -> None:
        self.bodies = bodies

    async def send(
        self, request: Request, deadline: float, attempt: Attempt, *, streamed: bool = False
    ) -> Response:
        """Respond in the event loop's next iteration."""
        response = await super().send(request, deadline, attempt, streamed=streamed)
        if request.session_id is None:
            return response
        device, session = request.session_id.encode().split(b":")
        body = self.bodies[int(session) % len(self.bodies)]
        return Response(status=200, body=with_ids(device, session, body))


async def write_job(folder: Path, count: int, bodies: list[bytes]) -> None:
    """Write a finished job of ``count`` sessions."""
    client = FullStoryClient("na1.benchmark")
    pipeline = Pipeline(Prepared(bodies), RateLimiter(UNLIMITED), RetryPolicy(), timeout=600)
    client.api, client.limiter = ApiContext(pipeline), RateLimiter(UNLIMITED)
    async with Job.open(folder, client=client, plan=JobPlan(events=True)) as job:
        await job.add(f"1:{n}" for n in range(count))
        report = await job.run(concurrency=32)
        assert report.done == count


def export(folder: str, target: str) -> None:
    """Export a job with the command line, whose interface is stable."""
    from fullstory_async.cli import main as run_command  # noqa: PLC0415  (an extra)

    try:
        run_command(["job", "export", folder, target])
    except SystemExit as ended:
        assert not ended.code, ended.code  # noqa: PT017


def parse_lines(lines: str) -> None:
    """Parse each line with orjson: what every ratio is relative to."""
    import orjson  # noqa: PLC0415

    with Path(lines).open("rb") as file:
        for line in file:
            orjson.loads(line)


def convert_lines(lines: str, target: str) -> None:
    """Convert JSON Lines to Parquet with DuckDB alone."""
    import duckdb  # noqa: PLC0415

    duckdb.read_json(lines).write_parquet(target)


def compare_tables(rounds: str) -> list[float]:
    """Return the CPU of `to_arrow` relative to orjson and to json_normalize; nothing without it."""
    import orjson  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    body = body_of(TABLE_EVENTS)
    to_arrow = getattr(SessionEvents.from_json(body), "to_arrow", None)
    if to_arrow is None:
        return []
    to_arrow()
    found = []
    for _ in range(int(rounds)):
        events = SessionEvents.from_json(body)  # nothing of it has been read
        arrow = cpu_of(lambda given=events: given.to_arrow())
        dicts = cpu_of(lambda: orjson.loads(body))
        rows = orjson.loads(body)["events"]
        found.append((arrow / dicts, arrow / cpu_of(lambda given=rows: pd.json_normalize(given))))
    return [statistics.median(each) for each in zip(*found, strict=True)]


def cpu_of(work: Callable[[], object]) -> float:
    """Return the seconds of CPU that some work takes, its result's end included."""
    started = time.process_time()
    work()
    return time.process_time() - started


MEASURED: Mapping[str, Callable[..., object]] = {
    "command": export, "export": export, "parse": parse_lines, "convert": convert_lines,
    "tables": compare_tables,
}  # fmt: skip


def in_a_process(order: str, *arguments: object) -> tuple[float, float, list[float]]:
    """Run one of `MEASURED` in its own process; return its CPU seconds, its peak memory and its result."""
    command = [sys.executable, "-m", "benchmarks.exports", order, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{order} {arguments}: {done.stderr[-2000:]}")
    cpu, memory, result = json.loads(done.stdout.splitlines()[-1])
    return cpu, memory, result


def exports(quick: bool) -> Section:
    """Measure the exports of a job, their memory at a million events, and tables in memory."""
    section = Section("Exports")
    count, rounds = (50, 1) if quick else (SESSIONS, ROUNDS)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        asyncio.run(write_job(place / "job", count, mixed_bodies()[:MIX]))
        measure_formats(section, place, rounds)
    with tempfile.TemporaryDirectory() as name:
        measure_memory(section, Path(name), 50 if quick else LARGE)
    _, _, tables = in_a_process("tables", rounds)
    if tables:
        dicts, normalized = tables
        section.promise(f"CPU, to_arrow, {TABLE_EVENTS} events, × orjson to dicts", dicts, 1.0)
        section.promise(f"CPU, to_arrow, {TABLE_EVENTS} events, × pandas.json_normalize", normalized, 0.15)
    return section


def measure_formats(section: Section, place: Path, rounds: int) -> None:
    """Measure the CPU time of each format, in turns with parsing the same job's JSON Lines."""
    lines, out = place / "baseline.jsonl", place / "out"
    in_a_process("export", place / "job", lines)
    with lines.open("rb") as file:
        events = sum(1 for _ in file)
    ratios: dict[str, list[float]] = {suffix: [] for suffix in LIMITS}
    per_event: dict[str, list[float]] = {suffix: [] for suffix in LIMITS}
    to_duckdb = []
    for _ in range(rounds):
        for suffix in LIMITS:
            parsed, _, _ = in_a_process("parse", lines)
            # a new file each time: to replace the last one frees its memory, which takes time too
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            cpu, _, _ = in_a_process("export", place / "job", out / f"out.{suffix}")
            ratios[suffix].append(cpu / parsed)
            per_event[suffix].append(cpu / events * 1e6)
            if suffix == "parquet":
                to_duckdb.append(cpu / in_a_process("convert", lines, place / "duckdb.parquet")[0])
    section.say(
        f"A job with {events:,} events. `× orjson` is relative to `orjson.loads` of each line of the same "
        "job's JSON Lines, which writes nothing. CPU time of all threads; imports are not counted."
    )
    rows = [
        (suffix, f"{statistics.median(per_event[suffix]):.1f}", f"{statistics.median(each):.2f}")
        for suffix, each in ratios.items()
    ]
    section.say(table(("format", "µs per event", "× orjson"), rows))
    for suffix, limit in LIMITS.items():
        section.promise(f"CPU, export to {suffix}, × orjson", statistics.median(ratios[suffix]), limit)
    section.promise("CPU, export to parquet, × DuckDB's read_json", statistics.median(to_duckdb), 0.5)


def measure_memory(section: Section, place: Path, sessions: int) -> None:
    """Measure the peak memory of each format for a large job, in the command's own process."""
    asyncio.run(write_job(place / "job", sessions, [body_of(LARGE_EVENTS)]))
    for suffix in LIMITS:
        target = place / f"out.{suffix}"
        _, memory, _ = in_a_process("command", place / "job", target)
        target.unlink(missing_ok=True)
        what = f"memory of an export of {sessions * LARGE_EVENTS:,} events to {suffix}"
        section.promise(what, memory / 2**20, 250, unit=" MiB")


def main(order: str, *arguments: str) -> tuple[float, float, object]:
    if order != "command":  # which imports what it needs, as it does for its users
        import_programs()
    started = time.process_time()
    result = MEASURED[order](*arguments)
    return time.process_time() - started, peak_memory(), result


def import_programs() -> None:
    """Import what an export imports when it runs, so that it is not counted."""
    import duckdb  # noqa: F401, PLC0415
    import pandas as pd  # noqa: F401, PLC0415  (pyarrow imports it with the first list that it converts)
    import pyarrow.parquet  # noqa: F401, PLC0415

    import fullstory_async.cli.app  # noqa: PLC0415
    import fullstory_async.cli.commands.jobs  # noqa: F401, PLC0415


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
