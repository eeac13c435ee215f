"""``python -m benchmarks``: measure everything, and write ``RESULTS.md`` and its chart.

``--quick`` only shows that each part runs: fewer rounds, smaller answers, nothing written. Names of parts select them. The exit code is 1 if a
promise is not kept, but for ``--quick``, whose figures mean nothing.
"""

from __future__ import annotations

import sys

from benchmarks import fanout, fetching, jobs, limits, odds, report

PARTS = {
    "rivals": fetching.rivals, "peers": fetching.peers, "stalls": fetching.stalls, "bulk": fetching.bulk, "limits": limits.limits,
    "fanout": fanout.fan_out, "jobs": jobs.jobs, "imports": odds.imports, "bomb": odds.bomb,
}  # fmt: skip


def main(arguments: list[str]) -> int:
    quick = "--quick" in arguments
    wanted = [name for name in arguments if name != "--quick"]
    unknown = set(wanted) - PARTS.keys()
    if unknown:
        print(f"no such part: {min(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    sections = []
    for name, part in PARTS.items():
        if not wanted or name in wanted:
            print(f"\n== {name}", flush=True)
            sections.append(part(quick))
    if not quick and not wanted:
        report.write(sections)
    broken = [promise.what for section in sections for promise in section.promises if not promise.is_kept]
    if broken:
        print("\nnot kept: " + "; ".join(broken))
    return 1 if broken and not quick else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
