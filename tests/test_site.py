"""The site's pages are complete: every public name, error, exit code, variable, renamed name and page is there."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import attrs
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
    assert links.text_of("guide", "[examples](../examples)") == "examples"
    assert links.text_of("guide", "[one](../examples/worker.py)") == "[one](../examples/worker.py)"
    assert "](jobs.md)" in links.text_of("changelog", "# Changelog")  # it shows CHANGELOG.md itself
    (tmp_path / "a.html").write_text(
        '<p id="x"><a href="b.html#y"></a><a href="#x"></a><a href="c.html"></a>'
    )
    (tmp_path / "b.html").write_text('<a name="z" href="https://example.com"></a><a href="a.html#x"></a>')
    assert links.broken(tmp_path) == ["a.html: b.html#y", "a.html: c.html"]


def test_a_colon_in_the_docstring_of_a_property_begins_no_type(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: dict[int, Callable[..., None]] = {}

    class App:
        def connect(self, _event: str, handler: Callable[..., None], priority: int) -> None:
            handlers[priority] = handler

    site_tool("docstrings", monkeypatch).setup(App())
    before, after = (handlers[priority] for priority in sorted(handlers))
    assert min(handlers) < 500 < max(handlers)  # napoleon's own
    lines = ["Counters: requests, retries.", "", "A copy: it stays."]
    before(None, "property", "stats", None, None, lines)
    assert ":" not in lines[0]
    after(None, "property", "stats", None, None, lines)
    assert lines == ["Counters: requests, retries.", "", "A copy: it stays."]
    before(None, "method", "list", None, None, lines)
    assert lines[0] == "Counters: requests, retries."


def classes(monkeypatch: pytest.MonkeyPatch) -> dict[str, type]:
    """Return the public classes, by their name in the reference."""
    found = {}
    for name in site_tool("reference", monkeypatch).public_names():
        module, _, short = name.rpartition(".")
        home = importlib.import_module(f"fullstory_async.{module}".rstrip("."))
        if isinstance(value := getattr(home, short), type):
            found[name] = value
    return found


def undocumented_fields(cls: type) -> Iterator[str]:
    """Yield the fields of an attrs class that neither a docstring nor their class describes."""
    for each in cls.__mro__:
        if not each.__module__.startswith("fullstory_async"):
            continue
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(definition, ast.ClassDef)
        for field, after in pairwise([*definition.body, ast.Pass()]):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                described = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if not (described or field.target.id.startswith("_")):
                    yield from {field.target.id} - set(re.findall(r"\w+", f"{cls.__doc__} {each.__doc__}"))


def test_every_field_of_a_result_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {name: cls for name, cls in classes(monkeypatch).items() if attrs.has(cls)}
    assert len(found) > 40
    missing = [f"{name}.{field}" for name, cls in found.items() for field in undocumented_fields(cls)]
    assert not missing


CALLED = (
    "FullStoryClient", "ClientConfig", "api.SessionsAPI", "api.ProfilesAPI", "jobs.Job", "jobs.JobReader",
    "sandbox.Sandbox", "ActivationLedger", "streams.StreamInbox",
)  # fmt: skip
"""Classes whose methods programs call with arguments."""
OF_THE_PARTS = {"JobReader.records", "JobReader.record_of", "JobReader.keeps"}
"""Methods that only other parts of the package call."""


@pytest.mark.parametrize("name", CALLED)
def test_every_argument_is_described(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = classes(monkeypatch)[name]
    missing = []
    for method, value in vars(cls).items():
        function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
        where = f"{cls.__name__}.{method}"
        if method.startswith("_") or not inspect.isfunction(function) or where in OF_THE_PARTS:
            continue
        text = f"{function.__doc__} {cls.__doc__}"
        if "options, results and errors of `" in text:  # of another method, which has them
            continue
        names = inspect.signature(function).parameters
        parameters = {each for each in names if not each.startswith("_")} - {"self", "cls", "overrides"}
        missing += [f"{where}({each})" for each in parameters if not re.search(rf"\b{each}\b", text)]
    assert not missing


def test_the_messages_that_the_questions_quote_exist() -> None:
    quoted = [text for text in re.findall(r"^\*\*`([^`]+)`", page("faq"), re.MULTILINE) if " " in text]
    code = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # texts over several lines
    assert len(quoted) >= 3
    assert [text for text in quoted if text not in code] == []


def test_the_list_of_messages_is_made_from_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    found = site_tool("messages", monkeypatch).raised()
    assert "--all and --limit exclude each other" in found["UsageError"]
    assert "this client was opened in another event loop; make one for this loop" in found["ClientStateError"]
    assert len(found["UsageError"]) > 50


def test_help_describes_the_operations_of_a_client() -> None:
    described = fullstory_async.FullStoryClient.__doc__ or ""
    assert re.search(r"^ +sessions: .*`SessionsAPI`", described, re.MULTILINE)
    assert re.search(r"^ +profiles: .*`ProfilesAPI`", described, re.MULTILINE)
