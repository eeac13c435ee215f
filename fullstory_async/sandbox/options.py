"""The sandbox's own check of request bodies: the options of context, summaries and profiles.

It shares no code with the client that writes these bodies, so a mistake in the client is refused here instead
of being made twice. The tables are JSON Schema, which the contract also publishes; ``description`` says what
a message asks for. What JSON Schema can't say, `check_contradictions` checks. ``null`` means *not set*.

Strictly read, a body has no other members than its table. Otherwise they are ignored, as JSON services of
this kind do, all but those of a response schema whose name starts with ``$``: FullStory's documentation says
that they must be removed.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from fullstory_async.sandbox.state import ApiError

__all__ = [
    "CONTEXT_REQUEST",
    "GROUPS",
    "OVERRIDES",
    "PART_SWITCHES",
    "PROFILE",
    "RESPONSE_SCHEMA",
    "check_contradictions",
    "format_time",
    "parse_time",
    "positive_integer",
    "read_body",
    "read_options",
]

Json = dict[str, Any]

_RESPONSE_SCHEMA_REF = "#/components/schemas/ResponseSchema"
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_INT64 = "duration_limit_ms"
PART_SWITCHES = {
    "org": "exclude_org_context", "user": "exclude_user_context", "location": "exclude_location",
    "device": "exclude_device",
}  # fmt: skip
"""Part of a session's environment → option of ``context`` that excludes it."""


# The tables


def _object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _optional(**properties: Json) -> Json:
    """Describe an object whose members may all be missing or null."""
    nullable = {name: {"anyOf": [schema, {"type": "null"}]} for name, schema in properties.items()}
    return _object(**nullable)


_TEXT: Json = {"type": "string", "description": "a string"}
_FLAG: Json = {"type": "boolean", "description": "true or false"}
_COUNT: Json = {
    "type": "integer", "minimum": 0, "maximum": 2**63 - 1, "description": "an integer, 0 or more",
}  # fmt: skip
_TIME: Json = {
    "type": "string", "format": "date-time",
    "description": "a time with a time zone, like 2026-05-04T10:00:00Z",
}  # fmt: skip
_NAMES: Json = {
    "type": "array", "items": {"type": "string", "minLength": 1},
    "description": "an array of non-empty strings",
}  # fmt: skip
_PARTS: Json = {
    "type": "array", "items": {"enum": list(PART_SWITCHES)},
    "description": f"an array of {', '.join(PART_SWITCHES)}",
}  # fmt: skip
_DURATION: Json = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": 10**15 - 1},
        {"type": "string", "pattern": "^[0-9]{1,15}$"},
    ],
    "description": "an int64, as a number or a string",
}

RESPONSE_SCHEMA: Json = {
    **_object(
        type={
            "enum": ["STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"],
            "description": "STRING, NUMBER, INTEGER, BOOLEAN, ARRAY or OBJECT",
        },
        title=_TEXT, description=_TEXT, format=_TEXT, nullable=_FLAG,
        items={"$ref": _RESPONSE_SCHEMA_REF},
        properties={"type": "object", "additionalProperties": {"$ref": _RESPONSE_SCHEMA_REF}},
        required={"type": "array", "items": {"type": "string"}, "description": "an array of strings"},
        enum={
            "type": "array", "items": {"type": "string"}, "minItems": 1,
            "description": "a non-empty array of strings",
        },
    ),
    "required": ["type"],
}  # fmt: skip
"""A response schema's dialect: like JSON Schema, with types in capitals and few keywords."""

_LLM = _optional(
    pre_prompt=_TEXT, post_prompt=_TEXT, response_schema={"$ref": _RESPONSE_SCHEMA_REF},
    temperature={"type": "number", "minimum": 0, "description": "a finite number, 0 or more"},
)  # fmt: skip
_SLICE = _optional(
    mode={
        "enum": ["FIRST", "LAST", "TIMESTAMP", "UNSPECIFIED"], "description": "FIRST, LAST or TIMESTAMP",
    },
    event_limit=_COUNT, duration_limit_ms=_DURATION, start_timestamp=_TIME, end_timestamp=_TIME,
)  # fmt: skip
_CONTEXT = _optional(
    include=_PARTS, exclude=_PARTS, exclude_org_context=_FLAG, exclude_user_context=_FLAG,
    exclude_location=_FLAG,
    exclude_device=_FLAG, exclude_descriptions=_FLAG,
)  # fmt: skip
_EVENTS = _optional(
    include_types=_NAMES, exclude_types=_NAMES, exclude_defined_events=_FLAG, exclude_api_events=_FLAG,
    exclude_event_timestamps=_FLAG, exclude_selectors=_FLAG, include_selector_tags=_FLAG,
    include_tab_index=_FLAG,
    include_descriptions=_FLAG, trim_to_last_n_selectors=_COUNT,
)  # fmt: skip
_CACHE = _optional(enable_event_cache=_FLAG)
_MEDIA = _optional(
    include_screenshots=_FLAG, screenshot_event_types=_NAMES, crop_screenshot_to_selector=_FLAG,
    full_page_screenshots=_FLAG,
)  # fmt: skip

