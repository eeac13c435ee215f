"""Redaction: drops or hashes fields of an export's rows, wherever they are."""

from __future__ import annotations

import json
import logging
from collections import Counter
from typing import Any, Literal

import attrs

from fullstory_async.jobs.export.redaction_rules import Rule, read_rules, similar_names
from fullstory_async.jobs.storage.schema import fingerprint
from fullstory_async.models import event_data
from fullstory_async.tables.columns import SCHEMAS

__all__ = ["Redaction"]

_logger = logging.getLogger("fullstory_async.jobs")

_DOCUMENTED = [each for each in vars(event_data).values() if isinstance(each, type) and attrs.has(each)]
_KNOWN = frozenset(
    [column.name for tables in SCHEMAS.values() for columns in tables.values() for column in columns]
    + [field.name for each in _DOCUMENTED for field in attrs.fields(each)]
)
"""Documented names: to redact one that occurs nowhere in the job is not a mistake."""


_State = tuple[int, ...]
"""For each rule, how many parts of its path the fields above have."""
_MAX_KEPT = 10_000
"""Names and decisions that are kept; documents can have any number of names."""


@attrs.frozen
class Redaction:
    """The fields to redact, as a column or at any depth of the JSON in one."""

    rules: tuple[Rule, ...]
    secret: str = attrs.field(repr=False)
    hidden: Counter[str] = attrs.field(factory=Counter, eq=False)
    """Number of values redacted so far per name that was given, nested ones included."""
    seen: set[str] = attrs.field(factory=set, eq=False)
    """Given names that stand for a field that was there so far, even if its value was null."""
    left: set[str] = attrs.field(factory=set, eq=False)
    """Names of fields that had a value and were left as they are."""
    _steps: dict[tuple[_State, str], tuple[_State, Rule | None]] = attrs.field(
        factory=dict, eq=False, repr=False
    )

    @classmethod
    def of(cls, fields: Any, secret: str) -> Redaction:
        """Read ``["user_email", "event_properties.phone", "*token*"]``, or ``{"user_email": "hash"}``.

        Raises:
            ConfigurationError: it is something else.
        """
        return fields if isinstance(fields, Redaction) else cls(read_rules(fields), secret)

    def how(self, *path: str) -> Literal["drop", "hash"] | None:
        """Return what is done with a whole column, or with a field that is in others."""
        state = self._start
        for name in path:
            state, rule = self._step(state, name)
            if rule is not None:
                return rule.how
        return None

    def apply(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a mapping of columns to values with its values redacted."""
        if not self.rules:
            return row
        redacted: dict[str, Any] = self._redact_inside(row, self._start)
        return redacted

    @property
    def names(self) -> tuple[str, ...]:
        """The names that were given."""
        return tuple(dict.fromkeys(rule.given for rule in self.rules))

    @property
    def missing(self) -> list[str]:
        """The given names that no field had so far, and that stand for no column or documented field."""
        return sorted(
            name for name in set(self.names) - self.seen if not any(map(Rule.of(name, "drop").is_end, _KNOWN))
        )

    def describe_missing(self) -> str:
        """Return the missing names, with similar ones that are there."""
        similar = self.near_misses
        return ", ".join(
            f"{name!r} (similar: {', '.join(similar[name])})" if name in similar else repr(name)
            for name in self.missing
        )

    @property
    def near_misses(self) -> dict[str, list[str]]:
        """Given name → similar names of fields that had a value and were left as they are."""
        found = {name: similar_names(name, self.left) for name in self.names}
        return {name: similar for name, similar in found.items() if similar}

    def warn(self) -> None:
        """Log the similar names of fields that were left, if there are any."""
        for name, similar in self.near_misses.items():
            _logger.warning("redacted %s, and left similar fields as they are: %s", name, ", ".join(similar))

    @property
    def _start(self) -> _State:
        return (0,) * len(self.rules)

    def _step(self, state: _State, name: str) -> tuple[_State, Rule | None]:
        known = self._steps.get((state, name))
        if known is not None:
            return known
        folded = name.casefold()
        steps = [rule.step(depth, folded) for rule, depth in zip(self.rules, state, strict=True)]
        matching = (rule for rule, (_, matches) in zip(self.rules, steps, strict=True) if matches)
        found = tuple(depth for depth, _ in steps), next(matching, None)
        if len(self._steps) < _MAX_KEPT:
            self._steps[state, name] = found
        return found

    def _redact_inside(self, value: Any, state: _State) -> Any:
        if isinstance(value, dict):
            return {name: self._redact_field(name, item, state) for name, item in value.items()}
        return [self._redact_inside(item, state) for item in value] if isinstance(value, list) else value

    def _redact_field(self, name: str, value: Any, above: _State) -> Any:
        state, rule = self._step(above, name)
        if rule is None:
            # a column of JSON is not a field itself
            is_column = above == self._start and isinstance(value, dict)
            if value is not None and not is_column and len(self.left) < _MAX_KEPT:
                self.left.add(name)
            return self._redact_inside(value, state)
        self.seen.add(rule.given)
        if value is None:
            return None
        self.hidden[rule.given] += 1
        if isinstance(value, (dict, list)):
            self._count_inside(value, state)
        if rule.how == "drop":
            return None
        # Sorted: equal values have the same hash, in whatever order a response has their fields.
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
        return fingerprint(self.secret, text)

    def _count_inside(self, value: Any, state: _State) -> None:
        """Count the fields that are redacted with the one that they are in."""
        left = set(self.left)
        self._redact_inside(value, state)
        self.left.intersection_update(left)
