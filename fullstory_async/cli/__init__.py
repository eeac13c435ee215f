"""The command line ``fullstory-async``. Its libraries come with the extra ``cli``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

from fullstory_async.cli.streams import flush_streams, guard_streams

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    guard_streams()
    missing = [name for name in ("cyclopts", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"The command line needs {' and '.join(missing)}. Install the extra:\n"
            "    pip install 'fullstory-async[cli]'\n"
        )
        sys.exit(2)
    try:
        # not importable without the extra, and slow: Ctrl-C may come while it is imported
        from fullstory_async.cli.app import output_lost, run  # noqa: PLC0415

        code = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        lost = flush_streams()
    sys.exit(code if code or lost is None else output_lost(lost))
