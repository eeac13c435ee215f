"""The command line ``fullstory-async``. Its libraries come with the extra ``cli``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from typing import NoReturn

from fullstory_async.cli.root import asks_for_page, page
from fullstory_async.cli.streams import flush_streams, guard_streams
from fullstory_async.startup import raise_on_interrupt

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    guard_streams()
    given = sys.argv[1:] if arguments is None else arguments
    missing = [name for name in ("cyclopts", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"The command line needs {' and '.join(missing)}. Install the extra:\n"
            "    pip install 'fullstory-async[cli]'\n"
        )
        sys.exit(2)
    if asks_for_page(given):
        _print_page()
    try:
        # not importable without the extra, and slow
        from fullstory_async.cli.app import output_lost, run  # noqa: PLC0415

        raise_on_interrupt()
        code = run(given)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        lost = flush_streams()
    sys.exit(code if code or lost is None else output_lost(lost))


def _print_page() -> NoReturn:
    """Print the help page of the root without what a command needs, and exit."""
    try:
        sys.stdout.write(page())
        lost = flush_streams()
    except OSError as error:
        lost = flush_streams() or error
    if lost is None:
        sys.exit(0)
    from fullstory_async.cli.app import output_lost  # noqa: PLC0415  (slow)

    sys.exit(output_lost(lost))
