"""HTML for notebooks and pages: small tables, in which text from web pages can't become markup.

A notebook shows a result by its ``_repr_html_``. The HTML has no scripts, styles or links, its size is
limited, and its tables have a caption and headers that a screen reader reads out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

__all__ = ["clip", "escape", "escape_lines", "fact_table", "preformatted", "table"]

_MAX_ROWS = 20
_MAX_CELL = 200
_MAX_TEXT = 4000
_SPECIAL = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], count: int) -> str:
    """Return a table of the first rows.

    Args:
        caption: what the table shows.
        columns: the header of each column.
        rows: the values of each row; those beyond the limit are not read.
        count: the number of all rows.
    """
    head = "".join(f'<th scope="col">{_cell(name)}</th>' for name in columns)
    lines = [f"<tr>{''.join(f'<td>{_cell(v)}</td>' for v in row)}</tr>" for row in islice(rows, _MAX_ROWS)]
    if count > len(lines):
        lines.append(f'<tr><td colspan="{len(columns)}">… and {count - len(lines):,} more</td></tr>')
    body = "".join(lines)
    return (
        f"<table><caption>{_cell(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def fact_table(caption: str, facts: Mapping[str, Any]) -> str:
    """Return a table of names and values, without those that are ``None`` or empty."""
    rows = "".join(
        f'<tr><th scope="row">{_cell(name)}</th><td>{_cell(value)}</td></tr>'
        for name, value in facts.items()
        if value not in (None, "")
    )
    return f"<table><caption>{_cell(caption)}</caption><tbody>{rows}</tbody></table>"


def preformatted(text: str) -> str:
    """Return a text with its own line breaks."""
    return f"<pre>{escape_lines(clip(text, _MAX_TEXT))}</pre>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value.isoformat(sep=" ", timespec="milliseconds") if isinstance(value, datetime) else str(value)
    return escape(clip(text, _MAX_CELL))


def clip(text: str, limit: int) -> str:
    """Return a text of at most ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def escape(text: str) -> str:
    """Return a text as HTML, for content and for quoted attributes."""
    # characters that can't be seen may change the direction of the text behind them
    return "".join(c if c.isprintable() else " " for c in text).translate(_SPECIAL)


def escape_lines(text: str) -> str:
    """Return a text as HTML, with its own line breaks."""
    return "\n".join(escape(line) for line in text.split("\n"))