_CONTEXT_GROUPS: Mapping[str, Json] = {
    "slice": _SLICE, "context": _CONTEXT, "events": _EVENTS, "cache": _CACHE,
}  # fmt: skip
_ALL_GROUPS: Mapping[str, Json] = {"llm": _LLM, **_CONTEXT_GROUPS}

GROUPS = tuple(_ALL_GROUPS)
"""Names of the groups of options that a profile holds."""

CONTEXT_REQUEST = _optional(**_CONTEXT_GROUPS, media=_MEDIA)
OVERRIDES = _optional(config_profile=_TEXT, **_ALL_GROUPS)
PROFILE = _optional(name=_TEXT, **_ALL_GROUPS)


# Reading


def read_body(raw: bytes) -> Json:
    """Parse a request's body; an empty one is an empty object. Raises `ApiError`."""
    try:
        body = json.loads(raw or b"{}", parse_float=_parse_float, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ApiError(400, "invalid_body", "the body must be a JSON object")
    return body


def _parse_float(text: str) -> float:
    """Read 5.0 as 5: JSON makes no difference between them."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _reject_constant(text: str) -> float:
    raise ValueError(text)  # NaN and the infinities are not JSON


def positive_integer(text: str, name: str) -> int:
    """Read a query parameter that is a positive integer. Raises `ApiError`."""
    # int() alone would accept " 1_0" and the digits of any script
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < 1:
        raise ApiError(400, "invalid_field", f"{name} must be a positive integer")
    return int(text)


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 time as UTC. Raises `ValueError`."""
    if not _RFC_3339.fullmatch(text):
        raise ValueError(text)
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError:
        raise ValueError(text) from None  # the year 0 or 10000 in UTC


def format_time(when: datetime) -> str:
    """Return a UTC time with three digits after the second, as FullStory's responses have them."""
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_options(body: Json, schema: Json, *, strict: bool) -> Json:
    """Check a body against a table; return what it sets, without nulls. Raises `ApiError`."""
    try:
        if not strict:
            body = _without_unknown(body, schema)
        _check(body, schema, "")
    except RecursionError:
        raise ApiError(400, "invalid_field", "llm.response_schema is nested too deeply") from None
    options: Json = {}
    for name, value in body.items():
        if not isinstance(value, dict):
            options |= {} if value is None else {name: value}
        elif group := {key: item for key, item in value.items() if item is not None}:
            options[name] = group
    part = options.get("slice", {})
    if _INT64 in part:
        part[_INT64] = int(part[_INT64])
    # protocol buffers write every time in UTC
    times = {name: parse_time(part[name]) for name in ("start_timestamp", "end_timestamp") if name in part}
    part.update({name: when.isoformat().replace("+00:00", "Z") for name, when in times.items()})
    return options


def _refuse(message: str) -> NoReturn:
    raise ApiError(400, "invalid_field", message)


def _without_unknown(value: Any, schema: Json) -> Any:
    """Return a body without the members that its table doesn't have, at any depth."""
    if "$ref" in schema:
        return _without_unknown(value, RESPONSE_SCHEMA)
    if {"type": "null"} in schema.get("anyOf", ()):
        return _without_unknown(value, schema["anyOf"][0])
    if schema.get("type") != "object" or not isinstance(value, dict):
        return value
    known, others = schema.get("properties", {}), schema["additionalProperties"]
    members = {name: known.get(name, others) for name in value}
    return {
        name: _without_unknown(value[name], member) if member else value[name]
        for name, member in members.items()
        if member or (schema is RESPONSE_SCHEMA and name.startswith("$"))
    }


def _check(value: Any, schema: Json, path: str) -> None:
    """Raise `ApiError` for a value that a table doesn't allow; the message names the field."""
    if "$ref" in schema:
        _check(value, RESPONSE_SCHEMA, path)
        _check_response_schema(value, path)
    # the first alternative of a nullable field is its own table
    elif {"type": "null"} in schema.get("anyOf", ()):
        if value is not None:
            _check(value, schema["anyOf"][0], path)
    elif schema.get("type") == "object":
        if not isinstance(value, dict):
            _refuse(f"{path} must be an object, not {value!r:.60}")
        _check_members(value, schema, path)
    elif not _is_allowed(value, schema):
        _refuse(f"{path} must be {schema['description']}, not {value!r:.60}")


def _check_members(value: Json, schema: Json, path: str) -> None:
    known, others = schema.get("properties", {}), schema["additionalProperties"]
    for name, item in value.items():
        where = f"{path}.{name}".removeprefix(".")
        member = known.get(name, others)
        if member is False:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            _refuse(f"{where} is not known; {hint}")
        _check(item, member, where)
    for name in schema.get("required", ()):
        if name not in value:
            _refuse(f"{path}.{name} is required")


def _is_allowed(value: Any, schema: Json) -> bool:
    """Return whether a table of one value, or of an array, allows a value."""
    if "anyOf" in schema:
        return any(_is_allowed(value, each) for each in schema["anyOf"])
    if "enum" in schema:
        return isinstance(value, str) and value in schema["enum"]
    kind = schema["type"]
    if kind == "array":
        return (
            isinstance(value, list)
            and len(value) >= schema.get("minItems", 0)
            and all(_is_allowed(item, schema["items"]) for item in value)
        )
    if kind == "boolean":
        return isinstance(value, bool)
    return _is_allowed_text(value, schema) if kind == "string" else _is_allowed_number(value, schema)


def _is_allowed_text(value: Any, schema: Json) -> bool:
    if not isinstance(value, str) or len(value) < schema.get("minLength", 0):
        return False
    if schema.get("format") == "date-time":
        try:
            parse_time(value)
        except ValueError:
            return False
    return re.fullmatch(schema.get("pattern", ".*"), value, re.DOTALL) is not None


def _is_allowed_number(value: Any, schema: Json) -> bool:
    right_type = isinstance(value, int) or (schema["type"] == "number" and isinstance(value, float))
    if not right_type or isinstance(value, bool):
        return False
    return bool(schema["minimum"] <= value <= schema.get("maximum", sys.float_info.max))


# What the tables can't say


def _check_response_schema(schema: Json, path: str) -> None:
    if schema["type"] == "ARRAY" and "items" not in schema:
        _refuse(f"{path} is an ARRAY, so it needs items")
    if schema["type"] == "OBJECT" and "properties" not in schema:
        _refuse(f"{path} is an OBJECT, so it needs properties")
    for name in schema.get("required", ()):
        if name not in schema.get("properties", {}):
            _refuse(f"{path}.required names {name!r}, which is not one of its properties")


def check_contradictions(options: Json, *, alone: bool) -> None:
    """Raise `ApiError` for options that contradict each other; ``alone`` if no profile adds to them."""
    _check_slice(options.get("slice", {}), alone=alone)
    context, events = options.get("context", {}), options.get("events", {})
    include = context.get("include", [])
    _check_disjoint("context.include", include, "context.exclude", context.get("exclude", []))
    for name in include:
        if context.get(PART_SWITCHES[name]):
            _refuse(f"context.include names {name!r} and context.{PART_SWITCHES[name]} excludes it")
    included, excluded = events.get("include_types", []), events.get("exclude_types", [])
    _check_disjoint("events.include_types", included, "events.exclude_types", excluded)


def _check_slice(part: Json, *, alone: bool) -> None:
    mode, start, end = part.get("mode"), part.get("start_timestamp"), part.get("end_timestamp")
    if mode == "TIMESTAMP" and start is None:
        _refuse("slice.mode is TIMESTAMP, so slice.start_timestamp is required")
    # without a mode the profile may set it to TIMESTAMP, but only if there is a profile
    if start is not None and (mode not in (None, "TIMESTAMP") or (mode is None and alone)):
        _refuse(f"slice.start_timestamp needs slice.mode TIMESTAMP, not {mode or 'the default'}")
    if start is not None and end is not None and parse_time(start) >= parse_time(end):
        _refuse("slice.start_timestamp must be before slice.end_timestamp")


def _check_disjoint(one: str, names: list[str], other: str, others: list[str]) -> None:
    if both := set(names) & set(others):
        _refuse(f"{one} and {other} both name {min(both)!r}")
