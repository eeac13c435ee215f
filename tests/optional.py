"""Folders of tests that import or start what most runs don't need: each runs where a variable asks for it.

Otherwise its files are not imported, and each is reported as skipped, with what would run it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
_REASONS = {
    "agents": ("FULLSTORY_MCP", "nox -s mcp", "with the MCP SDK"),
    "cluster": ("FULLSTORY_CLUSTER", "nox -s cluster", "with Postgres, which has to be installed"),
    "bots": ("FULLSTORY_BOTS", "nox -s bots", "with FastAPI, slack_bolt and discord.py"),
    "data": ("FULLSTORY_DATA", "nox -s data", "with pyarrow, pandas, polars and DuckDB"),
    "engines": ("FULLSTORY_ENGINES", "nox -s engines", "with Spark, Ray, Dask, dlt, Daft and Postgres"),
    "frameworks": ("FULLSTORY_FRAMEWORKS", "nox -s frameworks", "with FastAPI, pydantic and trio"),
    "pages": ("FULLSTORY_PAGES", "nox -s pages", "with Chromium, which has to be installed"),
    "recipes": ("FULLSTORY_RECIPES", "nox -s recipes", "in a fresh project of a user"),
}
"""Folder → the variable that is to be 1, the command that sets it, and what the tests then run with."""


class _Skipped(pytest.Module):
    reason: str

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        pytest.skip(self.reason)


def reason_to_skip(path: Path) -> str | None:
    """Return why a test file is not run; None if it is."""
    if (found := _REASONS.get(path.parent.name)) is None or path.parent.parent != TESTS:
        return None
    variable, command, needed = found
    return None if os.environ.get(variable) == "1" else f"set {variable}=1 ({command}) to run it {needed}"


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if (reason := reason_to_skip(module_path)) is None:
        return None
    module: _Skipped = _Skipped.from_parent(parent, path=module_path)
    module.reason = reason
    return module
