"""Run the benchmarks, and write ``RESULTS.md`` and its chart.

``python -m benchmarks [--quick] [SECTION ...]`` runs the named sections, by default all of them.
Files are written only by a complete run. ``--quick`` checks that each section runs: fewer rounds,
smaller responses, no files. The exit code is 1 if a promise is broken, except with ``--quick``,
whose figures mean nothing.
"""

from __future__ import annotations

import sys

from benchmarks import engines, exports, fanout, fetching, jobs, limits, odds, report, shared, stores

SECTIONS = {
    "rivals": fetching.rivals, "peers": fetching.peers, "stalls": fetching.stalls, "bulk": fetching.bulk,
    "limits": limits.limits, "shared": shared.shared, "fanout": fanout.fan_out, "jobs": jobs.jobs,
    "engines": engines.engines,
    "stores": stores.stores, "exports": exports.exports, "imports": odds.imports, "bomb": odds.bomb,
}  # fmt: skip


def main(arguments: list[str]) -> int:
    quick = "--quick" in arguments
    wanted = [name for name in arguments if name != "--quick"]
    unknown = set(wanted) - SECTIONS.keys()
    if unknown:
        print(f"unknown section: {min(unknown)}; the sections are {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    sections = []
    for name, measure in SECTIONS.items():
        if not wanted or name in wanted:
            print(f"\n== {name}", flush=True)
            sections.append(measure(quick))
    if not quick and not wanted:
        report.write(sections)
    broken = [promise.what for section in sections for promise in section.promises if not promise.is_kept]
    if broken:
        print("\nbroken promises: " + "; ".join(broken))
    return 1 if broken and not quick else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
