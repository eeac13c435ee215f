"""The sandbox's summary profiles, and the rules by which one is changed or overridden.

A body is flat (``name``, ``llm``, ``slice``, …); an answer has ``configuration`` beside ``llm``, 64-bit integers as
texts, and nothing that is empty, as FullStory's answers are made.
"""

from __future__ import annotations

import json
import random
import re
import uuid
from collections.abc import Mapping
from typing import Any

import attrs

from fullstory_async.codec.request_bodies import dump_options, parse_options, validate_options
from fullstory_async.errors import ConfigurationError
from fullstory_async.models import MediaOptions, ProfileConfiguration, ResponseSchema
from fullstory_async.models.response_schema import RESPONSE_TYPES
from fullstory_async.sandbox.api_error import ApiError

__all__ = [
    "Profiles",
    "merged",
    "read_body",
    "read_configuration",
    "refuse_contradictions",
    "whole_number",
    "without_empty",
]

Json = dict[str, Any]

_GROUPS = ("llm", "slice", "context", "events", "cache")
_INT64 = "duration_limit_ms"
_LARGEST_PAGE = 100
_WORDS = frozenset(field.name for field in attrs.fields(ResponseSchema))

TRIAGE_SCHEMA: Json = {
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
_BUILT_IN: Mapping[str, Json] = {
    "support": {"name": "Support", "llm": {"pre_prompt": "Help a support agent to see what went wrong."}},
    "sales": {"name": "Sales", "llm": {"pre_prompt": "Tell a salesperson what the visitor wanted."}},
    "triage": {
        "name": "Triage",
        "llm": {"response_schema": TRIAGE_SCHEMA},
        "slice": {"mode": "LAST", "event_limit": 500},
    },
}


class Profiles:
    """The profiles of an account; ``support``, ``sales`` and ``triage`` are there from the beginning."""

    def __init__(self, seed: int) -> None:
        """Begin with the built-in profiles; ids of new ones follow from the seed."""
        self._rng = random.Random(f"{seed}/profiles")
        self._bodies: dict[str, Json] = {name: dict(body) for name, body in _BUILT_IN.items()}

    def configuration(self, profile_id: str) -> Json:
        """Return what a profile says. Raises `ApiError` if there is none of this id."""
        body = self._body(profile_id)
        return {name: body[name] for name in _GROUPS if name in body}

    def list(self, query: Mapping[str, str]) -> Json:
        """List a page of profiles, an entry of the early days without an id included. Raises `ApiError`."""
        limit = whole_number(query.get("limit", str(_LARGEST_PAGE)), "limit")
        token = query.get("pagination_token", "0")
        if not re.fullmatch(r"[0-9]{1,9}", token):
            raise ApiError(400, "invalid_field", "pagination_token is none of ours")
        start = int(token)
        relics: list[Json | None] = [None, {"name": "A profile of the alpha"}]
        found = [*relics, *(self._shown(profile_id) for profile_id in self._bodies)]
        end = start + min(limit, _LARGEST_PAGE)
        answer: Json = {"profiles": found[start:end]}
        return {**answer, "next_pagination_token": str(end)} if end < len(found) else answer

    def get(self, profile_id: str) -> Json:
        """Return one profile. Raises `ApiError`."""
        self._body(profile_id)
        return self._shown(profile_id)

    def create(self, body: Json) -> Json:
        """Make a profile. Raises `ApiError` for a body that is none."""
        name, groups = self._checked(body)
        if not name:
            raise ApiError(400, "required_field", "name is required")
        profile_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        self._bodies[profile_id] = {"name": name, **groups}
        return self._shown(profile_id)

    def update(self, profile_id: str, body: Json) -> Json:
        """Replace the fields that a body names. Raises `ApiError`."""
        before = self._body(profile_id)
        name, groups = self._checked(body)
        after = {**before, **({"name": name} if name else {})}
        for group, fields in groups.items():
            after[group] = {**before.get(group, {}), **fields}
        self._bodies[profile_id] = after
        return self._shown(profile_id)

    def delete(self, profile_id: str) -> Json:
        """Remove a profile. Raises `ApiError`."""
        self._body(profile_id)
        del self._bodies[profile_id]
        return {}

    def _body(self, profile_id: str) -> Json:
        if profile_id not in self._bodies:
            raise ApiError(404, "resource_not_found", "no such profile")
        return self._bodies[profile_id]

    def _checked(self, body: Json) -> tuple[str | None, Json]:
        groups = {name: value for name, value in body.items() if name != "name"}
        name = body.get("name")
        if not isinstance(name, str | None):
            raise ApiError(400, "invalid_field", "name must be a string")
        configuration, _ = read_configuration(groups)
        refuse_contradictions(configuration, alone=False)
        return name, dump_options(configuration)

    def _shown(self, profile_id: str) -> Json:
        body = self._bodies[profile_id]
        groups = {name: dict(body[name]) for name in _GROUPS[1:] if name in body}
        if _INT64 in groups.get("slice", {}):
            groups["slice"][_INT64] = str(groups["slice"][_INT64])
        shown = {"id": profile_id, "name": body["name"], "configuration": groups, "llm": body.get("llm")}
        return dict(without_empty(shown))


def read_body(raw: bytes) -> Json:
    """Parse a request's body; none at all is an empty object. Raises `ApiError`."""
    try:
        body = json.loads(raw or b"{}", parse_float=_number, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ApiError(400, "invalid_body", "the body must be a JSON object")
    return body


def _number(text: str) -> float:
    """Read 5.0 as 5: JSON knows no difference."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _refuse_constant(text: str) -> float:
    raise ValueError(text)  # NaN and the infinities are no JSON


def whole_number(text: str, name: str) -> int:
    """Read a query parameter that is a positive integer. Raises `ApiError`."""
    if (
        not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < 1
    ):  # int() alone would take " 1_0" and any script's digits
        raise ApiError(400, "invalid_field", f"{name} must be a positive integer")
    return int(text)


def read_configuration(groups: Json) -> tuple[ProfileConfiguration, MediaOptions]:
    """Check groups of options as the service would, and return them typed. Raises `ApiError`."""
    groups = dict(groups)
    media = {} if groups.get("media") is None else groups["media"]
    groups.pop("media", None)
    part = groups.get("slice")
    if isinstance(part, dict) and re.fullmatch(r"[0-9]{1,15}", str(part.get(_INT64, ""))):
        groups["slice"] = {**part, _INT64: int(part[_INT64])}
    elif isinstance(part, dict) and part.get(_INT64) is not None:
        raise ApiError(400, "invalid_field", f"slice.{_INT64} must be an int64")
    try:
        read = parse_options(groups, ProfileConfiguration), parse_options(media, MediaOptions, "media")
    except ConfigurationError as error:
        raise ApiError(400, "invalid_field", error.message) from None
    if read[0].llm is not None and read[0].llm.response_schema is not None:
        _refuse_other_dialects(groups["llm"]["response_schema"])
    return read


def _refuse_other_dialects(schema: Json) -> None:
    """Refuse JSON Schema that is not in the service's dialect; the client's options would translate it."""
    parts = [schema.get("items"), *(schema.get("properties") or {}).values()]
    if not (
        set(schema) <= _WORDS
        and schema.get("type") in RESPONSE_TYPES
        and isinstance(schema.get("nullable", False), bool)
    ):
        text = f"llm.response_schema: {schema!r:.80} is not in the dialect: types in capitals, few words"
        raise ApiError(400, "invalid_field", text)
    for part in parts:
        if isinstance(part, dict):
            _refuse_other_dialects(part)


def refuse_contradictions(configuration: ProfileConfiguration, *, alone: bool) -> None:
    """Raise `ApiError` for options that contradict each other; ``alone`` says that no profile adds to them."""
    try:
        validate_options(configuration.slice, configuration.context, configuration.events, alone=alone)
    except ConfigurationError as error:
        raise ApiError(400, "invalid_field", error.message) from None


def merged(profile: Json, override: Json) -> Json:
    """Override a profile: a value replaces the profile's, an array is appended to it, an empty value does nothing."""
    result = {group: dict(fields) for group, fields in profile.items()}
    for group, fields in override.items():
        into = result.setdefault(group, {})
        for name, value in fields.items():
            if isinstance(value, list):
                into[name] = [*into.get(name, []), *value]
            elif value:
                into[name] = value
    return result


def without_empty(value: Any) -> Any:
    """Leave out what protocol buffers leave out of JSON: false, 0, "", null, and what is empty without these."""
    if isinstance(value, dict):
        kept = {name: without_empty(item) for name, item in value.items()}
        return {name: item for name, item in kept.items() if item not in (None, False, 0, "", [], {})}
    return [without_empty(item) for item in value] if isinstance(value, list) else value
