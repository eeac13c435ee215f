"""The sandbox's summaries: composed of what a session's own events say, as prose or by a schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from fullstory_async.sandbox.world import WorldSession

__all__ = ["PROFILES", "summarise"]

_SCHEMA = {
    "type": "OBJECT",
    "properties": {
        "summary": {"type": "STRING"},
        "pages": {"type": "ARRAY", "items": {"type": "STRING"}},
        "rage_clicks": {"type": "INTEGER"},
        "errors": {"type": "INTEGER"},
        "needs_follow_up": {"type": "BOOLEAN"},
    },
    "required": ["summary", "needs_follow_up"],
}

PROFILES: Mapping[str, dict[str, Any] | None] = {"support": None, "sales": None, "triage": _SCHEMA}
"""Profile id → response schema, or ``None`` for prose."""


def summarise(session: WorldSession, events: Iterable[dict[str, Any]], profile: str | None) -> dict[str, Any]:
    """Return a summary's answer in live form."""
    kinds: Counter[str] = Counter()
    pages: dict[str, None] = {}
    rage = 0
    last = ""
    for event in events:
        kinds[event["event_type"]] += 1
        pages.setdefault(event["source_properties"].get("title") or "the app", None)
        rage += bool(event["event_properties"].get("fs_rage_count"))
        last = event["event_time"]
    errors = kinds["exception"] + kinds["request"] + kinds["crash"]
    text = (
        f"{session.user.name} was active until {last} with {kinds.total()} events, "
        f"among them {kinds['click']} clicks and {kinds['change']} inputs, on: {', '.join(pages)}. "
        + (
            f"{rage} rage clicks and {errors} errors point to friction."
            if rage or errors
            else "All went well."
        )
    )
    schema = PROFILES[profile] if profile is not None else None
    if schema is None:
        return {"summary": text if profile != "sales" else f"Sales view. {text}"}
    answer = {
        "summary": text, "pages": list(pages), "rage_clicks": rage, "errors": errors,
        "needs_follow_up": bool(rage or errors),
    }  # fmt: skip
    return {"response": answer, "response_schema": schema}
