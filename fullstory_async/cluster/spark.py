"""Spark, from version 4 on: sessions' events as a DataFrame, each session paid for once.

::

    register(spark)
    events = spark.read.format("fullstory").option("ids", "ids.parquet").option("dsn", "host=db").load()
    events = spark_events(spark.table("ids"), StoreOptions("host=db"))

Executors need this package, and the API key in their environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fullstory_async.cluster.engine_options import StoreOptions, ids_of_files
from fullstory_async.cluster.engine_worker import EVENTS, arrow_batches, worker_of_process

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession  # pyright: ignore[reportMissingImports]

__all__ = ["register", "spark_events"]

_TYPES = {
    "integer": "bigint", "number": "double", "boolean": "boolean", "time": "timestamp",
    "texts": "array<string>",
}  # fmt: skip
_SCHEMA = ", ".join(f"{each.name} {_TYPES.get(each.kind, 'string')}" for each in EVENTS)


def register(spark: SparkSession) -> None:
    """Register the data source ``fullstory`` with a Spark session.

    Its options are ``ids``, a path or URL as in `ids_of_files`, those of `StoreOptions` but for ``config``,
    which is read from the environment, and ``ids_per_task``, by default 500.
    """
    from pyspark.sql import datasource  # noqa: PLC0415  # pyright: ignore[reportMissingImports]

    # Classes of a function are sent to Spark's processes as they are, also where pyspark is a zip file.
    class Reader(datasource.DataSourceReader):  # type: ignore[misc]  # a class of a library without types
        def __init__(self, texts: Mapping[str, str]) -> None:
            self.ids, self.size = texts["ids"], int(texts.get("ids_per_task", "500"))
            self.options = StoreOptions.from_texts(texts)

        def partitions(self) -> Sequence[Any]:
            ids = ids_of_files(self.ids)
            return [datasource.InputPartition(ids[n : n + self.size]) for n in range(0, len(ids), self.size)]

        def read(self, partition: Any) -> Iterator[pa.RecordBatch]:
            return arrow_batches(worker_of_process(self.options), partition.value)

    class FullStory(datasource.DataSource):  # type: ignore[misc]  # the same
        name = classmethod(lambda _: "fullstory")

        def schema(self) -> str:
            return _SCHEMA

        def reader(self, schema: Any) -> Reader:  # noqa: ARG002  (there is only one)
            return Reader(dict(self.options))

    spark.dataSource.register(FullStory)


def spark_events(frame: DataFrame, options: StoreOptions) -> DataFrame:
    """Return the events of the sessions that the rows of a DataFrame name, such as those of a table.

    The column of ids is found as in files of ids. A session that two rows name is in the result twice.
    """

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows = (row for batch in batches for row in batch.to_pylist())
        return arrow_batches(worker_of_process(options), rows)

    return frame.mapInArrow(read, _SCHEMA)
