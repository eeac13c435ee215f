"""Web pages of commands: printed, or opened in the browser."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import webbrowser
from pathlib import Path

from fullstory_async.cli.output import write_stderr

__all__ = ["show_page"]


def show_page(html: str, *, in_browser: bool) -> None:
    """Print a page, or open it in the browser from a private temporary file, which stays."""
    if not in_browser:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        sys.stdout.write(html)
        sys.stdout.flush()
        return
    number, name = tempfile.mkstemp(prefix="fullstory-", suffix=".html")
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(html)
    url = Path(name).as_uri()
    is_open = webbrowser.open(url)
    write_stderr(f"{'opened' if is_open else 'no browser was found; open it yourself:'} {url}\n")
