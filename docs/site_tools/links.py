"""Links: those to files beside ``docs/`` lead to their pages, and no link inside the site is broken.

``python docs/site_tools/links.py FOLDER`` checks a built site.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["broken", "text_of", "to_pages"]

_PAGES = {
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "README.md": "index",
    "SECURITY.md": "security",
    "benchmarks/RESULTS.md": "results",
}
"""Files beside ``docs/`` → the pages that stand for them."""
_SHOWN = {page: file for file, page in _PAGES.items() if page != "index"}
"""Pages that show such a file; on a code host they only link to it."""
_ROOT = Path(__file__).parent.parent.parent


def to_pages(_app: object, name: str, source: list[str]) -> None:
    """Let a page show its file, and links to files that have a page lead to it."""
    source[0] = text_of(name, source[0])


def text_of(name: str, source: str) -> str:
    """Return the Markdown of a page as the site shows it."""
    if name in _SHOWN:
        file = Path(_SHOWN[name])
        source = (_ROOT / file).read_text(encoding="utf-8")
        # a link in the file begins where the file is; on the site it begins in docs/
        folder = "../" if file.parent == Path() else f"../{file.parent}/"
        source = re.sub(r"\]\((?![a-z]+:|#|/)", f"]({folder}", source).replace("](../docs/", "](")
    for file_name, page in _PAGES.items():
        source = source.replace(f"](../{file_name}", f"]({page}.md")
    # a folder is no page of the site
    return re.sub(
        r"\[([^\[\]]+)\]\(\.\./([^)#]+)\)",
        lambda found: found[1 if (_ROOT / found[2]).is_dir() else 0],
        source,
    )


class _Page(HTMLParser):
    """The links of a page, and the names that others can link to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag links to and what it is called."""
        for name, value in attrs:
            if value and (name == "id" or (tag == "a" and name == "name")):
                self.anchors.add(value)
            elif value and name in ("href", "src"):
                self.links.append(value)


def broken(site: Path) -> list[str]:
    """Return the links of a built site that lead to no file or no place in it."""
    pages = {path.resolve(): _Page(path) for path in site.rglob("*.html")}
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchor = unquote(parts.fragment)
            anchors = pages[target].anchors if target in pages else {anchor}
            if not target.is_file() or (anchor and anchor not in anchors):
                found.append(f"{path.relative_to(site.resolve())}: {link}")
    return sorted(set(found))


if __name__ == "__main__":
    lost = broken(Path(sys.argv[1]))
    print("\n".join(lost) or "every link inside the site leads somewhere")
    sys.exit(bool(lost))
