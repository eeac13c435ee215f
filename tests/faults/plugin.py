"""From tests to the table in the docs: which tests a row has, and how they ended in this run.

A test says which rows it is about with ``@pytest.mark.row(7)``. `marked` finds those without running anything, so that
a test can tell whether the table in the docs is up to date; `Outcomes` listens to a run, and with
``--write-reliability`` writes the table at its end.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest

from tests.faults.matrix import PENDING, ROWS, Row

TESTS = Path(__file__).parent.parent
DOCS = TESTS.parent / "docs" / "reliability.md"
BEGIN, END = "<!-- the table begins -->\n", "<!-- the table ends -->\n"
HEADER = ("#", "what goes wrong", "what the client does", "tests", "outcome")

Name = tuple[str, str]
"""A test's file below ``tests`` and its function."""


@cache  # as it parses all tests
def marked() -> dict[int, list[Name]]:
    """Return the tests of each row, by file and place."""
    found: dict[int, list[Name]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for number in _rows_of(node):
                    found[number].append((path.relative_to(TESTS).as_posix(), node.name))
    return found


def _rows_of(test: ast.FunctionDef | ast.AsyncFunctionDef) -> list[int]:
    return [
        ast.literal_eval(argument)
        for decorator in test.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.row"
        for argument in decorator.args
    ]


def table(outcome_of: dict[int, str]) -> str:
    """Return the table as Markdown."""
    tests = marked()
    rows = [
        (str(row.number), row.fault, row.promise, _named(tests[row.number]), outcome_of[row.number])
        for row in ROWS
    ]
    lines = [HEADER, ("---",) * len(HEADER), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _named(tests: list[Name]) -> str:
    by_file: dict[str, list[str]] = defaultdict(list)
    for file, name in tests:
        by_file[file].append(name.removeprefix("test_"))
    return "; ".join(f"[{file}](../tests/{file}): {', '.join(names)}" for file, names in by_file.items())


def good_outcome(row: Row) -> str:
    """Return what a row's outcome is called when all of its tests pass."""
    return "not tested yet" if row.number in PENDING else "holds"


class Outcomes:
    """What became of each row's tests in this run."""

    def __init__(self, *, write: bool) -> None:
        self._write = write
        self._ended: dict[Name, Counter[str]] = defaultdict(Counter)

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            file, _, test = report.nodeid.partition("::")
            name = file.removeprefix("tests/"), test.partition("[")[0]
            self._ended[name]["failed" if report.failed else report.outcome] += 1

    @pytest.hookimpl
    def pytest_sessionfinish(self) -> None:
        if self._write:
            tests, text = marked(), DOCS.read_text()
            head, _, rest = text.partition(BEGIN)
            new = table({row.number: self._outcome(row, tests[row.number]) for row in ROWS})
            DOCS.write_text(head + BEGIN + "\n" + new + "\n" + END + rest.partition(END)[2])

    def _outcome(self, row: Row, tests: list[Name]) -> str:
        ended = [self._ended[test] for test in tests]
        if any(each["failed"] for each in ended):
            return "**fails**"
        if not all(each.total() for each in ended):
            return "**not run**"
        if any(each["skipped"] for each in ended):
            return "**skipped in part**"
        return f"{good_outcome(row)} ({sum(each['passed'] for each in ended)})"
