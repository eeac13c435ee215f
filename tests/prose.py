"""Lint the prose of the pages with proselint; ``python -m tests.prose`` is a part of ``nox -s lint``.

Proselint takes Markdown for plain text, so code and the targets of links are taken out before, line by line.
The words that this project does not use are in tests/test_vocabulary.py.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = (
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(ROOT.glob(".github/**/*.md")),
)
OFF = (
    "typography",  # quotation marks and dashes are plain ASCII where they are code
    "lexical_illusions",  # "0 | 0" in a table is no repetition
    "misc.capitalization",
    "spelling",  # British English, beside names of other programs
)
"""Checks that are switched off."""


def prose(text: str) -> str:
    """Return a page without its code and the targets of its links, with the same lines."""
    text = re.sub(
        r"^```.*?^```$", lambda found: "\n" * found[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL
    )
    text = re.sub(r"<!-- the generated part begins -->.*", "", text, flags=re.DOTALL)
    text = re.sub(r"`[^`\n]+`", "it", text)
    return re.sub(r"\]\([^)]*\)", "]", text)


def main() -> int:
    """Print what proselint finds; return whether it found anything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in PAGES:
            copy = folder / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(prose(path.read_text(encoding="utf-8")), encoding="utf-8")
        config = {"checks": dict.fromkeys(OFF, False)}
        (folder / ".proselintrc.json").write_text(json.dumps(config), encoding="utf-8")
        pages = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.md"))]
        command = [sys.executable, "-m", "proselint", "check", *pages]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        sys.stdout.write(done.stdout + done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
