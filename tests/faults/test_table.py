"""The table in the docs is the matrix, its tests, and how they ended."""

from __future__ import annotations

import re

from tests.faults.matrix import PENDING, ROWS
from tests.faults.plugin import BEGIN, DOCS, END, good_outcome, marked, table

OUTCOME = re.compile(r"\| (holds|not tested yet) \(\d+\) \|$", re.MULTILINE)


def test_every_row_has_a_test():
    assert [row.number for row in ROWS] == list(range(1, 56))
    assert set(marked()) == {row.number for row in ROWS} - PENDING


def test_the_table_in_the_docs_is_not_stale():
    shown = DOCS.read_text().partition(BEGIN)[2].partition(END)[0].strip()
    now = table({row.number: "holds (1)" for row in ROWS}).strip()
    outcomes = [match[1] for match in OUTCOME.finditer(shown)]
    assert outcomes == [good_outcome(row) for row in ROWS]
    assert OUTCOME.sub("|", shown) == OUTCOME.sub("|", now), "run: python -m nox -s faults"
