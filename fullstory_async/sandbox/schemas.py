"""The schemas of the sandbox's answers, for its contract, in both wire forms."""

from __future__ import annotations

from typing import Any

__all__ = ["answer_schemas"]

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_ANY: Json = {"type": "object"}
_TIME: Json = {"type": "string", "format": "date-time"}


def _of(required: Json, optional: Json | None = None) -> Json:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def _listed(items: Json) -> Json:
    return {"type": "array", "items": items}


def answer_schemas(wire: str) -> Json:
    """Return the schema of every answer, by name."""
    session = {"userId": _TEXT, "sessionId": _TEXT, "createdTime": _TEXT, "fsUrl": {**_TEXT, "format": "uri"}}
    event = {
        "device_id": _TEXT, "event_time": _TIME, "event_type": _TEXT, "event_properties": _ANY, "source_type": _TEXT,
        "source_properties": _ANY,
    }  # fmt: skip
    summary = {"oneOf": [_of({"summary": _TEXT}), _of({"response": {}, "response_schema": _ANY})]}
    sessions = _of({}, {"sessions": _listed(_of(session))})  # left out when there are none
    if wire == "spec":
        sessions = _of(
            {"sessions": _listed(_of({"sessionId": _TEXT, "url": session["fsUrl"], "created": _TIME}))}
        )
        event = {"type": _TEXT, "timestamp": _TIME, "data": _ANY}
        summary = _of({"sessionId": _TEXT, "summary": _TEXT, "configProfileId": _TEXT})
    return {
        "Sessions": sessions,
        "Events": _of({"events": _listed(_of(event, {"session_id": _TEXT, "view_id": _TEXT} if wire == "live" else {}))}),
        "Summary": summary,
        "Context": _context(),
        "Profile": _profile(),
        # an entry of the service's early days may be null, or have no id
        "Profiles": _of(
            {"profiles": _listed({"anyOf": [{"type": "null"}, {**_profile(), "required": ["name"]}]})},
            {"next_pagination_token": _TEXT},
        ),
        "Me": _of({"email": _TEXT, "orgId": _TEXT, "role": _TEXT}),
        "Nothing": {"type": "object", "maxProperties": 0},
        "Error": _of({"code": _TEXT if wire == "live" else {"type": "integer"}, "message": _TEXT}),
    }  # fmt: skip


def _context() -> Json:
    """Return the schema of a context, of which everything that is empty is left out."""
    event = _of(
        {"type": _TEXT},
        {
            "description": _TEXT,
            "timestamp": _TIME,
            "content": {},
            "properties": _ANY,
            "screenshot_url": _TEXT,
        },
    )
    page = _of({"events": _listed(event)}, {"url": _TEXT, "title": _TEXT, "tab": {"type": "integer"}})
    about = _of(
        {"session_id": _TEXT, "session_url": _TEXT, "session_created_at": _TIME},
        {f"{name}_context": _ANY for name in ("org", "user", "location", "device")},
    )
    return _of({"context_data": _of({"context": about}, {"pages": _listed(page)})})


def _profile() -> Json:
    groups: Json = dict.fromkeys(("slice", "context", "events", "cache"), _ANY)
    return _of({"id": _TEXT, "name": _TEXT}, {"configuration": _of({}, groups), "llm": _ANY})
