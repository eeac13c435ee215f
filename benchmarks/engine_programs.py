"""Programs that fetch the events of many sessions through one store, for `benchmarks.engines`.

``python -m benchmarks.engine_programs KIND IDS SCHEMA WORKERS`` prints ``ready`` when its workers run, as far
as they can run without work, and then the number of events.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

from fullstory_async.cluster import StoreOptions
from fullstory_async.cluster.engine_worker import EngineWorker, arrow_batches

__all__ = ["PROGRAMS"]

_SPARK = (
    "spark.ui.enabled=false", "spark.ui.showConsoleProgress=false", "spark.driver.memory=1g",
    "spark.driver.host=127.0.0.1", "spark.driver.bindAddress=127.0.0.1",
)  # fmt: skip


def ready() -> None:
    print("ready", flush=True)


def one(ids: str, schema: str, _: int) -> int:
    worker = EngineWorker(StoreOptions(schema=schema))
    ready()
    events = sum(batch.num_rows for batch in arrow_batches(worker, Path(ids).read_text().split()))
    worker.close()
    return events


def processes(ids: str, schema: str, workers: int) -> int:
    context = multiprocessing.get_context("spawn")
    lines, barrier, counted = Path(ids).read_text().split(), context.Barrier(workers + 1), context.Queue()
    running = [
        context.Process(target=_work, args=(lines[n::workers], schema, barrier, counted))
        for n in range(workers)
    ]
    for process in running:
        process.start()
    barrier.wait()
    ready()
    events = sum(counted.get() for _ in running)
    for process in running:
        process.join()
    return events


def _work(ids: Sequence[str], schema: str, barrier: Barrier, counted: multiprocessing.Queue[int]) -> None:
    worker = EngineWorker(StoreOptions(schema=schema))
    barrier.wait()
    counted.put(sum(batch.num_rows for batch in arrow_batches(worker, ids)))
    worker.close()


def procrastinate(ids: str, schema: str, workers: int) -> int:
    """Run the workers of the command line; they keep the responses and make no tables of them."""
    command = [sys.executable, "-m", "fullstory_async", "cluster"]
    options = ["--pg-schema", schema, "--quiet"]
    subprocess.run([*command, "init", *options], check=True)
    subprocess.run([*command, "add", "--ids", ids, "--yes", *options], check=True, stdout=subprocess.DEVNULL)
    ready()
    work = [*command, "work", "--until-done", "--rate", "1000000", *options]
    running = [subprocess.Popen(work) for _ in range(workers)]
    codes = [process.wait() for process in running]
    assert not any(codes), codes
    return 0


def dask(ids: str, schema: str, workers: int) -> int:
    from dask import bag, dataframe  # noqa: F401, PLC0415
    from distributed import Client, LocalCluster  # noqa: PLC0415

    from fullstory_async.cluster.dask import dask_events  # noqa: PLC0415

    with (
        tempfile.TemporaryDirectory() as scratch,
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, host="127.0.0.1",
            local_directory=scratch,
        ) as cluster,
        Client(cluster),
    ):  # fmt: skip
        ready()
        import pandas as pd  # noqa: PLC0415

        frame = pd.DataFrame({"full_session_id": Path(ids).read_text().split()})
        found = dask_events(
            dataframe.from_pandas(frame, npartitions=4 * workers), StoreOptions(schema=schema)
        )
        return int(found.map_partitions(len).compute().sum())


def ray(ids: str, schema: str, workers: int) -> int:
    import ray  # noqa: PLC0415

    from fullstory_async.cluster.ray import ray_events  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as scratch:
        ray.init(
            num_cpus=workers, include_dashboard=False, object_store_memory=200 * 2**20, _temp_dir=scratch
        )
        ready()
        rows = [{"full_session_id": line} for line in Path(ids).read_text().split()]
        events = ray_events(ray.data.from_items(rows), StoreOptions(schema=schema), actors=workers).count()
        ray.shutdown()
    return int(events)


def spark(ids: str, schema: str, workers: int) -> int:
    from pyspark.sql import SparkSession  # noqa: PLC0415

    from fullstory_async.cluster.spark import register  # noqa: PLC0415

    builder = SparkSession.builder.master(f"local[{workers}]")
    session = builder.config(map=dict(each.split("=") for each in _SPARK)).getOrCreate()
    register(session)
    ready()
    source = session.read.format("fullstory").option("ids", ids).option("schema", schema)
    events = source.option("ids_per_task", 200).load().count()
    session.stop()
    return int(events)


PROGRAMS: dict[str, Callable[[str, str, int], int]] = {
    "one process": one, "processes": processes, "procrastinate": procrastinate, "Dask": dask, "Ray": ray,
    "Spark": spark,
}  # fmt: skip

if __name__ == "__main__":
    os.environ["PYSPARK_PYTHON"] = sys.executable
    print(PROGRAMS[sys.argv[1]](sys.argv[2], sys.argv[3], int(sys.argv[4])), flush=True)
