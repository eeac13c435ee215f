"""docs/notebooks.md runs as a notebook, in a kernel, against a sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from fullstory_async.sandbox import Sandbox
from fullstory_async.testing import running_sandbox
from tests.examples import ROOT, blocks
from tests.limits import SECONDS

CELLS = blocks((ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8"), "python")


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with running_sandbox(sessions=40, mean_events=30) as sandbox:
        monkeypatch.setenv("FULLSTORY_BASE_URL", sandbox.url)
        monkeypatch.setenv("FULLSTORY_API_KEY", sandbox.api_key)
        yield sandbox


def test_the_notebook_of_the_docs_runs(sandbox: Sandbox, tmp_path: Path) -> None:
    v4: Any = nbformat.v4
    notebook = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in CELLS])
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, kernel_name="python3", timeout=SECONDS, resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "stream" and output.name == "stderr"] == []
    shown = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    for text in (
        "Page with",
        "events in",
        "Summary of a session",
        "Run of a job: finished",
        "duration_seconds",
    ):
        assert len([html for html in shown if text in html]) == 1, text
