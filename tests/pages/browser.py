"""Headless Chromium: what a page's document is after loading, and what its style sheet makes of it."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from fullstory_async.html_pages.document import POLICY
from tests.limits import SECONDS

__all__ = ["document_of", "measured"]

_POLICY = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'


def document_of(page: str, folder: Path, *, dark: bool = False) -> str:
    """Return a page's document as Chromium has it after loading."""
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
        "--window-size=1300,900", *scheme, "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, check=True, timeout=SECONDS)
    return ended.stdout.decode()


def measured(page: str, script: str, folder: Path, *, width: int = 1200, dark: bool = False) -> Any:
    """Return the value of a script in a page whose policy is taken off, as it would not run otherwise."""
    assert _POLICY in page
    writing = f"<script>parent.document.title = JSON.stringify((() => {{{script}}})())</script></body>"
    changed = page.replace(_POLICY, "").replace("</body>", writing)
    # in a frame, as no window of Chromium is as narrow as a phone
    frame = (
        '<!doctype html><meta name="color-scheme" content="light dark">'
        f'<iframe width="{width}" height="844" style="border:0" srcdoc="{html.escape(changed)}"></iframe>'
    )
    found = re.search(r"<title>(.*?)</title>", document_of(frame, folder, dark=dark), re.DOTALL)
    assert found is not None
    return json.loads(html.unescape(found[1]))
