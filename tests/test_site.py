"""The site's pages are complete: every public name, error, exit code, variable, renamed name and page is there."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import fullstory_async
from benchmarks import figures
from fullstory_async import FullStoryError
from fullstory_async.cli.exits import Exit, exit_for
from tests.examples import ROOT

DOCS = ROOT / "docs"
PACKAGE = ROOT / "fullstory_async"


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def site_tool(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(DOCS)
    return importlib.import_module(f"site_tools.{name}")


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def test_the_reference_describes_every_public_name_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = site_tool("reference", monkeypatch)
    described = Counter(name for each in reference.PAGES.values() for name in each.names)
    assert set(described) == reference.public_names()
    assert set(described.values()) == {1}


def test_the_table_of_errors_is_complete_and_has_the_exit_codes() -> None:
    public = [getattr(fullstory_async, name) for name in fullstory_async.__all__]
    errors = {
        each.__name__: each.__new__(each)
        for each in public
        if isinstance(each, type) and issubclass(each, FullStoryError) and each is not FullStoryError
    }
    table = page("errors").split("## Exceptions")[1].split("## Exit codes")[0]
    named = {row[0].strip("`"): row[3] for row in rows(table)[2:]}
    assert named == {name: str(int(exit_for(error))) for name, error in errors.items()}
    assert len(named) > 25


def test_the_table_of_exit_codes_is_complete() -> None:
    codes = [int(row[0]) for row in rows(page("errors").split("## Exit codes")[1])[2:]]
    assert codes == sorted(set(Exit))


def test_every_page_is_in_the_site() -> None:
    contents = page("index") + page("reference")
    listed = {
        line
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```", contents, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
        if line and not line.startswith(":")
    }
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert {name for name in listed if not name.startswith("reference/")} == pages


def test_the_glossary_and_the_page_of_variables_are_complete() -> None:
    named = set(re.findall(r"FULLSTORY_[A-Z_]+\b", page("environment")))
    from_env = (PACKAGE / "config.py").read_text(encoding="utf-8")
    groups = re.findall(r"^_(?:NUMBERS|FLAGS|TEXTS) = \((.*?)\)", from_env, re.MULTILINE | re.DOTALL)
    settings = {f"FULLSTORY_{name.upper()}" for group in groups for name in re.findall(r'"(\w+)"', group)}
    assert len(settings) > 12
    read = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r'"(FULLSTORY_[A-Z_]+[A-Z])"', path.read_text(encoding="utf-8"))
    }
    assert named >= settings | read | {"FULLSTORY_RATE_LIMIT", "FULLSTORY_RETRY"}


def renamed() -> set[str]:
    """Return the names that the package still takes under their old form."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"^    (\w+) = Renamed\(", text, re.MULTILINE))
        for old in re.findall(r'warn_renamed\(\s*"([^"]+)"', text):
            found |= set(re.findall(r"(\w+)=|(\w+)$", old)[0])
    return found - {""}


def test_the_migration_notes_name_every_renamed_name() -> None:
    notes = page("versioning").split("### Renamed")[1]
    old = renamed()
    assert {"SummaryCache", "acquire_now", "done_now", "veto"} <= old
    assert {name for name in old if not re.search(rf"\b{name}\b", notes)} == set()


@pytest.mark.parametrize("path", figures.PAGES, ids=lambda path: path.name)
def test_the_figures_are_those_of_the_last_complete_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert figures.with_table(text) == text


def test_links_of_pages_lead_to_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    links = site_tool("links", monkeypatch)
    assert links.text_of("guide", "[a](../CHANGELOG.md#x), [b](../benchmarks/RESULTS.md)") == (
        "[a](changelog.md#x), [b](results.md)"
    )
    assert "](jobs.md)" in links.text_of("changelog", "# Changelog")  # it shows CHANGELOG.md itself
    (tmp_path / "a.html").write_text(
        '<p id="x"><a href="b.html#y"></a><a href="#x"></a><a href="c.html"></a>'
    )
    (tmp_path / "b.html").write_text('<a name="z" href="https://example.com"></a><a href="a.html#x"></a>')
    assert links.broken(tmp_path) == ["a.html: b.html#y", "a.html: c.html"]


def test_help_describes_the_operations_of_a_client() -> None:
    described = fullstory_async.FullStoryClient.__doc__ or ""
    assert re.search(r"^ +sessions: .*`SessionsAPI`", described, re.MULTILINE)
    assert re.search(r"^ +profiles: .*`ProfilesAPI`", described, re.MULTILINE)
