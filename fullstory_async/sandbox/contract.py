"""The contract that the sandbox really serves, as OpenAPI 3.1: what it takes, what it answers, in the wire form it has.

The options of context, summaries and profiles follow from the classes that also check them, so the two can't part.
What OpenAPI can't say is said in words: that one of several parameters is needed, or that two options
contradict each other. Both are answered 400.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from datetime import datetime
from typing import Any, get_args, get_origin

import attrs

from fullstory_async._version import __version__
from fullstory_async.models import MediaOptions, ProfileConfiguration, ResponseSchema
from fullstory_async.models.response_schema import RESPONSE_TYPES
from fullstory_async.sandbox.schemas import answer_schemas

__all__ = ["contract"]

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_LIMIT: Json = {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}
_CHARGED = "Costs one activation."
_ERRORS = {
    400: "A parameter or the body is not as it should be, or options contradict each other.",
    401: "The API key is missing or wrong.",
    404: "There is no such session or profile.",
    429: "The rate limit is exceeded, or the activations are used up.",
}


_ALL_ERRORS = tuple(_ERRORS)


def contract(wire: str, url: str, session_ids: list[str]) -> Json:
    """Return the OpenAPI document of a sandbox: in its wire form, at its URL, with some of its ids as examples."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "FullStory Sessions API, as the fullstory_async sandbox serves it",
            "version": __version__,
            "description": f"The {wire} form of answers. Other paths answer 404, other methods 405.",
        },
        "servers": [{"url": url}],
        "security": [{"key": []}],
        "paths": _paths(wire, session_ids),
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "Basic, a space, and the API key as it is.",
                }
            },
            "schemas": {**_option_schemas(), **answer_schemas(wire)},
        },
    }  # fmt: skip


def _paths(wire: str, session_ids: list[str]) -> Json:
    profile = _in_path("profile_id", "A summary profile's id.", ["support", "triage"])
    tokens: Json = {"type": "string", "pattern": "^[0-9]{1,9}$"}
    return {
        "/me": {"get": _operation("whoami", "Whose key it is.", "Me", errors=(401, 429))},
        "/sessions/v2": {"get": _operation(
            "list", "A user's last sessions. One of uid and email is needed, or session_uid alone.", "Sessions",
            parameters=[
                _query("uid", _TEXT, ["u-1"]), _query("email", _TEXT), _query("session_uid", _TEXT), _query("limit", _LIMIT),
            ],
        )},
        **_session_paths(wire, _in_path("session_id", "A session's id; its : may be sent as %3A.", session_ids)),
        "/v2/visit_profile": {
            "get": _operation(
                "profiles", "The summary profiles.", "Profiles",
                parameters=[_query("limit", _LIMIT), _query("pagination_token", tokens)],
            ),
            "post": _operation("create profile", "Make a summary profile.", "Profile", body="NewProfile"),
        },
        "/v2/visit_profile/{profile_id}": {
            "parameters": [profile],
            "get": _operation("profile", "One summary profile.", "Profile", errors=(401, 404, 429)),
            "post": _operation(
                "update profile", "Change what the body names.", "Profile", errors=_ALL_ERRORS, body="ProfileUpdate"
            ),
            "delete": _operation("delete profile", "Delete a summary profile.", "Nothing", errors=(401, 404, 429)),
        },
    }  # fmt: skip


def _session_paths(wire: str, session: Json) -> Json:
    events, summary, context = (
        f"/v2/sessions/{{session_id}}/{name}" for name in ("events", "summary", "context")
    )
    return {
        events: {"parameters": [session], "get": _operation(
            "events", f"All events of a session. {_CHARGED}", "Events", errors=_ALL_ERRORS,
            parameters=[_query("enable_event_cache", {"type": "boolean"})],
        )},
        summary: {
            "parameters": [session],
            "get": _operation(
                "summary", f"A summary by a profile. {_CHARGED}", "Summary", errors=_ALL_ERRORS,
                parameters=_summary_parameters(wire),
            ),
            "post": _operation(
                "summary with overrides", f"A summary by a profile, a body, or both. {_CHARGED}", "Summary",
                errors=_ALL_ERRORS, body="Overrides",
            ),
        },
        context: {"parameters": [session], "post": _operation(
            "context", f"A session as a language model would be told of it. {_CHARGED}", "Context",
            errors=_ALL_ERRORS, body="ContextRequest",
        )},
    }  # fmt: skip


