"""Programs of users, one for each engine: ``python -m tests.engines.programs ENGINE IDS DSN SCHEMA FOLDER``.

Each starts its engine on this machine, asks for the events of the ids in a file, and writes them as Parquet.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fullstory_async.cluster.engine_options import StoreOptions

CONCURRENCY = 8
"""Calls at a time of each task."""
THREADS = {"dask": 2}
"""Tasks that one process runs at a time, where it is not one."""


def options(dsn: str, schema: str) -> StoreOptions:
    return StoreOptions(dsn, schema=schema, max_activations=1000, concurrency=CONCURRENCY)


def spark_session() -> Any:
    from pyspark.sql import SparkSession  # pyright: ignore[reportMissingImports]

    settings = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    }
    return SparkSession.builder.config(map=settings).getOrCreate()


def spark(ids: str, dsn: str, schema: str, folder: str) -> None:
    from fullstory_async.cluster.spark import register

    session = spark_session()
    register(session)
    source = session.read.format("fullstory").option("ids", ids).option("ids_per_task", 50)
    source = source.option("dsn", dsn).option("schema", schema).option("max_activations", 1000)
    source.option("concurrency", CONCURRENCY).load().write.parquet(folder)
    session.stop()


def spark_table(ids: str, dsn: str, schema: str, folder: str) -> None:
    from fullstory_async.cluster.spark import spark_events

    session = spark_session()
    rows = [(line,) for line in Path(ids).read_text().split()]
    session.createDataFrame(rows, ["full_session_id"]).repartition(8).createOrReplaceTempView("ids")
    spark_events(session.table("ids"), options(dsn, schema)).write.parquet(folder)
    session.stop()


def ray(ids: str, dsn: str, schema: str, folder: str) -> None:
    import ray  # pyright: ignore[reportMissingImports]

    from fullstory_async.cluster.ray import ray_events

    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as scratch:  # as in test_recipes.py
        ray.init(num_cpus=2, include_dashboard=False, object_store_memory=200 * 2**20, _temp_dir=scratch)
        rows = [{"full_session_id": line} for line in Path(ids).read_text().split()]
        dataset = ray.data.from_items(rows, override_num_blocks=8)
        events = ray_events(dataset, options(dsn, schema), actors=2, batch_size=50)
        events.write_parquet(folder)
        ray.shutdown()


def dask(ids: str, dsn: str, schema: str, folder: str) -> None:
    import pandas as pd
    from dask import dataframe  # pyright: ignore[reportMissingImports]
    from distributed import Client, LocalCluster  # pyright: ignore[reportMissingImports]

    from fullstory_async.cluster.dask import dask_events

    with (
        tempfile.TemporaryDirectory() as scratch,
        LocalCluster(
            n_workers=2,
            threads_per_worker=THREADS["dask"],
            dashboard_address=None,
            host="127.0.0.1",
            local_directory=scratch,
        ) as cluster,
        Client(cluster),
    ):
        rows = pd.DataFrame({"full_session_id": Path(ids).read_text().split()})
        frame = dataframe.from_pandas(rows, npartitions=8)
        dask_events(frame, options(dsn, schema)).to_parquet(folder)


def dask_bag(ids: str, dsn: str, schema: str, folder: str) -> None:
    import dask  # pyright: ignore[reportMissingImports]
    import pyarrow as pa
    from dask import bag  # pyright: ignore[reportMissingImports]
    from pyarrow import parquet

    from fullstory_async.cluster.dask import dask_events

    lines = bag.read_text(ids).map(str.strip).repartition(4)
    # processes without a scheduler of their own, which is what bags use by themselves
    with dask.config.set(scheduler="processes", num_workers=2):
        rows = dask_events(lines, options(dsn, schema)).compute()
    Path(folder).mkdir()
    parquet.write_table(pa.Table.from_pylist(rows), f"{folder}/events.parquet")


ENGINES: dict[str, Callable[[str, str, str, str], None]] = {
    "spark": spark, "spark_table": spark_table, "ray": ray, "dask": dask, "dask_bag": dask_bag,
}  # fmt: skip

if __name__ == "__main__":
    ENGINES[sys.argv[1]](*sys.argv[2:])
