"""The help page of the root says what the commands say of themselves, at any width."""

from __future__ import annotations

import importlib
import inspect

import cyclopts
import pytest

from fullstory_async.cli import commands
from fullstory_async.cli.root import COMMANDS, asks_for_page, chosen, page


def test_each_command_is_listed_with_the_first_line_of_its_help() -> None:
    for each in COMMANDS:
        module = importlib.import_module(f"{commands.__name__}.{each.module}")
        command = getattr(module, each.attribute)
        text = str(command.help if isinstance(command, cyclopts.App) else inspect.getdoc(command))
        assert " ".join(text.split("\n\n", maxsplit=1)[0].split()).replace("`", "") == each.summary, each.name
    assert [each.name for each in COMMANDS] == sorted(each.name for each in COMMANDS)


@pytest.mark.parametrize(("columns", "widest"), [("1", 40), ("40", 40), ("72", 72), ("9999", 100)])
def test_the_page_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: str, widest: int) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = page()
    assert max(map(len, text.splitlines())) <= widest
    assert all(f"\n  {each.name} " in text for each in COMMANDS)


def test_odd_widths_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    usual = page()
    for columns in ("0", "x", "", "\u00b2"):
        monkeypatch.setenv("COLUMNS", columns)
        assert page() == usual, columns


def test_a_command_line_imports_the_command_that_it_names() -> None:
    assert [each.name for each in chosen(["fetch", "--help"])] == ["fetch"]
    assert chosen(["fetsh"]) == chosen(["--version"]) == COMMANDS
    assert asks_for_page([])
    assert asks_for_page(["--help"])
    assert not asks_for_page(["fetch", "--help"])
