"""The examples of README and docs, which the tests run; ``python -m tests.examples`` has mypy check them and examples/.

Mypy comes with the group ``dev`` and the tests do without it, so that is a part of ``nox -s types``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent

RUN_WITH_DATA = {"notebooks", "data"}
"""Pages whose examples need pandas, polars and DuckDB, and build on one another: tests/data runs them."""

POSTGRES = "FULLSTORY_CLUSTER_DSN"
"""The variable that names the database in examples which need one."""

IMPORTED_AS = {"testing_1": "bot"}
"""Examples that others import, under the name of their module."""


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def python_examples() -> dict[str, str]:
    """Return the examples in Python that are programs, under their page and the number that they have there."""
    return {
        f"{path.stem.lower()}_{number}": text
        for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
        if path.stem not in RUN_WITH_DATA
        for number, text in enumerate(blocks(path.read_text(encoding="utf-8"), "python"), 1)
    }


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        files = sorted((ROOT / "examples").glob("*.py"))
        for name, text in python_examples().items():
            files.append(Path(folder, f"{IMPORTED_AS.get(name, name)}.py"))
            files[-1].write_text(text, encoding="utf-8")
        return subprocess.run([sys.executable, "-m", "mypy", "--strict", *files], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
