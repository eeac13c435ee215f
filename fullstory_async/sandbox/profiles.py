"""The sandbox's summary profiles, and the rules by which one is changed or overridden.

A body is flat (``name``, ``llm``, ``slice``, …). A response nests the groups in ``configuration``, beside
``llm``, writes 64-bit integers as strings, and omits everything empty but ``configuration``, as FullStory's
responses do.
"""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Mapping
from typing import Any

from fullstory_async.sandbox.options import (
    GROUPS,
    PROFILE,
    check_contradictions,
    positive_integer,
    read_options,
)
from fullstory_async.sandbox.state import ApiError

__all__ = ["Profiles", "merge_options", "without_empty"]

Json = dict[str, Any]

_LARGEST_PAGE = 100

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
    """Profiles of an account; ``support``, ``sales`` and ``triage`` are built in."""

    def __init__(self, seed: int, *, strict: bool) -> None:
        """Start with the built-in profiles.

        Args:
            seed: determines the ids of new ones.
            strict: whether unknown fields in bodies are refused, not ignored.
        """
        self._strict = strict
        self._rng = random.Random(f"{seed}/profiles")
        self._bodies: dict[str, Json] = {name: dict(body) for name, body in _BUILT_IN.items()}

    def configuration(self, profile_id: str) -> Json:
        """Return the options that a profile sets. Raises `ApiError` for an unknown id."""
        body = self._body(profile_id)
        return {name: body[name] for name in GROUPS if name in body}

    def list(self, query: Mapping[str, str]) -> Json:
        """List a page of profiles. Raises `ApiError`."""
        limit = positive_integer(query.get("limit", str(_LARGEST_PAGE)), "limit")
        token = query.get("pagination_token", "0")
        if not re.fullmatch(r"[0-9]{1,9}", token):
            raise ApiError(400, "invalid_field", "pagination_token is not one of this sandbox's")
        start = int(token)
        found = [self._shown(profile_id) for profile_id in self._bodies]
        end = start + min(limit, _LARGEST_PAGE)
        page: Json = {"profiles": found[start:end]}
        return {**page, "next_pagination_token": str(end)} if end < len(found) else page

    def get(self, profile_id: str) -> Json:
        """Return one profile. Raises `ApiError`."""
        self._body(profile_id)
        return self._shown(profile_id)

    def create(self, body: Json) -> Json:
        """Create a profile. Raises `ApiError` for an invalid body."""
        options = self._checked(body)
        if not options.get("name"):
            raise ApiError(400, "required_field", "name is required")
        profile_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
        self._bodies[profile_id] = options
        return self._shown(profile_id)

    def update(self, profile_id: str, body: Json) -> Json:
        """Replace the fields that a body sets. Raises `ApiError`."""
        before = self._body(profile_id)
        options = self._checked(body)
        name = options.pop("name", None) or before["name"]
        changed = {group: {**before.get(group, {}), **fields} for group, fields in options.items()}
        self._bodies[profile_id] = {**before, **changed, "name": name}
        return self._shown(profile_id)

    def delete(self, profile_id: str) -> Json:
        """Delete a profile. Raises `ApiError`."""
        self._body(profile_id)
        del self._bodies[profile_id]
        return {}

    def _body(self, profile_id: str) -> Json:
        if profile_id not in self._bodies:
            raise ApiError(404, "resource_not_found", "no such profile")
        return self._bodies[profile_id]

    def _checked(self, body: Json) -> Json:
        options = read_options(body, PROFILE, strict=self._strict)
        check_contradictions(options, alone=False)
        return options

    def _shown(self, profile_id: str) -> Json:
        body = self._bodies[profile_id]
        groups = {name: dict(body[name]) for name in GROUPS if name in body}
        llm = groups.pop("llm", None)
        if "duration_limit_ms" in groups.get("slice", {}):
            groups["slice"]["duration_limit_ms"] = str(groups["slice"]["duration_limit_ms"])
        shown = {"id": profile_id, "name": body["name"], "configuration": groups, "llm": llm}
        # FullStory's own tools read its members without a check, so it is there even if it is empty
        return {"configuration": {}, **without_empty(shown)}


def merge_options(profile: Json, override: Json) -> Json:
    """Apply overrides: values replace the profile's, arrays are appended, empty values change nothing."""
    # false, 0 and "" count as empty, so an override can't switch off what a profile switches on
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
    """Omit what protocol buffers omit in JSON: false, 0, "", null, [] and {}, at any depth."""
    if isinstance(value, dict):
        kept = {name: without_empty(item) for name, item in value.items()}
        return {name: item for name, item in kept.items() if item not in (None, False, 0, "", [], {})}
    return [without_empty(item) for item in value] if isinstance(value, list) else value
