"""Views of an exported database, and the table by which it is recognised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fullstory_async.tables.columns import TABLES, Kind, Table

__all__ = ["INFO_TABLE", "VIEWS", "views_for"]

INFO_TABLE = "fullstory_export"
"""The table by which a database is known to be an export: one row with its schema and the version of it."""

VIEWS = {
    "rage_clicks": (
        "events",
        """SELECT page_path, element_text, element_selector, COUNT(*) AS clicks,
    COUNT(DISTINCT full_session_id) AS sessions
FROM events
WHERE {is_rage_click}
GROUP BY page_path, element_text, element_selector
ORDER BY clicks DESC, page_path IS NULL, page_path, element_text IS NULL, element_text,
    element_selector IS NULL, element_selector""",
    ),
    "errors_by_browser": (
        "events",
        """SELECT browser, COUNT(*) AS events, SUM(CASE WHEN is_error THEN 1 ELSE 0 END) AS errors,
    COUNT(DISTINCT full_session_id) AS sessions,
    COUNT(DISTINCT CASE WHEN is_error THEN full_session_id END) AS sessions_with_errors
FROM events
GROUP BY browser
ORDER BY errors DESC, browser IS NULL, browser""",
    ),
    "page_flow": (
        "pages",
        """SELECT here.path AS from_path, next.path AS to_path, COUNT(*) AS times,
    COUNT(DISTINCT here.full_session_id) AS sessions
FROM pages AS here
JOIN pages AS next ON next.full_session_id = here.full_session_id AND next.number = here.number + 1
GROUP BY here.path, next.path
ORDER BY times DESC, here.path IS NULL, here.path, next.path IS NULL, next.path""",
    ),
}
"""View → the table that it needs, and its query."""
_COMPUTED: tuple[Kind, ...] = ("integer", "boolean", "texts")


def views_for(tables: Mapping[str, Table], *, is_rage_click: str) -> Iterator[str]:
    """Yield the statements that create the views of these tables, where they are missing.

    Args:
        tables: the tables. A view that computes with a column that is text now, since it is hashed, is
            left out.
        is_rage_click: the condition that the list of an event's frustrations has a rage click.
    """
    for name, (table, query) in VIEWS.items():
        statement = query.format(is_rage_click=is_rage_click)
        texts = {column.name for column in tables.get(table, ()) if column.kind == "text"}
        computed = {column.name for column in TABLES[table] if column.kind in _COMPUTED}
        if table in tables and not any(each in statement for each in texts & computed):
            yield f"CREATE VIEW IF NOT EXISTS {name} AS {statement}"
