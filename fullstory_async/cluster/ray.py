"""Ray: sessions' events as a ``ray.data`` dataset, each session paid for once.

::

    ids = ray.data.read_parquet("ids.parquet")
    events = ray_events(ids, StoreOptions("host=db"), actors=4)

The nodes need this package, and the API key in their environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fullstory_async.cluster.engine_options import StoreOptions
from fullstory_async.cluster.engine_worker import EngineWorker, arrow_table

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data import Dataset  # pyright: ignore[reportMissingImports]

__all__ = ["ray_events"]


class _Events:
    """An actor: one process, and one client for all of its batches."""

    def __init__(self, options: StoreOptions) -> None:
        self._worker = EngineWorker(options)

    def __call__(self, batch: pa.Table) -> pa.Table:
        return arrow_table(self._worker, batch.to_pylist())


def ray_events(
    dataset: Dataset,
    options: StoreOptions,
    *,
    actors: int = 2,
    batch_size: int = 200,
    num_cpus: float = 0.5,
    **settings: Any,
) -> Dataset:
    """Return the events of the sessions that the rows of a dataset name, with the columns of an export.

    The column of ids is found as in files of ids. A session that two rows name is in the result twice. Ray
    restarts an actor that dies, and gives its batch to another one.

    Args:
        dataset: rows with ids of sessions.
        options: how the actors open the store.
        actors: number of processes, each with a client.
        batch_size: ids of a batch, which is fetched and delivered as a whole.
        num_cpus: what an actor takes of the cluster's CPUs. If the actors take all, nothing reads the ids.
        settings: further ones of ``Dataset.map_batches``.
    """
    # takes seconds to import
    from ray.data import ActorPoolStrategy  # noqa: PLC0415  # pyright: ignore[reportMissingImports]

    return dataset.map_batches(
        _Events, fn_constructor_args=(options,), compute=ActorPoolStrategy(size=actors),
        batch_size=batch_size, batch_format="pyarrow", zero_copy_batch=True, num_cpus=num_cpus, **settings,
    )  # fmt: skip
