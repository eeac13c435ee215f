"""The tests of this folder import FastAPI, pydantic and trio, so they run only where that is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_IS_WANTED = os.environ.get("FULLSTORY_FRAMEWORKS") == "1"


class _NotImported(pytest.Module):
    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        pytest.skip(
            "set FULLSTORY_FRAMEWORKS=1 (nox -s frameworks) to run it with FastAPI, pydantic and trio"
        )


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if _IS_WANTED or not module_path.is_relative_to(_HERE):
        return None
    module: pytest.Module = _NotImported.from_parent(parent, path=module_path)
    return module
