"""Dask: sessions' events as a bag or as a DataFrame, each session paid for once.

::

    bag = dask_events(dask.bag.read_text("ids.txt").map(str.strip), StoreOptions("host=db"))
    frame = dask_events(dask.dataframe.read_parquet("ids.parquet"), StoreOptions("host=db"))

The workers need this package, and the API key in their environment. Each has one client, whatever its number
of threads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from fullstory_async.cluster.engine_options import StoreOptions
from fullstory_async.cluster.engine_worker import arrow_table, events_schema, worker_of_process

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from dask.bag import Bag  # pyright: ignore[reportMissingImports]
    from dask.dataframe import DataFrame  # pyright: ignore[reportMissingImports]

__all__ = ["dask_events"]

Collection = TypeVar("Collection", "Bag", "DataFrame")


def dask_events(ids: Collection, options: StoreOptions) -> Collection:
    """Return the events of sessions, with the columns of an export.

    Args:
        ids: a bag of ids or rows, whose result is a bag of dicts; or a DataFrame, whose result is one too.
            The column of ids is found as in files of ids. A session that is named twice is there twice.
        options: how the workers open the store.
    """
    if hasattr(ids, "columns"):
        return ids.map_partitions(_frame_of, options, meta=_as_frame(events_schema().empty_table()))
    return ids.map_partitions(_rows_of, options)


def _rows_of(ids: Iterable[Any], options: StoreOptions) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = arrow_table(worker_of_process(options), ids).to_pylist()
    return rows


def _frame_of(ids: pd.DataFrame, options: StoreOptions) -> pd.DataFrame:
    return _as_frame(arrow_table(worker_of_process(options), ids.to_dict("records")))


def _as_frame(table: pa.Table) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415

    # Arrow's own types: Dask can't write a column of lists of which it sees only objects
    return table.to_pandas(types_mapper=pd.ArrowDtype)
