"""An export in Parquet is the same table for pyarrow, pandas, polars and DuckDB."""

from __future__ import annotations

import asyncio
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq

from fullstory_async import ClientConfig, FullStoryClient, RateLimit
from fullstory_async.jobs import Job, JobPlan, JobReader
from fullstory_async.jobs.export import export
from fullstory_async.sandbox import Sandbox


def test_each_program_counts_the_same_events_of_each_type(tmp_path: Path) -> None:
    async def fetch() -> None:
        async with Sandbox(users=2, sessions=6, mean_events=20) as sandbox:
            config = ClientConfig(
                api_key=sandbox.api_key, base_url=sandbox.url, rate_limit=RateLimit(1000, 1000)
            )
            async with (
                FullStoryClient(config=config) as client,
                Job.open(tmp_path / "a.job", client=client, plan=JobPlan(events=True)) as job,
            ):
                await job.add(sandbox.session_ids)
                await job.run()

    asyncio.run(fetch())
    export(JobReader(tmp_path / "a.job"), path := tmp_path / "a.parquet")
    by_pyarrow = {
        row["values"]: row["counts"] for row in pq.read_table(path)["event_type"].value_counts().to_pylist()
    }
    by_pandas = pd.read_parquet(path)["event_type"].value_counts().to_dict()
    by_polars = dict(pl.read_parquet(path)["event_type"].value_counts().iter_rows())
    query = f"SELECT event_type, count(*) FROM '{path}' GROUP BY 1"
    by_duckdb = dict(duckdb.connect().execute(query).fetchall())
    assert sum(by_pyarrow.values()) > 50
    assert by_pyarrow == by_pandas == by_polars == by_duckdb
