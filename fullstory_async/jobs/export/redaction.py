"""Redaction: drops or hashes fields of an export's rows, wherever they are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from fullstory_async.errors import ConfigurationError
from fullstory_async.jobs.export.columns import TABLES
from fullstory_async.jobs.storage.schema import fingerprint
from fullstory_async.models import event_data

__all__ = ["Redaction"]

_DOCUMENTED = [each for each in vars(event_data).values() if isinstance(each, type) and attrs.has(each)]
_KNOWN = frozenset(
    [column.name for columns in TABLES.values() for column in columns]
    + [field.name for each in _DOCUMENTED for field in attrs.fields(each)]
)
"""Documented names: to redact one that occurs nowhere in the job is not a mistake."""


@attrs.frozen
class Redaction:
    """The fields to redact, as a column or at any depth of the JSON in one."""

    how: Mapping[str, Literal["drop", "hash"]]
    secret: str = attrs.field(repr=False)
    hidden: Counter[str] = attrs.field(factory=Counter, eq=False)
    """Number of values redacted per name so far, nested ones included."""
    seen: set[str] = attrs.field(factory=set, eq=False)
    """Names seen so far, even if their value was null."""

    @classmethod
    def of(cls, fields: Any, secret: str) -> Redaction:
        """Read ``["user_email"]``, or ``{"user_email": "hash"}``.

        Raises:
            ConfigurationError: it is something else.
        """
        if isinstance(fields, Redaction):
            return fields
        if isinstance(fields, str):
            raise ConfigurationError(
                "redact must be a list of names, or a mapping of names to 'drop' or 'hash'"
            )
        given: dict[Any, Any] = dict(fields) if isinstance(fields, Mapping) else dict.fromkeys(fields, "drop")
        for name, how in given.items():
            if not isinstance(name, str) or not name or how not in ("drop", "hash"):
                raise ConfigurationError(
                    f"redact takes 'drop' or 'hash' for a field's name, not {name!r}: {how!r}"
                )
        return cls(given, secret)

    def apply(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the row with its values redacted."""
        if not self.how:
            return row
        redacted: dict[str, Any] = self._redact_inside(row)
        return redacted

    @property
    def missing(self) -> list[str]:
        """The names not seen so far that are neither a column nor a documented field."""
        return sorted(set(self.how) - self.seen - _KNOWN)

    def _redact_inside(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: self._redact_value(name, item) if name in self.how else self._redact_inside(item)
                for name, item in value.items()
            }
        return [self._redact_inside(item) for item in value] if isinstance(value, list) else value

    def _redact_value(self, name: str, value: Any) -> Any:
        self.seen.add(name)
        if value is None:
            return None
        self.hidden[name] += 1
        self._redact_inside(value)  # for the counts: the names inside are redacted with it
        if self.how[name] == "drop":
            return None
        # Sorted: equal values have the same hash, in whatever order a response has their fields.
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
        return fingerprint(self.secret, text)
