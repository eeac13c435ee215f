"""The command line ``fullstory-async``. Its libraries come with the extra ``cli``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    missing = [name for name in ("cyclopts", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"The command line needs {' and '.join(missing)}. Install the extra:\n"
            "    pip install 'fullstory-async[cli]'\n"
        )
        sys.exit(2)
    from fullstory_async.cli.app import run  # noqa: PLC0415  (not importable without the extra)

    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