def _operation(
    name: str,
    summary: str,
    answer: str,
    *,
    errors: tuple[int, ...] = (400, 401, 429),
    parameters: list[Json] | None = None,
    body: str | None = None,
) -> Json:
    answers: Json = {"200": {"description": "OK", **_content(answer)}}
    for status in errors:
        answers[str(status)] = {"description": _ERRORS[status], **_content("Error")}
    if 429 in errors:
        answers["429"]["headers"] = {
            "Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}}
        }
    found: Json = {
        "operationId": name.replace(" ", "_"), "summary": summary, "parameters": parameters or [], "responses": answers,
    }  # fmt: skip
    if body is not None:  # none at all is an empty one
        found["requestBody"] = {"required": body == "NewProfile", **_content(body)}
    return found


def _summary_parameters(wire: str) -> list[Json]:
    until = _query("end_timestamp", {"type": "string", "format": "date-time"})
    if wire == "live":
        return [_query("config_profile", _TEXT, ["support"]), until]
    return [{**_query("config_profile_id", _TEXT, ["support"]), "required": True}, until]


def _query(name: str, schema: Json, examples: list[str] | None = None) -> Json:
    return {"name": name, "in": "query", "schema": schema, **_examples(examples or [])}


def _in_path(name: str, description: str, examples: list[str]) -> Json:
    schema = {"type": "string", "minLength": 1}
    found = {"name": name, "in": "path", "required": True, "description": description, "schema": schema}
    return {**found, **_examples(examples)}


def _examples(values: list[str]) -> Json:
    return (
        {"examples": {f"example {n}": {"value": value} for n, value in enumerate(values, 1)}}
        if values
        else {}
    )


def _content(schema: str) -> Json:
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


# Options, from the classes that check them


def _option_schemas() -> Json:
    groups = _properties(ProfileConfiguration)
    told = {name: group for name, group in groups.items() if name != "llm"}
    name: Json = {"type": ["string", "null"]}
    return {
        "Overrides": _object({"config_profile": name, **groups}),
        "ContextRequest": _object({**told, "media": _or_null(_object(_properties(MediaOptions)))}),
        "NewProfile": {
            **_object({"name": {"type": "string", "minLength": 1}, **groups}),
            "required": ["name"],
        },
        "ProfileUpdate": _object({"name": name, **groups}),
        "ResponseSchema": _response_schema(),
    }


def _properties(options: type[attrs.AttrsInstance]) -> Json:
    fields = attrs.fields(attrs.resolve_types(options))
    return {field.name: _or_null(_SPECIAL.get(field.name) or _schema_of(field.type)) for field in fields}


def _schema_of(kind: Any) -> Json:
    """Return the schema of an option's type, ``X | None``."""
    wanted = next(each for each in get_args(kind) if each is not types.NoneType)
    if wanted is ResponseSchema:
        return {"$ref": "#/components/schemas/ResponseSchema"}
    if attrs.has(wanted):
        return _object(_properties(wanted))
    if get_origin(wanted) is tuple:
        return {"type": "array", "items": {"type": "string", "minLength": 1}}
    return dict(_PLAIN[wanted])


_PLAIN: Mapping[type, Json] = {
    bool: {"type": "boolean"}, str: _TEXT, int: {"type": "integer", "minimum": 0},
    float: {"type": "number", "minimum": 0}, datetime: {"type": "string", "format": "date-time"},
}  # fmt: skip
_PARTS: Json = {"type": "array", "items": {"enum": ["user", "org", "location", "device"]}}
_SPECIAL: Mapping[str, Json] = {
    "mode": {"enum": ["FIRST", "LAST", "TIMESTAMP", "UNSPECIFIED"]},
    "include": _PARTS,
    "exclude": _PARTS,
    "duration_limit_ms": {
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 10**15 - 1},
            {"type": "string", "pattern": "^[0-9]{1,15}$"},
        ]
    },
}


def _response_schema() -> Json:
    itself: Json = {"$ref": "#/components/schemas/ResponseSchema"}
    words: Json = {"type": "array", "items": _TEXT}
    found = _object({
        "type": {"enum": list(RESPONSE_TYPES)}, "title": _TEXT,
        "description": _TEXT, "items": itself, "properties": {"type": "object", "additionalProperties": itself},
        "required": words, "nullable": {"type": "boolean"}, "enum": {**words, "minItems": 1}, "format": _TEXT,
    })  # fmt: skip
    return {**found, "required": ["type"]}


def _object(properties: Json) -> Json:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}
