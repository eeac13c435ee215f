"""The examples of the pages that need Postgres, each run against a sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fullstory_async.testing import running_sandbox
from tests.cluster.postgres_servers import Server, new_name
from tests.examples import POSTGRES, python_examples
from tests.limits import SECONDS

_ENGINES = ("pyspark", "import ray", "dask", "daft", "dlt")
EXAMPLES = {
    name: text
    for name, text in python_examples().items()
    if POSTGRES in text and not any(engine in text for engine in _ENGINES)
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str, postgres: Server, tmp_path: Path) -> None:
    database = new_name("example")
    postgres.do(f"CREATE DATABASE {database}")
    with running_sandbox(sessions=40, mean_events=5) as sandbox:
        settings = {"FULLSTORY_BASE_URL": sandbox.url, "FULLSTORY_API_KEY": sandbox.api_key}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", EXAMPLES[name]], cwd=tmp_path, timeout=SECONDS,
            capture_output=True, text=True, env={**os.environ, **settings, POSTGRES: postgres.dsn(dbname=database)},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
