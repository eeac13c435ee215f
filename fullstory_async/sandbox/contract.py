"""The contract that the sandbox serves, as OpenAPI 3.1, in its wire form.

The options of context, summaries and profiles are the tables that also check them, so the two can't differ.
Descriptions state what OpenAPI can't: that one of several parameters is required, or that two options
contradict each other. The sandbox responds to both with 400. In the live form, bodies may have unknown
members, which are ignored.
"""

from __future__ import annotations

from typing import Any

from fullstory_async._version import __version__
from fullstory_async.sandbox.options import CONTEXT_REQUEST, OVERRIDES, PROFILE, RESPONSE_SCHEMA

__all__ = ["contract"]

Json = dict[str, Any]

_TEXT: Json = {"type": "string"}
_ANY: Json = {"type": "object"}
_TIME: Json = {"type": "string", "format": "date-time"}
_LIMIT: Json = {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}
_CHARGED = "Costs one activation."
_FORMS = {
    "live": "Responses in the live form, as FullStory documents them; unknown fields in bodies are ignored.",
    "spec": "Responses in the form of a published third-party OpenAPI description of FullStory's API.",
}
_ERRORS = {
    400: "A parameter or the body is invalid, or options contradict each other.",
    401: "The API key is missing or wrong.",
    404: "The session or profile does not exist.",
    429: "The rate limit is exceeded, or the activation quota is used up.",
}
_ALL_ERRORS = tuple(_ERRORS)


