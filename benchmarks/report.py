"""The results page: tables, promises and whether they are kept, and a chart."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import re
import resource
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs

__all__ = ["Promise", "Section", "chart", "peak_memory", "table", "write"]

_HERE = Path(__file__).parent
_VERSIONS = (
    "aiohttp", "attrs", "cattrs", "msgspec", "aiolimiter", "yarl",
    "orjson", "httpx", "pydantic", "openapi-python-client",
)  # fmt: skip


@attrs.frozen
class Promise:
    """A promised figure and its measurement."""

    what: str
    value: float
    limit: float
    at_least: bool = False
    unit: str = ""

    @property
    def is_kept(self) -> bool:
        """Whether the measured value is within the limit."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def row(self) -> tuple[str, ...]:
        """Return the promise as a table row."""
        sign = "≥" if self.at_least else "≤"
        return (
            self.what, f"{sign} {self.limit:g}{self.unit}", f"{self.value:.3g}{self.unit}",
            "yes" if self.is_kept else "**no**",
        )  # fmt: skip


@attrs.define
class Section:
    """One section of the page."""

    title: str
    text: list[str] = attrs.field(factory=list)
    promises: list[Promise] = attrs.field(factory=list)

    def say(self, text: str) -> None:
        """Add a paragraph to the page, and print it."""
        self.text.append(text)
        print(text, flush=True)

    def promise(
        self, what: str, value: float, limit: float, *, at_least: bool = False, unit: str = ""
    ) -> None:
        """Add a promise, and print whether it is kept."""
        self.promises.append(Promise(what, value, limit, at_least, unit))
        print(" | ".join(self.promises[-1].row()), flush=True)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def peak_memory() -> int:
    """Return the peak memory of this process in bytes.

    On Linux, VmHWM is used: ``ru_maxrss`` may be inherited from the parent process.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(re.search(r"VmHWM:\s*([0-9]+) kB", status)[1]) * 1024  # type: ignore[index]
    except (OSError, TypeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def write(sections: Sequence[Section]) -> None:
    """Write ``RESULTS.md``."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _VERSIONS)
    promises = [promise.row() for section in sections for promise in section.promises]
    kept = sum(promise.is_kept for section in sections for promise in section.promises)
    parts = [
        "# Results",
        (f"Measured on {dt.date.today()} on a {platform.system()} machine "  # noqa: DTZ011
        f"with {os.cpu_count()} cores ({platform.machine()}), CPython {platform.python_version()}, "
        "by `nox -s benchmarks`. The ratios carry over to other machines, the absolute figures do not."),
        f"Versions: {versions}.",
        "![CPU time by client and response size](chart.svg)",
        f"## Promises: {kept} of {len(promises)} kept in this run",
        table(("figure", "promised", "measured", "kept"), promises),
        *(f"## {section.title}\n\n" + "\n\n".join(section.text) for section in sections),
    ]  # fmt: skip
    (_HERE / "RESULTS.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def chart(cpu: Mapping[str, Mapping[int, float]]) -> None:
    """Draw ``chart.svg``: milliseconds of CPU per 1 000 events, by client and size."""
    import matplotlib as mpl  # noqa: PLC0415  (part of the group "bench")

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "fullstory", "font.family": "sans-serif"})
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(8, 4.2))
    sizes = sorted({size for figures in cpu.values() for size in figures})
    width = 0.8 / len(cpu)
    for n, (client, figures) in enumerate(cpu.items()):
        places = [k + n * width for k, size in enumerate(sizes) if size in figures]
        heights = [figures[size] * 1e6 / size for size in sizes if size in figures]
        color = f"C{n}" if not client.startswith("ours") else ("#0a7d33", "#5cb85c", "#a7d8a7")[n % 3]
        axes.bar(places, heights, width, label=client, color=color)
    axes.set_yscale("log")
    axes.set_xticks([k + 0.4 - width / 2 for k in range(len(sizes))], [f"{size} events" for size in sizes])
    axes.set_ylabel("ms of CPU for 1 000 events")
    axes.legend(fontsize=7, ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(_HERE / "chart.svg", metadata={"Date": None, "Creator": None})
