"""Rules of a redaction: which fields a name, a path or a pattern stands for, and which are merely similar."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from fullstory_async.errors import ConfigurationError

__all__ = ["Rule", "read_rules", "similar_names"]

How = Literal["drop", "hash"]

_OF_IDS = ("full_session_id", "replay_url", "input")
_ORIGINS: Mapping[str, tuple[str, ...]] = {
    "page_url": ("source_properties.url.full_url",), "page_path": ("source_properties.url.path",),
    "page_title": ("source_properties.title",), "device_type": ("source_properties.user_agent.device",),
    "app_version": ("source_properties.app.version",), "element_text": ("event_properties.target.text",),
    "element_selector": ("event_properties.target.raw_selector",), "user_uid": ("event_properties.user_id",),
    "user_email": ("user_context.email", "context.user.email"),
    "custom_name": ("event_properties.event_name",), "device_id": _OF_IDS, "session_id": _OF_IDS,
    "full_session_id": (*_OF_IDS, "device_id", "session_id"), "properties": ("event_properties",),
    "first_page": ("source_properties.url.full_url",), "last_page": ("source_properties.url.full_url",),
}  # fmt: skip
"""Column → the fields with the same value that have other names."""
_MIN_PART = 4
"""Letters of a name from which on it counts as a part of another one."""
_SIMILARITY = 0.8


@attrs.frozen
class Rule:
    """One name, path or pattern that was given, and what is done with the fields that it stands for.

    A path stands for a field below the others that it names, in this order and at any depth. Case doesn't
    matter.
    """

    given: str
    how: How
    parts: tuple[re.Pattern[str], ...]
    ends: tuple[re.Pattern[str], ...] = ()
    """For each part but the last, the path from it on: a field's name may have dots in it."""

    @classmethod
    def of(cls, given: str, how: How, path: str | None = None) -> Rule:
        """Return the rule of a name; ``path`` if it is for another field, which the name stands for too."""
        parts = (path or given).split(".")
        if not all(parts):
            raise ConfigurationError(f"redact takes names, paths such as a.b, and patterns, not {given!r}")
        ends = (".".join(parts[n:]) for n in range(len(parts) - 1))
        return cls(given, how, tuple(map(_pattern, parts)), tuple(map(_pattern, ends)))

    def step(self, depth: int, name: str) -> tuple[int, bool]:
        """Go down to a field.

        Args:
            depth: how many parts of the path the fields above it have.
            name: its name, in lower case.

        Returns:
            How many parts there are with this field, and whether the rule stands for it.
        """
        is_next = self.parts[depth].match(name) is not None
        is_rest = any(end.match(name) for end in self.ends[: depth + 1])
        if depth < len(self.parts) - 1:
            return depth + is_next, is_rest
        return depth, is_next or is_rest

    def is_end(self, name: str) -> bool:
        """Return whether a field of this name may be one that the rule stands for."""
        return self.parts[-1].match(name.casefold()) is not None


def read_rules(fields: Any) -> tuple[Rule, ...]:
    """Read names, or a mapping of names to ``drop`` or ``hash``. Raises `ConfigurationError`."""
    if isinstance(fields, str) or not isinstance(fields, Iterable):
        raise ConfigurationError("redact must be a list of names, or a mapping of names to 'drop' or 'hash'")
    given: dict[Any, Any] = dict(fields) if isinstance(fields, Mapping) else dict.fromkeys(fields, "drop")
    rules = []
    # those without a pattern first: the more exact one decides
    for name, how in sorted(given.items(), key=lambda item: _is_pattern(str(item[0]))):
        if not isinstance(name, str) or not name or how not in ("drop", "hash"):
            raise ConfigurationError(
                f"redact takes 'drop' or 'hash' for a field's name, not {name!r}: {how!r}"
            )
        rules.append(Rule.of(name, how))
        first, _, rest = name.partition(".")
        # the schema v1 calls it so
        if rest and first.casefold() == "properties":
            rules.append(Rule.of(name, how, f"event_properties.{rest}"))
        column = _pattern(name)
        rules += [
            Rule.of(name, how, path) for each in _ORIGINS if column.match(each) for path in _ORIGINS[each]
        ]
    return tuple(rules)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(text.casefold()))


def _is_pattern(name: str) -> bool:
    return any(mark in name for mark in "*?[")


def similar_names(given: str, names: Iterable[str]) -> list[str]:
    """Return the names that a person may have meant by another one, the most similar first."""
    wanted = _letters(given.rpartition(".")[2])
    found: dict[str, float] = {}
    for name in names:
        letters = _letters(name)
        if not wanted or not letters:
            continue
        ratio = difflib.SequenceMatcher(None, wanted, letters).ratio()
        if ratio >= _SIMILARITY or _is_part(wanted, letters) or _is_end(letters, wanted):
            found[name] = ratio
    return sorted(found, key=lambda name: (-found[name], name))


def _is_part(part: str, whole: str) -> bool:
    return len(part) >= _MIN_PART and part in whole


def _is_end(part: str, whole: str) -> bool:
    return len(part) >= _MIN_PART and whole.endswith(part)


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()
