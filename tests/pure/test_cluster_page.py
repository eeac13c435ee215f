"""docs/cluster.md: each promise names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cluster.md").read_text()


@pytest.mark.parametrize("head", ["| promise | held by |\n|---|---|\n", "| | | held by |\n|---|---|---|\n"])
def test_each_promise_names_tests_that_exist(head: str) -> None:
    rows = PAGE.partition(head)[2].partition("\n\n")[0].splitlines()
    assert len(rows) >= 10
    for row in rows:
        held_by = row.strip("| ").rpartition(" | ")[2]
        named = re.findall(r"(?:\[)?(test_\w+\.py)(?:\]\([^)]*\))?: ([\w, ]+)", held_by)
        assert named, row
        for file, names in named:
            text = (ROOT / "tests" / "cluster" / file).read_text()
            for name in names.split(", "):
                assert f"def test_{name}(" in text, f"{file}: {name}"
