"""The sandbox's summaries: composed from a session's own events, as prose or by a response schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fullstory_async.amounts import counted
from fullstory_async.sandbox.context import apply_slice, frustration_of, time_of
from fullstory_async.sandbox.options import format_time
from fullstory_async.sandbox.world import WorldSession

__all__ = ["summarise"]

Json = dict[str, Any]

_SHOWN_PROMPT = 80


def summarise(session: WorldSession, events: list[Json], options: Json) -> Json:
    """Return the live form of a summary's response."""
    llm = options.get("llm", {})
    schema = llm.get("response_schema")
    if isinstance(session.summary, Mapping):
        return {"response": session.summary, **({} if schema is None else {"response_schema": schema})}
    facts = _facts(session, apply_slice(events, options))
    # the prompts show in the text, so that a caller sees which of them arrived
    prompts = " … ".join(filter(None, (llm.get("pre_prompt"), llm.get("post_prompt"))))
    if prompts:
        facts["summary"] = f"Asked “{prompts[:_SHOWN_PROMPT]}”: {facts['summary']}"
    if session.summary is not None:
        facts["summary"] = session.summary
    if schema is None:
        return {"summary": facts["summary"]}
    return {"response": _value_by_schema(schema, facts, ""), "response_schema": schema}


def _facts(session: WorldSession, events: list[Json]) -> Json:
    types = Counter(event["event_type"] for event in events)
    pages = list(dict.fromkeys(event["source_properties"].get("title") or "the app" for event in events))
    rage = sum(frustration_of(event) == "rage-click" for event in events)
    errors = types["exception"] + types["request"] + types["crash"] + types["console_message"]
    until = "no time"
    if events:
        until = format_time(time_of(events[-1]))
    trouble = (
        f"{counted(rage, 'rage click')} and {counted(errors, 'error')}: look there first."
        if rage or errors
        else "All went well."
    )
    acts = f"{counted(types['click'], 'click')} and {counted(types['change'], 'input')}"
    return {
        "summary": (
            f"{session.user.name} was active until {until} with "
            f"{counted(types.total(), 'event')}, among them {acts}, on: {', '.join(pages)}. {trouble}"
        ),
        "pages": pages,
        "rage_clicks": rage,
        "errors": errors,
        "needs_follow_up": bool(rage or errors),
    }


def _value_by_schema(schema: Json, facts: Json, name: str) -> Any:
    """Make a value that a schema allows: the fact of this name, or else one of the right type."""
    kind = schema["type"]
    if kind == "OBJECT":
        return {key: _value_by_schema(each, facts, key) for key, each in schema["properties"].items()}
    if kind == "ARRAY":
        items = schema["items"]
        listed = facts.get(name) if items["type"] == "STRING" and "enum" not in items else None
        return listed if isinstance(listed, list) else [_value_by_schema(items, facts, name)]
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("format") == "date-time":
        return "2026-05-04T10:00:00Z"
    python_type, fallback = _PLAIN.get(kind, (str, "summary"))
    # compared exactly, because a bool is an int too
    known = facts.get(name)
    return known if type(known) is python_type else facts[fallback]


_PLAIN: dict[str, tuple[type, str]] = {
    "INTEGER": (int, "errors"), "NUMBER": (int, "errors"), "BOOLEAN": (bool, "needs_follow_up"),
}  # fmt: skip
"""Type → Python type, and the fact to use if none has the name."""