def contract(wire: str, url: str, session_ids: list[str]) -> Json:
    """Return the OpenAPI document of a sandbox.

    Args:
        wire: form of responses, ``live`` or ``spec``.
        url: the sandbox's base URL.
        session_ids: ids of sessions that serve as examples.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "FullStory Sessions API, as the fullstory_async sandbox serves it",
            "version": __version__,
            "description": f"{_FORMS[wire]} Other paths give 404, other methods 405.",
        },
        "servers": [{"url": url}],
        "security": [{"key": []}],
        "paths": _paths(wire, session_ids),
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "Basic, a space, and the API key without base64.",
                }
            },
            "schemas": {**_request_schemas(wire), **_response_schemas(wire)},
        },
    }  # fmt: skip


def _paths(wire: str, session_ids: list[str]) -> Json:
    profile = _in_path("profile_id", "Id of a summary profile.", ["support", "triage"])
    session = _in_path("session_id", "Id of a session; its : may be sent as %3A.", session_ids)
    tokens: Json = {"type": "string", "pattern": "^[0-9]{1,9}$"}
    return {
        "/me": {"get": _operation("whoami", "The owner of the API key.", "Me", errors=(401, 429))},
        "/sessions/v2": {"get": _list_operation("list", "Sessions")},
        **({"/v2/sessions": {"get": _list_operation("list newest", "Results")}} if wire == "live" else {}),
        **_session_paths(wire, session),
        "/v2/visit_profile": {
            "get": _operation(
                "profiles", "All summary profiles.", "Profiles",
                parameters=[_query("limit", _LIMIT), _query("pagination_token", tokens)],
            ),
            "post": _operation("create profile", "Create a summary profile.", "Profile", body="NewProfile"),
        },
        "/v2/visit_profile/{profile_id}": {
            "parameters": [profile],
            "get": _operation("profile", "One summary profile.", "Profile", errors=(401, 404, 429)),
            "post": _operation(
                "update profile", "Change the fields in the body.", "Profile", errors=_ALL_ERRORS,
                body="ProfileUpdate",
            ),
            "delete": _operation(
                "delete profile", "Delete a summary profile.", "Nothing", errors=(401, 404, 429)
            ),
        },
    }  # fmt: skip


def _list_operation(name: str, response: str) -> Json:
    return _operation(
        name, "A user's latest sessions. Requires uid or email, or session_uid alone.", response,
        parameters=[
            _query("uid", _TEXT, ["u-1"]), _query("email", _TEXT), _query("session_uid", _TEXT),
            _query("limit", _LIMIT),
        ],
    )  # fmt: skip


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
            "context", f"A description of a session for a language model. {_CHARGED}", "Context",
            errors=_ALL_ERRORS, body="ContextRequest",
        )},
    }  # fmt: skip


def _operation(
    name: str,
    summary: str,
    response: str,
    *,
    errors: tuple[int, ...] = (400, 401, 429),
    parameters: list[Json] | None = None,
    body: str | None = None,
) -> Json:
    responses: Json = {"200": {"description": "OK", **_content(response)}}
    for status in errors:
        responses[str(status)] = {"description": _ERRORS[status], **_content("Error")}
    if 429 in errors:
        responses["429"]["headers"] = {
            "Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}}
        }
    found: Json = {
        "operationId": name.replace(" ", "_"), "summary": summary, "parameters": parameters or [],
        "responses": responses,
    }  # fmt: skip
    if body is not None:
        # an empty body is an empty object, which is valid everywhere but where a name is required
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


# Schemas of request and response bodies


def _request_schemas(wire: str) -> Json:
    profile = {**PROFILE["properties"], "name": {"type": "string", "minLength": 1}}
    schemas: Json = {
        "Overrides": OVERRIDES,
        "ContextRequest": CONTEXT_REQUEST,
        "NewProfile": {**PROFILE, "properties": profile, "required": ["name"]},
        "ProfileUpdate": PROFILE,
        "ResponseSchema": RESPONSE_SCHEMA,
    }
    if wire == "spec":
        return schemas
    opened: Json = {name: _open(schema) for name, schema in schemas.items()}
    opened["ResponseSchema"]["patternProperties"] = {r"^\$": False}
    return opened


def _open(schema: Any) -> Any:
    """Return a schema that allows other members than its own, at any depth."""
    if isinstance(schema, list):
        return [_open(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    opened = {name: _open(item) for name, item in schema.items()}
    return {**opened, "additionalProperties": True} if schema.get("additionalProperties") is False else opened


def _with(required: Json, optional: Json | None = None) -> Json:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def _response_schemas(wire: str) -> Json:
    """Return the schema of every response, by name."""
    session = {"userId": _TEXT, "sessionId": _TEXT, "createdTime": _TEXT, "fsUrl": {**_TEXT, "format": "uri"}}
    event = {
        "device_id": _TEXT, "event_time": _TIME, "event_type": _TEXT, "event_properties": _ANY,
        "source_type": _TEXT, "source_properties": _ANY,
    }  # fmt: skip
    page_ids: Json = {"session_id": _TEXT, "view_id": _TEXT}  # events from a server have none
    summary = {"oneOf": [_with({"summary": _TEXT}), _with({"response": {}, "response_schema": _ANY})]}
    sessions = _with({"sessions": _array(_with(session))})
    newest = _with({"id": _TEXT, "app_url": session["fsUrl"], "created_time": _TIME})
    if wire == "spec":
        sessions = _with(
            {"sessions": _array(_with({"sessionId": _TEXT, "url": session["fsUrl"], "created": _TIME}))}
        )
        event, page_ids = {"type": _TEXT, "timestamp": _TIME, "data": _ANY}, {}
        summary = _with({"sessionId": _TEXT, "summary": _TEXT, "configProfileId": _TEXT})
    return {
        "Sessions": sessions,
        **({"Results": _with({"results": _array(newest)})} if wire == "live" else {}),
        "Events": _with({"events": _array(_with(event, page_ids))}),
        "Summary": summary,
        "Context": _context(),
        "Profile": _profile(),
        "Profiles": _with({"profiles": _array(_profile())}, {"next_pagination_token": _TEXT}),
        "Me": _with({"email": _TEXT, "orgId": _TEXT, "role": _TEXT}),
        "Nothing": {"type": "object", "maxProperties": 0},
        "Error": _with({"code": _TEXT if wire == "live" else {"type": "integer"}, "message": _TEXT}),
    }  # fmt: skip


def _context() -> Json:
    """Return the schema of a context, which omits everything empty."""
    event = _with(
        {"type": _TEXT},
        {
            "description": _TEXT,
            "timestamp": _TIME,
            "content": {},
            "properties": _ANY,
            "screenshot_url": _TEXT,
        },
    )
    page = _with({"events": _array(event)}, {"url": _TEXT, "title": _TEXT, "tab": {"type": "integer"}})
    about = _with(
        {"session_id": _TEXT, "session_url": _TEXT, "session_created_at": _TIME},
        {f"{name}_context": _ANY for name in ("org", "user", "location", "device")},
    )
    return _with({"context_data": _with({"context": about}, {"pages": _array(page)})})


def _profile() -> Json:
    groups: Json = dict.fromkeys(("slice", "context", "events", "cache"), _ANY)
    return _with({"id": _TEXT, "name": _TEXT, "configuration": _with({}, groups)}, {"llm": _ANY})
