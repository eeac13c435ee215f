"""The pictures of README.md and of the site's first page, from a real run of the demo.

``python docs/site_tools/picture.py`` runs ``fullstory-async demo``, and writes its terminal to
``docs/static/demo.svg`` and the page of a session, as Chromium shows it, to ``docs/static/replay.png``.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

__all__ = ["draw", "photograph"]

_STATIC = Path(__file__).parent.parent / "static"
_COLUMNS = 96


def draw(folder: Path) -> str:
    """Run the demo in a folder and return what its terminal shows, as SVG."""
    colours = {"FORCE_COLOR": "1", "COLUMNS": str(_COLUMNS), "TERM": "xterm-256color", "TZ": "UTC"}
    command = [sys.executable, "-m", "fullstory_async", "demo"]
    done = subprocess.run(  # noqa: S603  (its own command)
        command, cwd=folder, env={**os.environ, **colours}, capture_output=True, text=True, check=True
    )
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(f"$ fullstory-async demo\n{_as_typed(done.stderr, folder)}"))
    drawn = console.export_svg(title="fullstory-async demo", theme=MONOKAI, unique_id="demo")
    # a page that shows the picture must load nothing from elsewhere
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)


def _as_typed(shown: str, folder: Path) -> str:
    """Return the output as a user sees it who has the command on the path."""
    lines = shown.replace(f"{sys.executable} -m fullstory_async", "fullstory-async").splitlines()
    return "\n".join(line for line in lines if str(folder) not in line and "--serve" not in line).rstrip()


def photograph(page: Path, picture: Path) -> None:
    """Write what headless Chromium shows of a page."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,760"]
    command = ["chromium", *options, f"--screenshot={picture}", page.as_uri()]
    subprocess.run(command, capture_output=True, check=True)  # noqa: S603  (its own command)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        (_STATIC / "demo.svg").write_text(draw(Path(name)), encoding="utf-8")
        photograph(Path(name, "fullstory-demo", "replay.html"), _STATIC / "replay.png")
