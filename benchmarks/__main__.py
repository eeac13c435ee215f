"""``python -m benchmarks``: run them all; the exit code is 1 if a promise is not kept."""

from __future__ import annotations

import sys

from benchmarks import decode, fanout, jobs

if __name__ == "__main__":
    kept = [decode.main(), fanout.main(), jobs.main()]
    sys.exit(0 if all(kept) else 1)
