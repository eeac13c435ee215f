"""What the tests of engines ask the store, and the environment that keeps engines small and local."""

from __future__ import annotations

import sys

from fullstory_async import ClientConfig
from fullstory_async.cluster import PostgresStore, StoreStatus

ENVIRONMENT = {
    "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1",
    # a task may fail 7 times: with the one time of local[2], kills would end the job
    "PYSPARK_SUBMIT_ARGS": "--master local[2,8] --driver-memory 1g --conf spark.ui.enabled=false "
    "--conf spark.driver.bindAddress=127.0.0.1 --conf spark.ui.showConsoleProgress=false pyspark-shell",
    "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled",
    "RAY_DEFAULT_OBJECT_STORE_MEMORY_PROPORTION": "0.02",
    # on Linux too, Ray listens on the loopback interface only if it is told that there is no cluster
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "DAFT_ANALYTICS_ENABLED": "0", "DO_NOT_TRACK": "true", "RUNTIME__DLTHUB_TELEMETRY": "false",
}  # fmt: skip
"""Of programs: no dashboards, no usage statistics, and the loopback interface only."""


async def status_of(dsn: str, config: ClientConfig, schema: str) -> StoreStatus:
    async with PostgresStore(dsn, config, schema=schema) as store:
        return await store.status()
