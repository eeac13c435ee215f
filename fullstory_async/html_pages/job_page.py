"""The page of a job: totals, spending over time, failures, pages and browsers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from fullstory_async.html_pages.document import document, fact_list, notice
from fullstory_async.html_pages.spending import Payment, spending
from fullstory_async.notebook_html import clip, escape, table

__all__ = ["JobRecord", "Ranking", "job_page"]

_MAX_TITLE = 120
_STYLE = """
td:not(:first-child),th:not(:first-child){font-variant-numeric:tabular-nums}
th{color:var(--dim)}
@media(max-width:40rem){table{display:block;overflow-x:auto}}
"""


@attrs.frozen
class Ranking:
    """A table whose first rows are the important ones."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@attrs.frozen(kw_only=True)
class JobRecord:
    """Everything that the page of a job shows."""

    title: str
    subtitle: str
    facts: Sequence[str]
    payments: Sequence[Payment]
    rankings: Sequence[Ranking]
    """Those without rows are not shown."""
    note: str = ""
    """What a reader must know about missing data."""


def job_page(record: JobRecord) -> str:
    """Return the page of a job as HTML, of limited size."""
    return document(record.title, _body(record), style=_STYLE)


def _body(record: JobRecord) -> Iterator[str]:
    yield f"<header><h1>{escape(clip(record.title, _MAX_TITLE))}</h1>"
    yield f'<p class="dim">{escape(record.subtitle)}</p>'
    yield fact_list(record.facts)
    yield from notice(record.note)
    yield "</header><main>"
    if record.payments:
        yield "<h2>Activations over time</h2>"
        yield from spending(record.payments)
    for each in record.rankings:
        if each.rows:
            yield table(each.caption, each.columns, each.rows, len(each.rows))
    yield "</main>"
