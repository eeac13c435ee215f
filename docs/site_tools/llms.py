"""llms.txt and llms-full.txt: the site as plain text, for language models and for people who grep."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

from site_tools import links

__all__ = ["write"]


def write(app: Sphinx, error: Exception | None) -> None:
    """Write both files beside the pages of a site that was built."""
    if error is not None or app.builder.name != "html":
        return
    out, source, env = Path(app.outdir), Path(app.srcdir), app.env
    names = [name for name in _in_order(env.toctree_includes, "index") if name != "index"]
    short = [
        f"# {app.config.project} {app.config.release}\n\n> {_first_paragraph(_text(source, 'index'))}\n\n"
    ]
    whole = []
    for name in names:
        text = _text(source, name)
        title = env.titles[name].astext()
        short.append(f"- [{title}]({name}.html): {_first_paragraph(text)}\n")
        if "{eval-rst}" in text:  # docstrings, which are in the built page only
            text = "# " + env.get_and_resolve_doctree(name, app.builder).astext()
            text = re.sub(r"\n{3,}", "\n\n", text)
        whole.append(f"<!-- {name}.html -->\n\n{text}\n\n")
    (out / "llms.txt").write_text("".join(short), encoding="utf-8")
    (out / "llms-full.txt").write_text("".join(whole), encoding="utf-8")


def _in_order(includes: dict[str, list[str]], name: str) -> list[str]:
    return [name, *(each for child in includes.get(name, ()) for each in _in_order(includes, child))]


def _text(source: Path, name: str) -> str:
    return links.text_of(name, (source / f"{name}.md").read_text(encoding="utf-8")).strip()


def _first_paragraph(text: str) -> str:
    """Return the first paragraph of a page in one line, without links: the answer to its title."""
    paragraphs = text.split("\n\n")
    plain = (
        each for each in paragraphs if not each.startswith(("#", "```", "<!--", ":", "|", "!", "(", "*", ">"))
    )
    return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", " ".join(next(plain, "").split()))
