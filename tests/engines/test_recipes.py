"""The programs of docs/cluster.md for engines, as they stand, one after the other on one store.

The page marks them ``py``, so that the tests of its examples in ``python``, which have no engines, pass them over.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa
from pyarrow import dataset, parquet

from fullstory_async import ClientConfig
from fullstory_async.testing import running_sandbox
from tests.cluster.postgres_servers import Server
from tests.engines.processes import program
from tests.engines.stores import ENVIRONMENT, status_of
from tests.examples import ROOT, blocks
from tests.limits import SECONDS

SESSIONS = 150


def test_the_programs_of_the_docs_buy_each_session_once(server: Server, tmp_path: Path) -> None:
    programs = blocks((ROOT / "docs" / "cluster.md").read_text(encoding="utf-8"), "py")
    with (
        running_sandbox(sessions=SESSIONS, mean_events=20) as sandbox,
        # Ray makes sockets in it, whose paths have 107 bytes at most
        tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as scratch,
    ):
        ids = [str(each) for each in sandbox.session_ids]
        (tmp_path / "ids.txt").write_text("\n".join(ids))
        parquet.write_table(pa.table({"full_session_id": ids}), tmp_path / "ids.parquet")
        environment = {
            **os.environ, **ENVIRONMENT, "HOME": str(tmp_path), "RAY_TMPDIR": scratch,
            "FULLSTORY_API_KEY": sandbox.api_key, "FULLSTORY_BASE_URL": sandbox.url, "FULLSTORY_RATE_LIMIT": "200/50",
            "FULLSTORY_CLUSTER_DSN": server.dsn(), "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        for number, text in enumerate(programs):
            (tmp_path / f"program_{number}.py").write_text(text)
            log = tmp_path / f"log_{number}"
            with program(
                f"program_{number}.py", environment=environment, log=log, folder=tmp_path
            ) as process:
                assert process.wait(SECONDS) == 0, log.read_text()
        charged = sandbox.stats()["activations"]
        config = ClientConfig(api_key=sandbox.api_key, base_url=sandbox.url)
        status = asyncio.run(status_of(server.dsn(), config, "fullstory"))
    assert charged == status.spent == status.done == SESSIONS
    every = [found_in(tmp_path / f"{engine}-events") for engine in ("ray", "dask", "daft")]
    with duckdb.connect(str(tmp_path / "fullstory.duckdb"), read_only=True) as database:
        every.append(database.sql("SELECT full_session_id, seq FROM sessions.events ORDER BY ALL").fetchall())
    assert len({session_id for session_id, _ in every[0]}) == SESSIONS
    assert len(set(every[0])) == len(every[0])
    assert every == [every[0]] * 4
    counts = dataset.dataset(tmp_path / "spark-types").to_table()["count"].to_pylist()
    assert sum(counts) == len(every[0])
    errors = dataset.dataset(tmp_path / "spark-errors").to_table()["is_error"].to_pylist()
    assert set(errors) == {True}


def found_in(folder: Path) -> list[tuple[str, int]]:
    table = dataset.dataset(folder, format="parquet").to_table()
    return sorted(zip(table["full_session_id"].to_pylist(), table["seq"].to_pylist(), strict=True))
