"""The table of figures in README.md and docs/comparison.md, from ``RESULTS.md``.

``python -m benchmarks.figures`` writes it; a test fails if it is out of date.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["BEGIN", "END", "PAGES", "table", "with_table"]

_ROOT = Path(__file__).parent.parent
_RESULTS = _ROOT / "benchmarks" / "RESULTS.md"
PAGES = (_ROOT / "README.md", _ROOT / "docs" / "comparison.md")
BEGIN, END = "<!-- python -m benchmarks.figures writes this table -->\n", "<!-- the table ends -->\n"


def table() -> str:
    """Return the table in Markdown, and the day of its run."""
    text = _RESULTS.read_text(encoding="utf-8")
    clients = ("openapi-python-client", "httpx + pydantic")
    head = ("requests per second", "this package", *clients, "aiohttp + json, dicts")
    lines = [f"| {' | '.join(head)} |", "|---|---:|---:|---:|---:|"]
    for events in (10, 200, 2000):
        cells = []
        for client in clients:
            line = rf"\| {re.escape(client)} \| {events} \| (\d+) \| (\d+) \| ([\d.]+)"
            theirs, ours, ratio = _figures(line, text)
            cells.append(f"{theirs} ({ratio} × slower)")
        lines.append(f"| sessions of {events} events, 8 connections | **{ours}** | {' | '.join(cells)} | |")
    ours, theirs = _figures(r"200 events, no rate limit: (\d+) requests/s; .*: (\d+) requests/s", text)
    cell = f"{theirs} ({int(ours) / int(theirs):.1f} × slower)"
    lines.append(f"| sessions of 200 events, 64 workers | **{ours}** | | | {cell} |")
    (day,) = _figures(r"Measured on (\S+) ", text)
    return "\n".join(lines) + f"\n\nMeasured on {day}.\n"


def _figures(line: str, text: str) -> tuple[str, ...]:
    """Return the figures of a line of the results."""
    found = re.search(f"^{line}", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"RESULTS.md has no line like {line}")
    return found.groups()


def with_table(text: str) -> str:
    """Return a page with the present table between its marks; a page without them as it is."""
    head, begin, rest = text.partition(BEGIN)
    return text if not begin else head + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
