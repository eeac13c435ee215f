"""The sandbox's summaries: composed of what a session's own events say, as prose or by any response schema."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fullstory_async.models import LLMOptions, ProfileConfiguration, ResponseSchema, SessionEvents
from fullstory_async.sandbox.context import apply_slice
from fullstory_async.sandbox.world import WorldSession

__all__ = ["summarise"]

_SHOWN_PROMPT = 80


def summarise(
    session: WorldSession, events: SessionEvents, configuration: ProfileConfiguration
) -> dict[str, Any]:
    """Return a summary's answer in live form."""
    facts = _facts(session, apply_slice(events, configuration))
    llm = configuration.llm or LLMOptions()
    asked = " … ".join(prompt for prompt in (llm.pre_prompt, llm.post_prompt) if prompt)
    if asked:
        facts["summary"] = f"Asked “{asked[:_SHOWN_PROMPT]}”: {facts['summary']}"
    if llm.response_schema is None:
        return {"summary": facts["summary"]}
    return {
        "response": _by_schema(llm.response_schema, facts, ""),
        "response_schema": llm.response_schema.to_dict(),
    }


def _facts(session: WorldSession, events: SessionEvents) -> dict[str, Any]:
    kinds = Counter(event.type for event in events)
    pages = list(dict.fromkeys(event.source.title or "the app" for event in events))
    rage = sum("rage click" in event.frustrations for event in events)
    errors = kinds["exception"] + kinds["request"] + kinds["crash"]
    last = events[-1].timestamp if len(events) else None
    until = "no time" if last is None else last.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    trouble = (
        f"{rage} rage clicks and {errors} errors point to friction." if rage or errors else "All went well."
    )
    return {
        "summary": (
            f"{session.user.name} was active until {until} with {kinds.total()} events, among them "
            f"{kinds['click']} clicks and {kinds['change']} inputs, on: {', '.join(pages)}. {trouble}"
        ),
        "pages": pages,
        "rage_clicks": rage,
        "errors": errors,
        "needs_follow_up": bool(rage or errors),
    }


def _by_schema(schema: ResponseSchema, facts: dict[str, Any], name: str) -> Any:
    """Make a value that a schema allows: a fact where one is called so, else something of the right kind."""
    if schema.type == "OBJECT":
        return {key: _by_schema(each, facts, key) for key, each in (schema.properties or {}).items()}
    if schema.type == "ARRAY":
        items = schema.items or ResponseSchema(type="STRING")
        listed = facts.get(name) if items.type == "STRING" and not items.enum else None
        return listed if isinstance(listed, list) else [_by_schema(items, facts, name)]
    if schema.enum:
        return schema.enum[0]
    kind, instead = _PLAIN.get(schema.type or "", (str, "summary"))
    if schema.format == "date-time":
        return "2026-05-04T10:00:00Z"
    known = facts.get(name)
    return known if type(known) is kind else facts[instead]


_PLAIN: dict[str, tuple[type, str]] = {
    "INTEGER": (int, "errors"), "NUMBER": (int, "errors"), "BOOLEAN": (bool, "needs_follow_up"),
}  # fmt: skip
"""Type → what Python calls it, and the fact that is told where none has the name."""
