"""The tests of this folder import the MCP SDK and start servers, so they run only where that is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_IS_WANTED = os.environ.get("FULLSTORY_MCP") == "1"


class _NotImported(pytest.Module):
    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        pytest.skip("set FULLSTORY_MCP=1 (nox -s mcp) to run it with the MCP SDK")


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if _IS_WANTED or not module_path.is_relative_to(_HERE):
        return None
    module: pytest.Module = _NotImported.from_parent(parent, path=module_path)
    return module
