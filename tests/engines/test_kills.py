"""Engines whose workers are killed: every session is there once, and nothing is bought that was not counted."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import dataset

from fullstory_async import ClientConfig, FullStoryClient, RateLimit
from fullstory_async.cluster.engine_worker import EVENTS
from fullstory_async.sandbox import Sandbox
from fullstory_async.tables.arrow import column_batch
from fullstory_async.testing import running_sandbox
from tests.cluster.postgres_servers import Server, new_name
from tests.engines.processes import busy_workers, end, program
from tests.engines.programs import CONCURRENCY, ENGINES, THREADS
from tests.engines.stores import ENVIRONMENT, status_of
from tests.limits import SECONDS

SESSIONS = 400
KILLS_AT = (60, 200)
"""Numbers of requests after which a worker is killed."""


def run_and_kill(
    process: subprocess.Popen[bytes], sandbox: Sandbox, kills: tuple[int, ...], log: Path
) -> None:
    """Wait for the end of a program; meanwhile kill one of its busy workers after each number of requests."""
    port = int(sandbox.url.rpartition(":")[2])
    for requests in kills:
        while sandbox.stats()["requests"] < requests or not (busy := busy_workers(process.pid, port)):
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        end(busy[0])
    assert process.wait(SECONDS) == 0, log.read_text()


async def expected(config: ClientConfig, ids: list[str]) -> pa.Table:
    """Return the table of all events, fetched without an engine."""
    rows: list[tuple[object, ...]] = []
    async with FullStoryClient(config=config) as client, client.sessions.events_many(ids) as results:
        async for outcome in results:
            rows += [(*row, None) for row in outcome.unwrap().to_rows()[1]]
    return sorted_rows(pa.Table.from_batches([column_batch(EVENTS, [list(zip(*rows, strict=True))])]))


def sorted_rows(table: pa.Table) -> pa.Table:
    return table.sort_by([("full_session_id", "ascending"), ("seq", "ascending")])


@pytest.mark.parametrize("engine", ENGINES)
def test_no_session_is_lost_or_twice_when_workers_are_killed(
    engine: str, server: Server, tmp_path: Path
) -> None:
    kills = KILLS_AT if engine != "dask_bag" else ()  # its processes have nobody who would start them again
    schema, folder, log = new_name(engine), tmp_path / "events", tmp_path / "log"
    dsn = f"host={server.folder} port={server.port} user=postgres dbname=postgres"
    with running_sandbox(sessions=SESSIONS, mean_events=20, latency=0.05) as sandbox:
        ids = [str(each) for each in sandbox.session_ids]
        (tmp_path / "ids.txt").write_text("\n".join(ids))
        environment = {
            **os.environ, **ENVIRONMENT, "HOME": str(tmp_path), "TMPDIR": str(tmp_path),
            "FULLSTORY_API_KEY": sandbox.api_key, "FULLSTORY_BASE_URL": sandbox.url,
            "FULLSTORY_RATE_LIMIT": "60/10",
        }  # fmt: skip
        arguments = (
            "-m",
            "tests.engines.programs",
            engine,
            str(tmp_path / "ids.txt"),
            dsn,
            schema,
            str(folder),
        )
        with program(*arguments, environment=environment, log=log) as process:
            run_and_kill(process, sandbox, kills, log)
        charged = sandbox.stats()["activations"]
        limit = RateLimit(1000, 1000)
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=limit)
        status = asyncio.run(status_of(dsn, config, schema))
        table = asyncio.run(expected(config, ids))
    got = sorted_rows(dataset.dataset(folder, format="parquet").to_table().select(table.column_names))
    assert got.cast(table.schema).equals(table)
    assert (status.sessions, status.done) == (SESSIONS, SESSIONS)
    assert SESSIONS <= charged <= status.spent <= SESSIONS + len(kills) * CONCURRENCY * THREADS.get(engine, 1)
